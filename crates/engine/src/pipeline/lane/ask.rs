//! Evaluation of `where`, a filter's conditions and `matches` on an event, which never waits.

use super::{
    matchers::LaneMatchers,
    process::{broke, returned},
    work::{EventPosition, FilterAnswer},
};
use crate::{
    condition::{EventFacts, Untested},
    filter::{CallFault, MatchError, Verdict},
    show,
    telemetry::Stage,
    walk::{MatchAnswer, match_event, passes, why_unwanted},
};

/// Evaluates `where`, the filter's conditions and `matches`. `known` is the answer, if it was asked
/// for ahead.
pub(super) fn ask<'a>(
    matchers: &mut LaneMatchers,
    at: EventPosition<'a>,
    known: Option<bool>,
    facts: &mut EventFacts<'a>,
) -> FilterAnswer {
    if at.event.is_tick() {
        return ask_for_tick(at);
    }
    if known.is_none() {
        match passes(at.route, facts) {
            Ok(true) => {}
            Ok(false) => {
                if show::is_on() {
                    at.show_dropped(&why_unwanted(at.route, facts));
                }
                return FilterAnswer::No;
            }
            Err(error) => return unreadable(&error),
        }
    }
    let (Some(filter), Some(subscription)) = (&at.key.filter, &at.route.subscription) else {
        return FilterAnswer::Verdict(Verdict::Keep, 0);
    };
    if filter.is_quarantined() {
        return FilterAnswer::Quarantined("the filter is quarantined".to_owned(), 0);
    }
    let mut span = at.stage(Stage::Match);
    let answer = match known {
        Some(true) => Ok(MatchAnswer::Wanted),
        Some(false) => Ok(MatchAnswer::Unmatched),
        None => {
            match_event(subscription, facts, |facts| matchers.matches(filter, subscription, facts, &mut span), |_| {})
        }
    };
    span.note("trommel.matched", matches!(answer, Ok(MatchAnswer::Wanted)));
    match answer {
        Ok(MatchAnswer::Wanted) if subscription.has_process() => FilterAnswer::Process,
        Ok(MatchAnswer::Wanted) => FilterAnswer::Verdict(Verdict::Keep, 0),
        Ok(MatchAnswer::Unfulfilled | MatchAnswer::Unmatched) => {
            if show::is_on() {
                at.show_dropped(&why_unwanted(at.route, facts));
            }
            FilterAnswer::No
        }
        Err(MatchError::Fault(CallFault::Broke(broken))) => broke(at, filter, &broken, 0),
        Err(MatchError::Fault(CallFault::Host(error))) => returned(at, 0, &error),
        Err(MatchError::Untested(error)) => unreadable(&error),
    }
}

/// A tick is for the filter alone: nothing of an event is tested.
fn ask_for_tick(at: EventPosition<'_>) -> FilterAnswer {
    let (Some(filter), Some(subscription)) = (&at.key.filter, &at.route.subscription) else { return FilterAnswer::No };
    match subscription.has_tick() {
        true if filter.is_quarantined() => FilterAnswer::Quarantined("the filter is quarantined".to_owned(), 0),
        true => FilterAnswer::Process,
        false => FilterAnswer::No,
    }
}

fn unreadable(error: &Untested) -> FilterAnswer {
    FilterAnswer::Dead(error.code(), error.to_string().into(), 0)
}
