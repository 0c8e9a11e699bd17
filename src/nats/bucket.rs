//! A JetStream key-value bucket, as far as routers need one to agree on something: read the newest, write unless
//! somebody else did meanwhile. `nats kv` shows the same bucket.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::nats::{ApiError, Connection, StreamError, api::Wanted, code};

/// How long the mark of a deletion stays, and a value that nobody renews.
const LINGER: Duration = Duration::from_secs(3600);

/// A bucket that is there.
#[derive(Clone, Debug)]
pub struct Bucket {
    connection: Connection,
    name: &'static str,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub value: Option<Value>,
    /// What a write must name to come after this; 0 when the bucket knows nothing of the key. Deletions count too.
    pub revision: u64,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Bucket {
    /// Makes the bucket when it is not there, with so many replicas.
    ///
    /// # Errors
    /// When the server does not answer, does not allow it, or is older than 2.11.
    pub async fn open(connection: Connection, name: &'static str, replicas: usize) -> Result<Self, StreamError> {
        let stream = format!("KV_{name}");
        let mut wanted: Wanted = vec![
            ("subjects", json!([format!("$KV.{name}.>")])),
            ("max_msgs_per_subject", json!(1)),
            ("discard", json!("new")),
            ("deny_delete", json!(true)),
            ("allow_rollup_hdrs", json!(true)),
            ("allow_direct", json!(true)),
            ("allow_msg_ttl", json!(true)),
        ];
        // Later they are whoever's who runs the server.
        if connection.stream_info(&stream).await?.is_none() {
            wanted.push(("num_replicas", json!(replicas)));
        }
        connection.ensure(&stream, &wanted).await?;
        Ok(Self { connection, name })
    }

    /// The newest entry, as the stream's leader has it.
    ///
    /// # Errors
    /// When the server does not answer, or the value is not JSON.
    pub async fn get(&self, key: &str) -> Result<Entry, ApiError> {
        let request = format!("STREAM.MSG.GET.KV_{}", self.name);
        let answer = self.connection.api(&request, &json!({ "last_by_subj": self.subject(key) })).await;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.code() == Some(code::MESSAGE_NOT_FOUND) => {
                return Ok(Entry { value: None, revision: 0 });
            }
            Err(error) => return Err(error),
        };
        let unreadable = |error: anyhow::Error| ApiError::Failed(request.clone(), error);
        let message = answer.get_mut("message").map(Value::take).unwrap_or_default();
        let Stored { seq: revision, hdrs, data } =
            serde_json::from_value(message).map_err(|error| unreadable(error.into()))?;
        let headers = BASE64_STANDARD.decode(hdrs).map_err(|error| unreadable(error.into()))?;
        // The mark of a deletion, whoever made it.
        if String::from_utf8_lossy(&headers).contains("KV-Operation:") {
            return Ok(Entry { value: None, revision });
        }
        let data = BASE64_STANDARD.decode(data).map_err(|error| unreadable(error.into()))?;
        let value = serde_json::from_slice(&data).map_err(|error| unreadable(error.into()))?;
        Ok(Entry { value: Some(value), revision })
    }

    /// Writes, if the key's newest revision still is `after`: the new revision, or `None` when somebody was faster. When
    /// the future is dropped or there is no answer, it may have been written.
    ///
    /// # Errors
    /// When the server does not answer or does not allow it.
    pub async fn put(&self, key: &str, value: &Value, after: u64) -> Result<Option<u64>, ApiError> {
        self.publish(key, value.to_string(), HeaderMap::new(), after).await
    }

    /// As [`Self::put`], but what is not written again within an hour goes by itself.
    ///
    /// # Errors
    /// When the server does not answer or does not allow it.
    pub async fn put_fleeting(&self, key: &str, value: &Value, after: u64) -> Result<Option<u64>, ApiError> {
        self.publish(key, value.to_string(), lingering(), after).await
    }

    /// Deletes, if the key's newest revision still is `after`: whether it was.
    ///
    /// # Errors
    /// When the server does not answer or does not allow it.
    pub async fn delete(&self, key: &str, after: u64) -> Result<bool, ApiError> {
        let mut headers = lingering();
        headers.insert("KV-Operation", "DEL");
        Ok(self.publish(key, String::new(), headers, after).await?.is_some())
    }

    /// The keys below `prefix`, deleted ones for some time included.
    ///
    /// # Errors
    /// When the server does not answer or does not allow it.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, ApiError> {
        let filter = json!({ "subjects_filter": self.subject(&format!("{prefix}.>")) });
        let info = self.connection.api(&format!("STREAM.INFO.KV_{}", self.name), &filter).await?;
        let start = self.subject("");
        let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
        let keys = subjects.into_iter().flat_map(|subjects| subjects.keys());
        Ok(keys.filter_map(|subject| subject.strip_prefix(&start).map(str::to_owned)).collect())
    }

    async fn publish(
        &self,
        key: &str,
        payload: String,
        mut headers: HeaderMap,
        after: u64,
    ) -> Result<Option<u64>, ApiError> {
        let subject = self.subject(key);
        headers.insert("Nats-Expected-Last-Subject-Sequence", HeaderValue::from(after));
        let request = Request::new().headers(headers).payload(payload.into());
        match self.connection.ask(subject.clone(), request).await {
            Ok(ack) => match ack.get("seq").and_then(Value::as_u64) {
                Some(revision) => Ok(Some(revision)),
                None => Err(ApiError::Failed(subject, anyhow::anyhow!("the answer `{ack}` names no sequence"))),
            },
            Err(error) if error.code() == Some(code::WRONG_LAST_SEQUENCE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }
}

fn lingering() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-TTL", format!("{}s", LINGER.as_secs()));
    headers
}
