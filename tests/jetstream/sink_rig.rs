//! A sink of type `nats` on a real server, driven by an outlet as in the router.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, stream};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use trommel::{
    ack::{Acker, EventDelivery, Outcome},
    config::{self, EventField, OnFailure, RetryPolicy, SubjectPlaceholder, TemplatePart, TextTemplate},
    event::{Event, Headers, Origin, Uid},
    metrics::SinkMetrics,
    sink::{
        Output,
        nats::NatsPublisher,
        outlet::{Outlet, OutletCapacity, OutletEnd, OutletPolicy, RefusedDestination, SinkQueue},
    },
    stop::{Stopper, stop},
};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn settings() -> config::NatsSink {
    let event_type = SubjectPlaceholder::plain(EventField::EventType.into());
    config::NatsSink {
        subject: TextTemplate(vec![TemplatePart::Literal("out.".to_owned()), TemplatePart::Value(event_type)]),
        jetstream: true,
        message_id: true,
        window: 256,
        ack_timeout: Duration::from_secs(2),
    }
}

pub fn event(number: u64) -> Event {
    let origin = Origin { source: "test".to_owned(), stream: "IN".to_owned() };
    Event {
        id: format!("IN:{number}").into(),
        uid: Uid::at(&origin, number, 0),
        event_type: "created".into(),
        subject: "in".into(),
        source_time: None,
        observed_at: 0,
        attempt: 1,
        headers: Headers::default(),
        payload: number.to_string().into(),
        origin: Arc::new(origin),
        sequence: number,
    }
}

pub fn output(event: Event, settled: mpsc::Sender<(usize, Outcome)>) -> Output {
    let slot = usize::try_from(event.sequence).unwrap();
    let payload = event.payload.clone();
    let ticket = EventDelivery { event, acker: Acker::new(slot, settled) }.open(Arc::default(), None);
    let (key, route) = ("key".into(), "route".into());
    Output {
        ticket,
        key,
        route,
        index: 0,
        payload,
        subject: None,
        headers: None,
        order: Some(7),
        dead_letter: None,
        id: None,
        share: None,
        queued: None,
    }
}

/// A sink with its outlet.
pub struct SinkRig {
    pub queue: SinkQueue,
    pub settle: mpsc::Sender<(usize, Outcome)>,
    pub settled: mpsc::Receiver<(usize, Outcome)>,
    pub dead: mpsc::Receiver<Output>,
    pub metrics: Arc<SinkMetrics>,
    pub task: JoinHandle<anyhow::Result<OutletEnd>>,
    _stopper: Stopper,
}

impl SinkRig {
    pub async fn start(nats: &config::NatsConfig, settings: &config::NatsSink) -> Self {
        let retry = RetryPolicy { min: Duration::from_millis(20), max: Duration::from_millis(200), patience: PATIENCE };
        Self::with_retry(nats, settings, retry)
    }

    pub fn with_retry(nats: &config::NatsConfig, settings: &config::NatsSink, retry: RetryPolicy) -> Self {
        let sink = NatsPublisher::new("out", nats, settings);
        let (dead_letters, dead) = SinkQueue::double("dead-letters", 100);
        let policy = OutletPolicy {
            on_failure: OnFailure::Retry,
            retry,
            refused: RefusedDestination::DeadLetters(dead_letters),
        };
        let metrics = Arc::<SinkMetrics>::default();
        let (queue, outlet) = Outlet::new(
            sink,
            "out",
            OutletCapacity { outputs: settings.window, bytes: 32 << 20 },
            policy,
            Arc::clone(&metrics),
        );
        let (settle, settled) = mpsc::channel(100_000);
        let (stopper, stop) = stop();
        Self { queue, settle, settled, dead, metrics, task: tokio::spawn(outlet.run(stop)), _stopper: stopper }
    }

    pub async fn send(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.send_event(event(number)).await;
        }
    }

    pub async fn send_event(&self, event: Event) {
        let sent = self.queue.send(output(event, self.settle.clone()));
        timeout(PATIENCE, sent).await.unwrap();
    }

    pub async fn expect_done(&mut self, count: usize) {
        for _ in 0..count {
            let settled = timeout(PATIENCE, self.settled.recv()).await.unwrap().unwrap();
            assert_eq!(settled.1, Outcome::Done, "event {}", settled.0);
        }
    }

    /// Whatever the order.
    pub async fn expect_outcomes(&mut self, count: usize, expected: &[(usize, Outcome)]) {
        let mut outcomes = Vec::new();
        for _ in 0..count {
            outcomes.push(timeout(PATIENCE, self.settled.recv()).await.unwrap().unwrap());
        }
        outcomes.sort_by_key(|(number, _)| *number);
        assert_eq!(outcomes, expected);
    }

    /// The record of the next dead letter, which then counts as stored.
    pub async fn expect_dead(&mut self) -> serde_json::Value {
        let dead = timeout(PATIENCE, self.dead.recv()).await.unwrap().unwrap();
        dead.ticket.dead("dead");
        serde_json::from_slice(&dead.payload).unwrap()
    }

    pub async fn finish(self) {
        drop(self.queue);
        assert_eq!(timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap(), OutletEnd::Drained);
    }
}

pub fn out() -> stream::Config {
    stream::Config { name: "OUT".to_owned(), subjects: vec!["out.>".to_owned()], ..Default::default() }
}

/// Everything in the stream, in order.
pub async fn stored(admin: &jetstream::Context) -> Vec<async_nats::jetstream::message::StreamMessage> {
    let mut stream = admin.get_stream("OUT").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    messages
}

pub async fn stored_numbers(admin: &jetstream::Context) -> Vec<u64> {
    let number = |payload: &[u8]| std::str::from_utf8(payload).unwrap().trim_end().parse().unwrap();
    stored(admin).await.iter().map(|message| number(&message.payload)).collect()
}
