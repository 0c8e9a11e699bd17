//! The server's description of a stream.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{ApiError, Connection, StreamError, code};

/// A stream as the server describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct StreamInfo {
    /// The configuration in the server's JSON.
    pub config: Map<String, Value>,
    pub created: Timestamp,
    pub state: StreamTotals,
    pub cluster: Option<StreamCluster>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct StreamTotals {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    /// Meaningless while there are no messages.
    pub first_ts: Timestamp,
    pub last_seq: u64,
    /// Meaningless before the first message ever.
    pub last_ts: Timestamp,
    #[serde(rename = "consumer_count")]
    pub consumers: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct StreamCluster {
    /// `None` for a server that is not in a cluster.
    pub name: Option<String>,
    /// `None` while one is being elected.
    pub leader: Option<String>,
    #[serde(default)]
    pub replicas: Vec<StreamReplica>,
}

/// A server that follows the leader.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct StreamReplica {
    pub name: String,
    /// True if it has all that the leader has.
    pub current: bool,
    #[serde(default)]
    pub offline: bool,
    /// Messages that it is behind.
    #[serde(default)]
    pub lag: u64,
}

impl Connection {
    /// The server's description of a stream; `None` if there is no stream of this name.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or does not allow it.
    pub async fn stream_info(&self, name: &str) -> Result<Option<StreamInfo>, StreamError> {
        let request = format!("STREAM.INFO.{name}");
        let info = match self.api(&request, &json!({})).await {
            Ok(info) => serde_json::from_value(info).map_err(|error| ApiError::Failed(request, error.into())),
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => return Ok(None),
            Err(error) => Err(error),
        };
        info.map(Some).map_err(|error| StreamError::Read(name.to_owned(), error))
    }

    /// Names of the streams that take messages of these subjects, a subject or a pattern.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or does not allow it.
    pub async fn streams_of(&self, subjects: &str) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct StreamNames {
            streams: Option<Vec<String>>,
        }
        let answer = self.api("STREAM.NAMES", &json!({ "subject": subjects })).await?;
        let names: StreamNames = serde_json::from_value(answer)
            .map_err(|error| ApiError::Failed("STREAM.NAMES".to_owned(), error.into()))?;
        Ok(names.streams.unwrap_or_default())
    }
}
