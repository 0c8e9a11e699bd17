//! Calls of `process`, for one event or for many at once.

use std::sync::{Arc, atomic::Ordering};

use super::{Filter, FilterInner, MOST_BREAKS};
use crate::{
    event::Event,
    filter::{
        Failure, ProcessError, RouteSubscription, Verdict, batch::EventColumns, health::EventCall, instance::NO_MEMORY,
    },
    metrics::CallTime,
    telemetry::StageSpan,
};

impl Filter {
    /// Asks the guest for its verdict on an event. The caller bounds the calls under way at once.
    ///
    /// If the future is dropped the event is not processed, and the instance is gone.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn process(
        &self,
        subscription: &Arc<RouteSubscription>,
        event: &Event,
        attempt: u32,
    ) -> Result<Verdict, ProcessError> {
        self.processed(subscription, event, attempt, &mut StageSpan::none(), false).await
    }

    /// Like [`Self::process`], within a span that the guest may annotate. A guest that only
    /// computes is called on the thread's own stack, which must have
    /// [`MATCHER_STACK`](crate::filter::MATCHER_STACK) bytes.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn process_on_lane(
        &self,
        subscription: &Arc<RouteSubscription>,
        event: &Event,
        attempt: u32,
        span: &mut StageSpan,
    ) -> Result<Verdict, ProcessError> {
        self.processed(subscription, event, attempt, span, true).await
    }

    async fn processed(
        &self,
        subscription: &Arc<RouteSubscription>,
        event: &Event,
        attempt: u32,
        span: &mut StageSpan,
        has_stack: bool,
    ) -> Result<Verdict, ProcessError> {
        let FilterInner { manifest, metrics, .. } = &*self.0;
        if !manifest.hooks.process {
            return Ok(Verdict::Keep);
        }
        let key = &subscription.granted.key;
        let read = subscription.read(event, attempt)?;
        let mut instance = self.0.take(key).await.map_err(|failed| self.0.broke("instantiate", failed))?;
        instance.trace(span);
        let began = CallTime::begin(metrics.processes.inc());
        let answer = instance.process(subscription, &read, attempt, has_stack).await;
        metrics.process_time.end(began, 1);
        instance.annotate(span);
        self.0.answered("process", key, instance, answer)
    }

    /// Returns whether [`Self::process_batch`] is worth a try: the filter has it, does not wait for
    /// anything in it, and does not break in it again and again.
    pub fn processes_batches(&self) -> bool {
        self.0.manifest.hooks.process_batch
            && self.0.api.is_none()
            && self.0.state.as_ref().is_none_or(|(state, _)| !state.is_shared())
            && !self.is_quarantined()
            && self.0.batch_breaks.load(Ordering::Relaxed) < MOST_BREAKS
    }

    /// Asks the guest for its verdicts on many events, in as few calls as their size allows. The
    /// answers are in the order of the events. If the future is dropped none of them is processed,
    /// and the instance is gone.
    ///
    /// # Errors
    /// If a call breaks, which is not an answer for any of the events: process each alone.
    pub async fn process_batch(
        &self,
        subscription: &Arc<RouteSubscription>,
        events: &[&Event],
    ) -> Result<Vec<Result<Verdict, Failure>>, ProcessError> {
        let FilterInner { metrics, processing, .. } = &*self.0;
        let key = &subscription.granted.key;
        let mut columns = EventColumns::for_edits();
        let mut answers = Vec::with_capacity(events.len());
        while let [next, ..] = &events[answers.len()..] {
            let rest = &events[answers.len()..];
            let count = columns.fill_fields(rest.iter().copied(), subscription, &subscription.process_reads);
            if count == 0 {
                answers.push(match self.process(subscription, next, next.attempt).await {
                    Ok(verdict) => Ok(verdict),
                    Err(ProcessError::Said(failure)) => Err(failure),
                    Err(error) => return Err(error),
                });
                continue;
            }
            let mut instance = self.0.take(key).await.map_err(|failed| self.0.broke("instantiate", failed))?;
            let began = CallTime::begin(metrics.processes.inc_by(count as u64));
            let said = instance.process_batch(subscription, &rest[..count], &columns).await;
            metrics.process_time.end(began, count);
            let said = said.map_err(|error| {
                self.0.batch_breaks.fetch_add(1, Ordering::Relaxed);
                self.0.broke("process-batch", instance.failed(error))
            })?;
            self.0.batch_breaks.store(0, Ordering::Relaxed);
            if instance.was_starved() {
                return Err(ProcessError::Host(anyhow::anyhow!(NO_MEMORY)));
            }
            self.0.health.record_answers(EventCall::Process, count as u64);
            self.0.put_back(key, instance);
            for answer in said {
                let held = answer.map(|verdict| processing.account.hold_outputs(verdict));
                answers.push(match held {
                    Ok(Some(verdict)) => Ok(verdict),
                    Ok(None) => return Err(ProcessError::Host(anyhow::anyhow!(NO_MEMORY))),
                    Err(failure) => Err(failure),
                });
            }
        }
        Ok(answers)
    }
}
