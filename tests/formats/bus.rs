//! What the bus promises to those who publish and subscribe: who gets what, and what becomes of the
//! rest.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;
use trommel::bus::{
    Bus, BusBuilder, BusClosed, BusSubscription, DropReason, Envelope, MAX_BUFFER, Observation, OverflowPolicy,
    PublishReport, SubscriptionBuilder,
};

fn subscribe<'a>(bus: &'a Bus, pattern: &str) -> SubscriptionBuilder<'a> {
    bus.subscribe(pattern.parse().unwrap())
}

fn envelope(subject: &str) -> Envelope {
    Envelope::new(subject).unwrap()
}

/// Publishes to one subject after the other, where there is nothing to wait for.
fn publish<'a>(bus: &Bus, subjects: impl IntoIterator<Item = &'a str>) {
    for subject in subjects {
        bus.publish(envelope(subject)).now_or_never().unwrap().unwrap();
    }
}

fn report(delivered: usize, lost: usize) -> PublishReport {
    PublishReport { delivered, lost }
}

/// The subjects of what there is to read.
fn read(subscription: &mut BusSubscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.recv().now_or_never().flatten()).map(|next| next.subject().to_string()).collect()
}

/// What observers see, as text: `>` published, `+` delivered, `-` dropped.
type Seen = Arc<Mutex<Vec<String>>>;

fn watch(builder: BusBuilder) -> (BusBuilder, Seen) {
    let seen = Seen::default();
    let sees = Arc::clone(&seen);
    let builder = builder.observer(move |observation| {
        let text = match observation {
            Observation::Published(envelope) => format!("> {}", envelope.subject()),
            Observation::Delivered { envelope, to } => format!("+ {} {to}", envelope.subject()),
            Observation::Dropped { envelope, from, policy, reason } => {
                format!("- {} {from} {} {}", envelope.subject(), policy.label(), reason.label())
            }
        };
        sees.lock().unwrap().push(text);
    });
    (builder, seen)
}

fn watched() -> (Bus, Seen) {
    let (builder, seen) = watch(Bus::builder());
    (builder.build(), seen)
}

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut seen.lock().unwrap())
}

/// F20, F25 and C06: patterns, several of them, and a predicate for what patterns can't say, such
/// as a list of types.
#[test]
fn an_envelope_goes_to_every_subscription_that_it_fits() {
    let bus = Bus::default();
    let mut orders = subscribe(&bus, "orders.>").open().unwrap();
    let mut everything = subscribe(&bus, ">").open().unwrap();
    let types = ["deploy.done", "deploy.failed"];
    let chosen = subscribe(&bus, ">").predicate(move |envelope| types.contains(&&**envelope.subject()));
    let mut chosen = chosen.open().unwrap();
    publish(&bus, ["orders.created", "deploy.done", "orders", "deploy.started"]);
    assert_eq!(read(&mut orders), ["orders.created"]);
    assert_eq!(read(&mut everything), ["orders.created", "deploy.done", "orders", "deploy.started"]);
    assert_eq!(read(&mut chosen), ["deploy.done"]);
    assert_eq!((bus.stats().published, bus.stats().delivered, bus.stats().filtered), (4, 6, 3));
    assert_eq!((orders.stats().published, chosen.stats().published, chosen.stats().filtered), (1, 4, 3));
}

/// C07: one subscription's trouble is not the next one's, and not the publisher's.
#[test]
fn subscriptions_do_not_disturb_each_other() {
    let bus = Bus::default();
    let full = subscribe(&bus, ">").buffer(1).open().unwrap();
    let gone = subscribe(&bus, ">").open().unwrap();
    let mut last = subscribe(&bus, ">").open().unwrap();
    drop(gone);
    publish(&bus, ["a", "b", "c"]);
    assert_eq!(read(&mut last), ["a", "b", "c"]);
    assert_eq!(full.stats().dropped(DropReason::BufferFull), 2);
}

