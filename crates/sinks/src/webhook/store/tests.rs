use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn output(id: &str) -> NewOutput {
    NewOutput {
        id: id.to_owned(),
        event_id: id.into(),
        event_type: "instance.created".into(),
        subject: "instances.1".into(),
        tenant: Some("t1".into()),
        content_type: None,
        traceparent: None,
        payload: format!(r#"{{"id":"{id}"}}"#).into(),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn store(folder: &TempDir) -> DeliveryStore {
    DeliveryStore::make(&folder.path().join("deliveries.db")).unwrap()
}

fn attempt(delivery: &Delivery, second: i64, verdict: AttemptVerdict) -> DeliveryAttempt {
    let status_code = Some(if verdict == AttemptVerdict::Delivered { 200 } else { 500 });
    DeliveryAttempt {
        id: delivery.id,
        webhook: delivery.webhook.clone(),
        ended: at(second),
        status_code,
        error: (verdict != AttemptVerdict::Delivered).then(|| "it answered 500".to_owned()),
        answer: None,
        verdict,
    }
}

fn all(store: &DeliveryStore) -> Vec<Delivery> {
    store.list(&DeliveryQuery::default(), 100).unwrap()
}

fn states(store: &DeliveryStore) -> Vec<(String, DeliveryState)> {
    let mut states: Vec<_> = all(store).into_iter().map(|delivery| (delivery.webhook, delivery.state)).collect();
    states.sort();
    states
}

#[test]
fn an_output_is_stored_once_for_each_webhook() {
    let folder = folder();
    let store = store(&folder);
    let fresh = store.insert([(&output("1"), &["a", "b"][..]), (&output("2"), &["b"][..])], at(0)).unwrap();
    assert_eq!(Vec::from_iter(fresh), ["a", "b"]);
    let fresh = store.insert([(&output("1"), &["a", "b", "c"][..]), (&output("2"), &["b"][..])], at(9)).unwrap();
    assert_eq!(Vec::from_iter(fresh), ["c"]);
    let list = all(&store);
    assert_eq!(list.len(), 4);
    let DeliveryDetail { delivery, output_id, subject, payload, .. } = store.show(list[3].id).unwrap().unwrap();
    assert_eq!((delivery.state, delivery.attempts, delivery.next_retry), (DeliveryState::Pending, 0, Some(at(0))));
    assert_eq!((output_id.as_str(), subject.as_str(), delivery.tenant.as_deref()), ("1", "instances.1", Some("t1")));
    assert_eq!(payload, br#"{"id":"1"}"#);
}

/// C02, C21
#[test]
fn a_delivery_goes_through_its_states() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a"][..])], at(0)).unwrap();
    let delivery = all(&store).remove(0);
    assert!(delivery.id.to_string().starts_with("deli_") && delivery.id.to_string().len() == 31);
    store.record(&[attempt(&delivery, 1, AttemptVerdict::Again(Duration::from_secs(5)))]).unwrap();
    let tried = all(&store).remove(0);
    assert_eq!((tried.state, tried.attempts, tried.status_code), (DeliveryState::Pending, 1, Some(500)));
    assert_eq!((tried.next_retry, tried.error.as_deref()), (Some(at(6)), Some("it answered 500")));
    assert_eq!(store.due("a", 4).unwrap(), [DueDelivery { id: tried.id, attempts: 1, at: at(6), size: 10 }]);
    store.record(&[attempt(&delivery, 6, AttemptVerdict::Delivered)]).unwrap();
    let delivered = all(&store).remove(0);
    assert_eq!((delivered.state, delivered.attempts, delivered.next_retry), (DeliveryState::Delivered, 2, None));
    assert_eq!((delivered.error, delivered.updated), (None, at(6)));
    assert_eq!(store.due("a", 4).unwrap(), []);
}

#[test]
fn lists_hold_what_was_asked_for() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a", "b"][..])], at(0)).unwrap();
    store.insert([(&NewOutput { event_type: "deploy.done".into(), ..output("2") }, &["a"][..])], at(5)).unwrap();
    let failed = all(&store).into_iter().find(|delivery| delivery.webhook == "b").unwrap();
    store.record(&[attempt(&failed, 1, AttemptVerdict::Failed)]).unwrap();
    let count = |which: DeliveryQuery| store.list(&which, 10).unwrap().len();
    assert_eq!(count(DeliveryQuery::default()), 3);
    assert_eq!(count(DeliveryQuery { webhook: Some("a".into()), ..DeliveryQuery::default() }), 2);
    assert_eq!(count(DeliveryQuery { state: Some(DeliveryState::Failed), ..DeliveryQuery::default() }), 1);
    assert_eq!(count(DeliveryQuery { event_type: Some("deploy.done".into()), ..DeliveryQuery::default() }), 1);
    assert_eq!(count(DeliveryQuery { since: Some(at(5)), ..DeliveryQuery::default() }), 1);
    assert_eq!(count(DeliveryQuery { ids: Some(vec![failed.id]), ..DeliveryQuery::default() }), 1);
    assert_eq!(count(DeliveryQuery { ids: Some(vec![]), ..DeliveryQuery::default() }), 0);
    assert_eq!(store.list(&DeliveryQuery::default(), 2).unwrap().len(), 2);
}

#[test]
fn what_is_retried_begins_anew() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a", "b"][..])], at(0)).unwrap();
    for delivery in all(&store) {
        store.record(&[attempt(&delivery, 1, AttemptVerdict::Failed)]).unwrap();
    }
    store.disable("b", "by hand", at(2)).unwrap();
    let retried =
        store.retry(&DeliveryQuery { state: Some(DeliveryState::Failed), ..DeliveryQuery::default() }, at(3)).unwrap();
    assert_eq!(retried.len(), 1);
    let Delivery { webhook, attempts, next_retry, .. } = store.show(retried[0]).unwrap().unwrap().delivery;
    assert_eq!((webhook.as_str(), attempts, next_retry), ("a", 0, Some(at(3))));
}

