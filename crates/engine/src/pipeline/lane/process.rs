//! Call of a route's `process`, repeated if the failure allows it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};

use super::work::{EventPosition, FilterAnswer, LaneWork, TryCount};
use crate::{
    filter::{BrokenCall, Failure, FailureKind, Filter, ProcessError, RouteSubscription, Verdict},
    stop::Stop,
    telemetry::{Stage, StageSpan},
};

/// Calls the filter of the route whose turn it is. Waiting for it holds up only the events behind
/// this one.
pub(super) async fn process(mut work: LaneWork, mut stop: Stop) -> (LaneWork, FilterAnswer) {
    let key = Arc::clone(&work.key);
    let Some((filter, route)) = key.filter.as_ref().zip(key.routes.get(work.next)) else {
        return (work, FilterAnswer::Verdict(Verdict::Keep, 0));
    };
    let Some(subscription) = &route.subscription else { return (work, FilterAnswer::Verdict(Verdict::Keep, 0)) };
    let (mut worker, failed) = (None, work.failed.take());
    let said = {
        let event = work.decoded.as_deref().unwrap_or_else(|| work.ticket.event());
        let at = EventPosition { key: &key, route, ticket: &work.ticket, event, order: work.output_order() };
        let mut span = at.stage(Stage::Process);
        let mut said = call(at, filter, subscription, failed, &mut worker, &mut stop, &mut span).await;
        if let FilterAnswer::Dead(reason, cause, tries) = &said
            && event.is_tick()
        {
            tracing::warn!(
                key = %key.name, route = %route.name, filter = filter.name(), reason, detail = cause.detail, tries,
                "a tick failed, it is called again later"
            );
            said = FilterAnswer::Returned;
        }
        match &said {
            FilterAnswer::Verdict(_, tries) => span.note("trommel.tries", i64::from(*tries)),
            _ => span.give_up("the event was not processed"),
        }
        said
    };
    work.worker = worker;
    (work, said)
}

async fn call(
    at: EventPosition<'_>,
    filter: &Filter,
    subscription: &Arc<RouteSubscription>,
    mut failed: Option<Failure>,
    worker: &mut Option<OwnedSemaphorePermit>,
    stop: &mut Stop,
    span: &mut StageSpan,
) -> FilterAnswer {
    let EventPosition { key, event, .. } = at;
    let mut started = Instant::now();
    let mut backoff = key.retry.backoff();
    let (mut tries, mut breaks) = (0, 0);
    loop {
        if worker.is_none() {
            // The semaphore is never closed; without a permit the call would merely be unbounded.
            *worker = Arc::clone(&key.workers).acquire_owned().await.ok();
        }
        if filter.is_quarantined() {
            return FilterAnswer::Quarantined("the filter is quarantined".to_owned(), tries);
        }
        let outcome = match failed.take() {
            Some(failure) => Err(failure.into()),
            None if event.is_tick() => filter.tick(subscription, event, span).await,
            None => filter.process_on_lane(subscription, event, event.attempt + tries, span).await,
        };
        tries += 1;
        let (at_least, trouble) = match outcome {
            Ok(verdict) => return FilterAnswer::Verdict(verdict, tries),
            Err(ProcessError::Broke(broken)) => {
                span.failed(&broken);
                breaks += 1;
                if breaks == 2 {
                    return broke(at, filter, &broken, tries);
                }
                continue;
            }
            Err(ProcessError::Unread(error)) => {
                span.failed(&error);
                return FilterAnswer::Dead(error.code(), error.to_string().into(), tries);
            }
            Err(ProcessError::Said(Failure { kind, cause })) => match kind {
                FailureKind::Malformed => {
                    span.failed(&cause.detail);
                    return FilterAnswer::Dead("malformed", cause, tries);
                }
                FailureKind::Broken => {
                    span.failed(&cause.detail);
                    filter.quarantine();
                    return FilterAnswer::Quarantined(cause.detail, tries);
                }
                FailureKind::Defer(after) => {
                    *worker = None;
                    if !rest(after, stop).await {
                        return FilterAnswer::Returned;
                    }
                    // The patience of the key counts from when the event's time has come.
                    (started, backoff) = (Instant::now(), key.retry.backoff());
                    continue;
                }
                FailureKind::Retry(after) => (after, Ok(cause)),
                FailureKind::Failed => (Duration::ZERO, Ok(cause)),
            },
            Err(ProcessError::Host(error)) => (Duration::ZERO, Err(error)),
            Err(ProcessError::Away(why)) => {
                span.failed(&why);
                *worker = None;
                key.metrics.retried.inc();
                if !rest(backoff.next_wait(), stop).await {
                    return FilterAnswer::Returned;
                }
                // The patience of the key counts from when the filter could be asked.
                started = Instant::now();
                continue;
            }
        };
        match &trouble {
            Ok(cause) => span.failed(&cause.detail),
            Err(error) => span.failed(error),
        }
        let pause = backoff.next_wait().max(at_least);
        if started.elapsed() + pause > key.retry.patience {
            return match trouble {
                Ok(cause) => FilterAnswer::Dead("failed", cause, tries),
                Err(error) => returned(at, tries, &error),
            };
        }
        *worker = None;
        key.metrics.retried.inc();
        tracing::debug!(key = %key.name, event = &*event.id, tries, ?trouble, ?pause, "will try again");
        if !rest(pause, stop).await {
            return FilterAnswer::Returned;
        }
    }
}

/// Waits between two calls. False if the router stops: events are then returned to their source at
/// once, so that a drain does not wait for pauses.
async fn rest(pause: Duration, stop: &mut Stop) -> bool {
    tokio::select! {
        () = sleep(pause) => true,
        () = stop.draining() => false,
    }
}

/// Handles a guest that broke twice on this event.
pub(super) fn broke(at: EventPosition<'_>, filter: &Filter, broken: &BrokenCall, tries: TryCount) -> FilterAnswer {
    let EventPosition { key, event, .. } = at;
    let detail = broken.to_string();
    tracing::warn!(
        key = %key.name, filter = filter.name(), event = &*event.id, tenant = event.tenant(),
        trace = event.trace_id(), reason = broken.reason.code(), detail,
        "the filter broke"
    );
    if filter.record_break(broken) || filter.is_quarantined() {
        return FilterAnswer::Quarantined(detail, tries);
    }
    FilterAnswer::Dead(broken.reason.code(), detail.into(), tries)
}

/// Handles a failure of the host itself: neither the event nor the filter is to blame.
pub(super) fn returned(at: EventPosition<'_>, tries: TryCount, error: &anyhow::Error) -> FilterAnswer {
    let EventPosition { key, event, .. } = at;
    let error = format!("{error:#}");
    tracing::error!(
        key = %key.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(), tries, error,
        "can't run the filter, event goes back to its source"
    );
    FilterAnswer::Returned
}
