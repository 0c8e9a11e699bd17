//! Requests to the JetStream API, and updates of the server's configurations to the wanted ones.
//! Configurations are kept as the server's JSON, so that an update never loses a field that this
//! program does not know.

use std::{fmt, time::Duration};

use async_nats::RequestErrorKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use crate::{Connection, NoPermission, code, headers::given_headers};

pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Error of a request to the JetStream API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the server says: {description} (error code {code})")]
    Refused { code: u64, description: String },
    #[error("the server does not allow it")]
    NoPermission(#[from] NoPermission),
    #[error("no response from `{0}`: is JetStream enabled for this account?")]
    NoResponders(String),
    #[error("the message for `{0}` is larger than the server takes")]
    TooLarge(String, #[source] anyhow::Error),
    #[error("request `{0}` failed")]
    Failed(String, #[source] anyhow::Error),
}

impl ApiError {
    /// The server's error code, if it answered.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns whether the error may go away without a change of the request, the identity or its
    /// permissions.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { code, .. } => !code::is_final(*code),
            Self::NoResponders(_) | Self::Failed(..) => true,
            Self::NoPermission(_) | Self::TooLarge(..) => false,
        }
    }
}

#[derive(Deserialize)]
struct ApiRefusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The place at which a message was stored.
#[derive(Debug, Deserialize)]
pub struct PublishPosition {
    pub stream: String,
    #[serde(rename = "seq")]
    pub sequence: u64,
}

impl Connection {
    /// Sends a request, for example `STREAM.INFO.x`, and returns the answer. A denied permission is
    /// returned at once instead of after the time-out.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn api(&self, subject: &str, body: &Value) -> Result<Value, ApiError> {
        let subject = self.api_subject(subject);
        let payload = serde_json::to_vec(body).map_err(|error| ApiError::Failed(subject.clone(), error.into()))?;
        self.ask(subject, async_nats::Request::new().payload(payload.into())).await
    }

    /// The full subject of an operation of the API.
    pub fn api_subject(&self, operation: &str) -> String {
        format!("{}.{operation}", self.api)
    }

    /// Prefix of the subjects of the API.
    pub(super) fn api_prefix(&self) -> &str {
        &self.api
    }

    /// Sends a request that JetStream answers in JSON, to a subject of its API or of a stream.
    pub(super) async fn ask(&self, subject: String, request: async_nats::Request) -> Result<Value, ApiError> {
        let request = request.timeout(Some(TIMEOUT));
        // Counted before anything is sent: the denial may arrive before the wait for it begins.
        let before = self.denials();
        let answer = tokio::select! {
            answer = self.client().send_request(subject.clone(), request) => answer,
            denial = self.denied(before, &subject) => return Err(denial.into()),
        };
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NoResponders(subject.clone()),
            RequestErrorKind::MaxPayloadExceeded => ApiError::TooLarge(subject.clone(), error.into()),
            _ => ApiError::Failed(subject.clone(), error.into()),
        })?;
        let mut answer: Value =
            serde_json::from_slice(&answer.payload).map_err(|error| ApiError::Failed(subject.clone(), error.into()))?;
        match answer.get_mut("error").map(Value::take) {
            None => Ok(answer),
            Some(error) => {
                let ApiRefusal { err_code: code, description } =
                    serde_json::from_value(error).map_err(|error| ApiError::Failed(subject, error.into()))?;
                Err(ApiError::Refused { code, description })
            }
        }
    }

    /// Publishes a message into any stream that takes its subject, and waits until it is stored.
    ///
    /// # Errors
    /// Returns [`ApiError::NoResponders`] if no stream takes it.
    pub async fn publish(
        &self,
        subject: &str,
        headers: &[(String, String)],
        payload: bytes::Bytes,
    ) -> Result<PublishPosition, ApiError> {
        let mut request = async_nats::Request::new().payload(payload);
        if !headers.is_empty() {
            let failed = |error| ApiError::Failed(subject.to_owned(), error);
            request = request.headers(given_headers(headers).map_err(failed)?);
        }
        let answer = self.ask(subject.to_owned(), request).await?;
        serde_json::from_value(answer).map_err(|error| ApiError::Failed(subject.to_owned(), error.into()))
    }

    /// Sends a message by core NATS, and returns once it is written to the server. Nothing confirms
    /// that it came anywhere.
    ///
    /// # Errors
    /// Returns an error if a header can't be sent, or if the connection has ended.
    pub async fn send(&self, subject: &str, headers: &[(String, String)], payload: bytes::Bytes) -> anyhow::Result<()> {
        let headers = given_headers(headers)?;
        self.client().publish_with_headers(subject.to_owned(), headers, payload).await?;
        self.flush().await
    }

    /// Resolves when publishing to `subject` is denied, after the first `before` denials, or when
    /// no answer can arrive.
    async fn denied(&self, before: u64, subject: &str) -> NoPermission {
        let mut connection = self.clone();
        loop {
            let here = connection.publish_denied(before, subject);
            if let Some(denial) = here.or_else(|| connection.unheard()) {
                return denial;
            }
            connection.noticed().await;
        }
    }

    /// The newest denial of publishing to `subject`, after the first `before` denials.
    pub(super) fn publish_denied(&self, before: u64, subject: &str) -> Option<NoPermission> {
        // With a domain, a denial names the server's own subject.
        let own = subject.strip_prefix(&*self.api).map(|operation| format!("$JS.API{operation}"));
        let concerns = |denied: &str| denied == subject || own.as_deref() == Some(denied);
        self.denied_since(before, |denial| denial.publish && concerns(&denial.subject))
    }
}

