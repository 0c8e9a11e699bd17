//! Queue between the event path and the collector: spans that have ended wait in it, and are
//! dropped and counted when it is full. One task sends them in batches. Losses are logged now and
//! then, not span by span.

use std::{
    fmt::{self, Display},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::collector::SpanCollector;
use crate::timer::sleep_until_due;

/// Spans that may wait: a few MB.
const QUEUE: usize = 8192;
/// Spans that are sent at once, and longest time that the first of them waits for the others.
const BATCH: usize = 512;
const PAUSE: Duration = Duration::from_millis(500);
/// Shortest time between two logs of losses.
const QUIET: Duration = Duration::from_secs(60);

/// Sending end, held by the event path.
pub(super) struct SpanQueue {
    spans: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

/// Receiving end, held by the collector's task.
pub(super) struct EndedSpans {
    spans: mpsc::Receiver<SpanData>,
    dropped: Arc<AtomicU64>,
}

pub(super) fn queue() -> (SpanQueue, EndedSpans) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    (SpanQueue { spans: sender, dropped: Arc::clone(&dropped) }, EndedSpans { spans: receiver, dropped })
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl EndedSpans {
    /// Sends batches to the collector until `stop` is dropped and nothing is left.
    pub(super) async fn export(mut self, collector: SpanCollector, mut stop: oneshot::Receiver<()>) {
        let mut losses = SpanLosses::default();
        let mut batch = Vec::new();
        let mut due = None;
        loop {
            let (is_closed, room) = (self.spans.is_closed(), BATCH - batch.len());
            let is_ready = tokio::select! {
                biased;
                // First, so that a steady flow of spans does not put off the end.
                _ = &mut stop, if !is_closed => {
                    self.spans.close();
                    false
                }
                count = self.spans.recv_many(&mut batch, room) => {
                    due.get_or_insert_with(|| Instant::now() + PAUSE);
                    count == 0 || batch.len() == BATCH
                }
                () = sleep_until_due(due) => true,
            };
            if !is_ready {
                continue;
            }
            due = None;
            losses.add(self.dropped.swap(0, Ordering::Relaxed), "they come faster than they can be sent");
            if batch.is_empty() {
                break;
            }
            let spans = mem::take(&mut batch);
            let count = spans.len() as u64;
            if let Err(error) = collector.take(spans).await {
                losses.add(count, format_args!("{error:#}"));
            }
        }
        losses.say();
    }
}

/// Spans that are lost.
#[derive(Default)]
struct SpanLosses {
    /// Losses that are not logged yet.
    count: u64,
    /// Reason of the last loss.
    why: String,
    /// Time of the last log.
    said: Option<Instant>,
}

impl SpanLosses {
    fn add(&mut self, count: u64, why: impl Display) {
        if count == 0 {
            return;
        }
        self.count += count;
        self.why = why.to_string();
        if self.said.is_none_or(|said| said.elapsed() >= QUIET) {
            self.say();
        }
    }

    fn say(&mut self) {
        if self.count > 0 {
            tracing::warn!(spans = self.count, because = self.why, "spans could not be exported and are lost");
            (self.count, self.said) = (0, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::time::advance;

    use super::*;

    /// No receiver takes them, and ending one does not wait.
    #[test]
    fn what_finds_no_place_is_dropped_and_counted() {
        let (queue, ended) = queue();
        let tracer = SdkTracerProvider::builder().with_span_processor(queue).build().tracer("test");
        (0..QUEUE + 5).for_each(|_| tracer.start("span").end());
        assert_eq!((ended.spans.len(), ended.dropped.load(Ordering::Relaxed)), (QUEUE, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_said_once_a_minute() {
        let mut losses = SpanLosses::default();
        losses.add(0, "nothing");
        assert!(losses.said.is_none());
        losses.add(3, "the first");
        losses.add(2, "more");
        assert_eq!(losses.count, 2, "the first were said at once");
        advance(QUIET).await;
        losses.add(1, "still");
        assert_eq!(losses.count, 0, "and all of the minute together");
    }
}
