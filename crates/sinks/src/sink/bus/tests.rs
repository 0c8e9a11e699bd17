use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::{
    bus::{BusSubscription, OverflowPolicy},
    config::{BusSink, ConfigPlace, EventField, SubjectPlaceholder, TemplatePart, TextTemplate},
    event::Headers,
    sink::double::output,
};

fn sink(bus: &Bus) -> BusPublisher {
    let subject = SubjectPlaceholder::plain(EventField::EventType.into());
    let subject = TextTemplate(vec![TemplatePart::Literal("kept.".into()), TemplatePart::Value(subject)]);
    BusPublisher::new("out", bus, &BusSink { bus: None, subject, place: ConfigPlace::file("trommel.toml") })
}

fn subscribe(bus: &Bus, buffer: usize, policy: OverflowPolicy) -> BusSubscription {
    bus.subscribe(">".parse().unwrap()).buffer(buffer).policy(policy).open().unwrap()
}

fn next(subscription: &mut BusSubscription) -> Option<Arc<Envelope>> {
    subscription.recv().now_or_never().flatten()
}

async fn write(sink: &mut BusPublisher, slot: Slot) {
    sink.write(slot, &output("paid", "e-1", slot.to_string())).await.unwrap();
}

#[tokio::test]
async fn an_output_becomes_an_envelope() {
    let bus = Bus::default();
    let mut subscription = subscribe(&bus, 10, OverflowPolicy::Block);
    let mut sink = sink(&bus);
    let mut output = output("paid", "e-1", "[1]");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("source", "shop"), ("traceparent", trace), ("tenant", "acme"), ("tenant", "other")];
    let headers: Headers = headers.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
    output.headers = Some(headers);
    sink.write(0, &output).await.unwrap();
    assert!(matches!(sink.confirm().now_or_never(), Some(Confirmation::Through(0))));
    let envelope = next(&mut subscription).unwrap();
    assert_eq!((&**envelope.subject(), &*envelope.id), ("kept.paid", &*output.id().to_string()));
    assert_eq!((envelope.source.as_deref(), envelope.tenant()), (Some("shop"), "acme"));
    assert_eq!(envelope.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(envelope.span_id.as_deref(), Some("00f067aa0ba902b7"));
    assert_eq!(envelope.payload().map(|payload| &**payload), Some(b"[1]".as_slice()));
    let others = envelope.headers.keys().filter(|name| !name.eq_ignore_ascii_case(HOPS));
    assert_eq!(others.collect::<Vec<_>>(), ["tenant"]);
}

/// An output whose publish waits holds up the next ones, in order, and is lost by no call that is
/// called off.
#[tokio::test]
async fn outputs_wait_for_a_subscription_and_keep_their_order() {
    let bus = Bus::default();
    let mut subscription = subscribe(&bus, 1, OverflowPolicy::Block);
    let mut sink = sink(&bus);
    for slot in 0..4 {
        write(&mut sink, slot).await;
    }
    assert!(matches!(sink.confirm().now_or_never(), Some(Confirmation::Through(0))));
    for slot in 1..4 {
        assert!(sink.confirm().now_or_never().is_none(), "{slot} has no room yet");
        let read = next(&mut subscription).unwrap();
        assert_eq!(read.decode::<u64>().unwrap(), Some(slot - 1));
        let confirmed = sink.confirm().now_or_never();
        assert!(matches!(confirmed, Some(Confirmation::Through(through)) if through == slot), "{confirmed:?}");
    }
    assert_eq!(bus.stats().delivered, 4);
}

#[tokio::test]
async fn a_closed_bus_takes_nothing_and_is_named() {
    let bus = Bus::default();
    let mut sink = sink(&bus);
    bus.close().await;
    let refused = sink.write(0, &output("paid", "e-1", "1")).await;
    assert!(matches!(refused, Err(SinkRefusal::Never("bus_closed", _))), "{refused:?}");
}

#[tokio::test]
async fn a_subject_that_is_none_is_refused() {
    let mut sink = sink(&Bus::default());
    let refused = sink.write(0, &output("a..b", "e-1", "1")).await;
    assert!(matches!(refused, Err(SinkRefusal::Never("bad_subject", _))), "{refused:?}");
}
