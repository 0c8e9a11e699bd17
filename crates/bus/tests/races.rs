//! Publishing, reading, unsubscribing and closing at the same time: nobody waits for ever, and what
//! was published is read or accounted for. The bus is compiled once more here, with the mutexes and
//! atomics of a model checker, which runs every test in many orders of their steps and fails when
//! all wait for each other.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use futures_util::future::{Either, select};
use shuttle::{
    future::block_on,
    thread::{self, JoinHandle},
};
use tokio::sync::Notify;
use trommel_event::event;

#[allow(dead_code, unused_imports, reason = "the router uses more of it")]
#[path = "../src"]
mod bus {
    mod envelope;
    mod gate;
    mod hub;
    mod observe;
    mod policy;
    mod publish;
    mod queue;
    mod routes;
    mod subscriber;
    mod subscription;

    mod sync {
        pub(super) use shuttle::sync::{
            Mutex, MutexGuard,
            atomic::{AtomicUsize, Ordering},
        };
    }

    pub use envelope::Envelope;
    pub use hub::{Bus, BusBuilder, BusClosed};
    pub use observe::{BusStats, Observation};
    pub use policy::{DropReason, OverflowPolicy};
    pub use publish::PublishReport;
    pub use subscription::{BusSubscription, BusSubscriptionId, SubscriptionBuilder};
}

use bus::{
    Bus, BusClosed, BusStats, BusSubscription, DropReason, Envelope, Observation, OverflowPolicy, PublishReport,
};

const ORDERS: usize = 3000;

/// Orders by chance, and such as show bugs that need few changes of thread.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let test = Arc::new(test);
    let again = Arc::clone(&test);
    shuttle::check_random(move || test(), ORDERS);
    shuttle::check_pct(move || again(), ORDERS, 3);
}

fn subscribe(bus: &Bus, buffer: usize, policy: OverflowPolicy) -> BusSubscription {
    bus.subscribe(">".parse().unwrap()).buffer(buffer).policy(policy).open().unwrap()
}

/// Says of each of `count` envelopes whether the bus took it.
fn publisher(bus: &Bus, count: usize) -> JoinHandle<Vec<Result<PublishReport, BusClosed>>> {
    let bus = bus.clone();
    thread::spawn(move || (0..count).map(|_| block_on(bus.publish(Envelope::new("a").unwrap()))).collect())
}

/// Reads to the end, and says how many there were.
fn reader(mut subscription: BusSubscription) -> JoinHandle<(u64, BusStats)> {
    thread::spawn(move || {
        let mut read = 0;
        while block_on(subscription.recv()).is_some() {
            read += 1;
        }
        (read, subscription.stats())
    })
}

/// What fits is delivered or dropped, and what is delivered is read, but for what was dropped after
/// that.
fn assert_accounted((read, stats): (u64, BusStats), policy: OverflowPolicy) {
    let dropped: u64 = DropReason::ALL.map(|reason| stats.dropped(reason)).iter().sum();
    let evicted = if policy == OverflowPolicy::DropOldest { stats.dropped(DropReason::BufferFull) } else { 0 };
    assert_eq!(stats.published, stats.delivered + dropped - evicted, "{stats:?}");
    assert_eq!(read, stats.delivered - evicted, "{stats:?}");
}

/// F33: two close while two publish and three read. Afterwards nobody publishes and nobody is
/// observed.
#[test]
fn closing_leaves_nobody_behind() {
    check(|| {
        let (has_ended, observed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, observes) = (Arc::clone(&has_ended), Arc::clone(&observed));
        let bus = Bus::builder().observer(move |observation| {
            assert!(!ended.load(SeqCst), "{observation:?} after the end");
            if matches!(observation, Observation::Published(_)) {
                observes.fetch_add(1, SeqCst);
            }
        });
        let bus = bus.build();
        let policies = [OverflowPolicy::Block, OverflowPolicy::DropNewest, OverflowPolicy::DropOldest];
        let readers = policies.map(|policy| (reader(subscribe(&bus, 1, policy)), policy));
        let publishers = [publisher(&bus, 2), publisher(&bus, 2)];
        let other = bus.clone();
        let closer = thread::spawn(move || block_on(other.close()));
        block_on(bus.close());
        has_ended.store(true, SeqCst);
        closer.join().unwrap();
        let taken = publishers.map(|publisher| publisher.join().unwrap());
        let taken = taken.iter().flatten().filter(|taken| taken.is_ok()).count();
        assert_eq!(taken, observed.load(SeqCst), "a publish that fails was never seen");
        for (reader, policy) in readers {
            let (read, stats) = reader.join().unwrap();
            assert_eq!(stats.published, taken as u64);
            assert_accounted((read, stats), policy);
        }
    });
}