/// F20 and F24
#[test]
fn buffers_have_a_default_and_a_bound() {
    let bus = Bus::default();
    let sizes = [(0, 64), (1, 1), (usize::MAX, 1 << 20)];
    let buffers = sizes.map(|(asked, has)| (subscribe(&bus, ">").buffer(asked).open().unwrap(), has));
    let same = Arc::new(envelope("a"));
    for _ in 0..MAX_BUFFER + 1 {
        bus.publish(Arc::clone(&same)).now_or_never().unwrap().unwrap();
    }
    for (subscription, has) in buffers {
        assert_eq!(subscription.stats().delivered, has as u64);
    }
}

/// F21
#[test]
fn drop_newest_keeps_what_is_there() {
    let (bus, seen) = watched();
    let mut subscription = subscribe(&bus, "x.*").buffer(1).open().unwrap();
    publish(&bus, ["x.1", "x.2", "x.3"]);
    let dropped = ["> x.2", "- x.2 ms-1 drop_newest buffer_full", "> x.3", "- x.3 ms-1 drop_newest buffer_full"];
    assert_eq!(take(&seen)[2..], dropped);
    assert_eq!(subscription.stats().dropped(DropReason::BufferFull), 2);
    assert_eq!(read(&mut subscription), ["x.1"]);
}

/// F22 and F30, and better: the victims are named.
#[test]
fn drop_oldest_keeps_what_is_new_and_names_its_victims() {
    let (bus, seen) = watched();
    let mut subscription = subscribe(&bus, "x.*").buffer(2).policy(OverflowPolicy::DropOldest).open().unwrap();
    publish(&bus, ["x.1", "x.2", "x.3", "x.4"]);
    assert_eq!(
        take(&seen),
        [
            "> x.1",
            "+ x.1 ms-1",
            "> x.2",
            "+ x.2 ms-1",
            "> x.3",
            "- x.1 ms-1 drop_oldest buffer_full",
            "+ x.3 ms-1",
            "> x.4",
            "- x.2 ms-1 drop_oldest buffer_full",
            "+ x.4 ms-1",
        ]
    );
    assert_eq!(subscription.stats().dropped(DropReason::BufferFull), 2);
    assert_eq!(read(&mut subscription), ["x.3", "x.4"]);
}

/// F23: whoever publishes waits for room; others have the envelope already.
#[test]
fn block_waits_for_room() {
    let (bus, seen) = watched();
    let mut narrow = subscribe(&bus, ">").buffer(1).policy(OverflowPolicy::Block).open().unwrap();
    let mut wide = subscribe(&bus, ">").open().unwrap();
    publish(&bus, ["a"]);
    let mut waiting = Box::pin(bus.publish(envelope("b")));
    assert_eq!((&mut waiting).now_or_never(), None);
    assert_eq!(read(&mut wide), ["a", "b"], "it does not wait behind the one that is full");
    assert_eq!(read(&mut narrow), ["a"]);
    assert_eq!(waiting.now_or_never(), Some(Ok(report(2, 0))));
    assert_eq!(read(&mut narrow), ["b"]);
    assert_eq!(take(&seen)[3..], ["> b", "+ b ms-2", "+ b ms-1"]);
}

/// F23 and F27: a subscription that ends lets its publishers go, and what they drop is not counted
/// as for want of room.
#[test]
fn block_waits_no_longer_than_the_subscription_lasts() {
    let (bus, seen) = watched();
    for ending in ["unsubscribed", "unsubscribed from outside", "dropped"] {
        let subscription = subscribe(&bus, ">").buffer(1).policy(OverflowPolicy::Block).open().unwrap();
        let id = subscription.id();
        publish(&bus, ["a"]);
        let mut waiting = Box::pin(bus.publish(envelope("b")));
        assert_eq!((&mut waiting).now_or_never(), None);
        let kept = match ending {
            "unsubscribed" => {
                subscription.unsubscribe();
                Some(subscription)
            }
            "dropped" => {
                drop(subscription);
                None
            }
            _ => {
                assert!(bus.unsubscribe(id));
                Some(subscription)
            }
        };
        assert_eq!(waiting.now_or_never(), Some(Ok(report(0, 1))), "{ending}");
        assert_eq!(take(&seen)[2..], ["> b".to_owned(), format!("- b {id} block closed")], "{ending}");
        if let Some(mut kept) = kept {
            assert_eq!(
                (kept.stats().dropped(DropReason::Closed), kept.stats().dropped(DropReason::BufferFull)),
                (1, 0)
            );
            assert_eq!(read(&mut kept), ["a"], "what was there can be read");
            assert_eq!(kept.recv().now_or_never(), Some(None));
        }
    }
}

