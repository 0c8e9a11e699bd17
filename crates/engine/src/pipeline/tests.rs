//! Tests with keys that misbehave in every way that a lane can meet, beside keys that don't.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, timeout},
};

use super::*;
use crate::{
    ack::Outcome,
    config::{FilterSettings, Grant, GuestLimits, OnQuarantine, RetryPolicy},
    event::{Event, Headers, Origin, Uid},
    fate::Fate,
    field::Field,
    filter::{CallLimits, Filter, Host},
    metrics::{KeyMetrics, Metrics},
    registry::{KeyInterest, KeyLoad, KeyOrdering, Route, Snapshot},
    sink::Output,
    stop::{Stopper, stop},
};

mod backpressure;
mod deferral;

const MISBEHAVE: &[u8] = include_bytes!("../../../../tests/guests/misbehave.wasm");
/// Time for which a failing filter is tried.
const PATIENCE: Duration = Duration::from_secs(20);
const VALUES: usize = 4;

/// Behaviour of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Passes,
    Keeps,
    Computes,
    Fails,
    Retries,
    /// Its workers are all busy until they are let go.
    Waits,
    /// Quarantines itself until it is fixed.
    Breaks,
    /// Its sink accepts nothing until it is back.
    Away,
}

const WAYS: [Way; 8] =
    [Way::Passes, Way::Keeps, Way::Computes, Way::Fails, Way::Retries, Way::Waits, Way::Breaks, Way::Away];

impl Way {
    /// Returns the mode that the filter is set to; `None` if the key has no filter.
    fn mode(self) -> Option<&'static str> {
        match self {
            Self::Passes | Self::Away => None,
            Self::Keeps | Self::Waits => Some("ok"),
            Self::Computes => Some("slow"),
            Self::Fails => Some("failed"),
            Self::Retries => Some("retry"),
            Self::Breaks => Some("broken"),
        }
    }

    fn is_prompt(self) -> bool {
        matches!(self, Self::Passes | Self::Keeps | Self::Computes)
    }

    fn dies(self) -> bool {
        matches!(self, Self::Fails | Self::Retries)
    }
}

/// Outputs so far: subjects, each with its numbers in order.
type Seen = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// A pipeline with one lane, so that all keys share it.
struct Rig {
    snapshots: watch::Sender<Arc<Snapshot>>,
    intake: Intake<u64>,
    keys: Vec<Arc<Key>>,
    seen: Seen,
    /// Sinks that accept nothing yet.
    away: Vec<mpsc::Receiver<Output>>,
    stopper: Stopper,
    taken: Arc<Notify>,
    lanes: JoinSet<()>,
    queued: Arc<LaneMetrics>,
}

async fn filters() -> Vec<Filter> {
    let host = Host::new(None, None, Arc::new(Metrics::default())).unwrap();
    let mut filters = Vec::new();
    for _ in WAYS {
        let (name, grants) = ("misbehave".to_owned(), vec![Grant::State]);
        let limits = GuestLimits { process_cpu: Duration::from_secs(10), ..GuestLimits::default() };
        let settings = FilterSettings { grants, limits, ..FilterSettings::new(name) };
        filters.push(host.load("misbehave", MISBEHAVE.to_vec(), &settings).await.unwrap());
    }
    filters
}

/// Takes every output and notes it.
fn drive(mut outputs: mpsc::Receiver<Output>, seen: &Seen) {
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        while let Some(output) = outputs.recv().await {
            let event = output.ticket.event();
            seen.lock().unwrap().entry(event.subject.to_string()).or_default().push(event.sequence);
            match output.dead_letter {
                Some(reason) => output.ticket.dead(reason),
                None => output.ticket.settle(Fate::Emitted),
            }
        }
    });
}