/// F33: nobody reads, so that publishers wait until the end, which does not wait for them.
#[test]
fn closing_lets_those_go_who_wait_for_room() {
    check(|| {
        let bus = Bus::default();
        let subscription = subscribe(&bus, 1, OverflowPolicy::Block);
        let publishers = [publisher(&bus, 2), publisher(&bus, 1)];
        block_on(bus.close());
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert_accounted(reader(subscription).join().unwrap(), OverflowPolicy::Block);
    });
}

/// Whoever subscribes while the bus closes is told so, or hears the end, and holds nobody up.
#[test]
fn whoever_comes_at_the_end_hears_of_it() {
    check(|| {
        let bus = Bus::default();
        let publishers = [publisher(&bus, 1), publisher(&bus, 1)];
        let late = bus.clone();
        let comer =
            thread::spawn(move || late.subscribe(">".parse().unwrap()).buffer(1).policy(OverflowPolicy::Block).open());
        block_on(bus.close());
        for publisher in publishers {
            publisher.join().unwrap();
        }
        if let Ok(subscription) = comer.join().unwrap() {
            assert_accounted(reader(subscription).join().unwrap(), OverflowPolicy::Block);
        }
    });
}

/// F34 and C09: two end the same subscription while somebody waits for room in it; one of them did,
/// and the others stay.
#[test]
fn unsubscribing_ends_one_subscription_once() {
    check(|| {
        let bus = Bus::default();
        let full = subscribe(&bus, 1, OverflowPolicy::Block);
        let other = subscribe(&bus, 8, OverflowPolicy::Block);
        let publishers = [publisher(&bus, 2), publisher(&bus, 1)];
        let (same, id) = (bus.clone(), full.id());
        let ending = thread::spawn(move || same.unsubscribe(id));
        let ended = bus.unsubscribe(id);
        assert!(ended ^ ending.join().unwrap());
        for publisher in publishers {
            assert!(publisher.join().unwrap().iter().all(Result::is_ok));
        }
        assert_accounted(reader(full).join().unwrap(), OverflowPolicy::Block);
        assert_eq!((bus.subscriptions(), other.stats().delivered), (1, 3));
        block_on(bus.close());
        assert_eq!(reader(other).join().unwrap().0, 3);
    });
}

/// C09: a subscription that is dropped while somebody publishes.
#[test]
fn dropping_a_subscription_lets_its_publishers_go() {
    check(|| {
        let bus = Bus::default();
        let subscription = subscribe(&bus, 1, OverflowPolicy::Block);
        let publisher = publisher(&bus, 3);
        drop(subscription);
        assert!(publisher.join().unwrap().iter().all(Result::is_ok));
        assert_eq!(bus.subscriptions(), 0);
    });
}

/// F23: the room that a publish was given and does not take, because it is called off, goes to the
/// next in line.
#[test]
fn room_that_nobody_takes_goes_to_the_next() {
    check(|| {
        let bus = Bus::default();
        let mut subscription = subscribe(&bus, 1, OverflowPolicy::Block);
        block_on(bus.publish(Envelope::new("first").unwrap())).unwrap();
        let (enough, other) = (Arc::new(Notify::new()), bus.clone());
        let is_enough = Arc::clone(&enough);
        let impatient = thread::spawn(move || {
            let publish = pin!(other.publish(Envelope::new("a").unwrap()));
            let is_enough = pin!(is_enough.notified());
            matches!(block_on(select(publish, is_enough)), Either::Left((Ok(_), _)))
        });
        let patient = publisher(&bus, 1);
        let calling_off = thread::spawn(move || enough.notify_one());
        // The first, the patient one's, and the impatient one's if it came through.
        assert_eq!(block_on(subscription.recv()).unwrap().subject(), "first");
        let read = reader(subscription);
        assert_eq!(patient.join().unwrap(), [Ok(PublishReport { delivered: 1, lost: 0 })]);
        calling_off.join().unwrap();
        let came_through = impatient.join().unwrap();
        block_on(bus.close());
        let (read, stats) = read.join().unwrap();
        assert_eq!(read, 1 + u64::from(came_through));
        assert_eq!(stats.published, 2 + u64::from(came_through) + stats.dropped(DropReason::Cancelled));
    });
}
