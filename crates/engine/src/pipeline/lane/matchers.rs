//! A lane's own instances for `matches`, and their answers ahead for a run of events of one key: a
//! filter that takes batches is asked about all of them in one call per route. `matches` is pure,
//! so the time of the call makes no difference; all else goes event by event.

use std::sync::Arc;

use crate::{
    condition::EventFacts,
    event::Event,
    filter::{Filter, MatchError, Matcher, RouteSubscription},
    pipeline::LaneItem,
    registry::{EventDecoding, Key},
    telemetry::StageSpan,
    walk::passes,
};

/// Largest number of events that are asked about ahead.
const LONGEST_RUN: usize = 64;

#[derive(Default)]
pub(super) struct LaneMatchers {
    own: Vec<(Filter, Matcher)>,
    /// Answers ahead, route by route of the run's key: whether each of its events is wanted.
    ahead: Vec<Option<bool>>,
    run: usize,
}

/// Returns the events at the front that share the first one's key.
pub(super) fn run(items: &[LaneItem]) -> &[LaneItem] {
    let same = items.iter().take(LONGEST_RUN).take_while(|item| Arc::ptr_eq(&item.key, &items[0].key));
    &items[..same.count()]
}

impl LaneMatchers {
    pub(super) fn retain(&mut self, mut is_used: impl FnMut(&Filter) -> bool) {
        self.own.retain(|(filter, _)| is_used(filter));
    }

    /// Calls `matches`; after a break once more, on a fresh instance.
    pub(super) fn matches<'a>(
        &mut self,
        filter: &Filter,
        subscription: &'a Arc<RouteSubscription>,
        facts: &mut EventFacts<'a>,
        span: &mut StageSpan,
    ) -> Result<bool, MatchError> {
        let matcher = self.own(filter);
        match matcher.matches_known(subscription, facts, span) {
            Err(MatchError::Fault(_)) => matcher.matches_known(subscription, facts, span),
            answer => answer,
        }
    }

    /// Returns the answer ahead for an event of the run. `None` if it is to be asked about in its
    /// turn.
    pub(super) fn answer(&self, route: usize, event: usize) -> Option<bool> {
        *self.ahead.get(route * self.run + event)?
    }

    /// Returns, route by route, which events of the run are known to be wanted and `is_free`.
    pub(super) fn wanted(&self, run: &[LaneItem], is_free: impl Fn(&LaneItem) -> bool) -> Vec<bool> {
        let answers = self.ahead.iter().zip(run.iter().cycle());
        answers.map(|(answer, item)| *answer == Some(true) && is_free(item)).collect()
    }

    /// Tests the conditions of every route of `key` on the events of the run, and asks its filter
    /// about those that pass, if it matches or processes batches. False, without a call, if that is
    /// not worth it.
    pub(super) fn ask_ahead(&mut self, key: &Key, run: &[LaneItem]) -> bool {
        // Events that have to be decoded first are decoded only in their turn.
        let is_raw = matches!(key.decoding, None | Some(EventDecoding::Raw));
        let Some(filter) = key.filter.as_ref().filter(|_| run.len() > 1 && is_raw) else {
            return false;
        };
        let takes_batches = self.own(filter).takes_batches();
        if filter.is_quarantined() || !takes_batches && !filter.processes_batches() {
            return false;
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        ahead.resize(key.routes.len() * run.len(), None);
        self.run = run.len();
        let as_it_stands = |event| match &key.decoding {
            Some(decoding) => matches!(decoding.payload(event), Ok(None)),
            None => true,
        };
        for (position, item) in run.iter().enumerate() {
            if !as_it_stands(item.ticket.event()) {
                continue;
            }
            let mut facts = EventFacts::new(item.ticket.event());
            for (route, answers) in key.routes.iter().zip(ahead.chunks_exact_mut(run.len())) {
                let Some(subscription) = &route.subscription else { continue };
                let passes = passes(route, &mut facts)
                    .and_then(|passes| Ok(passes && subscription.conditions().test(&mut facts)?));
                // A payload that is not JSON is reported in its turn.
                answers[position] = passes.ok();
            }
        }
        for (route, answers) in key.routes.iter().zip(ahead.chunks_exact_mut(run.len())) {
            let Some(subscription) = &route.subscription else { continue };
            if !subscription.has_matches() {
                continue;
            }
            if !takes_batches {
                answers.iter_mut().filter(|answer| **answer == Some(true)).for_each(|answer| *answer = None);
                continue;
            }
            let passed = run.iter().zip(&*answers).filter(|(_, answer)| **answer == Some(true));
            let events: Vec<&Event> = passed.map(|(item, _)| item.ticket.event()).collect();
            let mut said = match self.own(filter).matches_batch(subscription, &events) {
                Ok(said) => said.into_iter(),
                Err(error) => {
                    let (key, filter) = (&*key.name, filter.name());
                    tracing::warn!(key, filter, %error, "a batch failed, its events are asked about one by one");
                    Vec::new().into_iter()
                }
            };
            let passed = answers.iter_mut().filter(|answer| **answer == Some(true));
            passed.for_each(|answer| *answer = said.next());
        }
        self.ahead = ahead;
        true
    }

    fn own(&mut self, filter: &Filter) -> &mut Matcher {
        let position = self.own.iter().position(|(other, _)| other == filter).unwrap_or_else(|| {
            self.own.push((filter.clone(), filter.matcher()));
            self.own.len() - 1
        });
        &mut self.own[position].1
    }
}