impl Rig {
    async fn start(ways: &[Way], filters: &[Filter], budget: usize) -> Self {
        let (seen, mut away, mut keys) = (Seen::default(), Vec::new(), Vec::new());
        for (index, way) in ways.iter().enumerate() {
            let (sink, outputs) = SinkQueue::double("sink", 2);
            match way {
                Way::Away => away.push(outputs),
                _ => drive(outputs, &seen),
            }
            let filter = filters[index % filters.len()].clone();
            filter.lift();
            let (name, metrics) = (format!("k{index}"), Arc::<KeyMetrics>::default());
            let mut subscription = None;
            if let Some(mode) = way.mode() {
                let params = vec![("mode".to_owned(), mode.to_owned()), ("n".to_owned(), "1".to_owned())];
                let limits = CallLimits::new(&GuestLimits::default(), &Default::default());
                subscription = Some(filter.subscribe(&*name, params, limits).await.unwrap());
            }
            keys.push(Key {
                name: name.into(),
                ordering: KeyOrdering::By(Field::Subject),
                workers: Arc::new(Semaphore::new(if *way == Way::Waits { 0 } else { 2 })),
                buffer: Arc::new(Semaphore::new(10)),
                load: Arc::new(KeyLoad::new(Arc::clone(&metrics))),
                retry: RetryPolicy { min: Duration::from_millis(50), max: Duration::from_secs(5), patience: PATIENCE },
                decoding: None,
                schema_requests: None,
                filter: way.mode().map(|_| filter),
                on_quarantine: OnQuarantine::Pause,
                sets_identity: false,
                validation: None,
                routes: vec![Route {
                    name: "all".into(),
                    conditions: Vec::new(),
                    subscription,
                    sinks: vec![sink.into()],
                }],
                subject: None,
                is_isolated: false,
                is_paused: false,
                metrics,
            });
        }
        let interested = |(index, key): (usize, Key)| {
            let subject = format!("k{index}.>").parse().unwrap();
            (KeyInterest::Named { subject: Some(subject), event_type: None }, key)
        };
        let snapshot = Arc::new(Snapshot::new(1, keys.into_iter().enumerate().map(interested)));
        let keys = snapshot.keys().cloned().collect();
        let (snapshots, receiver) = watch::channel(snapshot);
        let (letters, dead) = SinkQueue::double("dead-letters", 2);
        drive(dead, &seen);
        let (stopper, stop) = stop();
        let (mut lanes, taken, queued) = (JoinSet::new(), Arc::new(Notify::new()), Arc::<LaneMetrics>::default());
        let (sender, items) = mpsc::channel(LANE_QUEUE);
        let budget = EventBudget { events: budget, bytes: 1 << 30 };
        let surroundings = LaneContext {
            snapshots: receiver.clone(),
            dead_letters: letters.clone(),
            quarantined: Default::default(),
            taken: Arc::clone(&taken),
            budget,
            stop,
            metrics: Arc::clone(&queued),
        };
        lanes.spawn(Lane::new(items, surroundings).run());
        let lane = LaneQueue { items: sender, metrics: Arc::clone(&queued) };
        let doors =
            LaneSenders { lanes: vec![lane], taken: Arc::clone(&taken), snapshots: receiver, dead_letters: letters };
        let intake = Intake::new(budget, None, doors, Default::default(), None);
        Self { snapshots, intake, keys, seen, away, stopper, taken, lanes, queued }
    }

    fn push(&mut self, key: usize, value: usize, number: u64) {
        self.intake.push(event(&format!("k{key}.{value}"), number), number);
    }

    /// Waits for this many outcomes.
    async fn settled(&mut self, count: usize, outcomes: &mut BTreeMap<u64, Outcome>) {
        for _ in 0..count {
            let settled = timeout(PATIENCE * 100, self.intake.settled()).await;
            let (number, outcome) = settled.expect("the event is settled");
            assert_eq!(outcomes.insert(number, outcome), None, "event {number} is settled twice");
        }
    }

