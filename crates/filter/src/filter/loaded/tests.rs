//! Instances: how many there are, when they are used again, and when they go.

use super::*;
use crate::{
    config::{ComponentMemory, FilterSettings, Grant, GuestLimits},
    event::{Event, Headers, Origin},
    filter::{Host, MatchError, ProcessError, StateStore, Verdict},
};

const MISBEHAVE: &[u8] = include_bytes!("../../../../../tests/guests/misbehave.wasm");

async fn filter(instances: u32, limits: GuestLimits) -> Filter {
    let host = Host::with_room(
        (instances, ComponentMemory::UNLIMITED),
        Default::default(),
        Default::default(),
        StateStore::new(&Default::default()),
        Arc::default(),
    )
    .unwrap();
    let name = "misbehave".to_owned();
    let settings = FilterSettings { grants: vec![Grant::State], limits, ..FilterSettings::new(name) };
    host.load("misbehave", MISBEHAVE.to_vec(), &settings).await.unwrap()
}

async fn subscribe(filter: &Filter) -> Arc<RouteSubscription> {
    let limits = CallLimits::new(&GuestLimits::default(), &Default::default());
    filter.subscribe("key", vec![("mode".to_owned(), "ok".to_owned())], limits).await.unwrap()
}

fn event() -> Event {
    Event {
        id: "1".into(),
        uid: Default::default(),
        event_type: "t".into(),
        subject: "s".into(),
        source_time: None,
        observed_at: 0,
        attempt: 1,
        headers: Headers::default(),
        payload: "{}".into(),
        origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
        sequence: 1,
    }
}

/// A host without room is not a fault of the guest, and freed room is used.
#[tokio::test]
async fn a_full_pool_is_the_hosts_fault() {
    let filter = filter(2, GuestLimits::default()).await;
    let subscription = subscribe(&filter).await;
    let mut matchers = [filter.matcher(), filter.matcher()];
    for matcher in &mut matchers {
        assert!(matcher.matches(&subscription, &event()).unwrap());
    }
    let Err(MatchError::Fault(CallFault::Host(error))) = filter.matcher().matches(&subscription, &event()) else {
        panic!("no room")
    };
    let error = format!("{error:#}");
    assert!(error.starts_with("no room for another instance of a filter: maximum concurrent limit of 2"), "{error}");
    assert!(matches!(filter.process(&subscription, &event(), 1).await, Err(ProcessError::Host(_))));
    assert_eq!(filter.0.metrics.breaks.get(), 0);
    drop(matchers);
    assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
}

/// A hundred thousand instances fit no address space: they are made on demand instead.
#[tokio::test]
async fn without_a_pool_instances_are_made_on_demand() {
    let filter = filter(100_000, GuestLimits::default()).await;
    let subscription = subscribe(&filter).await;
    assert!(filter.matcher().matches(&subscription, &event()).unwrap());
    assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
}

#[tokio::test]
async fn process_instances_are_used_again() {
    let filter = filter(2, GuestLimits::default()).await;
    let subscription = subscribe(&filter).await;
    for _ in 0..3 {
        filter.process(&subscription, &event(), 1).await.unwrap();
        assert_eq!(filter.0.idle().all().len(), 1);
    }
}

#[tokio::test]
async fn objects_of_subscriptions_that_are_gone_are_dropped() {
    let filter = filter(10, GuestLimits::default()).await;
    let kept = subscribe(&filter).await;
    let mut matcher = filter.matcher();
    for _ in 0..1_000 {
        matcher.matches(&subscribe(&filter).await, &event()).unwrap();
        matcher.matches(&kept, &event()).unwrap();
        filter.process(&subscribe(&filter).await, &event(), 1).await.unwrap();
    }
    let matching = matcher.objects();
    let processing: usize = filter.0.idle().all().map(GuestInstance::objects).sum();
    assert!(matching <= 64 && processing <= 64, "{matching} and {processing} objects are left");
}

/// An instance that has used up most of its memory is replaced before it fails.
#[tokio::test]
async fn worn_instances_are_replaced() {
    let filter = filter(10, GuestLimits { memory: 1_300 << 10, ..GuestLimits::default() }).await;
    let subscription = subscribe(&filter).await;
    let mut matcher = filter.matcher();
    assert!(matcher.matches(&subscription, &event()).unwrap());
    assert!(!matcher.has_instance());
    assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
    assert_eq!(filter.0.idle().all().len(), 0);
}
