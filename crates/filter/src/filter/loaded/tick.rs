//! Calls of `tick`, and the answers of all calls that are for one event.

use std::sync::Arc;

use super::{Filter, FilterInner};
use crate::{
    event::Event,
    filter::{
        Failure, ProcessError, RouteSubscription, Verdict,
        error::Violation,
        health::EventCall,
        instance::{GuestInstance, NO_MEMORY},
    },
    telemetry::StageSpan,
};

impl Filter {
    /// Calls the guest's `tick` for a route. `tick` is the event that its outputs are made of.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn tick(
        &self,
        subscription: &Arc<RouteSubscription>,
        tick: &Event,
        span: &mut StageSpan,
    ) -> Result<Verdict, ProcessError> {
        let key = &subscription.granted.key;
        let mut instance = self.0.take(key).await.map_err(|failed| self.0.broke("instantiate", failed))?;
        instance.trace(span);
        self.0.metrics.ticks.inc();
        let answer = instance.tick(subscription, tick).await;
        instance.annotate(span);
        self.0.answered("tick", key, instance, answer)
    }
}

impl FilterInner {
    /// Takes the answer of a call about an event, and the instance back.
    pub(super) fn answered(
        &self,
        call: &'static str,
        key: &Arc<str>,
        instance: GuestInstance,
        answer: wasmtime::Result<Result<Verdict, Failure>>,
    ) -> Result<Verdict, ProcessError> {
        match answer {
            // A guest that handles a refused allocation returns a failure, but the host is at
            // fault.
            Ok(Err(failure)) if instance.was_starved() => {
                Err(ProcessError::Host(anyhow::Error::new(failure).context(NO_MEMORY)))
            }
            Ok(answer) => {
                self.health.record_answers(EventCall::Process, 1);
                self.put_back(key, instance);
                let held = self.processing.account.hold_outputs(answer?);
                held.ok_or_else(|| ProcessError::Host(anyhow::anyhow!(NO_MEMORY)))
            }
            Err(error) => Err(match error.downcast::<Violation>() {
                Ok(Violation::StateAway(why)) => ProcessError::Away(why),
                Ok(violation) => self.broke(call, instance.failed(violation.into())).into(),
                Err(error) => self.broke(call, instance.failed(error)).into(),
            }),
        }
    }
}