/// Fields with their wanted values.
pub type WantedFields = Vec<(&'static str, Value)>;

/// A field that differs from what is wanted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDifference {
    /// The server's name of the field; a member of an object follows after a dot.
    pub field: String,
    pub found: Value,
    pub wanted: Value,
}

impl FieldDifference {
    /// The server's value, in a readable form.
    pub fn shown_found(&self) -> impl fmt::Display {
        ShownValue(&self.field, &self.found)
    }

    /// The wanted value, in a readable form.
    pub fn shown_wanted(&self) -> impl fmt::Display {
        ShownValue(&self.field, &self.wanted)
    }
}

impl fmt::Display for FieldDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}, wanted {}", self.field, self.shown_found(), self.shown_wanted())
    }
}

/// The value of a field in a readable form: durations with their unit, and absent limits as
/// `unlimited`.
pub struct ShownValue<'a>(pub &'a str, pub &'a Value);

impl fmt::Display for ShownValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(field, value) = self;
        match value {
            Value::Null => f.write_str("not set"),
            Value::Number(number) if field.starts_with("max_") && is_none(number) => f.write_str("unlimited"),
            Value::Number(number) if matches!(*field, "max_age" | "duplicate_window" | "ack_wait") => {
                match number.as_u64() {
                    Some(nanoseconds) => write!(f, "{:?}", Duration::from_nanos(nanoseconds)),
                    None => write!(f, "{number}"),
                }
            }
            value => write!(f, "{value}"),
        }
    }
}

/// Returns whether a limit is unset: the server takes 0 and -1 as no limit.
fn is_none(limit: &Number) -> bool {
    limit.as_i64().is_some_and(|limit| limit <= 0)
}

/// Writes the wanted fields into the server's configuration and returns the differences. In objects
/// only the wanted members count: the others are the server's.
pub fn converge(config: &mut Map<String, Value>, wanted: &WantedFields) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    for (field, wanted) in wanted {
        merge(config, field, wanted, (*field).to_owned(), &mut differences);
    }
    differences
}

