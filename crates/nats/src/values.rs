//! A JetStream key-value bucket of bytes: values that expire, and writes that give way to others.
//! `nats kv` shows the same bucket.

use std::{collections::HashMap, time::Duration};

use async_nats::{HeaderMap, HeaderValue, Request, jetstream};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{ApiError, Connection, RawMessage, StreamError, api::WantedFields, code};

/// Header with the time at which a value expires, in Unix milliseconds: the server counts whole
/// seconds.
const EXPIRES: &str = "Trommel-Expires";
/// Header with the name under which a value is counted.
const OWNER: &str = "Trommel-Owner";
/// Requests under way when many values are read or written.
const AT_ONCE: usize = 16;

/// What a bucket is to be like.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    pub name: String,
    /// Replicas of a new bucket; for an existing one their number is the server operator's choice.
    pub replicas: usize,
    /// Time after which a value goes that is not written again.
    pub max_age: Option<Duration>,
    pub max_bytes: u64,
}

/// An existing bucket of bytes.
#[derive(Clone, Debug)]
pub struct ValueBucket {
    connection: Connection,
    name: String,
}

/// A value, and what a write that follows it has to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredValue {
    /// `None` for a key without a value.
    pub value: Option<Bytes>,
    /// Revision that a write has to name to follow this one. Deletions have revisions, too.
    pub revision: u64,
    /// Time at which it expires, in Unix milliseconds.
    pub expires: Option<u64>,
}

/// What a value is written with.
#[derive(Clone, Copy, Debug)]
pub struct ValueTerms<'a> {
    /// Name under which it is counted; empty for none.
    pub owner: &'a str,
    /// Time at which it expires, in Unix milliseconds.
    pub expires: Option<u64>,
    /// The key's newest revision; if it is another, nothing is written.
    pub after: Option<u64>,
}