/// F23: a publish that is called off leaves nothing behind, says so, and gives its turn to the
/// next.
#[test]
fn a_publish_that_is_called_off_is_dropped_where_it_waited() {
    let (bus, seen) = watched();
    let mut narrow = subscribe(&bus, ">").buffer(1).policy(OverflowPolicy::Block).open().unwrap();
    publish(&bus, ["a"]);
    drop(bus.publish(envelope("never begun")));
    let mut called_off = Box::pin(bus.publish(envelope("b")));
    assert_eq!((&mut called_off).now_or_never(), None);
    let mut next = Box::pin(bus.publish(envelope("c")));
    assert_eq!((&mut next).now_or_never(), None);
    assert_eq!(read(&mut narrow), ["a"]);
    // It has been given the room, and does not take it.
    drop(called_off);
    assert_eq!(next.now_or_never(), Some(Ok(report(1, 0))));
    assert_eq!(read(&mut narrow), ["c"]);
    assert_eq!(take(&seen)[2..], ["> b", "> c", "- b ms-1 block cancelled", "+ c ms-1"]);
    assert_eq!(bus.stats().published, 3);
    assert_eq!(bus.stats().dropped(DropReason::Cancelled), 1);
}

/// F24
#[test]
fn samples_keep_their_share() {
    let bus = Bus::default();
    let shares = [(0.1, 800..1200), (0.0, 0..1), (-1.0, 0..1), (1.0, 10_000..10_001), (7.0, 10_000..10_001)];
    let samples = shares.map(|(share, kept)| {
        (subscribe(&bus, ">").buffer(10_000).policy(OverflowPolicy::Sample(share)).open().unwrap(), kept)
    });
    let same = Arc::new(envelope("a"));
    for _ in 0..10_000 {
        bus.publish(Arc::clone(&same)).now_or_never().unwrap().unwrap();
    }
    for (subscription, kept) in samples {
        let stats = subscription.stats();
        assert!(kept.contains(&stats.delivered), "{stats:?}");
        assert_eq!(stats.delivered + stats.dropped(DropReason::Sampled), 10_000);
    }
}

/// F24, F30 and F31: several observers; the publish comes before what becomes of it; what a
/// predicate turns away is counted.
#[test]
fn observers_see_the_publish_and_then_each_match_once() {
    let (builder, seen) = watch(Bus::builder());
    let (builder, also) = watch(builder);
    let bus = builder.build();
    let _narrow = subscribe(&bus, "a.*").buffer(1).open().unwrap();
    let _other = subscribe(&bus, "b.*").open().unwrap();
    let _refusing = subscribe(&bus, "a.*").predicate(|_| false).open().unwrap();
    let _wide = subscribe(&bus, ">").open().unwrap();
    publish(&bus, ["a.1", "a.2", "c"]);
    let expected = [
        "> a.1",
        "+ a.1 ms-1",
        "+ a.1 ms-4",
        "> a.2",
        "- a.2 ms-1 drop_newest buffer_full",
        "+ a.2 ms-4",
        "> c",
        "+ c ms-4",
    ];
    assert_eq!((take(&seen), take(&also)), (expected.map(str::to_owned).into(), expected.map(str::to_owned).into()));
    assert_eq!(bus.stats().filtered, 2);
}

/// F28
#[test]
fn labels_are_those_of_the_reference() {
    let policies =
        [OverflowPolicy::DropNewest, OverflowPolicy::DropOldest, OverflowPolicy::Block, OverflowPolicy::Sample(0.5)];
    assert_eq!(policies.map(OverflowPolicy::label), ["drop_newest", "drop_oldest", "block", "sample"]);
    assert_eq!(DropReason::ALL.map(DropReason::label), ["buffer_full", "sampled", "closed", "cancelled"]);
    assert_eq!(OverflowPolicy::default(), OverflowPolicy::DropNewest);
}

