//! Tests of the dispatcher with a clock and receivers of their own. Time stands still while
//! something is being done.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    config::{ConfigPlace, TenantSelection},
    stop::{Stopper, stop},
    webhook::store::{Delivery, DeliveryQuery, DeliveryState, NewOutput},
};

mod bodies;
mod fairness;
mod health;

const BEGIN: i64 = 1_750_000_000;

fn webhook(name: &str) -> Webhook {
    Webhook {
        name: name.to_owned(),
        url: "https://hooks.example.com".parse().unwrap(),
        tenant: TenantSelection::Any,
        events: Vec::new(),
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
    }
}

fn output(number: usize, payload: Vec<u8>) -> NewOutput {
    NewOutput {
        id: number.to_string(),
        event_id: number.to_string().into(),
        event_type: "a".into(),
        subject: "b".into(),
        tenant: None,
        content_type: None,
        traceparent: None,
        payload: payload.into(),
    }
}

fn answer(status: u16) -> Result<WebhookAnswer, String> {
    Ok(WebhookAnswer { status, retry_after: None, body: Vec::new() })
}

/// A receiver's reaction to a letter: the time it takes, and its answer.
type Script = fn(&str) -> (Duration, Result<WebhookAnswer, String>);

/// A sent letter: its webhook, its id, and the time.
#[derive(Clone, Debug)]
struct Sent {
    webhook: String,
    id: String,
    at: Duration,
}

struct Rig {
    _folder: TempDir,
    store: Arc<DeliveryStore>,
    webhooks: watch::Sender<Vec<Arc<Webhook>>>,
    /// Seconds by which the wall clock is off.
    wrong: Arc<AtomicI64>,
    sent: Arc<Mutex<Vec<Sent>>>,
    began: Instant,
    script: Script,
    metrics: Arc<Metrics>,
}

/// A running dispatcher.
struct Run {
    stopper: Stopper,
    fresh: mpsc::Sender<BTreeSet<String>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Run {
    async fn ended(self) {
        drop(self.fresh);
        self.task.await.unwrap().unwrap();
    }
}

impl Rig {
    fn new(webhooks: impl IntoIterator<Item = Webhook>, script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(DeliveryStore::make(&folder.path().join("deliveries.db")).unwrap());
        let (webhooks, _) = watch::channel(webhooks.into_iter().map(Arc::new).collect());
        Self {
            _folder: folder,
            store,
            webhooks,
            wrong: Arc::default(),
            sent: Arc::default(),
            began: Instant::now(),
            script,
            metrics: Arc::default(),
        }
    }

    fn clock(&self) -> WallClock {
        let (began, wrong) = (self.began, Arc::clone(&self.wrong));
        Arc::new(move || {
            let passed = SignedDuration::try_from(began.elapsed()).unwrap();
            Timestamp::from_second(BEGIN + wrong.load(Ordering::Relaxed)).unwrap() + passed
        })
    }

    fn start(&self) -> Run {
        let (stopper, stop) = stop();
        let (fresh, hears) = mpsc::channel(8);
        let (sent, began, script) = (Arc::clone(&self.sent), self.began, self.script);
        let dispatcher = Dispatcher {
            room: 64 << 20,
            store: Arc::clone(&self.store),
            webhooks: self.webhooks.subscribe(),
            fresh: hears,
            retention: Duration::from_hours(1),
            drain: Duration::from_secs(10),
            metrics: Arc::clone(&self.metrics),
            post: Arc::new(move |webhook, letter, _| {
                let webhook = webhook.name.clone();
                let (pause, answer) = script(&webhook);
                sent.lock().unwrap().push(Sent { webhook, id: letter.id, at: began.elapsed() });
                Box::pin(async move {
                    sleep(pause).await;
                    answer
                })
            }),
            clock: self.clock(),
        };
        Run { stopper, fresh, task: tokio::spawn(dispatcher.run(stop)) }
    }

    /// Stores `count` outputs for each of the webhooks.
    fn store(&self, webhooks: &[&str], count: usize) {
        let outputs: Vec<_> = (0..count).map(|number| output(number, b"{}".to_vec())).collect();
        self.store.insert(outputs.iter().map(|output| (output, webhooks)), (self.clock())()).unwrap();
    }

    fn list(&self) -> Vec<Delivery> {
        self.store.list(&DeliveryQuery::default(), u32::MAX).unwrap()
    }

