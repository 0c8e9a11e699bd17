//! The durable consumer: created when absent, brought in line with the settings, read while the
//! source runs.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    config::{self, DeliverPolicy},
    nats::{ApiError, Connection, FieldDifference, ShownValue, WantedFields, code, converge},
    source::jetstream::stream_state::{StreamLandmark, StreamState},
};

mod acks;
mod info;

pub(super) use acks::AckPolicy;
pub(super) use info::{ConsumerInfo, PullLimits, SequencePair};

/// Time for which the server keeps a live consumer without a reader.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Handle of a consumer: cheap to clone, without state of the server's.
#[derive(Clone, Debug)]
pub(super) struct DurableConsumer {
    pub(super) connection: Connection,
    pub(super) settings: Arc<config::JetStreamSource>,
    /// The most messages that the server may leave unacknowledged.
    pub(super) in_flight: usize,
    pub(super) acks: AckPolicy,
}

/// A consumer on the server, compared with the settings.
pub(super) struct ComparedConsumer {
    info: Value,
    /// Its configuration, with the settings written into it.
    config: Map<String, Value>,
    pub(super) differences: Vec<FieldDifference>,
}

/// Start position of a consumer that has to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsumerStart {
    AsConfigured,
    At(u64),
}

/// Error for which a source can't use its consumer.
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
        "consumer `{consumer}` of stream `{stream}` may not leave {in_flight} messages unacknowledged: set `in_flight` \
         under `[pipeline]` to what server and stream allow"
    )]
    InFlight { stream: String, consumer: String, in_flight: usize, source: ApiError },
    #[error(
        "consumer `{consumer}` of stream `{stream}` is not one that a source can keep its promises with ({}): take \
         that back, or give the source another `durable`",
        .settings.join("; ")
    )]
    Foreign { stream: String, consumer: String, settings: Vec<String> },
    #[error(
        "consumer `{consumer}` of stream `{stream}` pushes to `{subject}`: a source needs one to pull from, give it \
         another `durable`"
    )]
    Push { stream: String, consumer: String, subject: String },
    #[error(
        "consumer `{consumer}` of stream `{stream}` can't be changed ({}): set the source to what it has, or delete \
         the consumer, and with it its position",
        listed(differences)
    )]
    Change { stream: String, consumer: String, differences: Vec<FieldDifference>, source: ApiError },
    #[error(
        "the server took consumer `{consumer}` of stream `{stream}` and left out what it does not know ({}): it is \
         too old",
        listed(differences)
    )]
    LeftOut { stream: String, consumer: String, differences: Vec<FieldDifference> },
}

fn listed(differences: &[FieldDifference]) -> String {
    differences.iter().map(FieldDifference::to_string).collect::<Vec<_>>().join("; ")
}

impl ConsumerError {
    /// Returns whether the error may go away by itself; else the settings have to change.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoStream(_) => true,
            Self::Stream(_, source)
            | Self::Read { source, .. }
            | Self::Create { source, .. }
            | Self::Change { source, .. } => !is_about_settings(source),
            Self::InFlight { .. } | Self::Push { .. } | Self::Foreign { .. } | Self::LeftOut { .. } => false,
        }
    }
}

/// Returns whether the server refuses what the settings ask for. Everything else passes: a store
/// that can't be made at the moment, a leader or a place that is missing, a limit that others use
/// up, and unknown errors of later servers.
fn is_about_settings(error: &ApiError) -> bool {
    let ApiError::Refused { code, description } = error else { return false };
    match *code {
        // The server's code for every error that has none of its own.
        code::CONSUMER_CREATE => description.contains("can not be updated"),
        code => code::CONSUMER_SETTINGS.contains(&code),
    }
}

/// Fields of a consumer that a source leaves as they are, whatever their values. The limits of a
/// pull are respected.
const HARMLESS: [&str; 17] = [
    "name",
    "durable_name",
    "description",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "replay_policy",
    "sample_freq",
    "max_waiting",
    "max_batch",
    "max_expires",
    "max_bytes",
    "inactive_threshold",
    "num_replicas",
    "mem_storage",
    "metadata",
    // A consumer is paused on purpose, so the pause is kept.
    "pause_until",
];

