//! Requests to the JetStream API, and bringing what the server has in line with what is wanted. Configurations are kept
//! as the server's JSON, so that an update never loses a field that this program does not know.

use std::{fmt, time::Duration};

use async_nats::RequestErrorKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::nats::{Connection, NoPermission};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Error codes of the JetStream API.
pub mod code {
    pub const CONSUMER_CREATE: u64 = 10012;
    pub const CONSUMER_NOT_FOUND: u64 = 10014;
    pub const MESSAGE_NOT_FOUND: u64 = 10037;
    pub const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;
    pub const STREAM_NOT_FOUND: u64 = 10059;
    pub const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub const STORE_FAILED: u64 = 10077;
}

/// Why a request to the JetStream API did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the server says: {description} (error code {code})")]
    Refused { code: u64, description: String },
    #[error("the server does not allow it")]
    NoPermission(#[from] NoPermission),
    #[error("nobody answers `{0}`: is JetStream enabled for this account?")]
    NoResponders(String),
    #[error("request `{0}` failed")]
    Failed(String, #[source] anyhow::Error),
}

impl ApiError {
    /// The server's error code, when it answered.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Connection {
    /// Sends a request, `STREAM.INFO.x` for example, and returns the answer. A denied permission is told at once instead
    /// of after the time-out.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn api(&self, subject: &str, body: &Value) -> Result<Value, ApiError> {
        let subject = format!("$JS.API.{subject}");
        let payload = serde_json::to_vec(body).map_err(|error| ApiError::Failed(subject.clone(), error.into()))?;
        self.ask(subject, async_nats::Request::new().payload(payload.into())).await
    }

    /// Sends what JetStream answers in JSON, to a subject of its API or of a stream.
    pub(super) async fn ask(&self, subject: String, request: async_nats::Request) -> Result<Value, ApiError> {
        let request = request.timeout(Some(TIMEOUT));
        let answer = tokio::select! {
            answer = self.client().send_request(subject.clone(), request) => answer,
            denial = self.denied(&subject) => return Err(denial.into()),
        };
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NoResponders(subject.clone()),
            // Without the inbox no request is ever answered, and that was said only once.
            RequestErrorKind::TimedOut => {
                match self.denied_since(0, |denial| !denial.publish && denial.subject.starts_with("_INBOX.")) {
                    Some(denial) => denial.into(),
                    None => ApiError::Failed(subject.clone(), error.into()),
                }
            }
            _ => ApiError::Failed(subject.clone(), error.into()),
        })?;
        let mut answer: Value =
            serde_json::from_slice(&answer.payload).map_err(|error| ApiError::Failed(subject.clone(), error.into()))?;
        match answer.get_mut("error").map(Value::take) {
            None => Ok(answer),
            Some(error) => {
                let Refusal { err_code: code, description } =
                    serde_json::from_value(error).map_err(|error| ApiError::Failed(subject, error.into()))?;
                Err(ApiError::Refused { code, description })
            }
        }
    }

    /// Resolves when publishing to `subject` is denied from now on.
    async fn denied(&self, subject: &str) -> NoPermission {
        let mut connection = self.clone();
        let before = connection.denials();
        loop {
            if let Some(denial) = connection.denied_since(before, |denial| denial.publish && denial.subject == subject)
            {
                return denial;
            }
            connection.noticed().await;
        }
    }
}

/// A field and the value that it shall have.
pub(crate) type Wanted = Vec<(&'static str, Value)>;

/// A field that is not as wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub field: &'static str,
    pub found: Value,
    pub wanted: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, wanted } = self;
        write!(f, "`{field}` is {}, wanted {}", Shown(field, found), Shown(field, wanted))
    }
}

/// A value as its reader thinks of it: durations not in nanoseconds.
struct Shown<'a>(&'a str, &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(_, Value::Null) => f.write_str("not set"),
            Self("max_age" | "duplicate_window" | "ack_wait", Value::Number(number)) => match number.as_u64() {
                Some(nanoseconds) => write!(f, "{:?}", Duration::from_nanos(nanoseconds)),
                None => write!(f, "{number}"),
            },
            Self(_, value) => write!(f, "{value}"),
        }
    }
}

/// Writes what is wanted into a configuration as the server has it and returns what was different.
pub(crate) fn converge(config: &mut Map<String, Value>, wanted: &Wanted) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (field, wanted) in wanted {
        let found = config.get(*field).cloned().unwrap_or(Value::Null);
        if !is_same(&found, wanted) {
            differences.push(Difference { field, found, wanted: wanted.clone() });
            config.insert((*field).to_owned(), wanted.clone());
        }
    }
    differences
}

/// Lists are compared as sets; what is not set equals what is empty.
fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().all(|item| wanted.contains(item))
        }
        (Value::Null, wanted) => *wanted == json!("") || *wanted == json!([]),
        _ => found == wanted,
    }
}

/// Differences as a list in one line.
pub(super) fn listed(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_differs_is_written_and_what_is_unknown_stays() {
        let mut config = object(json!({ "subjects": ["b", "a"], "max_age": 1_000_000_000, "unheard_of": { "x": 1 } }));
        let wanted: Wanted = vec![
            ("subjects", json!(["a", "b"])),
            ("max_age", json!(86_400_000_000_000_u64)),
            ("storage", json!("file")),
            ("filter_subjects", json!([])),
        ];
        let differences = converge(&mut config, &wanted);
        assert_eq!(listed(&differences), "`max_age` is 1s, wanted 86400s; `storage` is not set, wanted \"file\"");
        assert_eq!(
            Value::from(config),
            json!({
                "subjects": ["b", "a"],
                "max_age": 86_400_000_000_000_u64,
                "unheard_of": { "x": 1 },
                "storage": "file"
            })
        );
    }
}
