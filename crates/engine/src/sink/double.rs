//! An output without a pipeline, for the sinks' own tests.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Output;
use crate::{
    ack::{Acker, EventDelivery},
    event::{Event, Headers, Origin, Uid},
};

/// Returns the output that passes an event on as it is.
pub fn output(event_type: &str, id: &str, payload: impl Into<Bytes>) -> Output {
    let payload = payload.into();
    let mut event = Event {
        id: id.into(),
        uid: Uid::default(),
        event_type: event_type.into(),
        subject: "orders.eu".into(),
        source_time: None,
        observed_at: 1,
        attempt: 2,
        headers: Headers::default(),
        payload: payload.clone(),
        origin: Arc::new(Origin { source: "orders".into(), stream: "ORDERS".into() }),
        sequence: 7,
    };
    event.uid = Uid::named(&event);
    let (settled, _) = mpsc::channel(1);
    let ticket = EventDelivery { event, acker: Acker::new(0, settled) }.open(Arc::default(), None);
    let (key, route) = ("key".into(), "route".into());
    Output {
        ticket,
        key,
        route,
        index: 0,
        payload,
        subject: None,
        headers: None,
        order: None,
        dead_letter: None,
        id: None,
        share: None,
        queued: None,
    }
}