/// Fields that are set, and neither wanted nor harmless: `headers_only` takes the payload away,
/// `max_deliver` gives up, `backoff` replaces `ack_wait`, priority groups have to be named in each
/// pull. A field unknown to this program may do anything.
fn foreign(config: &Map<String, Value>, wanted: &WantedFields) -> Vec<String> {
    let is_ours = |field: &str| HARMLESS.contains(&field) || wanted.iter().any(|(wanted, _)| *wanted == field);
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        // Limits of 0 and -1 are not set.
        Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
        Value::String(text) => !text.is_empty() && text != "none",
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) => true,
    };
    let set = config.iter().filter(|(field, value)| !is_ours(field) && is_set(value));
    set.map(|(field, value)| format!("`{field}` is {}", ShownValue(field, value))).collect()
}

impl DurableConsumer {
    /// Subject of requests for messages.
    pub(super) fn pull_subject(&self) -> String {
        let config::JetStreamSource { stream, durable, .. } = &*self.settings;
        self.connection.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{durable}"))
    }

    /// # Errors
    /// Returns [`ConsumerError::NoStream`] if the stream does not exist, and other errors.
    pub(super) async fn stream_state(&self) -> Result<StreamState, ConsumerError> {
        let stream = &self.settings.stream;
        StreamState::read(&self.connection, stream).await.map_err(|error| match error.code() {
            Some(code::STREAM_NOT_FOUND) => ConsumerError::NoStream(stream.clone()),
            _ => ConsumerError::Stream(stream.clone(), error),
        })
    }

    /// Limits unacknowledged messages to what the stream allows its consumers.
    pub(super) fn within(self, stream: &StreamState) -> Self {
        let in_flight = stream.max_ack_pending().map_or(self.in_flight, |limit| self.in_flight.min(limit));
        Self { in_flight, ..self }
    }

    pub(super) async fn info(&self) -> Result<ConsumerInfo, ApiError> {
        self.read_info().await.and_then(|info| self.info_of(info))
    }

