//! The durable consumer: created when absent, brought in line with the settings, read while the source runs.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    config::{self, AckMode, Deliver},
    nats::{ApiError, Connection, Difference, Wanted, code, converge},
};

/// How long the server keeps a live consumer that nobody reads.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A handle: cheap to clone, holds no state of the server's.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) connection: Connection,
    pub(super) settings: Arc<config::JetStreamSource>,
    /// The budget of the source, which bounds what the server may leave unacknowledged.
    pub(super) in_flight: usize,
}

/// The part of the server's answers that the source goes by.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    /// Tells a consumer from a later one of the same name.
    pub(super) created: String,
    pub(super) delivered: Pair,
    pub(super) ack_floor: Pair,
    pub(super) num_ack_pending: usize,
    /// Messages of the stream that were not delivered yet.
    pub(super) num_pending: u64,
    #[serde(default)]
    pub(super) paused: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Pair {
    #[serde(rename = "consumer_seq")]
    pub(super) delivery: u64,
    #[serde(rename = "stream_seq")]
    pub(super) sequence: u64,
}

/// Where a consumer that has to be created starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    AsConfigured,
    At(u64),
}

/// Why a source can't use its consumer.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error("stream `{0}` does not exist: declare it as a [[stream]] or create it")]
    NoStream(String),
    #[error("can't read stream `{0}`")]
    Stream(String, #[source] ApiError),
    #[error("can't read consumer `{consumer}` of stream `{stream}`")]
    Read { stream: String, consumer: String, source: ApiError },
    #[error("can't create consumer `{consumer}` of stream `{stream}`")]
    Create { stream: String, consumer: String, source: ApiError },
    #[error(
        "consumer `{consumer}` of stream `{stream}` pushes to `{subject}`: a source needs one to pull from, give it another `durable`"
    )]
    Push { stream: String, consumer: String, subject: String },
    #[error(
        "consumer `{consumer}` of stream `{stream}` can't be changed ({}): set the source to what it has, or delete \
         the consumer, and with it its position",
        listed(differences)
    )]
    Change { stream: String, consumer: String, differences: Vec<Difference>, source: ApiError },
    #[error(
        "the server took consumer `{consumer}` of stream `{stream}` and left out what it does not know ({}): it is too old",
        listed(differences)
    )]
    LeftOut { stream: String, consumer: String, differences: Vec<Difference> },
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

impl ConsumerError {
    /// Whether it may go away by itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoStream(_) => true,
            Self::Stream(_, source) | Self::Read { source, .. } | Self::Create { source, .. } => {
                source.code().is_none() || source.code() == Some(code::STREAM_NOT_FOUND)
            }
            Self::Push { .. } | Self::Change { .. } | Self::LeftOut { .. } => false,
        }
    }
}

impl Consumer {
    /// The subject that asks for messages.
    pub(super) fn pull_subject(&self) -> String {
        let config::JetStreamSource { stream, durable, .. } = &*self.settings;
        self.connection.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{durable}"))
    }

    /// When the stream was created: tells it from a later one of the same name.
    pub(super) async fn stream_created(&self) -> Result<String, ConsumerError> {
        let stream = &self.settings.stream;
        match self.connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await {
            Ok(info) => Ok(info["created"].as_str().unwrap_or_default().to_owned()),
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => Err(ConsumerError::NoStream(stream.clone())),
            Err(error) => Err(ConsumerError::Stream(stream.clone(), error)),
        }
    }

    pub(super) async fn info(&self) -> Result<Info, ApiError> {
        self.read_info().await.and_then(|info| self.info_of(info))
    }

