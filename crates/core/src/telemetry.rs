//! Tracing of an event's time: a span for every stage of its way, sent to an OpenTelemetry
//! collector (F12). Off unless `[telemetry]` names a collector; an event then has no
//! [`EventTrace`], and each stage costs only the check for one.
//!
//! The root of an event's spans is `receive`, from its arrival until it is settled; its parent is
//! the span that the event's `traceparent` names. Its children are `match` and `process` of every
//! route, and `send` of every sink, under which an output leaves.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{InstrumentationScope, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::config;

mod collector;
mod queue;
mod span;

use collector::SpanCollector;
pub use span::{EventTrace, Stage, StageSpan, Tracer};

/// Longest time that a router that ends waits for its last spans to be taken.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Running export of spans.
#[derive(Debug)]
pub struct SpanExport {
    tracer: Tracer,
    /// Dropped to end the export.
    stop: oneshot::Sender<()>,
    exporting: JoinHandle<()>,
}

impl SpanExport {
    /// Starts the export. Connects to nothing before the first span has ended.
    ///
    /// # Errors
    /// Returns an error if the HTTP client can't be built.
    pub fn start(settings: &config::TelemetryConfig) -> anyhow::Result<Self> {
        let service = settings.service_name.clone();
        let resource = Resource::builder().with_service_name(service).build();
        let collector = SpanCollector::new(settings, &resource).context("could not prepare the export of spans")?;
        let (queue, spans) = queue::queue();
        let (stop, stopped) = oneshot::channel();
        let exporting = tokio::spawn(spans.export(collector, stopped));
        // A remote parent has decided already; only traces that begin here are sampled.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(queue).build();
        let scope = InstrumentationScope::builder("trommel").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { tracer: Tracer::new(provider.tracer_with_scope(scope)), stop, exporting })
    }

    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends the remaining spans and ends, after two seconds at the latest.
    pub async fn finish(self) {
        let Self { stop, mut exporting, .. } = self;
        drop(stop);
        if timeout(LAST_WORDS, &mut exporting).await.is_err() {
            exporting.abort();
            tracing::warn!(patience = ?LAST_WORDS, "the last spans were not taken in time and are lost");
        }
    }
}
