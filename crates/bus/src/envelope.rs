//! Envelopes: the events on the bus.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use opentelemetry::{Context, trace::TraceContextExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::event::{SubjectError, check_subject, identity};

mod wire;

/// An event on the bus (F01). As JSON it is one object without its empty fields.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "wire::ReadEnvelope")]
pub struct Envelope {
    /// Unique id. If it is empty, publishing sets an xid: 20 characters that sort by time.
    pub id: ByteString,
    subject: ByteString,
    /// Time of the event. If there is none, publishing sets the current time.
    pub time: Option<Timestamp>,
    /// Sender of the event.
    pub source: Option<ByteString>,
    /// W3C trace context. Missing parts are taken from the ambient OpenTelemetry span, if there is
    /// one.
    pub trace_id: Option<ByteString>,
    /// Id of the span within the trace.
    pub span_id: Option<ByteString>,
    /// Headers by name; the well-known ones have getters.
    pub headers: BTreeMap<ByteString, ByteString>,
    /// JSON payload; never empty and never `null`, which mean the same as none.
    payload: Option<Bytes>,
}

impl Envelope {
    /// Creates an envelope without a payload, in the current trace (F02).
    ///
    /// # Errors
    /// Returns an error if `subject` is not a valid subject.
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

    /// Sets the payload, serialised as JSON.
    ///
    /// # Errors
    /// Returns an error if it can't be serialised as JSON.
    pub fn with_payload(self, payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(self.with_json(serde_json::to_vec(payload)?))
    }

    /// Sets the payload to JSON text, which is not checked.
    pub fn with_json(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into()).filter(|payload| !matches!(&**payload, b"" | b"null"));
        self
    }

    /// Sets a header.
    pub fn with_header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Returns the subject, which is valid.
    pub fn subject(&self) -> &ByteString {
        &self.subject
    }

    /// Returns the payload; `None` without one.
    pub fn payload(&self) -> Option<&Bytes> {
        self.payload.as_ref()
    }

    /// Decodes the payload; `None` without one (F04).
    ///
    /// # Errors
    /// Returns an error if the payload does not have the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.payload.as_deref().map(serde_json::from_slice).transpose()
    }

    /// Returns the tenant; empty without one, as are the next (F05).
    pub fn tenant(&self) -> &str {
        self.header(identity::TENANT)
    }

    /// Returns the actor that caused the event.
    pub fn actor_id(&self) -> &str {
        self.header(identity::ACTOR_ID)
    }

    /// Returns the run of a graph.
    pub fn run_id(&self) -> &str {
        self.header(identity::RUN_ID)
    }

    /// Returns the node within the run.
    pub fn node_id(&self) -> &str {
        self.header(identity::NODE_ID)
    }

    /// Returns the graph that runs.
    pub fn graph_id(&self) -> &str {
        self.header(identity::GRAPH_ID)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }

    /// Returns the envelope with all that publishing adds (F03). A complete one is shared, not
    /// copied.
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

    /// Takes the missing trace ids from this span. A span id beside another trace's id would mean
    /// nothing.
    fn join(&mut self, span: TraceSpan) {
        if *self.trace_id.get_or_insert_with(|| span.trace.clone()) == span.trace {
            self.span_id.get_or_insert(span.id);
        }
    }
}

/// A span and the trace that it is part of, in hexadecimal digits.
struct TraceSpan {
    trace: ByteString,
    id: ByteString,
}

fn ambient() -> Option<TraceSpan> {
    Context::map_current(|context| {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        let ids = || TraceSpan { trace: span.trace_id().to_string().into(), id: span.span_id().to_string().into() };
        span.is_valid().then(ids)
    })
}