    async fn read_info(&self) -> Result<Value, ApiError> {
        let config::JetStreamSource { stream, durable, .. } = &*self.settings;
        self.connection.api(&format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await
    }

    fn info_of(&self, info: Value) -> Result<Info, ApiError> {
        serde_json::from_value(info).map_err(|error| ApiError::Failed("CONSUMER.INFO".to_owned(), error.into()))
    }

    /// Makes the consumer as the settings want it. `start` counts only when it has to be created.
    pub(super) async fn ensure(&self, start: Start) -> Result<Info, ConsumerError> {
        let (stream, consumer) = (self.settings.stream.clone(), self.settings.durable.clone());
        let wanted = self.wanted();
        let answer = match self.read_info().await {
            Ok(mut info) => {
                let mut config = config_of(&mut info);
                if let Some(subject) = config.get("deliver_subject").and_then(Value::as_str) {
                    return Err(ConsumerError::Push { stream, consumer, subject: subject.to_owned() });
                }
                let differences = converge(&mut config, &wanted);
                if differences.is_empty() {
                    return self.info_of(info).map_err(|source| ConsumerError::Read { stream, consumer, source });
                }
                match self.put("update", config).await {
                    Ok(info) => {
                        tracing::info!(stream, consumer, was = listed(&differences), "consumer updated");
                        info
                    }
                    Err(source) => return Err(ConsumerError::Change { stream, consumer, differences, source }),
                }
            }
            Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => {
                match self.put("create", self.new_config(&wanted, start)).await {
                    Ok(info) => {
                        tracing::info!(stream, consumer, ?start, "consumer created");
                        info
                    }
                    Err(source) => return Err(ConsumerError::Create { stream, consumer, source }),
                }
            }
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => return Err(ConsumerError::NoStream(stream)),
            Err(source) => return Err(ConsumerError::Read { stream, consumer, source }),
        };
        let mut answer = answer;
        let differences = converge(&mut config_of(&mut answer), &wanted);
        if !differences.is_empty() {
            return Err(ConsumerError::LeftOut { stream, consumer, differences });
        }
        self.info_of(answer).map_err(|source| ConsumerError::Read { stream, consumer, source })
    }

    /// Has the consumer again after it was lost: behind `floor` of the stream as it was, from the beginning of another.
    /// Also returns when the stream was created.
    pub(super) async fn again(&self, floor: u64, stream_created: &str) -> Result<(Info, String), ConsumerError> {
        let created = self.stream_created().await?;
        let start = if created == stream_created { Start::At(floor + 1) } else { Start::At(1) };
        Ok((self.ensure(start).await?, created))
    }

    async fn put(&self, action: &str, config: Map<String, Value>) -> Result<Value, ApiError> {
        let config::JetStreamSource { stream, durable, .. } = &*self.settings;
        let filter = match config.get("filter_subject").and_then(Value::as_str) {
            Some(filter) if !filter.is_empty() => format!(".{filter}"),
            _ => String::new(),
        };
        let request = json!({ "stream_name": stream, "config": config, "action": action });
        self.connection.api(&format!("CONSUMER.CREATE.{stream}.{durable}{filter}"), &request).await
    }

    fn wanted(&self) -> Wanted {
        let settings = &self.settings;
        let ack = match settings.ack {
            AckMode::Explicit => "explicit",
            AckMode::All => "all",
        };
        let ack_wait = u64::try_from(settings.ack_wait.as_nanos()).unwrap_or(u64::MAX);
        let subjects: Vec<_> = settings.subjects.iter().map(|subject| subject.as_str()).collect();
        // The server has two fields for the same thing, and one subject alone belongs into the first.
        let (one, many) = match *subjects {
            [one] => (one, json!([])),
            _ => ("", json!(subjects)),
        };
        vec![
            ("ack_policy", json!(ack)),
            ("ack_wait", json!(ack_wait)),
            ("max_ack_pending", json!(self.in_flight)),
            ("filter_subject", json!(one)),
            ("filter_subjects", many),
        ]
    }

    fn new_config(&self, wanted: &Wanted, start: Start) -> Map<String, Value> {
        let durable = json!(self.settings.durable);
        let mut config = Map::from_iter([("durable_name".to_owned(), durable.clone()), ("name".to_owned(), durable)]);
        let deliver = match (start, self.settings.deliver) {
            (Start::At(sequence), _) => {
                config.insert("opt_start_seq".to_owned(), json!(sequence));
                "by_start_sequence"
            }
            (Start::AsConfigured, Deliver::All) => "all",
            (Start::AsConfigured, Deliver::New | Deliver::Live) => "new",
        };
        if self.settings.deliver == Deliver::Live {
            config.insert("inactive_threshold".to_owned(), json!(FORGOTTEN_AFTER.as_nanos() as u64));
        }
        config.insert("deliver_policy".to_owned(), json!(deliver));
        config.insert("replay_policy".to_owned(), json!("instant"));
        converge(&mut config, wanted);
        config
    }
}

/// Takes the configuration out of an answer, with a single filter subject where [`Consumer::wanted`] has it.
fn config_of(info: &mut Value) -> Map<String, Value> {
    let Some(Value::Object(mut config)) = info.get_mut("config").map(Value::take) else { return Map::new() };
    if let Some(Value::Array(subjects)) = config.get_mut("filter_subjects")
        && let [_] = subjects[..]
        && let Some(subject) = subjects.pop()
    {
        config.insert("filter_subject".to_owned(), subject);
    }
    config
}
