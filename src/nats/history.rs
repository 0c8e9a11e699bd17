//! What a stream holds, read in order from one place to another through a consumer that the server forgets. Nothing
//! else is touched, no durable consumer above all.

use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    config::{Begin, Range},
    event::Headers,
    nats::{ApiError, Connection, Delivered, Position, code, headers},
};

/// Silence after which somebody looks whether there is more.
const SILENCE: Duration = Duration::from_secs(2);
/// Messages that are asked for at once, and what they may come to together, by the stream's average: they wait in memory
/// for whoever reads slowly.
const BATCH: usize = 4000;
const BATCH_BYTES: u64 = 32 << 20;
/// How often the server says that it is still there when nothing comes.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server keeps the consumer when nobody asks it for anything, as after a crash.
const INACTIVE: Duration = Duration::from_secs(60);
/// Before another try after something went wrong, and how long to go on trying.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server keeps a consumer that was only made to count.
const FORGET: Duration = Duration::from_secs(10);

/// Why a stream's messages can't be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no stream `{0}`")]
    NoStream(String),
    #[error("can't read stream `{0}`")]
    Api(String, #[source] ApiError),
    #[error("can't read stream `{0}`")]
    Failed(String, #[source] anyhow::Error),
}

/// A message as it was stored.
#[derive(Debug)]
pub struct Stored {
    pub sequence: u64,
    pub time: Timestamp,
    pub subject: String,
    pub headers: Headers,
    pub payload: Bytes,
}

/// Reads a range to its end, which is where it was when this was opened.
pub struct History {
    connection: Connection,
    range: Range,
    /// `None` once there is nothing more.
    messages: Option<pull::Stream>,
    /// Messages that are asked for at once.
    batch: usize,
    /// Deliveries of the consumer so far: a gap shows that one was lost on the way.
    deliveries: u64,
    /// The stream's last sequence when reading began.
    last: u64,
    /// Of the message that was read last.
    position: u64,
    total: u64,
    /// Read so far.
    read: u64,
}

impl History {
    /// # Errors
    /// When there is no such stream, or the server does not answer.
    pub async fn open(connection: Connection, mut range: Range) -> Result<Self, HistoryError> {
        let Bounds { first, last, batch } = bounds(&connection, &range.stream).await?;
        let last = range.to.map_or(last, |to| to.min(last));
        // Those behind the end of the range count in every answer.
        let after = match (range.until, range.to) {
            (Some(until), _) => pending(&connection, &range, Begin::Time(until)).await?,
            (None, Some(_)) => pending(&connection, &range, Begin::Sequence(last + 1)).await?,
            (None, None) => 0,
        };
        let begin = match range.begin {
            Begin::Newest(count, since) => {
                newest(&connection, &range, count.saturating_add(after), since, (first, last)).await?
            }
            begin => begin,
        };
        let total = if first > last { 0 } else { pending(&connection, &range, begin).await?.saturating_sub(after) };
        range.begin = begin;
        let total = range.limit.map_or(total, |limit| limit.min(total));
        // No more than is wanted.
        let batch = usize::try_from(total).unwrap_or(batch).clamp(1, batch);
        let messages = if total > 0 { Some(consume(&connection, &range, batch).await?) } else { None };
        Ok(Self { connection, range, batch, messages, deliveries: 0, last, position: 0, total, read: 0 })
    }

    /// What comes from now on, without an end.
    ///
    /// # Errors
    /// When there is no such stream, or the server does not answer.
    pub async fn follow(connection: Connection, stream: &str, subjects: Vec<String>) -> Result<Self, HistoryError> {
        let Bounds { last, batch, .. } = bounds(&connection, stream).await?;
        let begin = Begin::Sequence(last + 1);
        let range = Range { stream: stream.to_owned(), subjects, begin, until: None, to: None, limit: None };
        let messages = Some(consume(&connection, &range, batch).await?);
        Ok(Self { connection, range, batch, messages, deliveries: 0, last: u64::MAX, position: 0, total: 0, read: 0 })
    }

    /// How many there were when this was opened.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next message; `None` at the end of the range. Not cancel safe.
    ///
    /// # Errors
    /// When the stream is gone, or the server has not answered for a minute.
    pub async fn next(&mut self) -> Result<Option<Stored>, HistoryError> {
        while let Some(messages) = &mut self.messages {
            // Most are there already, and need no timer.
            let next = match messages.next().now_or_never() {
                Some(next) => Ok(next),
                None => timeout(SILENCE, messages.next()).await,
            };
            let message = match next {
                Ok(Some(Ok(message))) => message,
                // Nothing comes in when nothing is published.
                Err(_) if self.last == u64::MAX => continue,
                // What was still to come may have been deleted.
                Err(_) if !has_more(&self.connection, &self.range, self.position, self.last).await? => break,
                // The consumer is gone, or what it sent.
                Ok(Some(Err(_)) | None) | Err(_) => {
                    self.begin_again().await?;
                    continue;
                }
            };
            let Some(delivered) = message.reply.as_ref().and_then(|reply| Delivered::of(reply)) else { continue };
            let Delivered { position: Position { sequence, delivery, .. }, stored_at, pending } = delivered;
            self.deliveries += 1;
            if delivery != self.deliveries {
                self.begin_again().await?;
                continue;
            }
            let time = Timestamp::from_nanosecond(stored_at.into()).unwrap_or_default();
            self.position = sequence;
            self.read += 1;
            if self.range.limit.is_some_and(|limit| self.read >= limit) {
                self.messages = None;
            }
            if pending == 0 && self.last != u64::MAX || sequence >= self.last {
                self.messages = None;
            }
            if sequence > self.last || self.range.until.is_some_and(|until| time >= until) {
                self.messages = None;
                break;
            }
            let message = message.message;
            let headers = message.headers.as_ref().map(headers).unwrap_or_default();
            let subject = message.subject.into_string();
            return Ok(Some(Stored { sequence, time, subject, headers, payload: message.payload }));
        }
        self.messages = None;
        Ok(None)
    }

    /// Goes on behind what was read, through a new consumer.
    async fn begin_again(&mut self) -> Result<(), HistoryError> {
        let began = Instant::now();
        if self.position > 0 {
            self.range.begin = Begin::Sequence(self.position + 1);
        }
        self.messages = None;
        loop {
            sleep(PAUSE).await;
            match consume(&self.connection, &self.range, self.batch).await {
                Ok(messages) => {
                    (self.messages, self.deliveries) = (Some(messages), 0);
                    return Ok(());
                }
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(error) => tracing::debug!(%error, "can't read on yet"),
            }
        }
    }
}

/// Whether there is still something to come.
async fn has_more(connection: &Connection, range: &Range, position: u64, last: u64) -> Result<bool, HistoryError> {
    Ok(position < last && pending(connection, range, Begin::Sequence(position + 1)).await? > 0)
}

/// A consumer without acknowledgements. In larger batches than the client's own ordered one, whose server waits for the
/// next request more than it sends.
async fn consume(connection: &Connection, range: &Range, batch: usize) -> Result<pull::Stream, HistoryError> {
    let failed = |error: anyhow::Error| HistoryError::Failed(range.stream.clone(), error);
    let deliver_policy = match range.begin {
        Begin::First | Begin::Newest(..) => DeliverPolicy::All,
        Begin::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        Begin::Time(time) => DeliverPolicy::ByStartTime { start_time: SystemTime::from(time).into() },
    };
    let (filter_subject, filter_subjects) = match &range.subjects[..] {
        [one] => (one.clone(), Vec::new()),
        several => (String::new(), several.to_vec()),
    };
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject,
        filter_subjects,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..Default::default()
    };
    let context = jetstream::with_prefix(connection.client().clone(), &connection.api);
    let stream = context.get_stream_no_info(&range.stream).await.map_err(|error| failed(error.into()))?;
    let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.into()))?;
    let messages = consumer.stream().max_messages_per_batch(batch).heartbeat(HEARTBEAT).messages();
    messages.await.map_err(|error| failed(error.into()))
}