#[test]
fn the_payload_goes_with_its_last_delivery() {
    let folder = folder();
    let store = store(&folder);
    let outputs = |store: &DeliveryStore| {
        store.lock().query_one("SELECT count(*) FROM outputs", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    store.insert([(&output("1"), &["a", "b"][..]), (&output("2"), &["a"][..])], at(0)).unwrap();
    assert_eq!(store.drop(&DeliveryQuery { webhook: Some("a".into()), ..DeliveryQuery::default() }).unwrap().len(), 2);
    assert_eq!((all(&store).len(), outputs(&store)), (1, 1));
    let last = all(&store).remove(0);
    store.record(&[attempt(&last, 1, AttemptVerdict::Delivered)]).unwrap();
    assert!(!store.purge(at(1)).unwrap());
    assert!(store.purge(at(2)).unwrap());
    assert_eq!((all(&store).len(), outputs(&store)), (0, 0));
}

/// Pending deliveries are never purged.
#[test]
fn only_what_is_finished_is_forgotten() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a"][..])], at(0)).unwrap();
    assert!(!store.purge(at(1_000_000)).unwrap());
}

#[test]
fn a_disabled_webhook_gets_nothing_until_it_is_enabled() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a", "b"][..])], at(0)).unwrap();
    let one = all(&store).into_iter().find(|delivery| delivery.webhook == "a").unwrap();
    store.insert([(&output("2"), &["a"][..])], at(0)).unwrap();
    store.record(&[attempt(&one, 1, AttemptVerdict::Gone)]).unwrap();
    let expected = [("a", DeliveryState::Failed), ("a", DeliveryState::Cancelled), ("b", DeliveryState::Pending)];
    assert_eq!(states(&store), expected.map(|(name, state)| (name.to_owned(), state)));
    assert_eq!(Vec::from_iter(store.insert([(&output("3"), &["a", "b"][..])], at(2)).unwrap()), ["b"]);
    let [DisabledWebhook { webhook, cause, since, .. }] = &store.disabled().unwrap()[..] else {
        panic!("one is disabled")
    };
    assert_eq!((webhook.as_str(), *cause, *since), ("a", DisableCause::Gone, at(1)));
    assert!(store.enable("a").unwrap());
    assert!(!store.enable("a").unwrap());
    assert_eq!(Vec::from_iter(store.insert([(&output("4"), &["a"][..])], at(3)).unwrap()), ["a"]);
}

/// A success is recorded whatever was decided meanwhile; a failure revives nothing.
#[test]
fn a_try_that_ends_after_its_delivery_was_cancelled_revives_nothing() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a"][..]), (&output("2"), &["a"][..])], at(0)).unwrap();
    let list = all(&store);
    store.disable("a", "by hand", at(1)).unwrap();
    store
        .record(&[attempt(&list[0], 2, AttemptVerdict::Delivered), attempt(&list[1], 2, AttemptVerdict::Again(BUSY))])
        .unwrap();
    let expected = [("a", DeliveryState::Delivered), ("a", DeliveryState::Cancelled)];
    assert_eq!(states(&store), expected.map(|(name, state)| (name.to_owned(), state)));
}