/// F32: whoever comes or goes is seen with the next publish, whatever is remembered.
#[test]
fn what_is_remembered_of_subjects_is_never_out_of_date() {
    for subjects in [0, 1, 2, 1024] {
        let bus = Bus::builder().route_cache(subjects).build();
        let mut first = subscribe(&bus, "a.*").open().unwrap();
        publish(&bus, ["a.1", "a.2", "a.3", "b"]);
        let mut second = subscribe(&bus, ">").open().unwrap();
        publish(&bus, ["a.1", "a.2", "a.3", "b"]);
        first.unsubscribe();
        publish(&bus, ["a.1", "a.2", "a.3", "b"]);
        assert_eq!(read(&mut first), ["a.1", "a.2", "a.3", "a.1", "a.2", "a.3"], "{subjects} remembered");
        assert_eq!(read(&mut second), ["a.1", "a.2", "a.3", "b", "a.1", "a.2", "a.3", "b"], "{subjects} remembered");
    }
}

/// C09: ids are stable and never given twice, and ending one subscription again ends no other.
#[test]
fn unsubscribing_twice_ends_nothing_else() {
    let bus = Bus::default();
    let [first, second, mut third] = [(); 3].map(|()| subscribe(&bus, ">").open().unwrap());
    assert_eq!([first.id(), second.id(), third.id()].map(|id| id.to_string()), ["ms-1", "ms-2", "ms-3"]);
    let (first_id, second_id) = (first.id(), second.id());
    assert!(bus.unsubscribe(second_id));
    drop(first);
    assert_eq!([first_id, second_id].map(|id| bus.unsubscribe(id)), [false, false]);
    second.unsubscribe();
    drop(second);
    assert_eq!(bus.subscriptions(), 1);
    publish(&bus, ["a"]);
    assert_eq!(read(&mut third), ["a"]);
    assert_eq!(subscribe(&bus, ">").open().unwrap().id().to_string(), "ms-4");
}

/// F26 and C10: closed for good, for everybody who has a handle; nobody sees anything any more.
#[tokio::test]
async fn a_closed_bus_says_so() {
    let (bus, seen) = watched();
    let mut subscription = subscribe(&bus, ">").open().unwrap();
    publish(&bus, ["a"]);
    let other = bus.clone();
    bus.close().await;
    other.close().await;
    take(&seen);
    assert_eq!(other.publish(envelope("b")).now_or_never(), Some(Err(BusClosed)));
    assert_eq!(subscribe(&other, ">").open().err(), Some(BusClosed));
    assert_eq!((take(&seen), bus.stats().published), (Vec::new(), 1));
    assert_eq!(read(&mut subscription), ["a"], "what was there can be read");
    assert_eq!([(); 2].map(|()| subscription.recv().now_or_never()), [Some(None), Some(None)]);
    subscription.unsubscribe();
}

/// F33: whoever waits for room at the end waits no longer; a reader that waits hears the end.
#[tokio::test]
async fn closing_wakes_everybody() {
    let (bus, seen) = watched();
    let mut full = subscribe(&bus, "a").buffer(1).policy(OverflowPolicy::Block).open().unwrap();
    let mut idle = subscribe(&bus, "b").open().unwrap();
    publish(&bus, ["a"]);
    let blocked = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(envelope("a")).await }
    });
    let reading = tokio::spawn(async move { idle.next().await });
    while bus.stats().published < 2 {
        tokio::task::yield_now().await;
    }
    timeout(Duration::from_secs(60), bus.close()).await.unwrap();
    assert_eq!(blocked.await.unwrap(), Ok(report(0, 1)));
    assert_eq!(reading.await.unwrap(), None);
    assert_eq!(take(&seen).last().unwrap(), "- a ms-1 block closed");
    assert_eq!(read(&mut full), ["a"]);
    assert_eq!(full.recv().await, None);
}

