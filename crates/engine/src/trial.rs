//! Trial of one event in one filter, once, for a filter's author and for tests. The steps are those
//! of [`crate::walk`]; a lane, in addition, tries a break once more and retries a failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    event::Event,
    filter::{
        Broken, Facts, Failure, Fault, Filter, IsDecimal, Matcher, ProcessError, Subscription, Untested, Verdict,
    },
    walk::{Hook, MatchAnswer, MatchError, match_event},
};

/// Result of a trial.
#[derive(Debug)]
pub struct Trial {
    pub end: End,
    pub steps: Vec<Step>,
}

/// A step of the walk, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub hook: Hook,
    pub took: Duration,
}

/// End of a trial.
#[derive(Debug)]
pub enum End {
    /// The conditions do not hold: the first failing test of each list.
    Unfulfilled(Vec<String>),
    /// `matches` returned false.
    Unmatched,
    Verdict(Verdict),
    Untested(Untested),
    Said(Failure),
    Broke(Broken),
    /// The host failed.
    Host(anyhow::Error),
}

/// Runs an event through a filter, once.
pub async fn trial(
    filter: &Filter,
    subscription: &Arc<Subscription>,
    matcher: &mut Matcher,
    event: &Event,
    is_decimal: IsDecimal<'_>,
) -> Trial {
    let mut steps = Vec::new();
    let end = walk(filter, subscription, matcher, event, is_decimal, &mut steps).await;
    Trial { end, steps }
}

async fn walk(
    filter: &Filter,
    subscription: &Arc<Subscription>,
    matcher: &mut Matcher,
    event: &Event,
    is_decimal: IsDecimal<'_>,
    steps: &mut Vec<Step>,
) -> End {
    let mut began = Instant::now();
    let mut asked = |hook| {
        let now = Instant::now();
        steps.push(Step { hook, took: now.duration_since(began) });
        began = now;
    };
    let mut facts = Facts::new(event).with_decimals(is_decimal);
    match match_event(subscription, &mut facts, || matcher.matches(subscription, event), &mut asked) {
        Ok(MatchAnswer::Wanted) if !subscription.has_process() => return End::Verdict(Verdict::Keep),
        Ok(MatchAnswer::Wanted) => {}
        Ok(MatchAnswer::Unfulfilled) => {
            return subscription.conditions().failing(&mut facts).map_or_else(End::Untested, End::Unfulfilled);
        }
        Ok(MatchAnswer::Unmatched) => return End::Unmatched,
        Err(MatchError::Untested(error)) => return End::Untested(error),
        Err(MatchError::Fault(Fault::Broke(broken))) => return End::Broke(broken),
        Err(MatchError::Fault(Fault::Host(error))) => return End::Host(error),
    }
    let processed = filter.process(subscription, event, event.attempt).await;
    asked(Hook::Process);
    match processed {
        Ok(verdict) => End::Verdict(verdict),
        Err(ProcessError::Said(failure)) => End::Said(failure),
        Err(ProcessError::Broke(broken)) => End::Broke(broken),
        Err(ProcessError::Host(error)) => End::Host(error),
    }
}