    /// Fixes every fault, so that waiting events go on.
    fn mend(&mut self) {
        for outputs in self.away.drain(..) {
            drive(outputs, &self.seen);
        }
        let mended = self.keys.iter().enumerate().map(|(index, key)| {
            key.workers.add_permits(2);
            let subject = format!("k{index}.>").parse().unwrap();
            let sinks = |route: &Route| route.sinks.iter().map(|sink| sink.queue.clone().into()).collect();
            let is_broken = key.filter.as_ref().is_some_and(Filter::is_quarantined);
            let routes = key.routes.iter().map(|route| Route {
                name: Arc::clone(&route.name),
                conditions: Vec::new(),
                subscription: route.subscription.clone().filter(|_| !is_broken),
                sinks: sinks(route),
            });
            let key = Key {
                name: Arc::clone(&key.name),
                ordering: key.ordering.clone(),
                workers: Arc::clone(&key.workers),
                buffer: Arc::clone(&key.buffer),
                load: Arc::clone(&key.load),
                retry: key.retry,
                decoding: None,
                schema_requests: None,
                filter: key.filter.clone().filter(|_| !is_broken),
                on_quarantine: key.on_quarantine,
                sets_identity: false,
                validation: None,
                routes: routes.collect(),
                subject: key.subject.clone(),
                is_isolated: key.is_isolated,
                is_paused: key.is_paused,
                metrics: Arc::clone(&key.metrics),
            };
            (KeyInterest::Named { subject: Some(subject), event_type: None }, key)
        });
        self.snapshots.send_replace(Arc::new(Snapshot::new(2, mended)));
    }
}

fn event(subject: &str, number: u64) -> Event {
    let origin = Origin { source: "s".to_owned(), stream: "S".to_owned() };
    Event {
        id: number.to_string().into(),
        uid: Uid::at(&origin, number, 0),
        event_type: "t".into(),
        subject: subject.into(),
        source_time: None,
        observed_at: 0,
        attempt: 1,
        headers: Headers::default(),
        payload: "{}".into(),
        origin: Arc::new(origin),
        sequence: number,
    }
}

/// Each event is settled once, those of a key and an ordering value in order, and keys that need
/// not wait don't wait for others.
#[tokio::test(start_paused = true)]
async fn a_key_holds_up_itself_alone() {
    let filters = filters().await;
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ways: Vec<_> = (0..6).map(|_| WAYS[random.usize(..WAYS.len())]).collect();
        ways.extend([Way::Passes, Way::Keeps]);
        let mut rig = Rig::start(&ways, &filters, 10_000).await;
        let sent: Vec<_> = (0..150).map(|_| (random.usize(..ways.len()), random.usize(..VALUES))).collect();
        let count = |is_meant: fn(Way) -> bool| sent.iter().filter(|(key, _)| is_meant(ways[*key])).count();
        let began = Instant::now();
        let mut outcomes = BTreeMap::new();
        for (&(key, value), number) in sent.iter().zip(0..) {
            rig.push(key, value, number);
        }
        let prompt = count(Way::is_prompt);
        timeout(Duration::from_secs(1), rig.settled(prompt, &mut outcomes)).await.unwrap_or_else(|_| {
            panic!("seed {seed}, {ways:?}: {} of {prompt} that nobody should hold up", rig.seen.lock().unwrap().len())
        });
        assert!(outcomes.keys().all(|number| ways[sent[*number as usize].0].is_prompt()), "seed {seed}, {ways:?}");
        rig.settled(count(Way::dies), &mut outcomes).await;
        assert!(began.elapsed() < PATIENCE * 40, "seed {seed}: values of a key that fails wait for each other alone");
        for key in &rig.keys {
            assert_eq!(key.metrics.waiting_bytes.get(), key.load.bytes().cast_signed(), "seed {seed}");
        }
        if outcomes.len() < sent.len() {
            assert!(rig.intake.metrics().oldest.age() > Duration::ZERO, "seed {seed}");
        }
        rig.mend();
        rig.settled(sent.len() - outcomes.len(), &mut outcomes).await;
        for (number, outcome) in outcomes {
            let way = ways[sent[number as usize].0];
            let expected = if way.dies() { Outcome::Dead("failed") } else { Outcome::Done };
            assert_eq!(outcome, expected, "seed {seed}, event {number}, {way:?}");
        }
        let seen = rig.seen.lock().unwrap().clone();
        assert_eq!(seen.values().map(Vec::len).sum::<usize>(), sent.len(), "seed {seed}");
        assert!(seen.values().all(|numbers| numbers.is_sorted()), "seed {seed}, {ways:?}: {seen:?}");
        assert!(rig.keys.iter().all(|key| key.load.is_empty()), "seed {seed}, {ways:?}");
        let shown = rig.intake.metrics();
        assert_eq!((shown.duration.counts().count(), shown.oldest.age()), (sent.len() as u64, Duration::ZERO));
        let mut left = vec![&shown.in_flight_bytes, &rig.queued.queued, &rig.queued.queued_bytes];
        left.extend(rig.keys.iter().map(|key| &key.metrics.waiting));
        assert!(left.iter().all(|gauge| gauge.get() == 0), "seed {seed}: {left:?}");
    }
}