struct Bounds {
    /// First and last sequence.
    first: u64,
    last: u64,
    /// How many messages of the stream may be asked for at once.
    batch: usize,
}

async fn bounds(connection: &Connection, stream: &str) -> Result<Bounds, HistoryError> {
    let info = match connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await {
        Ok(info) => info,
        Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => {
            return Err(HistoryError::NoStream(stream.to_owned()));
        }
        Err(error) => return Err(HistoryError::Api(stream.to_owned(), error)),
    };
    let state = |name: &str| info["state"][name].as_u64().unwrap_or_default();
    let (messages, last) = (state("messages"), state("last_seq"));
    // An empty stream begins behind its end.
    let first = if messages == 0 { last + 1 } else { state("first_seq") };
    let average = (state("bytes") / messages.max(1)).max(1);
    let batch = usize::try_from(BATCH_BYTES / average).unwrap_or(BATCH).clamp(1, BATCH);
    Ok(Bounds { first, last, batch })
}

/// Where to begin so that `count` messages come: found by halving, for a stream can be long and what is asked for short.
async fn newest(
    connection: &Connection,
    range: &Range,
    count: u64,
    since: Option<Timestamp>,
    (first, last): (u64, u64),
) -> Result<Begin, HistoryError> {
    let since = since.map_or(Begin::First, Begin::Time);
    if pending(connection, range, since).await? <= count {
        return Ok(since);
    }
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if pending(connection, range, Begin::Sequence(middle)).await? <= count {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Begin::Sequence(low))
}

/// How many messages there are from a place on, as the server counts.
async fn pending(connection: &Connection, range: &Range, from: Begin) -> Result<u64, HistoryError> {
    let failed = |error| HistoryError::Api(range.stream.clone(), error);
    let name = format!("trommel-count-{:016x}", fastrand::u64(..));
    let mut config = json!({
        "name": name,
        "ack_policy": "none",
        "max_deliver": 1,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": FORGET.as_nanos() as u64,
    });
    match &range.subjects[..] {
        [] => {}
        [one] => config["filter_subject"] = one.as_str().into(),
        several => config["filter_subjects"] = several.into(),
    }
    let (policy, at) = match from {
        Begin::First | Begin::Newest(..) => ("all", Value::Null),
        Begin::Sequence(sequence) => ("by_start_sequence", json!({ "opt_start_seq": sequence })),
        Begin::Time(time) => ("by_start_time", json!({ "opt_start_time": time.to_string() })),
    };
    if let (Value::Object(config), Value::Object(at)) = (&mut config, at) {
        config.extend(at);
    }
    config["deliver_policy"] = policy.into();
    let stream = &range.stream;
    let request = json!({ "stream_name": stream, "config": config, "action": "create" });
    let made = connection.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &request).await.map_err(failed)?;
    if range.subjects.len() > 1 && made["config"]["filter_subjects"] == Value::Null {
        let too_old =
            anyhow!("its server is older than 2.10 and can't pick by several subjects: give one with `--subject`");
        return Err(HistoryError::Failed(range.stream.clone(), too_old));
    }
    // The server forgets it anyway.
    let _ = connection.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({})).await;
    Ok(made["num_pending"].as_u64().unwrap_or_default())
}
