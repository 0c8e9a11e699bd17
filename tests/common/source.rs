//! A JetStream source that runs against a real server, with the test in the place of the pipeline.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crate::patience::until;

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream::{self, consumer::Info, stream};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use trommel::{
    ack::Ticket,
    config::{self, AckMode, DeliverPolicy, EnvelopeFormat, NatsAuth},
    fate::Fate,
    nats::{Connection, ConnectionLife, connect},
    pipeline::{EventBudget, double::PipelineDouble},
    source::{
        Source,
        jetstream::{ConsumerError, JetStream},
    },
    stop::{Stopper, stop},
};

pub(crate) const STREAM: &str = "EVENTS";
pub(crate) const DURABLE: &str = "trommel";
/// Long enough for anything that is not broken on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn nats(url: &str) -> config::NatsConfig {
    config::NatsConfig {
        urls: vec![url.to_owned()],
        name: "test".to_owned(),
        auth: NatsAuth::None,
        tls_ca: None,
        tls_client: None,
        tls_required: false,
        connect_timeout: Duration::from_secs(2),
        api_prefix: "$JS.API".to_owned(),
    }
}

pub(crate) fn settings() -> config::JetStreamSource {
    config::JetStreamSource {
        stream: STREAM.to_owned(),
        durable: DURABLE.to_owned(),
        subjects: Vec::new(),
        ack: AckMode::Explicit,
        ack_wait: Duration::from_secs(30),
        deliver: DeliverPolicy::All,
        batch: 100,
        partitions: None,
    }
}

/// Every way to acknowledge.
pub(crate) fn every_ack() -> [config::JetStreamSource; 3] {
    [AckMode::Explicit, AckMode::Auto, AckMode::All].map(|ack| config::JetStreamSource { ack, ..settings() })
}

pub(crate) async fn open(
    connection: Connection,
    settings: &config::JetStreamSource,
    in_flight: usize,
) -> Result<JetStream, ConsumerError> {
    let envelope = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
    let kind = config::SourceKind::JetStream(settings.clone());
    let source = config::SourceConfig { name: "events".to_owned(), expect_every: None, envelope, kind };
    JetStream::open(connection, &source, settings, in_flight).await
}

/// The server as its administrator sees it.
pub(crate) async fn admin(url: &str) -> jetstream::Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

pub(crate) async fn create_stream(admin: &jetstream::Context) -> stream::Stream {
    let config =
        stream::Config { name: STREAM.to_owned(), subjects: vec!["events.>".to_owned()], ..Default::default() };
    admin.create_stream(config).await.unwrap()
}

/// A server whose stream holds `numbers`, as its administrator sees it.
pub(crate) async fn stocked(url: &str, numbers: impl IntoIterator<Item = u64>) -> jetstream::Context {
    let admin = admin(url).await;
    create_stream(&admin).await;
    publish(&admin, numbers).await;
    admin
}

/// Publishes `numbers`, each as the body of a message on `events.NUMBER`.
pub(crate) async fn publish(admin: &jetstream::Context, numbers: impl IntoIterator<Item = u64>) {
    let mut acks = Vec::new();
    for number in numbers {
        acks.push(admin.publish(format!("events.{number}"), number.to_string().into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

pub(crate) async fn consumer_info(admin: &jetstream::Context) -> Option<Info> {
    let stream = admin.get_stream(STREAM).await.ok()?;
    stream.consumer_info(DURABLE).await.ok()
}

/// Waits until the server says so of the consumer.
pub(crate) async fn until_consumer(what: &str, admin: &jetstream::Context, is_so: impl Fn(&Info) -> bool) {
    until(what, async || consumer_info(admin).await.is_some_and(|info| is_so(&info))).await;
}

pub(crate) struct Running {
    pub(crate) pipeline: PipelineDouble,
    pub(crate) stopper: Stopper,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
    pub(crate) connection: Connection,
    seen: BTreeSet<u64>,
}

pub(crate) const BUDGET: EventBudget = EventBudget { events: 200, bytes: 1 << 20 };

impl Running {
    pub(crate) async fn start(nats: &config::NatsConfig, settings: config::JetStreamSource) -> Self {
        Self::with_budget(nats, settings, BUDGET).await
    }

    pub(crate) async fn with_budget(
        nats: &config::NatsConfig,
        settings: config::JetStreamSource,
        budget: EventBudget,
    ) -> Self {
        let connection = connect(nats, "source", ConnectionLife::Reconnecting).await.unwrap();
        let source = open(connection.clone(), &settings, budget.events).await.unwrap();
        let (intake, pipeline) = PipelineDouble::new(budget);
        let (stopper, stop) = stop();
        Self { pipeline, stopper, task: tokio::spawn(source.run(intake, stop)), connection, seen: BTreeSet::new() }
    }

    pub(crate) async fn next(&mut self) -> Ticket {
        timeout(PATIENCE, self.pipeline.next()).await.unwrap().unwrap()
    }

    /// Takes and settles events until each of `numbers` was seen, now or by an earlier call.
    /// Returns those of this call in the order in which they came.
    pub(crate) async fn take_all(&mut self, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut missing: BTreeSet<_> = numbers.into_iter().filter(|number| !self.seen.contains(number)).collect();
        let mut seen = Vec::new();
        while !missing.is_empty() {
            let next = timeout(PATIENCE, self.pipeline.next()).await;
            let Ok(Some(ticket)) = next else { panic!("still missing {missing:?}") };
            missing.remove(&number(&ticket));
            seen.push(number(&ticket));
            self.seen.insert(number(&ticket));
            ticket.settle(Fate::Emitted);
        }
        seen
    }

    /// Settles what comes again until the server has nothing left that is not acknowledged.
    pub(crate) async fn settle_the_rest(&mut self, admin: &jetstream::Context) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Ok(Some(ticket)) = timeout(Duration::from_millis(20), self.pipeline.next()).await {
                ticket.settle(Fate::Emitted);
            }
            let info = consumer_info(admin).await;
            if info.as_ref().is_some_and(|info| info.num_ack_pending == 0 && info.num_pending == 0) {
                return;
            }
            assert!(Instant::now() < deadline, "still not acknowledged: {info:?}");
        }
    }

    pub(crate) async fn drain(self) {
        self.stopper.drain();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// The number that [`publish`] put into the message.
pub(crate) fn number(ticket: &Ticket) -> u64 {
    std::str::from_utf8(&ticket.event().payload).unwrap().parse().unwrap()
}
