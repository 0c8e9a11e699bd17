//! Calls of `matches`, for one event or for many at once.

use std::sync::Arc;

use super::{Filter, MOST_BREAKS};
use crate::{
    condition::EventFacts,
    event::Event,
    filter::{
        CallFault, MatchError, RouteSubscription, batch::EventColumns, guest::LinkedComponent, health::EventCall,
        instance::GuestInstance,
    },
    metrics::CallTime,
    telemetry::StageSpan,
};

/// Calls `matches` on an instance of its own, made when it is first needed and anew after a break.
pub struct Matcher {
    filter: Filter,
    instance: Option<GuestInstance>,
    columns: EventColumns,
    /// Consecutive batches that broke.
    breaks: u32,
}

impl Matcher {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, instance: None, columns: EventColumns::default(), breaks: 0 }
    }

    /// Returns whether the filter wants the event. Runs synchronously, for no longer than the limit
    /// for `matches`; the first call for a subscription also constructs the guest's object for it.
    /// Needs [`MATCHER_STACK`](crate::filter::MATCHER_STACK) bytes of stack.
    ///
    /// # Errors
    /// If the call breaks, which must never be read as "no".
    pub fn matches(&mut self, subscription: &Arc<RouteSubscription>, event: &Event) -> Result<bool, MatchError> {
        self.matches_known(subscription, &mut EventFacts::new(event), &mut StageSpan::none())
    }

    /// Like [`Self::matches`], with what is known of the event already, and within a span that the
    /// guest may annotate.
    ///
    /// # Errors
    /// As [`Self::matches`].
    pub fn matches_known<'a>(
        &mut self,
        subscription: &'a Arc<RouteSubscription>,
        facts: &mut EventFacts<'a>,
        span: &mut StageSpan,
    ) -> Result<bool, MatchError> {
        let event = facts.event();
        let values = subscription.values(&subscription.match_reads, facts, event.attempt)?;
        Ok(self.call("matches", 1, |instance, _| {
            instance.trace(span);
            let answer = instance.matches(subscription, event, &values);
            instance.annotate(span);
            answer
        })?)
    }

    /// Returns whether [`Self::matches_batch`] is worth a try.
    pub fn takes_batches(&self) -> bool {
        self.filter.0.manifest.hooks.matches_batch && self.breaks < MOST_BREAKS
    }

    /// Returns whether the filter wants each of the events, asked in as few calls as their size
    /// allows. Runs synchronously, for no longer than twice the limit for `matches` for every 64
    /// events.
    ///
    /// # Errors
    /// If a call breaks, which is not an answer for any of the events: ask about each alone.
    pub fn matches_batch(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        events: &[&Event],
    ) -> Result<Vec<bool>, MatchError> {
        let mut answers = Vec::with_capacity(events.len());
        while let [next, ..] = &events[answers.len()..] {
            let rest = events[answers.len()..].iter().copied();
            let reads = &subscription.match_reads;
            let count = match self.filter.0.matching.linked {
                LinkedComponent::V0_1(_) => self.columns.fill(rest, reads.parts),
                LinkedComponent::V0_2(_) => self.columns.fill_fields(rest, subscription, reads),
            };
            if count == 0 {
                answers.push(self.matches(subscription, next)?);
                continue;
            }
            let bits = self.call("matches-batch", count, |instance, columns| {
                instance.matches_batch(subscription, columns, (count, next.observed_at))
            });
            self.breaks = if bits.is_ok() { 0 } else { self.breaks + 1 };
            let bits = bits?;
            answers.extend((0..count).map(|event| bits[event / 64] >> (event % 64) & 1 == 1));
        }
        Ok(answers)
    }

    /// Bytes of memory of its instance; 0 while it has none.
    pub fn memory(&self) -> usize {
        self.instance.as_ref().map_or(0, GuestInstance::memory)
    }

    #[cfg(test)]
    pub(super) fn has_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// Number of the guest's objects that are alive.
    #[cfg(test)]
    pub(super) fn objects(&self) -> usize {
        self.instance.as_ref().map_or(0, GuestInstance::objects)
    }

    fn call<T>(
        &mut self,
        name: &'static str,
        events: usize,
        call: impl FnOnce(&mut GuestInstance, &EventColumns) -> wasmtime::Result<T>,
    ) -> Result<T, CallFault> {
        let loaded = &*self.filter.0;
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(loaded.match_instance().map_err(|failed| loaded.broke("instantiate", failed))?),
        };
        let began = CallTime::begin(loaded.metrics.matches.inc());
        let answer = call(instance, &self.columns);
        loaded.metrics.match_time.end(began, events);
        let answer = answer.map_err(|error| loaded.broke(name, instance.failed(error)));
        if answer.is_ok() {
            loaded.health.record_answers(EventCall::Matches, events as u64);
        }
        if answer.is_err() || instance.is_worn() {
            self.instance = None;
        }
        answer
    }
}