/// An event that goes back leaves no room to another that waits before it.
#[tokio::test(start_paused = true)]
async fn a_key_has_its_share_of_the_budget() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Waits, Way::Passes], &filters, 40).await;
    rig.intake = rig.intake.deferring();
    rig.intake.metrics().shared.set(1);
    let mut outcomes = BTreeMap::new();
    rig.push(1, 0, 1000);
    rig.settled(1, &mut outcomes).await;
    let (mut held, mut back) = (0, 0);
    for number in 0..200 {
        rig.push(0, number as usize % VALUES, number);
        rig.push(1, 0, 1001 + number);
        // Events of the other key are settled in their turn, whatever waits.
        loop {
            match timeout(Duration::from_millis(5), rig.intake.settled()).await {
                Ok((number, Outcome::Retry(_))) if number < 1000 => back += 1,
                Ok((number, outcome)) => assert!(number > 1000 && outcome == Outcome::Done, "{number} {outcome:?}"),
                Err(_) => break,
            }
        }
        held = rig.intake.open();
    }
    // Half of the budget, and what came in while it was not known yet how slowly the key gets on.
    assert!((15..=35).contains(&held) && held + back == 200, "{held} wait, {back} went back");
    rig.mend();
    let mut rest = BTreeMap::new();
    rig.settled(held, &mut rest).await;
    assert!(rest.values().all(|outcome| *outcome == Outcome::Done));
}

/// Giving events back would not help any other key if the key is alone.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_alone_has_the_whole_budget() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Waits, Way::Passes], &filters, 40).await;
    rig.intake = rig.intake.deferring();
    rig.intake.metrics().shared.set(1);
    for number in 0..40 {
        assert!(rig.intake.is_open());
        rig.push(0, number as usize % VALUES, number);
        assert!(timeout(Duration::from_millis(5), rig.intake.settled()).await.is_err());
    }
    assert!(!rig.intake.is_open());
}

/// Even if it came first, a key that has stalled with the whole budget does not make others wait.
#[tokio::test(start_paused = true)]
async fn a_key_that_stands_still_gives_way_to_keys_that_come_later() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Waits, Way::Passes], &filters, 40).await;
    rig.intake = rig.intake.deferring();
    rig.intake.metrics().shared.set(1);
    for number in 0..40 {
        rig.push(0, number as usize % VALUES, number);
        assert!(timeout(Duration::from_millis(5), rig.intake.settled()).await.is_err());
    }
    assert!(!rig.intake.is_open());
    let opened = async {
        while !rig.intake.is_open() {
            let _ = timeout(Duration::from_millis(100), rig.intake.settled()).await;
        }
    };
    timeout(Duration::from_secs(5), opened).await.unwrap();
    // Further events of the stalled key go back, those of others go on.
    rig.push(0, 0, 40);
    rig.push(1, 0, 41);
    let mut ended = BTreeMap::new();
    while ended.len() < 2 {
        let (number, outcome) = timeout(Duration::from_secs(5), rig.intake.settled()).await.unwrap();
        ended.insert(number, outcome);
    }
    assert!(matches!(ended[&40], Outcome::Retry(_)), "{ended:?}");
    assert_eq!(ended[&41], Outcome::Done);
}

