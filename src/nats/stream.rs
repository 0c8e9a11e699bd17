//! Streams that the configuration declares: created when absent, updated where they differ.

use serde_json::{Map, Value, json};

use crate::{
    config::{self, Storage},
    nats::{ApiError, Connection, Difference, Wanted, api::listed, code, converge},
};

/// What it took to make a stream as declared.
#[derive(Clone, Debug, PartialEq)]
pub enum Converged {
    Created,
    Updated(Vec<Difference>),
    AsWanted,
}

/// Why a stream is not as declared.
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
        differences: Vec<Difference>,
        #[source]
        source: ApiError,
    },
    #[error("the server took stream `{stream}` and left out what it does not know ({})", listed(differences))]
    LeftOut { stream: String, differences: Vec<Difference> },
}

impl Connection {
    /// Makes a stream as declared. What the declaration does not mention stays as the server has it.
    ///
    /// # Errors
    /// When the server does not answer, or refuses a change; the error names the fields.
    pub async fn ensure_stream(&self, stream: &config::Stream) -> Result<Converged, StreamError> {
        self.ensure(&stream.name, &wanted(stream)).await
    }

    pub(super) async fn ensure(&self, name: &str, wanted: &Wanted) -> Result<Converged, StreamError> {
        let found = match self.api(&format!("STREAM.INFO.{name}"), &json!({})).await {
            Ok(info) => Some(config_of(info)),
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => None,
            Err(error) => return Err(StreamError::Read(name.to_owned(), error)),
        };
        let (answer, converged) = match found {
            None => {
                let mut config = Map::from_iter([("name".to_owned(), json!(name))]);
                converge(&mut config, wanted);
                let answer = self.api(&format!("STREAM.CREATE.{name}"), &config.into()).await;
                (answer.map_err(|error| StreamError::Create(name.to_owned(), error))?, Converged::Created)
            }
            Some(mut config) => {
                let differences = converge(&mut config, wanted);
                if differences.is_empty() {
                    return Ok(Converged::AsWanted);
                }
                let answer = self.api(&format!("STREAM.UPDATE.{name}"), &config.into()).await;
                let answer = answer.map_err(|source| StreamError::Change {
                    stream: name.to_owned(),
                    differences: differences.clone(),
                    source,
                })?;
                (answer, Converged::Updated(differences))
            }
        };
        let differences = converge(&mut config_of(answer), wanted);
        if !differences.is_empty() {
            return Err(StreamError::LeftOut { stream: name.to_owned(), differences });
        }
        match &converged {
            Converged::Created => tracing::info!(stream = name, "stream created"),
            Converged::Updated(differences) => {
                tracing::info!(stream = name, was = listed(differences), "stream updated")
            }
            Converged::AsWanted => {}
        }
        Ok(converged)
    }
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

fn wanted(stream: &config::Stream) -> Wanted {
    let subjects: Vec<_> = stream.subjects.iter().map(|subject| subject.as_str()).collect();
    let storage = |storage| match storage {
        Storage::File => "file",
        Storage::Memory => "memory",
    };
    let nanoseconds = |duration: std::time::Duration| json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let mut wanted = vec![("subjects", json!(subjects))];
    wanted.extend(stream.storage.map(|kind| ("storage", json!(storage(kind)))));
    wanted.extend(stream.replicas.map(|replicas| ("num_replicas", json!(replicas))));
    wanted.extend(stream.max_age.map(|age| ("max_age", nanoseconds(age))));
    wanted.extend(stream.max_bytes.map(|bytes| ("max_bytes", json!(bytes))));
    wanted.extend(stream.max_messages.map(|messages| ("max_msgs", json!(messages))));
    wanted.extend(stream.duplicate_window.map(|window| ("duplicate_window", nanoseconds(window))));
    wanted
}
