//! Evaluation of a route's conditions and `matches` on an event, which never waits.

use super::{
    matchers::Matchers,
    process::{broke, returned},
    work::{At, Said},
};
use crate::{
    filter::{Facts, Fault, Verdict},
    show,
    telemetry::Stage,
    walk::{MatchAnswer, MatchError, match_event, why_unwanted},
};

/// Evaluates a route's conditions and `matches`. `known` is the answer, if it was asked for ahead.
pub(super) fn ask<'a>(matchers: &mut Matchers, at: At<'a>, known: Option<bool>, facts: &mut Facts<'a>) -> Said {
    let (Some(filter), Some(subscription)) = (&at.key.filter, &at.route.subscription) else {
        return Said::Verdict(Verdict::Keep, 0);
    };
    if filter.is_quarantined() {
        return Said::Quarantined("the filter is quarantined".to_owned(), 0);
    }
    let mut span = at.stage(Stage::Match);
    let answer = match known {
        Some(true) => Ok(MatchAnswer::Wanted),
        Some(false) => Ok(MatchAnswer::Unmatched),
        None => match_event(subscription, facts, || matchers.matches(filter, subscription, at.event), |_| {}),
    };
    span.note("trommel.matched", matches!(answer, Ok(MatchAnswer::Wanted)));
    match answer {
        Ok(MatchAnswer::Wanted) if subscription.has_process() => Said::Process,
        Ok(MatchAnswer::Wanted) => Said::Verdict(Verdict::Keep, 0),
        Ok(MatchAnswer::Unfulfilled | MatchAnswer::Unmatched) => {
            if show::is_on() {
                at.show_dropped(&why_unwanted(subscription, facts));
            }
            Said::No
        }
        Err(MatchError::Fault(Fault::Broke(broken))) => broke(at, filter, &broken, 0),
        Err(MatchError::Fault(Fault::Host(error))) => returned(at, 0, &error),
        Err(MatchError::Untested(error)) => Said::Dead(error.code(), error.to_string(), 0),
    }
}
