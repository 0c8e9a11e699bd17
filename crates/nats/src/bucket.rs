//! A JetStream key-value bucket, reduced to what routers need to agree on something: reading the
//! newest value, and writing unless another client did meanwhile. `nats kv` shows the same bucket.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{ApiError, Connection, StreamError, api::WantedFields, code};

/// Time for which a deletion mark stays, and a value that is not renewed.
const LINGER: Duration = Duration::from_secs(3600);

/// An existing bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    connection: Connection,
    name: &'static str,
}

/// Value and revision of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketEntry {
    pub value: Option<Value>,
    /// Revision that a write has to name to follow this one; 0 if the bucket has no record of the
    /// key. Deletions have revisions, too.
    pub revision: u64,
}

#[derive(Deserialize)]
struct BucketMessage {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Bucket {
    /// Opens the bucket, and makes it with so many replicas if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, does not allow it, or is older than 2.11.
    pub async fn open(connection: Connection, name: &'static str, replicas: usize) -> Result<Self, StreamError> {
        let stream = format!("KV_{name}");
        let mut wanted: WantedFields = vec![
            ("subjects", json!([format!("$KV.{name}.>")])),
            ("max_msgs_per_subject", json!(1)),
            ("discard", json!("new")),
            ("deny_delete", json!(true)),
            ("allow_rollup_hdrs", json!(true)),
            ("allow_direct", json!(true)),
            ("allow_msg_ttl", json!(true)),
        ];
        // For an existing bucket their number is the server operator's choice.
        if connection.stream_info(&stream).await?.is_none() {
            wanted.push(("num_replicas", json!(replicas)));
        }
        connection.ensure(&stream, wanted).await?;
        Ok(Self { connection, name })
    }

    /// The newest entry, read from the stream's leader.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or the value is not JSON.
    pub async fn get(&self, key: &str) -> Result<BucketEntry, ApiError> {
        let request = format!("STREAM.MSG.GET.KV_{}", self.name);
        let answer = self.connection.api(&request, &json!({ "last_by_subj": self.subject(key) })).await;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.code() == Some(code::MESSAGE_NOT_FOUND) => {
                return Ok(BucketEntry { value: None, revision: 0 });
            }
            Err(error) => return Err(error),
        };
        let unreadable = |error: anyhow::Error| ApiError::Failed(request.clone(), error);
        let message = answer.get_mut("message").map(Value::take).unwrap_or_default();
        let BucketMessage { seq: revision, hdrs, data } =
            serde_json::from_value(message).map_err(|error| unreadable(error.into()))?;
        let headers = BASE64_STANDARD.decode(hdrs).map_err(|error| unreadable(error.into()))?;
        // A deletion mark, from any client.
        if String::from_utf8_lossy(&headers).contains("KV-Operation:") {
            return Ok(BucketEntry { value: None, revision });
        }
        let data = BASE64_STANDARD.decode(data).map_err(|error| unreadable(error.into()))?;
        let value = serde_json::from_slice(&data).map_err(|error| unreadable(error.into()))?;
        Ok(BucketEntry { value: Some(value), revision })
    }

    /// Writes if the key's newest revision is still `after`. Returns the new revision, or `None` if
    /// another write came first. If the future is dropped or there is no answer, the value may have
    /// been written.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn put(&self, key: &str, value: &Value, after: u64) -> Result<Option<u64>, ApiError> {
        self.publish(key, value.to_string(), HeaderMap::new(), after).await
    }

    /// Writes as [`Self::put`], but the value expires unless it is written again within an hour.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn put_fleeting(&self, key: &str, value: &Value, after: u64) -> Result<Option<u64>, ApiError> {
        self.publish(key, value.to_string(), lingering(), after).await
    }

    /// Deletes the key if its newest revision is still `after`. Returns whether it was.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn delete(&self, key: &str, after: u64) -> Result<bool, ApiError> {
        let mut headers = lingering();
        headers.insert("KV-Operation", "DEL");
        Ok(self.publish(key, String::new(), headers, after).await?.is_some())
    }

    /// Keys below `prefix`, including recently deleted ones.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
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
