//! Events from a durable JetStream consumer.
//!
//! A message is acknowledged only after its event was settled. Until then the server is told every
//! quarter of `ack_wait` that work goes on, so that a slow sink does not cause redeliveries.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use tokio::time::timeout;

use crate::{
    config::{self, EnvelopeFormat},
    event::Origin,
    fence::Fence,
    nats::{Connection, FieldDifference},
    pipeline::Intake,
    source::Source,
    stop::Stop,
};

mod consumer;
mod ledger;
mod messages;
mod own;
mod partition;
mod pin;
mod prefix;
mod pull;
mod reading;
mod run;
mod settle;
mod stream_state;

pub use consumer::ConsumerError;
use consumer::{AckPolicy, ConsumerInfo, ConsumerStart, DurableConsumer};
pub use own::{left_behind, own_durable, own_subjects};
pub use partition::partition_settings;
use run::JetStreamRun;
use stream_state::StreamState;

/// Longest time for the last acks to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Source whose consumer is as the settings want it.
pub struct JetStream {
    consumer: DurableConsumer,
    envelope: EnvelopeFormat,
    origin: Arc<Origin>,
    info: ConsumerInfo,
    stream: StreamState,
    /// Time until which this source may act. Set if the stream has partitions, and this is one of
    /// them or all.
    fence: Option<Arc<Fence>>,
}

/// Data that it takes to settle one message.
#[derive(Debug)]
pub struct MessageReceipt {
    reply: Subject,
    sequence: u64,
    /// Time at which its stream stored it, in Unix nanoseconds; `None` if it is gone from there.
    stored_at: Option<i64>,
    attempt: u32,
    /// Tick at which the server was last told of it.
    told: u32,
    /// Number of the consumer that delivered it, among those of the name. A later one must not get
    /// its ack: it counts anew.
    incarnation: u32,
    /// True if it came from the consumer; else it was read from the stream, and the client may be
    /// unable to receive it.
    is_delivered: bool,
}

impl JetStream {
    /// Creates the consumer or brings it in line. `in_flight` bounds what the server may leave
    /// unacknowledged.
    ///
    /// # Errors
    /// Returns an error if stream or consumer can't be used as the settings want them; it names the
    /// field and the way out.
    pub async fn open(
        connection: Connection,
        source: &config::SourceConfig,
        settings: &config::JetStreamSource,
        in_flight: usize,
    ) -> Result<Self, ConsumerError> {
        let start = |_: &StreamState| ConsumerStart::AsConfigured;
        if settings.partitions.is_none() {
            return Self::open_at(connection, source, settings, in_flight, start).await;
        }
        let subjects = partition::stored_subjects(&settings.subjects, "*");
        let all = config::JetStreamSource { subjects, ..settings.clone() };
        Self::open_at(connection, source, &all, in_flight, start).await
    }

    async fn open_at(
        connection: Connection,
        source: &config::SourceConfig,
        settings: &config::JetStreamSource,
        in_flight: usize,
        start: impl Fn(&StreamState) -> ConsumerStart,
    ) -> Result<Self, ConsumerError> {
        let fence = settings.partitions.map(|_| Arc::new(Fence::unlimited()));
        let origin = Arc::new(Origin { source: source.name.clone(), stream: settings.stream.clone() });
        let acks = AckPolicy::of(settings);
        let consumer = DurableConsumer { connection, settings: Arc::new(settings.clone()), in_flight, acks };
        let stream = consumer.stream_state().await?;
        let consumer = consumer.within(&stream).choose_acks(&stream).await?;
        let info = consumer.ensure(start(&stream)).await?;
        if consumer.in_flight < in_flight {
            let (source, limit) = (&source.name, consumer.in_flight);
            tracing::warn!(
                source,
                stream = settings.stream,
                wanted = in_flight,
                limit,
                "the stream's `consumer_limits` allow less than 16 times `in_flight`: `max_ack_pending` is its limit"
            );
        }
        Ok(Self { consumer, envelope: source.envelope.clone(), origin, info, stream, fence })
    }
}

/// What opening a source would do to its consumer.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerPlan {
    Create,
    Update(Vec<FieldDifference>),
    AsWanted,
}

/// Returns what [`JetStream::open`] would do to the consumer. Changes nothing.
///
/// # Errors
/// As [`JetStream::open`], as far as it can be told without a change.
pub async fn plan_consumer(
    connection: Connection,
    settings: &config::JetStreamSource,
    in_flight: usize,
) -> Result<ConsumerPlan, ConsumerError> {
    let acks = AckPolicy::of(settings);
    let consumer = DurableConsumer { connection, settings: Arc::new(settings.clone()), in_flight, acks };
    let stream = consumer.stream_state().await?;
    let compared = consumer.within(&stream).choose_acks(&stream).await?.compare().await?;
    Ok(match compared.map(|compared| compared.differences) {
        None => ConsumerPlan::Create,
        Some(differences) if differences.is_empty() => ConsumerPlan::AsWanted,
        Some(differences) => ConsumerPlan::Update(differences),
    })
}

impl Source for JetStream {
    type Receipt = MessageReceipt;

    async fn run(self, intake: Intake<MessageReceipt>, mut stop: Stop) -> anyhow::Result<()> {
        let intake = match &self.fence {
            Some(fence) => intake.behind(Arc::clone(fence)),
            None => intake,
        };
        let mut run = JetStreamRun::new(self, intake.deferring()).await?;
        let mut draining = stop.clone();
        let result = tokio::select! {
            result = run.until_drained(&mut draining) => result,
            () = stop.ended() => Ok(()),
        };
        run.show_end();
        // If the server or the client is away, what was not acknowledged is redelivered.
        let _ = timeout(FAREWELL, run.leave()).await;
        result
    }
}