#[test]
fn a_clock_that_went_back_does_not_put_off_further() {
    let folder = folder();
    let store = store(&folder);
    store.insert([(&output("1"), &["a"][..]), (&output("2"), &["b"][..])], at(0)).unwrap();
    let delivery = all(&store).into_iter().find(|delivery| delivery.webhook == "a").unwrap();
    store.record(&[attempt(&delivery, 1, AttemptVerdict::Again(Duration::from_secs(30)))]).unwrap();
    store.follow_clock(at(-10_000)).unwrap();
    assert_eq!(store.due("a", 1).unwrap()[0].at, at(-9_970));
    assert_eq!(store.due("b", 1).unwrap()[0].at, at(-10_000));
    store.follow_clock(at(-9_999)).unwrap();
    assert_eq!(store.due("a", 1).unwrap()[0].at, at(-9_970));
}

#[test]
fn others_changes_are_noticed() {
    let folder = folder();
    let store = store(&folder);
    let other = DeliveryStore::open(store.path()).unwrap();
    let before = store.version().unwrap();
    assert_eq!(store.version().unwrap(), before);
    other.insert([(&output("1"), &["a"][..])], at(0)).unwrap();
    assert_ne!(store.version().unwrap(), before);
}

#[test]
fn a_database_is_for_its_owner_alone_and_made_once() {
    let folder = folder();
    let path = folder.path().join("new/deliveries.db");
    let first = DeliveryStore::make(&path).unwrap();
    first.insert([(&output("1"), &["a"][..])], at(0)).unwrap();
    for file in fs::read_dir(folder.path().join("new")).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        assert!(!file.file_name().to_string_lossy().starts_with('.'), "{:?}", file.path());
    }
    drop(first);
    assert_eq!(all(&DeliveryStore::make(&path).unwrap()).len(), 1);
}

/// A database that was cut off is refused and left as it is, wherever the cut is.
#[test]
fn a_database_that_was_cut_off_is_refused_and_left_alone() {
    let folder = folder();
    let store = store(&folder);
    let outputs: Vec<_> = (0..500).map(|number| output(&number.to_string())).collect();
    store.insert(outputs.iter().map(|output| (output, &["a", "b"][..])), at(0)).unwrap();
    drop(store);
    let whole = fs::read(folder.path().join("deliveries.db")).unwrap();
    assert!(whole.len() > 100_000);
    let path = folder.path().join("cut.db");
    for length in [0, 1, 15, 16, 99, 100, 4095, 4096, 8192, 50_000, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        for opened in [DeliveryStore::make(&path), DeliveryStore::open(&path)] {
            let error = opened.unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{length}: {error}");
        }
        assert_eq!(fs::read(&path).unwrap(), whole[..length], "{length}");
    }
}

#[test]
fn a_database_with_holes_is_refused() {
    let folder = folder();
    let store = store(&folder);
    let outputs: Vec<_> = (0..500).map(|number| output(&number.to_string())).collect();
    store.insert(outputs.iter().map(|output| (output, &["a", "b"][..])), at(0)).unwrap();
    let path = store.path().to_owned();
    drop(store);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4096], 5 * 4096).unwrap();
    let error = DeliveryStore::make(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn what_is_no_database_of_deliveries_is_refused() {
    let folder = folder();
    let path = folder.path().join("other");
    assert!(matches!(DeliveryStore::open(&path), Err(StoreError::Missing(_))));
    fs::write(&path, "a letter to somebody").unwrap();
    assert!(matches!(DeliveryStore::make(&path), Err(StoreError::Foreign(_))));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE letters (text)").unwrap();
    assert!(matches!(DeliveryStore::make(&path), Err(StoreError::Foreign(_))));
    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("other-wal"), "log").unwrap();
    assert!(matches!(DeliveryStore::make(&path), Err(StoreError::Damaged { .. })));
    assert!(!path.exists());
}

#[test]
fn a_later_version_is_refused() {
    let folder = folder();
    let store = store(&folder);
    store.lock().pragma_update(None, "user_version", VERSION + 1).unwrap();
    let path = store.path().to_owned();
    drop(store);
    let error = DeliveryStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
}