fn merge(
    config: &mut Map<String, Value>,
    name: &str,
    wanted: &Value,
    field: String,
    differences: &mut Vec<FieldDifference>,
) {
    if let (Some(Value::Object(found)), Value::Object(wanted)) = (config.get_mut(name), wanted) {
        for (member, wanted) in wanted {
            merge(found, member, wanted, format!("{field}.{member}"), differences);
        }
        return;
    }
    let found = config.get(name).cloned().unwrap_or_default();
    if is_same(name, &found, wanted) {
        return;
    }
    let merged = match (&found, wanted) {
        // Elements that exist already keep their members that are not mentioned.
        (Value::Array(found), Value::Array(wanted)) => {
            let kept = |wanted| found.iter().find(|found| is_same(name, found, wanted));
            wanted.iter().map(|wanted| kept(wanted).unwrap_or(wanted).clone()).collect()
        }
        _ => wanted.clone(),
    };
    config.insert(name.to_owned(), merged);
    differences.push(FieldDifference { field, found, wanted: wanted.clone() });
}

/// Compares lists as sets, times as points in time, and objects by their wanted members. An unset
/// value equals an empty one or `false`.
fn is_same(name: &str, found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().all(|found| wanted.iter().any(|wanted| is_same(name, found, wanted)))
                && wanted.iter().all(|wanted| found.iter().any(|found| is_same(name, found, wanted)))
        }
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| is_same(name, found.get(name).unwrap_or(&Value::Null), wanted))
        }
        (Value::Number(found), Value::Number(wanted)) => found == wanted || is_none(found) && is_none(wanted),
        (Value::String(found), Value::String(wanted)) if name == "opt_start_time" => {
            let [found, wanted] = [found, wanted].map(|time| time.parse::<Timestamp>().ok());
            found == wanted
        }
        // Servers before 2.10 have no compression.
        (Value::Null, wanted) => [json!(""), json!("none"), json!([]), json!(false)].contains(wanted),
        _ => found == wanted,
    }
}

/// Formats differences as a list in one line.
pub(super) fn listed(differences: &[FieldDifference]) -> String {
    differences.iter().map(FieldDifference::to_string).collect::<Vec<_>>().join("; ")
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
        let wanted: WantedFields = vec![
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
    /// A value that the server fills in or spells differently does not count as a difference.
    #[test]
    fn objects_lists_times_and_limits_mean_the_same_in_other_words() {
        let mut config = object(json!({
            "max_msgs": -1,
            "republish": { "src": ">", "dest": "out.>" },
            "mirror": { "name": "A", "opt_start_time": "2026-01-02T03:04:05.12+02:00", "external": { "api": "x" } },
            "sources": [{ "name": "C", "filter_subject": "c.>" }, { "name": "B", "external": { "api": "x" } }],
        }));
        let before = config.clone();
        let same: WantedFields = vec![
            ("max_msgs", json!(0)),
            ("republish", json!({ "dest": "out.>", "headers_only": false })),
            ("mirror", json!({ "name": "A", "opt_start_time": "2026-01-02T01:04:05.120Z" })),
            ("sources", json!([{ "name": "B" }, { "name": "C", "filter_subject": "c.>" }])),
            ("compression", json!("none")),
        ];
        assert_eq!(listed(&converge(&mut config, &same)), "");
        assert_eq!(config, before);

        let other: WantedFields = vec![
            ("max_msgs", json!(7)),
            ("republish", json!({ "dest": "in.>", "headers_only": true })),
            ("sources", json!([{ "name": "B" }, { "name": "D" }])),
        ];
        insta::assert_snapshot!(converge(&mut config, &other).iter().map(|d| format!("{d}\n")).collect::<String>(), @r#"
        `max_msgs` is unlimited, wanted 7
        `republish.dest` is "out.>", wanted "in.>"
        `republish.headers_only` is not set, wanted true
        `sources` is [{"filter_subject":"c.>","name":"C"},{"external":{"api":"x"},"name":"B"}], wanted [{"name":"B"},{"name":"D"}]
        "#);
        assert_eq!(config["republish"], json!({ "src": ">", "dest": "in.>", "headers_only": true }));
        assert_eq!(config["sources"], json!([{ "name": "B", "external": { "api": "x" } }, { "name": "D" }]));
    }
}