impl ValueBucket {
    /// Opens the bucket, and makes it if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, does not allow it, or is older than 2.11.
    pub async fn open(connection: Connection, settings: &BucketSettings) -> Result<Self, StreamError> {
        let BucketSettings { name, replicas, max_age, max_bytes } = settings;
        let stream = format!("KV_{name}");
        let max_age = max_age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(0));
        let mut wanted: WantedFields = vec![
            ("subjects", json!([format!("$KV.{name}.>")])),
            ("max_msgs_per_subject", json!(1)),
            ("max_age", json!(max_age)),
            ("max_bytes", json!(max_bytes)),
            ("discard", json!("new")),
            ("deny_purge", json!(false)),
            ("allow_rollup_hdrs", json!(true)),
            ("allow_direct", json!(true)),
            ("allow_msg_ttl", json!(true)),
        ];
        if connection.stream_info(&stream).await?.is_none() {
            wanted.push(("num_replicas", json!(replicas)));
        }
        connection.ensure(&stream, wanted).await?;
        Ok(Self { connection, name: name.clone() })
    }

    /// Returns whether the server can be asked now.
    pub fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    /// The newest value, read from the stream's leader.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn get(&self, key: &str) -> Result<StoredValue, ApiError> {
        let stream = format!("KV_{}", self.name);
        let Some(found) = RawMessage::newest(&self.connection, &stream, &self.subject(key)).await? else {
            return Ok(StoredValue::default());
        };
        let revision = found.sequence;
        let headers = found.headers().0;
        // A deletion mark, from any client.
        if headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some() {
            return Ok(StoredValue { revision, ..StoredValue::default() });
        }
        let expires = headers.get(EXPIRES).and_then(|text| text.parse().ok());
        if expires.is_some_and(|expires| expires <= now()) {
            return Ok(StoredValue { revision, ..StoredValue::default() });
        }
        Ok(StoredValue { value: Some(found.payload), revision, expires })
    }

    /// The newest values of many keys, in their order.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, ApiError> {
        let asked: Vec<_> = keys.iter().map(|key| self.get(key)).collect();
        stream::iter(asked).buffered(AT_ONCE).map_ok(|found| found.value).try_collect().await
    }

    /// Writes a value. Returns false if another write came first. If the future is dropped or there
    /// is no answer, the value may have been written.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not take it.
    pub async fn put(&self, key: &str, value: Bytes, terms: ValueTerms<'_>) -> Result<bool, ApiError> {
        let ValueTerms { owner, expires, after } = terms;
        let mut headers = HeaderMap::new();
        if !owner.is_empty() {
            headers.insert(OWNER, owner);
        }
        if let Some(expires) = expires {
            let seconds = expires.saturating_sub(now()).div_ceil(1000).max(1);
            headers.insert("Nats-TTL", format!("{seconds}s"));
            headers.insert(EXPIRES, HeaderValue::from(expires));
        }
        if let Some(after) = after {
            headers.insert("Nats-Expected-Last-Subject-Sequence", HeaderValue::from(after));
        }
        let request = Request::new().headers(headers).payload(value);
        match self.connection.ask(self.subject(key), request).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(code::WRONG_LAST_SEQUENCE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes many values, whatever was there, each for itself: if one is not taken, others may be
    /// written.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_many(&self, values: Vec<(String, Bytes)>, terms: ValueTerms<'_>) -> Result<(), ApiError> {
        let puts: Vec<_> =
            values.into_iter().map(async |(key, value)| self.put(&key, value, terms).await.map(drop)).collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Removes a key, without a mark that it was there.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn delete(&self, key: &str) -> Result<(), ApiError> {
        let request = format!("STREAM.PURGE.KV_{}", self.name);
        self.connection.api(&request, &json!({ "filter": self.subject(key) })).await.map(drop)
    }

    /// Removes many keys.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), ApiError> {
        let deletes: Vec<_> = keys.iter().map(|key| self.delete(key)).collect();
        stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Passes the keys below `prefix`, without it, to `each`, until that has enough.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn keys(&self, prefix: &str, mut each: impl FnMut(&str) -> bool) -> Result<(), ApiError> {
        let (filter, start) = (self.subject(&format!("{prefix}.>")), self.subject(&format!("{prefix}.")));
        let mut offset = 0;
        loop {
            let page = json!({ "subjects_filter": filter, "offset": offset });
            let info = self.connection.api(&format!("STREAM.INFO.KV_{}", self.name), &page).await?;
            let Some(subjects) = info.pointer("/state/subjects").and_then(Value::as_object) else { return Ok(()) };
            let mut keys = subjects.keys().filter_map(|subject| subject.strip_prefix(&start));
            offset += subjects.len();
            let total = info.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
            if !keys.all(&mut each) || subjects.is_empty() || total.is_none_or(|total| offset >= total) {
                return Ok(());
            }
        }
    }

    /// Bytes of the values below `prefix` by owner, each value with its key and `overhead` bytes
    /// more.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn sizes(&self, prefix: &str, overhead: u64) -> anyhow::Result<HashMap<String, u64>> {
        let (filter, start) = (self.subject(&format!("{prefix}.>")), self.subject(&format!("{prefix}.")));
        let context = jetstream::with_prefix(self.connection.client().clone(), self.connection.api_prefix());
        let stream = context.get_stream(format!("KV_{}", self.name)).await?;
        let config = jetstream::consumer::pull::OrderedConfig {
            filter_subject: filter,
            headers_only: true,
            ..Default::default()
        };
        let mut consumer = stream.create_consumer(config).await?;
        let mut sizes = HashMap::new();
        if consumer.info().await?.num_pending == 0 {
            return Ok(sizes);
        }
        let mut messages = consumer.messages().await?;
        while let Some(message) = messages.try_next().await? {
            let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str());
            let value = header("Nats-Msg-Size").and_then(|text| text.parse().ok()).unwrap_or(0_u64);
            let key = message.subject.len().saturating_sub(start.len()) as u64;
            *sizes.entry(header(OWNER).unwrap_or_default().to_owned()).or_default() += value + key + overhead;
            if message.info().is_ok_and(|info| info.pending == 0) {
                break;
            }
        }
        Ok(sizes)
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }
}

/// This machine's time, in Unix milliseconds.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}
