//! Model of a destination that refuses, forgets and confirms in any order, and the properties that
//! must hold for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;
use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::{
    ack::{Acker, EventDelivery, Outcome},
    sink::double::output,
    stop::stop,
};

/// Destination of an output, and how often it refuses it first. `None` refuses for ever.
#[derive(Clone, Debug)]
struct Destination {
    refusals: Option<u8>,
}

#[derive(Clone, Debug)]
struct Step {
    destination: usize,
    order: Option<u64>,
}

/// Sink that takes what its destinations take, each output once, and confirms out of turn.
struct Remote {
    keeps_order: bool,
    destinations: Vec<Destination>,
    /// Reports that were not returned yet.
    words: VecDeque<Confirmation>,
    taken: mpsc::Sender<usize>,
    shuffle: u64,
}

impl Sink for Remote {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let number: usize = std::str::from_utf8(&output.payload).unwrap().parse().unwrap();
        let destination = &mut self.destinations[output.index as usize];
        let word = match &mut destination.refusals {
            Some(0) => {
                self.taken.try_send(number).unwrap();
                Confirmation::One(slot)
            }
            refusals => {
                refusals.iter_mut().for_each(|refusals| *refusals -= 1);
                Confirmation::Refused(slot, SinkRefusal::Apart(anyhow!("not there")))
            }
        };
        // In order where the sink promises it, else anywhere among the words.
        self.shuffle = self.shuffle.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at =
            if self.keeps_order { self.words.len() } else { (self.shuffle >> 33) as usize % (self.words.len() + 1) };
        self.words.insert(at, word);
        Ok(())
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    async fn confirm(&mut self) -> Confirmation {
        tokio::task::yield_now().await;
        match self.words.pop_front() {
            Some(word) => word,
            None => std::future::pending().await,
        }
    }
}

const CAPACITY: usize = 8;
const RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(10), max: Duration::from_millis(40), patience: Duration::from_secs(3600) };

/// Outputs taken, in order, and outcome of each event so far.
struct Run {
    taken: Vec<usize>,
    outcomes: BTreeMap<usize, Outcome>,
}

async fn run(keeps_order: bool, destinations: Vec<Destination>, steps: &[Step], shuffle: u64) -> Run {
    let (settle, mut settled) = mpsc::channel(steps.len() + 1);
    let (taken, mut all_taken) = mpsc::channel(steps.len() + 1);
    let ends = steps.iter().filter(|step| destinations[step.destination].refusals.is_some()).count();
    let remote = Remote { keeps_order, destinations, words: VecDeque::new(), taken, shuffle };
    let policy = OutletPolicy { on_failure: OnFailure::Retry, retry: RETRY, refused: RefusedDestination::Nowhere };
    let (queue, outlet) =
        Outlet::new(remote, "remote", OutletCapacity { outputs: CAPACITY, bytes: 32 << 20 }, policy, Arc::default());
    let (stopper, stop) = stop();
    let outlet = tokio::spawn(outlet.run(stop));
    for (number, step) in steps.iter().enumerate() {
        let made = output("t", &number.to_string(), number.to_string());
        let event = made.ticket.event().clone();
        let ticket = EventDelivery { event, acker: Acker::new(number, settle.clone()) }.open(Arc::default(), None);
        let index = u32::try_from(step.destination).unwrap();
        queue.send(Output { ticket, index, order: step.order, ..made }).await;
    }
    let mut outcomes = BTreeMap::new();
    // The clock is paused: many waits, and no time at all.
    while outcomes.values().filter(|outcome| **outcome == Outcome::Done).count() < ends
        && let Ok(Some((number, outcome))) = timeout(Duration::from_secs(3), settled.recv()).await
    {
        assert!(outcomes.insert(number, outcome).is_none(), "event {number} was settled twice");
        if outcomes.len() == steps.len() {
            break;
        }
    }
    stopper.end();
    drop(queue);
    outlet.await.unwrap().unwrap();
    let taken = std::iter::from_fn(|| all_taken.try_recv().ok()).collect();
    Run { taken, outcomes }
}

fn destinations() -> impl Strategy<Value = Vec<Destination>> {
    let refusals = prop_oneof![4 => Just(Some(0)), 2 => (1..6_u8).prop_map(Some), 1 => Just(None)];
    prop::collection::vec(refusals.prop_map(|refusals| Destination { refusals }), 1..5)
}

