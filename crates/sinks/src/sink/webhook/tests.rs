use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::{
    config::{ConfigPlace, TenantSelection},
    event::Headers,
    sink::{Confirmation, Sink as _, double},
    webhook::store::{Delivery, DeliveryQuery},
};

fn webhook(name: &str, tenant: TenantSelection, events: &[&str]) -> Arc<Webhook> {
    Arc::new(Webhook {
        name: name.to_owned(),
        url: "https://hooks.example.com".parse().unwrap(),
        tenant,
        events: events.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        subjects: Vec::new(),
        secrets: vec!["secret".parse().unwrap()],
        former_until: None,
        active: true,
        concurrency: 4,
        max_pending: 1_000,
        allow_private: false,
        headers: Vec::new(),
        body: None,
        routing_key: None,
        place: ConfigPlace::file("keys/a.toml"),
    })
}

fn of_tenant(event_type: &str, id: &str, tenant: &str) -> Output {
    let headers = Headers::from_iter([("Tenant".into(), tenant.into())]);
    Output { headers: Some(headers), ..double::output(event_type, id, "{}") }
}

struct Rig {
    _folder: TempDir,
    store: Arc<DeliveryStore>,
    sink: BlockingSink<DeliveryWriter>,
    webhooks: watch::Sender<Vec<Arc<Webhook>>>,
    fresh: mpsc::Receiver<BTreeSet<String>>,
    metrics: Arc<Metrics>,
    slot: Slot,
}

impl Rig {
    fn new(webhooks: Vec<Arc<Webhook>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(DeliveryStore::make(&folder.path().join("deliveries.db")).unwrap());
        let (webhooks, wanted) = watch::channel(webhooks);
        let (sender, fresh) = mpsc::channel(100);
        let metrics = Arc::<Metrics>::default();
        let sink = open(Arc::clone(&store), wanted, None, sender, Arc::clone(&metrics)).unwrap();
        Self { _folder: folder, store, sink, webhooks, fresh, metrics, slot: 0 }
    }

    /// Writes outputs and waits until they are confirmed.
    async fn take(&mut self, outputs: &[Output]) {
        for output in outputs {
            self.sink.write(self.slot, output).await.unwrap();
            self.slot += 1;
        }
        let word = self.sink.confirm().await;
        assert!(matches!(word, Confirmation::Through(last) if last == self.slot - 1), "{word:?}");
    }

    /// Returns event and webhook of every stored delivery.
    fn stored(&self) -> Vec<(String, String)> {
        let list = self.store.list(&DeliveryQuery::default(), u32::MAX).unwrap();
        let mut stored: Vec<_> =
            list.into_iter().map(|Delivery { event_id, webhook, .. }| (event_id, webhook)).collect();
        stored.sort();
        stored
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(event, webhook)| ((*event).to_owned(), (*webhook).to_owned())).collect()
}

/// C24
#[tokio::test]
async fn deliveries_stay_within_their_tenant() {
    let scopes =
        [("none", TenantSelection::None), ("t1", TenantSelection::Only("t1".into())), ("any", TenantSelection::Any)];
    let mut rig = Rig::new(scopes.into_iter().map(|(name, scope)| webhook(name, scope, &[])).collect());
    let outputs = [
        double::output("a", "1", "{}"),
        of_tenant("a", "2", "t1"),
        of_tenant("a", "3", "t2"),
        // An empty tenant counts as none.
        of_tenant("a", "4", ""),
    ];
    rig.take(&outputs).await;
    let expected = [("1", "any"), ("1", "none"), ("2", "any"), ("2", "t1"), ("3", "any"), ("4", "any"), ("4", "none")];
    assert_eq!(rig.stored(), pairs(&expected));
}

