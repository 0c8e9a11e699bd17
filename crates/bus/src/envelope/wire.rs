//! Envelopes as JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

use super::Envelope;
use crate::event::{SubjectError, check_subject};

/// Time that other libraries write for a missing time: the first moment of year 1.
const NO_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

#[derive(Serialize)]
struct WrittenEnvelope<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = self.payload.as_deref().map(serde_json::from_slice);
        let written = WrittenEnvelope {
            id: &self.id,
            subject: &self.subject,
            time: self.time,
            source: some(&self.source),
            trace_id: some(&self.trace_id),
            span_id: some(&self.span_id),
            headers: self.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
            payload: payload
                .transpose()
                .map_err(|error| S::Error::custom(format!("the payload is not JSON: {error}")))?,
        };
        written.serialize(serializer)
    }
}

fn some(text: &Option<ByteString>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

#[derive(Deserialize)]
pub(super) struct ReadEnvelope {
    #[serde(default)]
    id: String,
    subject: String,
    time: Option<Timestamp>,
    source: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    payload: Option<Box<RawValue>>,
}

impl TryFrom<ReadEnvelope> for Envelope {
    type Error = SubjectError;

    fn try_from(read: ReadEnvelope) -> Result<Self, SubjectError> {
        check_subject(&read.subject)?;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty()).map(ByteString::from);
        let headers = read.headers.unwrap_or_default().into_iter();
        Ok(Self {
            id: read.id.into(),
            subject: read.subject.into(),
            time: read.time.filter(|time| *time != NO_TIME),
            source: some(read.source),
            trace_id: some(read.trace_id),
            span_id: some(read.span_id),
            headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
            payload: read.payload.map(|payload| Bytes::from(Box::<str>::from(payload).into_string())),
        })
    }
}