fn steps(destinations: usize) -> impl Strategy<Value = Vec<Step>> {
    // An order goes to one destination or to several.
    let step = (0..destinations, prop::option::weighted(0.8, 0..6_u64));
    prop::collection::vec(step.prop_map(|(destination, order)| Step { destination, order }), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn an_output_harms_only_what_must_stay_behind_it(
        (destinations, steps) in destinations().prop_flat_map(|all| {
            let count = all.len();
            (Just(all), steps(count))
        }),
        keeps_order: bool,
        shuffle: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let Run { taken, outcomes } = runtime.block_on(run(keeps_order, destinations.clone(), &steps, shuffle));

        // Nothing is taken twice, nothing is settled as done that was not taken.
        let all: BTreeSet<_> = taken.iter().copied().collect();
        prop_assert_eq!(all.len(), taken.len());
        for (number, outcome) in &outcomes {
            prop_assert!(*outcome != Outcome::Done || all.contains(number), "{} was not taken", number);
        }
        // One by one, no two of an order overtake each other, but for those that went back to their
        // source.
        if !keeps_order {
            let mut last = HashMap::new();
            for number in &taken {
                let Some(order) = steps[*number].order else { continue };
                let before = last.insert(order, *number);
                let follows = before.is_none_or(|before| before < *number);
                prop_assert!(follows, "{} after {:?}: {:?}", number, before, taken);
            }
        }
        // Outputs that their destination takes at last, behind none that it never takes, have
        // arrived or gone back.
        let mut blocked = BTreeSet::new();
        for (number, step) in steps.iter().enumerate() {
            let is_stuck = destinations[step.destination].refusals.is_none();
            match step.order {
                Some(order) if is_stuck || blocked.contains(&order) => { blocked.insert(order); }
                None if is_stuck => {}
                _ => prop_assert!(outcomes.contains_key(&number), "{} is held up: {:?}", number, taken),
            }
        }
    }
}

/// One producer sends to a subject that no stream takes, and all others go on.
#[tokio::test(start_paused = true)]
async fn any_number_of_outputs_that_are_refused_for_ever_hold_up_nobody() {
    let stuck = (0..50).map(|number| Step { destination: 0, order: Some(number) });
    let good = (0..1000).map(|number| Step { destination: 1, order: Some(100 + number % 10) });
    let steps: Vec<_> = stuck.chain(good).collect();
    let destinations = vec![Destination { refusals: None }, Destination { refusals: Some(0) }];
    let Run { taken, outcomes } = run(false, destinations, &steps, 1).await;
    assert_eq!(taken.len(), 1000);
    let back = outcomes.values().filter(|outcome| matches!(outcome, Outcome::Retry(_))).count();
    assert_eq!(back, 50 - CAPACITY, "the source holds what there is no room for");
}

/// An order that began before its sink knew its streams does not stay one by one: with new outputs
/// all the time its line is never empty.
#[tokio::test(start_paused = true)]
async fn an_order_goes_on_together_once_its_sink_keeps_the_order() {
    let mut window = OutputWindow::new(WindowBounds { open: 8, refused: 8, refused_bytes: 1 << 20 });
    let ordered = || Output { order: Some(7), ..output("t", "e-1", "text") };
    for _ in 0..3 {
        window.push(ordered(), true, Instant::now());
    }
    let ready = |window: &mut OutputWindow| {
        std::iter::from_fn(|| window.next_ready().inspect(|slot| window.wrote(*slot))).collect::<Vec<_>>()
    };
    assert_eq!(ready(&mut window), [0], "one by one");
    window.push(ordered(), false, Instant::now());
    assert_eq!((ready(&mut window), window.room()), (vec![1, 2, 3], 4), "all that wait, in order");
    for slot in 0..4 {
        assert!(window.confirm(slot).is_some(), "{slot}");
    }
    assert!(window.is_empty());
}

/// Headers and subjects count as payloads do: a filter may make them as large.
#[tokio::test]
async fn all_that_an_output_has_of_its_own_counts() {
    let (taken, _all_taken) = mpsc::channel(1);
    let remote = Remote { keeps_order: true, destinations: Vec::new(), words: VecDeque::new(), taken, shuffle: 0 };
    let policy = OutletPolicy { on_failure: OnFailure::Retry, retry: RETRY, refused: RefusedDestination::Nowhere };
    let (queue, _outlet) =
        Outlet::new(remote, "remote", OutletCapacity { outputs: 8, bytes: 1000 }, policy, Arc::default());
    let large = "x".repeat(400);
    let with = |subject: Option<&str>, header: Option<&str>| Output {
        subject: subject.map(Into::into),
        headers: header.map(|value| [("name".into(), value.into())].into_iter().collect()),
        ..output("t", "1", "1")
    };
    assert!(queue.try_send(with(Some(&large), None)).is_none());
    assert!(queue.try_send(with(None, Some(&large))).is_none());
    assert!(queue.try_send(with(Some(&large), None)).is_some());
    assert!(queue.try_send(with(None, Some(&large))).is_some());
}

/// Two outputs of an order are under way and both are refused, the second one late: it is not
/// overtaken by those that came after it.
#[tokio::test(start_paused = true)]
async fn an_order_waits_for_all_that_is_under_way_of_it() {
    let mut window = OutputWindow::new(WindowBounds { open: 8, refused: 8, refused_bytes: 1000 });
    let numbered = |number: &str| Output { order: Some(7), ..output("t", number, number.to_owned()) };
    let (early, late) = (0, 1);
    for number in ["1", "2"] {
        window.push(numbered(number), false, Instant::now());
    }
    window.wrote(early);
    window.wrote(late);
    window.set_aside(early, RETRY.backoff());
    window.push(numbered("3"), false, Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;
    window.retry_due(Instant::now());
    assert_eq!(window.next_ready(), None, "the second one is not back yet");
    window.set_aside(late, RETRY.backoff());
    let mut taken = Vec::new();
    while !window.is_empty() {
        tokio::time::advance(Duration::from_secs(1)).await;
        window.retry_due(Instant::now());
        let slot = window.next_ready().unwrap();
        window.wrote(slot);
        taken.push(window.confirm(slot).unwrap().payload);
    }
    assert_eq!(taken, ["1", "2", "3"]);
}