/// F33: a close that is called off has begun, and is brought to its end by the last who publishes.
#[test]
fn a_close_that_is_called_off_closes_all_the_same() {
    let bus = Bus::default();
    let mut full = subscribe(&bus, ">").buffer(1).policy(OverflowPolicy::Block).open().unwrap();
    publish(&bus, ["a"]);
    let mut blocked = Box::pin(bus.publish(envelope("b")));
    assert_eq!((&mut blocked).now_or_never(), None);
    assert_eq!(bus.close().now_or_never(), None, "it waits for whoever publishes");
    assert_eq!(bus.publish(envelope("c")).now_or_never(), Some(Err(BusClosed)));
    drop(blocked);
    assert_eq!(bus.close().now_or_never(), Some(()));
    assert_eq!(read(&mut full), ["a"]);
    assert_eq!(full.recv().now_or_never(), Some(None));
}

#[test]
fn the_bus_ends_with_its_last_handle() {
    let bus = Bus::default();
    let mut subscription = subscribe(&bus, ">").open().unwrap();
    publish(&bus.clone(), ["a"]);
    drop(bus);
    assert_eq!(read(&mut subscription), ["a"]);
    assert_eq!(subscription.recv().now_or_never(), Some(None));
}

/// F35
#[test]
fn a_bus_without_subscriptions_swallows_what_is_published() {
    let bus = Bus::default();
    publish(&bus, ["a", "b"]);
    assert_eq!(bus.stats().published, 2);
    let mut late = subscribe(&bus, ">").open().unwrap();
    assert_eq!(read(&mut late), [""; 0]);
    assert_eq!((bus.stats().published, bus.stats().delivered), (2, 0));
}

/// C12: readers and publishers in tasks of their own; every envelope once, in the order in which
/// its publisher made it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publish_to_many_and_nothing_is_lost() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 2000;
    let bus = Bus::default();
    let readers = [1, 3, 64].map(|buffer| {
        let subscription = subscribe(&bus, "from.*").buffer(buffer).policy(OverflowPolicy::Block).open().unwrap();
        tokio::spawn(
            subscription.map(|envelope| envelope.decode::<(usize, usize)>().unwrap().unwrap()).collect::<Vec<_>>(),
        )
    });
    let publishers = (0..PUBLISHERS).map(|from| {
        let bus = bus.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                let envelope = envelope(&format!("from.{from}")).with_payload(&(from, number)).unwrap();
                bus.publish(envelope).await.unwrap();
            }
        })
    });
    timeout(Duration::from_secs(60), futures_util::future::try_join_all(publishers)).await.unwrap().unwrap();
    bus.close().await;
    for reader in readers {
        let read = reader.await.unwrap();
        for from in 0..PUBLISHERS {
            let numbers = read.iter().filter(|(publisher, _)| *publisher == from).map(|(_, number)| *number);
            assert!(numbers.eq(0..EACH), "publisher {from}");
        }
    }
}

/// Neither publishing nor reading without a pause keeps other tasks of the same thread from their
/// turn.
#[tokio::test]
async fn others_have_their_turn() {
    const MANY: usize = 10_000;
    // A turn is at most 128 steps long.
    const LEAST: usize = MANY / 200;
    let bus = Bus::default();
    let mut subscription = subscribe(&bus, ">").buffer(MANY).open().unwrap();
    let turns = turns_beside(async move {
        for _ in 0..MANY {
            bus.publish(envelope("a")).await.unwrap();
        }
    });
    let turns = turns.await;
    assert!(turns >= LEAST, "only {turns} turns beside a publisher");
    let turns = turns_beside(async move {
        for _ in 0..MANY {
            subscription.recv().await.unwrap();
        }
    });
    let turns = turns.await;
    assert!(turns >= LEAST, "only {turns} turns beside a reader");
}

/// How often another task has its turn before `work` is done.
async fn turns_beside(work: impl Future<Output = ()> + Send + 'static) -> usize {
    let work = tokio::spawn(work);
    let mut turns = 0;
    while !work.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    work.await.unwrap();
    turns
}
