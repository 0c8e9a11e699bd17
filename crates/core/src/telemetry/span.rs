//! Spans of the stages of one event's way.

use std::fmt;

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{self as sdk, SdkTracer};

use crate::event::{
    Event, Headers,
    identity::{TRACEPARENT, TRACESTATE, WHO},
};

/// Tracer that begins the traces of events.
#[derive(Clone, Debug)]
pub struct Tracer(SdkTracer);

/// Record of one event's way, kept also when sampling has decided that it is not sent.
#[derive(Debug)]
pub struct EventTrace {
    tracer: Tracer,
    /// Context with the span `receive`.
    root: Context,
}

/// A part of an event's way.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// A route's conditions and `matches`.
    Match,
    /// A route's `process`, with all its tries.
    Process,
    /// From the first write into this sink to its confirmation.
    Send(&'a str),
}

/// Stage under way; empty if nothing is recorded. Ends when dropped.
#[derive(Debug)]
pub struct StageSpan(Option<Box<sdk::Span>>);

impl Tracer {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Begins the trace of an event that has come in.
    pub fn receive(&self, event: &Event) -> EventTrace {
        let origin = &event.origin;
        let builder = SpanBuilder::from_name(format!("receive {}", origin.source)).with_kind(SpanKind::Consumer);
        let mut span = self.0.build_with_context(builder, &parent(event));
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("messaging.system", "trommel"),
                KeyValue::new("messaging.operation.name", "receive"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", origin.stream.clone()),
                KeyValue::new("messaging.message.id", event.id.to_string()),
                KeyValue::new("messaging.message.body.size", number(event.payload.len())),
                KeyValue::new("trommel.source", origin.source.clone()),
                KeyValue::new("trommel.sequence", i64::try_from(event.sequence).unwrap_or(i64::MAX)),
                KeyValue::new("trommel.attempt", i64::from(event.attempt)),
                KeyValue::new("trommel.event_type", event.event_type.to_string()),
                KeyValue::new("trommel.subject", event.subject.to_string()),
            ]);
            let said = |name: &&'static str| Some((*name, event.headers.get(name)?));
            let who = WHO.iter().filter_map(said);
            span.set_attributes(who.map(|(name, value)| KeyValue::new(format!("trommel.{name}"), value.to_string())));
        }
        EventTrace { tracer: self.clone(), root: Context::new().with_span(span) }
    }
}

/// Returns the context of the span that sent the event, if its headers name one.
fn parent(event: &Event) -> Context {
    let Some(parent) = event.trace() else { return Context::new() };
    let (Ok(trace), Ok(span)) = (TraceId::from_hex(parent.trace_id), SpanId::from_hex(parent.span_id)) else {
        return Context::new();
    };
    let state: Vec<_> = event.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(TRACESTATE)).collect();
    let state: Vec<_> = state.iter().map(|(_, value)| &**value).collect();
    // A state that can't be read is not passed on to the collector; receivers of the outputs may be
    // able to read it.
    let state = state.join(",").parse::<TraceState>().unwrap_or_default();
    let flags = TraceFlags::new(parent.flags);
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
}

impl EventTrace {
    /// Begins a stage for a key and a route.
    pub fn stage(&self, stage: Stage<'_>, key: &str, route: &str) -> StageSpan {
        let (name, kind) = match stage {
            Stage::Match => (format!("match {key}"), SpanKind::Internal),
            Stage::Process => (format!("process {key}"), SpanKind::Internal),
            Stage::Send(sink) => (format!("send {sink}"), SpanKind::Producer),
        };
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let mut span = self.tracer.0.build_with_context(builder, &self.root);
        if span.is_recording() {
            span.set_attribute(KeyValue::new("trommel.key", key.to_owned()));
            span.set_attribute(KeyValue::new("trommel.route", route.to_owned()));
            if let Stage::Send(sink) = stage {
                span.set_attributes([
                    KeyValue::new("messaging.system", "trommel"),
                    KeyValue::new("messaging.operation.name", "send"),
                    KeyValue::new("messaging.operation.type", "send"),
                    KeyValue::new("messaging.destination.name", sink.to_owned()),
                ]);
            }
        }
        StageSpan(Some(Box::new(span)))
    }

    /// Ends the trace of a settled event with its fate.
    pub fn end(self, fate: &'static str, reason: Option<&'static str>) {
        let root = self.root.span();
        root.set_attribute(KeyValue::new("trommel.fate", fate));
        if let Some(reason) = reason {
            root.set_attribute(KeyValue::new("error.type", reason));
            root.set_status(Status::error(reason));
        }
        root.end();
    }
}

impl StageSpan {
    /// Returns the span of an event that is not recorded.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Returns whether anything is kept of what is noted.
    pub fn is_recording(&mut self) -> bool {
        self.recording().is_some()
    }

    /// Adds an attribute of the filter's own. None of these can be taken for one of the router's.
    pub fn annotate(&mut self, name: &str, value: String) {
        if let Some(span) = self.recording() {
            span.set_attribute(KeyValue::new(format!("filter.{name}"), value));
        }
    }

    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = self.recording() {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Records a failed try of the stage; more may follow.
    pub fn failed(&mut self, why: impl fmt::Display) {
        if let Some(span) = self.recording() {
            span.add_event("failed", vec![KeyValue::new("exception.message", why.to_string())]);
        }
    }

    /// Marks the stage as a whole as failed.
    pub fn give_up(&mut self, why: impl fmt::Display) {
        if let Some(span) = self.recording() {
            span.set_status(Status::error(why.to_string()));
        }
    }

    /// Returns these headers with the span as their `traceparent`. `None` if nothing is recorded.
    pub fn carried_by(&self, headers: &Headers) -> Option<Headers> {
        let span = self.0.as_deref()?.span_context();
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        let others = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(TRACEPARENT)).cloned();
        let mut carrying: Headers = others.collect();
        carrying.push(TRACEPARENT, format!("00-{trace}-{id}-{flags:02x}"));
        Some(carrying)
    }

    fn recording(&mut self) -> Option<&mut sdk::Span> {
        self.0.as_deref_mut().filter(|span| span.is_recording())
    }
}

impl Tracer {
    /// Creates a tracer whose spans go nowhere.
    pub fn double() -> Self {
        use opentelemetry::trace::TracerProvider as _;

        Self(sdk::SdkTracerProvider::builder().build().tracer("double"))
    }
}

fn number(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