    fn count(&self, state: DeliveryState) -> usize {
        self.list().iter().filter(|delivery| delivery.state == state).count()
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Waits until this many letters were sent.
    async fn until_sent(&self, count: usize) {
        self.until(|rig| rig.sent.lock().unwrap().len() >= count).await;
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_hours(1);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "it never comes to that: {:?}", self.list());
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// C23: a letter keeps its id, and the pauses grow.
#[tokio::test(start_paused = true)]
async fn what_fails_is_sent_again_later_and_later() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(500)));
    rig.store(&["a"], 1);
    let run = rig.start();
    rig.until_sent(5).await;
    run.stopper.drain();
    run.ended().await;
    let sent = rig.sent();
    assert!(sent.iter().all(|letter| letter.id == sent[0].id && letter.webhook == "a"));
    for (pair, seconds) in sent.windows(2).zip([5.0, 30.0, 120.0, 600.0]) {
        let pause = (pair[1].at - pair[0].at).as_secs_f64();
        assert!(pause >= seconds * 0.8 && pause <= seconds * 1.2 + 0.2, "{pause} for {seconds}");
    }
    let delivery = &rig.list()[0];
    assert_eq!((delivery.state, delivery.attempts, delivery.status_code), (DeliveryState::Pending, 5, Some(500)));
}

/// With 10 hanging receivers out of 1,000, the others get everything in the time that they need
/// themselves.
#[tokio::test(start_paused = true)]
async fn receivers_that_hang_hold_up_nobody_else() {
    let names: Vec<_> = (0..1_000).map(|number| format!("w{number}")).collect();
    let script: Script = |name| match name.len() {
        2 => (Duration::from_secs(15), Err("no answer within 15s".to_owned())),
        _ => (Duration::from_millis(50), answer(204)),
    };
    let rig = Rig::new(names.iter().map(|name| webhook(name)), script);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    rig.store(&names, 8);
    let run = rig.start();
    rig.until(|rig| rig.store.pending().unwrap().len() == 10).await;
    // Eight letters, four at a time, each batch of them 50 ms; the rest of the time is the rig's
    // own grain.
    let others: Vec<_> = rig.sent().into_iter().filter(|letter| letter.webhook.len() > 2).collect();
    assert_eq!(others.len(), 990 * 8);
    let last = others.iter().map(|letter| letter.at).max().unwrap();
    assert!(last <= Duration::from_secs(2), "{last:?}");
    assert!(rig.began.elapsed() < Duration::from_secs(5));
    run.stopper.end();
    run.ended().await;
    assert_eq!(rig.count(DeliveryState::Delivered), 990 * 8);
}

#[tokio::test(start_paused = true)]
async fn no_receiver_gets_more_at_once_than_it_may() {
    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let rig = Rig::new([Webhook { concurrency: 3, ..webhook("a") }], |_| (Duration::from_secs(1), answer(200)));
    rig.store(&["a"], 20);
    let run = rig.start();
    rig.until(|rig| {
        // Each takes a second: those sent within the last second are under way.
        let now = rig.began.elapsed();
        let under_way = rig.sent().iter().filter(|letter| letter.at + Duration::from_secs(1) > now).count();
        UNDER_WAY.store(under_way, Ordering::Relaxed);
        MOST.fetch_max(under_way, Ordering::Relaxed);
        rig.count(DeliveryState::Delivered) == 20
    })
    .await;
    run.ended().await;
    assert_eq!(MOST.load(Ordering::Relaxed), 3);
    assert_eq!(rig.sent().len(), 20);
}

/// Deliveries under way are held in memory, so their bytes are bounded.
#[tokio::test(start_paused = true)]
async fn large_payloads_wait_for_room() {
    let names = ["a", "b", "c", "d"];
    let rig = Rig::new(names.map(webhook), |_| (Duration::from_secs(1), answer(200)));
    let large = output(1, vec![b'x'; 12 << 20]);
    rig.store.insert([(&large, &names[..])], (rig.clock())()).unwrap();
    rig.start().ended().await;
    let at: Vec<_> = rig.sent().iter().map(|letter| letter.at.as_secs()).collect();
    assert_eq!(at, [0, 0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_puts_nothing_off_for_longer() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(503)));
    rig.store(&["a"], 1);
    let run = rig.start();
    rig.until_sent(2).await;
    rig.wrong.store(-86_400, Ordering::Relaxed);
    rig.until_sent(3).await;
    let sent = rig.sent();
    let pause = (sent[2].at - sent[1].at).as_secs_f64();
    assert!((24.0..=72.0).contains(&pause), "{pause}");
    run.stopper.drain();
    run.ended().await;
}