    async fn read_info(&self) -> Result<Value, ApiError> {
        let config::JetStreamSource { stream, durable, .. } = &*self.settings;
        self.connection.api(&format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await
    }

    fn info_of(&self, info: Value) -> Result<ConsumerInfo, ApiError> {
        serde_json::from_value(info).map_err(|error| ApiError::Failed("CONSUMER.INFO".to_owned(), error.into()))
    }

    /// Compares the consumer with the settings; `None` if there is none. Changes nothing.
    pub(super) async fn compare(&self) -> Result<Option<ComparedConsumer>, ConsumerError> {
        let (stream, consumer) = (self.settings.stream.clone(), self.settings.durable.clone());
        let info = match self.read_info().await {
            Ok(info) => info,
            Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => return Ok(None),
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => return Err(ConsumerError::NoStream(stream)),
            Err(source) => return Err(ConsumerError::Read { stream, consumer, source }),
        };
        let mut config = config_of(&info);
        if let Some(subject) = config.get("deliver_subject").and_then(Value::as_str) {
            return Err(ConsumerError::Push { stream, consumer, subject: subject.to_owned() });
        }
        self.check_config(&config)?;
        let differences = converge(&mut config, &self.wanted());
        Ok(Some(ComparedConsumer { info, config, differences }))
    }

    /// Creates the consumer or updates it to the settings. `start` counts only when it has to be
    /// created.
    pub(super) async fn ensure(&self, start: ConsumerStart) -> Result<ConsumerInfo, ConsumerError> {
        let (stream, consumer) = (self.settings.stream.clone(), self.settings.durable.clone());
        let wanted = self.wanted();
        let answer = match self.compare().await? {
            Some(ComparedConsumer { info, differences, .. }) if differences.is_empty() => {
                return self.info_of(info).map_err(|source| ConsumerError::Read { stream, consumer, source });
            }
            Some(ComparedConsumer { config, differences, .. }) => match self.put("update", config).await {
                Ok(info) => {
                    tracing::info!(stream, consumer, was = listed(&differences), "consumer updated");
                    info
                }
                Err(source) if source.code() == Some(code::MAX_ACK_PENDING) => {
                    return Err(ConsumerError::InFlight { stream, consumer, in_flight: self.in_flight, source });
                }
                Err(source) => return Err(ConsumerError::Change { stream, consumer, differences, source }),
            },
            None => match self.put("create", self.new_config(&wanted, start)).await {
                Ok(info) => {
                    tracing::info!(stream, consumer, ?start, "consumer created");
                    info
                }
                Err(source) if source.code() == Some(code::MAX_ACK_PENDING) => {
                    return Err(ConsumerError::InFlight { stream, consumer, in_flight: self.in_flight, source });
                }
                Err(source) => return Err(ConsumerError::Create { stream, consumer, source }),
            },
        };
        let differences = converge(&mut config_of(&answer), &wanted);
        if !differences.is_empty() {
            return Err(ConsumerError::LeftOut { stream, consumer, differences });
        }
        self.info_of(answer).map_err(|source| ConsumerError::Read { stream, consumer, source })
    }

    /// Recreates the consumer after it was lost: behind `floor` if the stream is the `known` one,
    /// and from the beginning if it is another or was restored from a backup. Also returns the
    /// stream.
    pub(super) async fn again(
        &self,
        floor: u64,
        known: &StreamState,
        landmark: StreamLandmark,
    ) -> Result<(ConsumerInfo, StreamState), ConsumerError> {
        let stream = self.stream_state().await?;
        let continues = stream.continues(known, landmark, &self.connection, &self.settings).await;
        let continues = continues.map_err(|error| ConsumerError::Stream(self.settings.stream.clone(), error))?;
        let start = if continues { floor + 1 } else { 1 };
        Ok((self.clone().within(&stream).ensure(ConsumerStart::At(start)).await?, stream))
    }

    /// Checks that the consumer was not given settings that break the source's guarantees.
    pub(super) fn check(&self, info: &ConsumerInfo) -> Result<(), ConsumerError> {
        self.check_config(&info.config)
    }

    fn check_config(&self, config: &Map<String, Value>) -> Result<(), ConsumerError> {
        let settings = foreign(config, &self.wanted());
        if settings.is_empty() {
            return Ok(());
        }
        let (stream, consumer) = (self.settings.stream.clone(), self.settings.durable.clone());
        Err(ConsumerError::Foreign { stream, consumer, settings })
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

    fn wanted(&self) -> WantedFields {
        let settings = &self.settings;
        let ack_wait = u64::try_from(settings.ack_wait.as_nanos()).unwrap_or(u64::MAX);
        let subjects: Vec<_> = settings.subjects.iter().map(|subject| subject.as_str()).collect();
        // The server has two fields for the same setting, and a single subject belongs in the
        // first.
        let (one, many) = match *subjects {
            [one] => (one, json!([])),
            _ => ("", json!(subjects)),
        };
        let mut wanted = self.acks.wanted();
        wanted.extend([
            ("ack_wait", json!(ack_wait)),
            ("max_ack_pending", json!(self.in_flight)),
            ("filter_subject", json!(one)),
            ("filter_subjects", many),
        ]);
        wanted
    }

    fn new_config(&self, wanted: &WantedFields, start: ConsumerStart) -> Map<String, Value> {
        let durable = json!(self.settings.durable);
        let mut config = Map::from_iter([("durable_name".to_owned(), durable.clone()), ("name".to_owned(), durable)]);
        let deliver = match (start, self.settings.deliver) {
            (ConsumerStart::At(sequence), _) => {
                config.insert("opt_start_seq".to_owned(), json!(sequence));
                "by_start_sequence"
            }
            (ConsumerStart::AsConfigured, DeliverPolicy::All) => "all",
            (ConsumerStart::AsConfigured, DeliverPolicy::New | DeliverPolicy::Live) => "new",
        };
        if self.settings.deliver == DeliverPolicy::Live {
            config.insert("inactive_threshold".to_owned(), json!(FORGOTTEN_AFTER.as_nanos() as u64));
        }
        config.insert("deliver_policy".to_owned(), json!(deliver));
        config.insert("replay_policy".to_owned(), json!("instant"));
        converge(&mut config, wanted);
        config
    }
}

/// The configuration in an answer, with a single filter subject where [`DurableConsumer::wanted`]
/// has it.
fn config_of(info: &Value) -> Map<String, Value> {
    let Some(Value::Object(config)) = info.get("config") else { return Map::new() };
    let mut config = config.clone();
    if let Some(Value::Array(subjects)) = config.get_mut("filter_subjects")
        && let [_] = subjects[..]
        && let Some(subject) = subjects.pop()
    {
        config.insert("filter_subject".to_owned(), subject);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own messages are settled while other readers are looked for.
    #[test]
    fn own_acks_are_not_those_of_others() {
        let info = |delivery: u64, pending: usize| -> ConsumerInfo {
            let at = json!({ "consumer_seq": delivery, "stream_seq": delivery });
            let info = json!({
                "created": "then", "delivered": at, "ack_floor": at, "num_ack_pending": pending, "num_pending": 0,
            });
            serde_json::from_value(info).unwrap()
        };
        let before = info(100, 50);
        for (now, open, stands) in [
            (info(100, 50), 0, true),
            (info(100, 49), 0, false),
            (info(100, 45), 5, true),
            (info(100, 44), 5, false),
            (info(100, 51), 5, false),
            (info(101, 50), 5, false),
            (info(100, 0), 60, true),
        ] {
            assert_eq!(now.stands_as(&before, open), stands, "{now:?} with {open} of our own");
        }
    }

    fn found(field: &str, value: Value) -> Vec<String> {
        foreign(&Map::from_iter([(field.to_owned(), value)]), &vec![("ack_policy", json!("explicit"))])
    }

    /// Every field of the server's, also of later servers, that is set and not known to be harmless
    /// is named.
    #[test]
    fn what_is_neither_wanted_nor_harmless_is_named() {
        for (field, value, expected) in [
            ("headers_only", json!(true), "`headers_only` is true"),
            ("backoff", json!([1_000_000_000_u64]), "`backoff` is [1000000000]"),
            ("max_deliver", json!(5), "`max_deliver` is 5"),
            ("priority_groups", json!(["g"]), r#"`priority_groups` is ["g"]"#),
            ("priority_policy", json!("overflow"), r#"`priority_policy` is "overflow""#),
            ("priority_timeout", json!(1), "`priority_timeout` is 1"),
            ("rate_limit_bps", json!(1000), "`rate_limit_bps` is 1000"),
            ("flow_control", json!(true), "`flow_control` is true"),
            ("direct", json!(true), "`direct` is true"),
            ("of_a_later_server", json!({ "x": 1 }), r#"`of_a_later_server` is {"x":1}"#),
        ] {
            assert_eq!(found(field, value), [expected], "{field}");
            for empty in
                [json!(null), json!(false), json!(0), json!(-1), json!(""), json!("none"), json!([]), json!({})]
            {
                assert_eq!(found(field, empty.clone()), [""; 0], "{field} {empty}");
            }
        }
        for field in HARMLESS.into_iter().chain(["ack_policy"]) {
            assert_eq!(found(field, json!("anything")), [""; 0], "{field}");
        }
    }

    fn info(answer: Value) -> ConsumerInfo {
        serde_json::from_value(answer).unwrap()
    }

    /// With three replicas, a consumer that has delivered nothing has no floor yet.
    #[test]
    fn where_nothing_is_open_the_floor_is_what_was_delivered() {
        let answer = |floor: Value, delivered: Value| {
            info(json!({
                "created": "", "num_ack_pending": 0, "num_pending": 0, "ack_floor": floor, "delivered": delivered,
            }))
        };
        let pair = |delivery, sequence| json!({ "consumer_seq": delivery, "stream_seq": sequence });
        assert_eq!(answer(pair(0, 0), pair(0, 2000)).floor().sequence, 2000);
        assert_eq!(answer(pair(7, 7), pair(7, 9)).floor().sequence, 9);
        assert_eq!(answer(pair(7, 7), pair(8, 9)).floor().sequence, 7);
    }

    #[test]
    fn only_what_is_about_the_settings_is_final() {
        let refused = |code, description: &str| ApiError::Refused { code, description: description.to_owned() };
        for (error, is_final) in [
            (refused(10012, "ack policy can not be updated"), true),
            (refused(10012, "error creating store for consumer"), false),
            (refused(10104, "error creating store for consumer: x"), false),
            (refused(10008, "JetStream system temporarily unavailable"), false),
            (refused(10023, "insufficient resources"), false),
            (refused(10047, "insufficient storage resources available"), false),
            (refused(10026, "maximum consumers limit reached"), false),
            (refused(10093, "consumer filter subject is not a valid subset of the interest subjects"), true),
            (refused(10098, "workqueue stream requires explicit ack"), true),
            (refused(99_999, "who knows"), false),
            (ApiError::NoResponders("x".to_owned()), false),
        ] {
            let text = error.to_string();
            let error = ConsumerError::Create { stream: "S".to_owned(), consumer: "C".to_owned(), source: error };
            assert_eq!(error.is_passing(), !is_final, "{text}");
        }
    }
}
