//! A JetStream key-value bucket, reduced to what routers need to agree on something: reading the
//! newest value, and writing unless another client did meanwhile. `nats kv` shows the same bucket.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    ApiError, Connection, StreamError,
    api::{self, WantedFields},
    code,
};

/// Time for which a deletion mark stays, and a value that is not renewed.
const LINGER: Duration = Duration::from_secs(3600);
/// Entries that are asked for at once.
const PAGE: usize = 1_000;

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

    /// The newest entries of the keys that were written after a revision, in the order of their
    /// revisions. A replica of the stream may answer that does not have the latest ones yet, and
    /// an entry that is written meanwhile may be missing until the next call.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or a value is not JSON.
    pub async fn changes_after(&self, mut revision: u64) -> Result<Vec<(String, BucketEntry)>, ApiError> {
        let mut entries = Vec::new();
        loop {
            let (mut page, is_last) = self.changes_page(revision).await?;
            revision = page.last().map_or(revision, |(_, entry)| entry.revision);
            let is_last = is_last || page.is_empty();
            entries.append(&mut page);
            if is_last {
                return Ok(entries);
            }
        }
    }

    /// A page of [`Self::changes_after`], and whether it is the last one.
    async fn changes_page(&self, revision: u64) -> Result<(Vec<(String, BucketEntry)>, bool), ApiError> {
        let request = self.connection.api_subject(&format!("DIRECT.GET.KV_{}", self.name));
        let failed = |error: anyhow::Error| ApiError::Failed(request.clone(), error);
        let wanted = json!({ "seq": revision + 1, "next_by_subj": self.subject(">"), "batch": PAGE });
        let client = self.connection.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
        let asked = client.publish_with_reply(request.clone(), inbox, wanted.to_string().into()).await;
        asked.map_err(|error| failed(error.into()))?;
        let (mut page, prefix) = (Vec::new(), self.subject(""));
        loop {
            let answer = timeout(api::TIMEOUT, answers.next()).await.map_err(|error| failed(error.into()))?;
            let message = answer.ok_or_else(|| failed(anyhow::anyhow!("the connection has ended")))?;
            let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
            let number = |name: &str| header(name)?.parse::<u64>().ok();
            match message.status.map(|status| status.as_u16()) {
                None | Some(200) => {}
                // There is nothing newer.
                Some(404) => return Ok((page, true)),
                Some(204) => return Ok((page, number("Nats-Num-Pending").unwrap_or_default() == 0)),
                Some(503) => return Err(ApiError::NoResponders(request)),
                Some(status) => return Err(failed(anyhow::anyhow!("the server answers {status}"))),
            }
            let (subject, revision) = (header("Nats-Subject"), number("Nats-Sequence"));
            let (Some(subject), Some(revision)) = (subject, revision) else {
                return Err(failed(anyhow::anyhow!("an entry has no subject or no sequence")));
            };
            let is_deleted = header("KV-Operation").is_some();
            let value = (!is_deleted).then(|| serde_json::from_slice(&message.payload)).transpose();
            let value = value.map_err(|error| failed(error.into()))?;
            let key = subject.strip_prefix(&prefix).unwrap_or(&subject).to_owned();
            page.push((key, BucketEntry { value, revision }));
        }
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