/// The same when it was set while no router ran.
#[tokio::test(start_paused = true)]
async fn a_clock_that_went_back_between_runs_puts_nothing_off_for_longer() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(503)));
    rig.store(&["a"], 1);
    rig.start().ended().await;
    rig.wrong.store(-86_400, Ordering::Relaxed);
    let run = rig.start();
    rig.until_sent(2).await;
    assert!(rig.sent()[1].at.as_secs() <= 8, "{:?}", rig.sent());
    run.stopper.drain();
    run.ended().await;
}

/// Everything becomes due then, and is sent no faster than the concurrency of the receivers allows.
#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_forward_floods_nobody() {
    let rig = Rig::new([webhook("a")], |_| (Duration::from_secs(1), answer(503)));
    rig.store(&["a"], 12);
    let run = rig.start();
    rig.until(|rig| rig.list().iter().all(|delivery| delivery.attempts == 1)).await;
    rig.wrong.store(86_400, Ordering::Relaxed);
    let stepped = rig.began.elapsed();
    rig.until_sent(24).await;
    let again = rig.sent()[12..].iter().map(|letter| letter.at - stepped).max().unwrap();
    assert!(again >= Duration::from_secs(2), "{again:?}");
    run.stopper.drain();
    run.ended().await;
}

/// The command line writes into the same database.
#[tokio::test(start_paused = true)]
async fn changes_from_outside_are_seen_within_a_second() {
    let rig = Rig::new([webhook("a"), webhook("b")], |_| (Duration::ZERO, answer(400)));
    let run = rig.start();
    sleep(Duration::from_millis(2_500)).await;
    let outside = DeliveryStore::open(rig.store.path()).unwrap();
    outside.insert([(&output(1, Vec::new()), &["a", "b"][..])], (rig.clock())()).unwrap();
    let stored = rig.began.elapsed();
    rig.until(|rig| rig.count(DeliveryState::Failed) == 2).await;
    assert!(rig.sent()[0].at - stored <= TICK, "{:?}", rig.sent());
    sleep(Duration::from_millis(1_500)).await;
    let asked = rig.began.elapsed();
    outside
        .retry(&DeliveryQuery { webhook: Some("a".to_owned()), ..DeliveryQuery::default() }, (rig.clock())())
        .unwrap();
    rig.until_sent(3).await;
    let third = &rig.sent()[2];
    assert!(third.webhook == "a" && third.at - asked <= TICK, "{third:?}");
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn new_deliveries_are_sent_at_once() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(200)));
    let run = rig.start();
    sleep(Duration::from_millis(2_500)).await;
    rig.store(&["a"], 1);
    run.fresh.send(BTreeSet::from(["a".to_owned()])).await.unwrap();
    rig.until_sent(1).await;
    assert!(rig.sent()[0].at < Duration::from_millis(2_600), "{:?}", rig.sent());
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_gone_from_the_configuration_keeps_its_deliveries() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(500)));
    rig.store(&["a"], 1);
    let run = rig.start();
    rig.until_sent(1).await;
    rig.webhooks.send_replace(Vec::new());
    sleep(Duration::from_mins(10)).await;
    assert_eq!((rig.sent().len(), rig.count(DeliveryState::Pending)), (1, 1));
    rig.webhooks.send_replace(vec![Arc::new(webhook("a"))]);
    rig.until_sent(2).await;
    run.stopper.drain();
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_inactive_webhook_has_not_got_is_cancelled() {
    let rig = Rig::new([webhook("a"), webhook("b")], |_| (Duration::ZERO, answer(500)));
    rig.store(&["a", "b"], 3);
    let run = rig.start();
    rig.until_sent(6).await;
    rig.webhooks.send_replace(vec![Arc::new(Webhook { active: false, ..webhook("a") }), Arc::new(webhook("b"))]);
    rig.until(|rig| rig.count(DeliveryState::Cancelled) == 3).await;
    assert_eq!(rig.count(DeliveryState::Pending), 3);
    run.stopper.drain();
    run.ended().await;
    assert!(rig.sent()[6..].iter().all(|letter| letter.webhook == "b"));
}

/// C22
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_disabled() {
    let rig = Rig::new([Webhook { concurrency: 1, ..webhook("a") }], |_| (Duration::ZERO, answer(410)));
    rig.store(&["a"], 3);
    rig.start().ended().await;
    assert_eq!((rig.sent().len(), rig.count(DeliveryState::Failed), rig.count(DeliveryState::Cancelled)), (1, 1, 2));
    assert_eq!(rig.store.disabled().unwrap()[0].webhook, "a");
    rig.store(&["a"], 5);
    assert_eq!(rig.list().len(), 3);
}

