//! Events and outputs without a source.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part, and fails by panicking")]

use std::sync::Arc;

use tokio::sync::mpsc;
use trommel::{
    ack::{Acker, EventDelivery, Outcome, Ticket},
    event::{Event, Headers, Origin, Uid},
    metrics::SourceMetrics,
    sink::Output,
};

pub fn event(id: &str, payload: &str) -> Event {
    let mut event = Event {
        id: id.into(),
        uid: Uid::default(),
        event_type: "test".into(),
        subject: "test.event".into(),
        source_time: None,
        observed_at: 1,
        attempt: 1,
        headers: Headers::default(),
        payload: payload.to_owned().into(),
        origin: Arc::new(Origin { source: "test".to_owned(), stream: "TEST".to_owned() }),
        sequence: 1,
    };
    event.uid = Uid::named(&event);
    event
}

/// How events end, by slot.
pub struct Ends {
    sender: mpsc::Sender<(usize, Outcome)>,
    receiver: mpsc::Receiver<(usize, Outcome)>,
    pub metrics: Arc<SourceMetrics>,
}

impl Ends {
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(10_000);
        Self { sender, receiver, metrics: Arc::default() }
    }

    pub fn ticket(&self, slot: usize, event: Event) -> Ticket {
        let acker = Acker::new(slot, self.sender.clone());
        EventDelivery { event, acker }.open(Arc::clone(&self.metrics), None)
    }

    /// An output of event `e{slot}` whose payload is its slot.
    pub fn output(&self, slot: usize) -> Output {
        Output {
            ticket: self.ticket(slot, event(&format!("e{slot}"), &slot.to_string())),
            key: "key".into(),
            route: "route".into(),
            index: 0,
            payload: slot.to_string().into(),
            subject: None,
            headers: None,
            order: None,
            dead_letter: None,
            id: None,
            share: None,
            queued: None,
        }
    }

    pub async fn next(&mut self) -> (usize, Outcome) {
        self.receiver.recv().await.unwrap()
    }

    /// What has ended by now.
    pub fn so_far(&mut self) -> Vec<(usize, Outcome)> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).collect()
    }
}
