//! Streams that the configuration declares: created when absent, updated where they differ.

use serde_json::{Map, Value, json};

use crate::{ApiError, Connection, FieldDifference, WantedFields, api::listed, code, config, converge};

mod info;
mod subjects;
mod wanted;

pub use info::{StreamCluster, StreamInfo, StreamReplica, StreamTotals};
use wanted::wanted;

/// The change that makes a stream as declared.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamChange {
    Created(Vec<FieldDifference>),
    Updated(Vec<FieldDifference>),
    AsWanted,
}

/// A stream on the server, compared with its declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamComparison {
    pub change: StreamChange,
    /// Subjects of the stream that are not declared, and stay.
    pub kept_subjects: Vec<String>,
}

/// Error while making a stream as declared.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("can't read stream `{0}`")]
    Read(String, #[source] ApiError),
    #[error("can't create stream `{0}`")]
    Create(String, #[source] ApiError),
    #[error(
        "stream `{stream}` can't be changed ({}): declare what it has, or recreate it, which deletes its messages",
        listed(differences)
    )]
    Change {
        stream: String,
        differences: Vec<FieldDifference>,
        #[source]
        source: ApiError,
    },
    #[error(
        "nats-server {version} took stream `{stream}` and left out what it does not know ({}): it is too old for that",
        listed(differences)
    )]
    LeftOut { stream: String, version: String, differences: Vec<FieldDifference> },
}

/// The configuration to send to the server, the fields in it that are wanted, and the change that
/// it amounts to.
struct StreamPlan {
    config: Map<String, Value>,
    wanted: WantedFields,
    comparison: StreamComparison,
}

impl Connection {
    /// Makes a stream as declared. Settings that the declaration does not mention stay as the
    /// server has them, and an existing stream loses none of its subjects. Nothing is sent before
    /// the future is polled.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or refuses a change; the error names the
    /// fields.
    pub async fn ensure_stream(&self, stream: &config::StreamConfig) -> Result<StreamComparison, StreamError> {
        let mut plan = self.plan(&stream.name, wanted(stream), &at_creation(stream)).await?;
        // Sinks publish in batches then. A mirror takes no messages, and older servers refuse or
        // leave out what they do not know.
        let is_new = matches!(plan.comparison.change, StreamChange::Created(_));
        if is_new && stream.mirror.is_none() && self.client().is_server_compatible(2, 14, 0) {
            plan.config.insert("allow_batched".to_owned(), json!(true));
        }
        self.carry_out(&stream.name, plan).await
    }

    /// Returns the change that [`Self::ensure_stream`] would make. Changes nothing.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn plan_stream(&self, stream: &config::StreamConfig) -> Result<StreamComparison, StreamError> {
        Ok(self.plan(&stream.name, wanted(stream), &at_creation(stream)).await?.comparison)
    }

    async fn plan(
        &self,
        name: &str,
        mut wanted: WantedFields,
        at_creation: &WantedFields,
    ) -> Result<StreamPlan, StreamError> {
        let found = match self.api(&format!("STREAM.INFO.{name}"), &json!({})).await {
            Ok(info) => Some(config_of(info)),
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => None,
            Err(error) => return Err(StreamError::Read(name.to_owned(), error)),
        };
        let is_there = found.is_some();
        let mut kept_subjects = Vec::new();
        if let Some(found) = &found {
            kept_subjects = subjects::join(&mut wanted, found);
        } else {
            let is_open = |(field, _): &&(&str, Value)| wanted.iter().all(|(known, _)| known != field);
            let more: Vec<_> = at_creation.iter().filter(is_open).cloned().collect();
            wanted.extend(more);
        }
        let mut config = found.unwrap_or_else(|| Map::from_iter([("name".to_owned(), json!(name))]));
        let differences = converge(&mut config, &wanted);
        let change = match differences.is_empty() {
            _ if !is_there => StreamChange::Created(differences),
            true => StreamChange::AsWanted,
            false => StreamChange::Updated(differences),
        };
        Ok(StreamPlan { config, wanted, comparison: StreamComparison { change, kept_subjects } })
    }

    /// Makes a stream of the router's own.
    pub(super) async fn ensure(&self, name: &str, wanted: WantedFields) -> Result<StreamComparison, StreamError> {
        let plan = self.plan(name, wanted, &WantedFields::new()).await?;
        self.carry_out(name, plan).await
    }

    async fn carry_out(&self, name: &str, plan: StreamPlan) -> Result<StreamComparison, StreamError> {
        let StreamPlan { config, wanted, comparison } = plan;
        let answer = match &comparison.change {
            StreamChange::AsWanted => return Ok(comparison),
            StreamChange::Created(_) => {
                let answer = self.api(&format!("STREAM.CREATE.{name}"), &config.into()).await;
                answer.map_err(|error| StreamError::Create(name.to_owned(), error))?
            }
            StreamChange::Updated(differences) => {
                let answer = self.api(&format!("STREAM.UPDATE.{name}"), &config.into()).await;
                let (stream, differences) = (name.to_owned(), differences.clone());
                answer.map_err(|source| StreamError::Change { stream, differences, source })?
            }
        };
        let differences = converge(&mut config_of(answer), &wanted);
        if !differences.is_empty() {
            let version = self.client().server_info().version;
            return Err(StreamError::LeftOut { stream: name.to_owned(), version, differences });
        }
        match &comparison.change {
            StreamChange::Created(_) => tracing::info!(stream = name, "stream created"),
            StreamChange::Updated(differences) => {
                tracing::info!(stream = name, was = listed(differences), "stream updated")
            }
            StreamChange::AsWanted => {}
        }
        Ok(comparison)
    }
}

fn at_creation(stream: &config::StreamConfig) -> WantedFields {
    stream.at_creation.as_deref().map(wanted).unwrap_or_default()
}

fn config_of(info: Value) -> Map<String, Value> {
    match info {
        Value::Object(mut info) => match info.remove("config") {
            Some(Value::Object(config)) => config,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}