/// Tries that have begun are finished; other deliveries stay.
#[tokio::test(start_paused = true)]
async fn a_stop_lets_tries_end_and_begins_none() {
    let rig = Rig::new([webhook("a")], |_| (Duration::from_secs(8), answer(200)));
    rig.store(&["a"], 10);
    let run = rig.start();
    rig.until_sent(4).await;
    run.stopper.drain();
    run.ended().await;
    assert_eq!((rig.sent().len(), rig.count(DeliveryState::Delivered), rig.count(DeliveryState::Pending)), (4, 4, 6));
    assert!(rig.began.elapsed() < Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_no_longer_than_the_drain_time() {
    let rig = Rig::new([webhook("a")], |_| (Duration::from_secs(60), answer(200)));
    rig.store(&["a"], 10);
    let run = rig.start();
    rig.until_sent(4).await;
    let asked = Instant::now();
    run.stopper.drain();
    run.ended().await;
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!(rig.count(DeliveryState::Pending), 10);
}

/// The end of the input is not a stop: stored deliveries are tried, and failed ones are left for
/// the next run.
#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_input_everything_is_tried() {
    let rig = Rig::new([webhook("a"), webhook("b")], |name| {
        (Duration::from_millis(10), answer(if name == "a" { 200 } else { 500 }))
    });
    rig.store(&["a", "b"], 50);
    rig.start().ended().await;
    assert_eq!((rig.count(DeliveryState::Delivered), rig.count(DeliveryState::Pending)), (50, 50));
    assert!(rig.list().iter().all(|delivery| delivery.attempts == 1));
}

/// Two routers on one database do not send everything twice; after one ends, the other continues.
#[tokio::test(start_paused = true)]
async fn one_router_sends_at_a_time() {
    let rig = Rig::new([webhook("a")], |_| (Duration::from_millis(10), answer(200)));
    let first = rig.start();
    sleep(Duration::from_secs(1)).await;
    let second = rig.start();
    rig.store(&["a"], 20);
    first.fresh.send(BTreeSet::from(["a".to_owned()])).await.unwrap();
    second.fresh.send(BTreeSet::from(["a".to_owned()])).await.unwrap();
    rig.until(|rig| rig.count(DeliveryState::Delivered) == 20).await;
    assert_eq!(rig.sent().len(), 20);
    first.ended().await;
    let more = output(21, Vec::new());
    rig.store.insert([(&more, &["a"][..])], (rig.clock())()).unwrap();
    rig.until_sent(21).await;
    second.ended().await;
}

/// While the store fails, no finished try is forgotten, and nothing is sent twice.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_is_noted_later() {
    let rig = Rig::new([webhook("a")], |_| (Duration::from_secs(5), answer(200)));
    rig.store(&["a"], 2);
    let run = rig.start();
    rig.until_sent(2).await;
    rig.store.refuse("UPDATE");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(rig.count(DeliveryState::Pending), 2);
    rig.store.forgive();
    rig.until(|rig| rig.count(DeliveryState::Delivered) == 2).await;
    run.ended().await;
    assert_eq!(rig.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_finished_goes_after_its_retention() {
    let rig = Rig::new([webhook("a")], |_| (Duration::ZERO, answer(200)));
    rig.store(&["a"], 5);
    let run = rig.start();
    rig.until(|rig| rig.count(DeliveryState::Delivered) == 5).await;
    sleep(Duration::from_mins(50)).await;
    assert_eq!(rig.list().len(), 5);
    sleep(Duration::from_mins(15)).await;
    assert_eq!(rig.list().len(), 0);
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn counters_tell_what_became_of_deliveries() {
    let rig =
        Rig::new([webhook("a"), webhook("b")], |name| (Duration::ZERO, answer(if name == "a" { 200 } else { 500 })));
    rig.store(&["a", "b"], 3);
    let run = rig.start();
    rig.until(|rig| rig.metrics.webhook("b").retried.get() == 3).await;
    sleep(TICK * 2).await;
    let counts = |name: &str| {
        let metrics = rig.metrics.webhook(name);
        (metrics.delivered.get(), metrics.retried.get(), metrics.failed.get(), metrics.pending.get())
    };
    assert_eq!((counts("a"), counts("b")), ((3, 0, 0, 0), (0, 3, 0, 3)));
    // Counters are removed with their webhook, also if a try of it ends later.
    rig.webhooks.send_replace(vec![Arc::new(webhook("a"))]);
    rig.until(|rig| !rig.metrics.exposition().contains("name=\"b\"")).await;
    assert!(rig.metrics.exposition().contains("name=\"a\""));
    run.stopper.drain();
    run.ended().await;
}