/// C25
#[tokio::test]
async fn deliveries_are_of_the_types_that_were_asked_for() {
    let mut rig = Rig::new(vec![
        webhook("all", TenantSelection::None, &[]),
        webhook("one", TenantSelection::None, &["instance.created"]),
        webhook("some", TenantSelection::None, &["instance.*"]),
    ]);
    let types = [("instance.created", "1"), ("instance.stopped", "2"), ("deploy.done", "3")];
    rig.take(&types.map(|(event_type, id)| double::output(event_type, id, "{}"))).await;
    let expected = [("1", "all"), ("1", "one"), ("1", "some"), ("2", "all"), ("2", "some"), ("3", "all")];
    assert_eq!(rig.stored(), pairs(&expected));
    assert_eq!(Vec::from_iter(rig.fresh.recv().await.unwrap()), ["all", "one", "some"]);
}

#[tokio::test]
async fn a_redelivered_event_is_delivered_once() {
    let mut rig = Rig::new(vec![webhook("a", TenantSelection::None, &[])]);
    for _ in 0..3 {
        rig.take(&[double::output("a", "1", "{}")]).await;
    }
    assert_eq!(rig.stored(), pairs(&[("1", "a")]));
    let second = Output { index: 1, ..double::output("a", "1", "{}") };
    rig.take(&[second]).await;
    assert_eq!(rig.stored().len(), 2);
}

#[tokio::test]
async fn what_nobody_wants_is_taken_and_not_stored() {
    let mut rig = Rig::new(vec![webhook("a", TenantSelection::Only("t1".into()), &[])]);
    rig.take(&[double::output("a", "1", "{}")]).await;
    assert_eq!(rig.stored(), []);
    assert!(rig.fresh.is_empty());
    rig.webhooks.send_replace(vec![webhook("b", TenantSelection::None, &[])]);
    rig.take(&[double::output("a", "2", "{}")]).await;
    assert_eq!(rig.stored(), pairs(&[("2", "b")]));
}

/// A receiver that gets nothing any more does not fill the disk, and takes nothing from others.
#[tokio::test]
async fn no_more_is_stored_for_a_webhook_than_may_wait_for_it() {
    let full = Webhook { max_pending: 3, ..Webhook::clone(&webhook("full", TenantSelection::None, &[])) };
    let mut rig = Rig::new(vec![Arc::new(full), webhook("b", TenantSelection::None, &[])]);
    let outputs: Vec<_> = (0..5).map(|number| double::output("a", &number.to_string(), "{}")).collect();
    rig.take(&outputs).await;
    let waits = |rig: &Rig| rig.store.pending().unwrap();
    assert_eq!(waits(&rig), BTreeMap::from([("b".to_owned(), 5), ("full".to_owned(), 3)]));
    assert_eq!(rig.metrics.webhook("full").refused.get(), 2);
    // There is room again as soon as some are sent; the count may be a second old.
    rig.store.cancel("full", Timestamp::now()).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut number = 5;
    while !waits(&rig).contains_key("full") {
        assert!(std::time::Instant::now() < deadline, "{:?}", waits(&rig));
        rig.take(&[double::output("a", &number.to_string(), "{}")]).await;
        while rig.fresh.try_recv().is_ok() {}
        number += 1;
    }
}

/// More outputs than a burst holds.
#[tokio::test]
async fn a_long_batch_is_stored_whole() {
    let names: Vec<_> = (0..300).map(|number| format!("w{number}")).collect();
    let mut rig = Rig::new(names.iter().map(|name| webhook(name, TenantSelection::None, &[])).collect());
    let outputs: Vec<_> = (0..10).map(|number| double::output("a", &number.to_string(), "{}")).collect();
    rig.take(&outputs).await;
    assert_eq!(rig.stored().len(), 3_000);
}

/// Outputs that could not be stored are not confirmed, and come again.
#[tokio::test]
async fn outputs_that_cannot_be_stored_are_refused_for_now() {
    let mut rig = Rig::new(vec![webhook("a", TenantSelection::None, &[])]);
    rig.store.refuse("INSERT");
    rig.sink.write(0, &double::output("a", "1", "{}")).await.unwrap();
    let word = rig.sink.confirm().await;
    assert!(matches!(word, Confirmation::Refused(0, SinkRefusal::Later(_))), "{word:?}");
    rig.store.forgive();
    rig.take(&[double::output("a", "1", "{}")]).await;
    assert_eq!(rig.stored(), pairs(&[("1", "a")]));
}
