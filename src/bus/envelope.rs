//! What travels on the bus.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use opentelemetry::{Context, trace::TraceContextExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::event::{SubjectError, check_subject, identity};

mod wire;

/// An event on the bus (F01). As JSON it is one object, without what is empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "wire::Read")]
pub struct Envelope {
    /// While it is empty, publishing gives it an xid: 20 characters that sort by time.
    pub id: ByteString,
    subject: ByteString,
    /// When it happened. While there is none, publishing says now.
    pub time: Option<Timestamp>,
    /// Who says so.
    pub source: Option<ByteString>,
    /// W3C trace context. What is missing of it comes from the ambient OpenTelemetry span, if there is one.
    pub trace_id: Option<ByteString>,
    pub span_id: Option<ByteString>,
    pub headers: BTreeMap<ByteString, ByteString>,
    /// JSON; never empty and never `null`, which say as little as none.
    payload: Option<Bytes>,
}

impl Envelope {
    /// An envelope without a payload, in the trace that is going on here (F02).
    ///
    /// # Errors
    /// When this can be no subject.
    pub fn new(subject: impl Into<ByteString>) -> Result<Self, SubjectError> {
        let subject = subject.into();
        check_subject(&subject)?;
        let mut envelope = Self {
            id: ByteString::new(),
            subject,
            time: None,
            source: None,
            trace_id: None,
            span_id: None,
            headers: BTreeMap::new(),
            payload: None,
        };
        if let Some(ambient) = ambient() {
            envelope.join(ambient);
        }
        Ok(envelope)
    }

    /// With this as its payload.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn with_payload(self, payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(self.with_json(serde_json::to_vec(payload)?))
    }

    /// With this as its payload, which is taken for JSON as it is.
    pub fn with_json(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into()).filter(|payload| !matches!(&**payload, b"" | b"null"));
        self
    }

    pub fn with_header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    pub fn subject(&self) -> &ByteString {
        &self.subject
    }

    pub fn payload(&self) -> Option<&Bytes> {
        self.payload.as_ref()
    }

    /// What the payload says; `None` without one (F04).
    ///
    /// # Errors
    /// When it says something else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.payload.as_deref().map(serde_json::from_slice).transpose()
    }

    /// Empty where there is none, as are the next (F05).
    pub fn tenant(&self) -> &str {
        self.header(identity::TENANT)
    }

    pub fn actor_id(&self) -> &str {
        self.header(identity::ACTOR_ID)
    }

    pub fn run_id(&self) -> &str {
        self.header(identity::RUN_ID)
    }

    pub fn node_id(&self) -> &str {
        self.header(identity::NODE_ID)
    }

    pub fn graph_id(&self) -> &str {
        self.header(identity::GRAPH_ID)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }

    /// With all that publishing adds (F03). What is complete is shared, not copied.
    pub(super) fn complete(mut envelope: Arc<Self>) -> Arc<Self> {
        let is_traced = envelope.trace_id.is_some() && envelope.span_id.is_some();
        let ambient = if is_traced { None } else { ambient() };
        if envelope.id.is_empty() || envelope.time.is_none() || ambient.is_some() {
            let envelope = Arc::make_mut(&mut envelope);
            if envelope.id.is_empty() {
                envelope.id = xid::new().to_string().into();
            }
            envelope.time.get_or_insert_with(Timestamp::now);
            if let Some(ambient) = ambient {
                envelope.join(ambient);
            }
        }
        envelope
    }

    /// Takes what is missing from this span. Beside another trace's id it would mean nothing.
    fn join(&mut self, span: Span) {
        if *self.trace_id.get_or_insert_with(|| span.trace.clone()) == span.trace {
            self.span_id.get_or_insert(span.id);
        }
    }
}

/// A span and the trace that it is part of, in hexadecimal digits.
struct Span {
    trace: ByteString,
    id: ByteString,
}

fn ambient() -> Option<Span> {
    Context::map_current(|context| {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        let ids = || Span { trace: span.trace_id().to_string().into(), id: span.span_id().to_string().into() };
        span.is_valid().then(ids)
    })
}
