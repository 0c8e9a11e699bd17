//! State of the stream behind a consumer: whether it is still the one that was read so far, and
//! what it allows its consumers.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{
    config,
    nats::{ApiError, Connection, RawMessage},
};

/// Level of the server's API from which it pins consumers.
const PINNING: u32 = 1;

/// The server's info on a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamState {
    /// Creation time: distinguishes a stream from a later one of the same name.
    created: String,
    state: StreamMessages,
    config: ServerStreamConfig,
}

#[derive(Clone, Debug, Deserialize)]
struct StreamMessages {
    last_seq: u64,
    last_ts: Timestamp,
    #[serde(default)]
    consumer_count: usize,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServerStreamConfig {
    consumer_limits: ConsumerLimits,
    retention: String,
    metadata: HashMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConsumerLimits {
    max_ack_pending: usize,
}

/// Youngest message seen of a stream. A stream that was restored from a backup holds another
/// message under its sequence, or a younger one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamLandmark {
    sequence: u64,
    /// Unix nanoseconds.
    stored_at: i64,
}

impl StreamState {
    /// # Errors
    /// Returns `STREAM_NOT_FOUND` if the stream does not exist, and other errors.
    pub(super) async fn read(connection: &Connection, stream: &str) -> Result<Self, ApiError> {
        let answer = connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        serde_json::from_value(answer).map_err(|error| ApiError::Failed("STREAM.INFO".to_owned(), error.into()))
    }

    /// Landmark at its last message.
    pub(super) fn landmark(&self) -> StreamLandmark {
        let stored_at = i64::try_from(self.state.last_ts.as_nanosecond()).unwrap_or(i64::MIN);
        StreamLandmark { sequence: self.state.last_seq, stored_at }
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.state.last_seq
    }

    pub(super) fn consumers(&self) -> usize {
        self.state.consumer_count
    }

    /// Limit on the messages that a consumer may leave unacknowledged, if there is one.
    pub(super) fn max_ack_pending(&self) -> Option<usize> {
        Some(self.config.consumer_limits.max_ack_pending).filter(|limit| *limit > 0)
    }

    /// Returns whether a consumer can be pinned to one client and have one ack for many messages:
    /// by the level of the API that the stream's server has, which older ones do not give. A work
    /// queue takes an ack for each message only.
    pub(super) fn can_pin(&self) -> bool {
        let level = self.config.metadata.get("_nats.level").and_then(|level| level.parse::<u32>().ok());
        level.is_some_and(|level| level >= PINNING) && self.config.retention != "workqueue"
    }

    /// Returns whether this is the `known` stream, holding at least what was seen of it up to
    /// `landmark`.
    ///
    /// # Errors
    /// Returns transient errors. Where reading messages is not allowed, the sequences have to do.
    pub(super) async fn continues(
        &self,
        known: &Self,
        landmark: StreamLandmark,
        connection: &Connection,
        settings: &config::JetStreamSource,
    ) -> Result<bool, ApiError> {
        if self.created != known.created || self.state.last_seq < landmark.sequence {
            return Ok(false);
        }
        match last_until(landmark.sequence, connection, settings).await {
            Ok(last) => Ok(last.is_none_or(|last| landmark.admits(last))),
            Err(ApiError::NoPermission(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl StreamLandmark {
    /// Landmark of a stream of which nothing was seen yet.
    pub(super) const NONE: Self = Self { sequence: 0, stored_at: i64::MIN };

    /// Notes a message that was seen.
    pub(super) fn pass(&mut self, sequence: u64, stored_at: i64) {
        if stored_at > self.stored_at {
            *self = Self { sequence, stored_at };
        }
    }

    /// Returns whether a message is younger than all that was seen.
    pub(super) fn precedes(&self, stored_at: i64) -> bool {
        stored_at > self.stored_at
    }

    /// Returns whether `last`, the last message up to this one, may lie in the stream that this one
    /// was seen in.
    fn admits(&self, last: Self) -> bool {
        if last.sequence == self.sequence { last.stored_at == self.stored_at } else { last.stored_at <= self.stored_at }
    }
}

/// Last message up to `sequence`: mostly the one under it, and else found by a search among those
/// before it.
async fn last_until(
    sequence: u64,
    connection: &Connection,
    settings: &config::JetStreamSource,
) -> Result<Option<StreamLandmark>, ApiError> {
    let (mut low, mut high) = (1, sequence + 1);
    let (mut middle, mut last) = (sequence, None);
    while low < high {
        match RawMessage::at_or_after(connection, &settings.stream, ">", middle).await? {
            Some(RawMessage { sequence: found, stored_at, .. }) if found <= sequence => {
                last = Some(StreamLandmark { sequence: found, stored_at });
                low = found + 1;
            }
            _ => high = middle,
        }
        middle = low + (high - low) / 2;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Servers before 2.11 give no level, and take settings that they do not know without a word.
    #[test]
    fn a_server_says_whether_it_can_pin() {
        for (config, can_pin) in [
            (json!({ "retention": "limits" }), false),
            (json!({ "metadata": { "_nats.level": "0" } }), false),
            (json!({ "metadata": { "_nats.level": "many" } }), false),
            (json!({ "retention": "limits", "metadata": { "_nats.level": "1" } }), true),
            (json!({ "retention": "interest", "metadata": { "_nats.level": "5" } }), true),
            (json!({ "retention": "workqueue", "metadata": { "_nats.level": "5" } }), false),
        ] {
            let state = json!({ "last_seq": 0, "last_ts": "0001-01-01T00:00:00Z" });
            let info: Value = json!({ "created": "", "state": state, "config": config });
            let state: StreamState = serde_json::from_value(info).unwrap();
            assert_eq!(state.can_pin(), can_pin, "{config}");
        }
    }
}