/// A full buffer holds up only its key, and that key in order.
#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_passed_by() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Passes, Way::Passes], &filters, 1000).await;
    let taken = Arc::clone(&rig.keys[0].buffer);
    let buffer = taken.try_acquire_many(10).unwrap();
    for number in 0..100 {
        rig.push((number % 2) as usize, 0, number);
    }
    let mut outcomes = BTreeMap::new();
    rig.settled(50, &mut outcomes).await;
    assert!(outcomes.keys().all(|number| number % 2 == 1));
    assert!(timeout(Duration::from_secs(1), rig.intake.settled()).await.is_err());
    drop(buffer);
    rig.taken.notify_waiters();
    rig.settled(50, &mut outcomes).await;
    assert!(rig.seen.lock().unwrap().values().all(|numbers| numbers.is_sorted()));
}

/// Waiting events are given back at once when the router stops; those under way are not.
#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_what_is_held() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Breaks, Way::Fails, Way::Waits], &filters, 1000).await;
    for number in 0..30 {
        rig.push((number % 3) as usize, number as usize % VALUES, number);
    }
    assert!(timeout(Duration::from_secs(1), rig.intake.settled()).await.is_err());
    let began = Instant::now();
    rig.stopper.drain();
    let mut outcomes = BTreeMap::new();
    rig.settled(20, &mut outcomes).await;
    assert!(outcomes.iter().all(|(number, outcome)| number % 3 != 2 && *outcome == Outcome::Retry(Duration::ZERO)));
    assert!(began.elapsed() < Duration::from_secs(1));
    rig.mend();
    rig.settled(10, &mut outcomes).await;
    assert!(outcomes.iter().all(|(number, outcome)| (number % 3 == 2) == (*outcome == Outcome::Done)));
}

/// The end gives up all open work, before the lane has ended.
#[tokio::test(start_paused = true)]
async fn the_end_gives_back_all() {
    let filters = filters().await;
    let mut rig = Rig::start(&WAYS[5..], &filters, 1000).await;
    for number in 0..90 {
        rig.push((number % 3) as usize, number as usize % VALUES, number);
    }
    assert!(timeout(Duration::from_secs(1), rig.intake.settled()).await.is_err());
    rig.stopper.end();
    while rig.lanes.join_next().await.is_some() {}
    assert!(rig.keys.iter().all(|key| key.load.is_empty()));
    rig.away.clear();
    let mut outcomes = BTreeMap::new();
    rig.settled(90, &mut outcomes).await;
    assert!(outcomes.values().all(|outcome| *outcome == Outcome::Retry(Duration::ZERO)));
}

/// A header counts like a payload.
#[tokio::test]
async fn all_of_an_event_counts() {
    let grown: [fn(&mut Event, String); 5] = [
        |event, text| event.payload = text.into(),
        |event, text| event.headers.push("name", text),
        |event, text| event.headers.push(text, "value"),
        |event, text| event.id = text.into(),
        |event, text| event.subject = text.into(),
    ];
    for grow in grown {
        let (mut intake, _pipeline) = double::PipelineDouble::new(EventBudget { events: 10, bytes: 1000 });
        intake.push(event("s", 1), ());
        assert!(intake.is_open());
        let mut large = event("s", 2);
        grow(&mut large, "x".repeat(1000));
        intake.push(large, ());
        assert!(!intake.is_open());
    }
}

/// A backlog that moves keeps its order, however much of the budget it takes and whatever other
/// keys there are.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_only_busy_gives_nothing_back() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Passes, Way::Passes], &filters, 40).await;
    rig.intake = rig.intake.deferring();
    rig.intake.metrics().shared.set(1);
    let mut outcomes = BTreeMap::new();
    rig.push(1, 0, 1000);
    rig.settled(1, &mut outcomes).await;
    let load = Arc::clone(&rig.keys[0].load);
    let share = (1_u64 << 30) / 40;
    // More than half of the budget waits, and goes through in a tenth of a second.
    let mut waiting: Vec<_> = Vec::new();
    for number in 0..300 {
        waiting.push(load.hold(30 * share));
        if waiting.len() > 1 {
            waiting.remove(0);
        }
        rig.push(0, number as usize % VALUES, number);
        let (_, outcome) = timeout(Duration::from_secs(1), rig.intake.settled()).await.unwrap();
        assert_eq!(outcome, Outcome::Done, "event {number} went back");
        tokio::time::advance(Duration::from_millis(50)).await;
    }
}
