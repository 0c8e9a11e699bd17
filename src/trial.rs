//! One event through one filter, step by step, for those who want to see what happens: a filter's author and tests.
//! The router itself does the same in [`crate::pipeline`], where a break is also tried once more and a failure again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    event::Event,
    filter::{
        Broken, Facts, Failure, Fault, Filter, IsDecimal, Matcher, ProcessError, Subscription, Untested, Verdict,
    },
};

/// What a filter made of an event.
#[derive(Debug)]
pub struct Trial {
    pub end: End,
    pub steps: Vec<Step>,
}

/// Something that was asked on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub hook: Hook,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Tested by the host.
    Conditions,
    Matches,
    Process,
}

impl Hook {
    pub fn name(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::Matches => "matches",
            Self::Process => "process",
        }
    }
}

/// How the last step ended.
#[derive(Debug)]
pub enum End {
    /// Its conditions do not hold. Of each list, the first test that fails.
    Unfulfilled(Vec<String>),
    /// `matches` said no.
    Unmatched,
    Verdict(Verdict),
    Untested(Untested),
    Said(Failure),
    Broke(Broken),
    /// The host could not.
    Host(anyhow::Error),
}

/// Takes an event through a filter, once.
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
    let mut done = |hook, began: Instant| steps.push(Step { hook, took: began.elapsed() });
    let conditions = subscription.conditions();
    if !conditions.is_empty() {
        let mut facts = Facts::new(event).with_decimals(is_decimal);
        let began = Instant::now();
        let tested = conditions.test(&mut facts);
        done(Hook::Conditions, began);
        match tested.and_then(|passed| if passed { Ok(None) } else { conditions.failing(&mut facts).map(Some) }) {
            Ok(None) => {}
            Ok(Some(failing)) => return End::Unfulfilled(failing),
            Err(error) => return End::Untested(error),
        }
    }
    if subscription.has_matches() {
        let began = Instant::now();
        let matched = matcher.matches(subscription, event);
        done(Hook::Matches, began);
        match matched {
            Ok(true) => {}
            Ok(false) => return End::Unmatched,
            Err(Fault::Broke(broken)) => return End::Broke(broken),
            Err(Fault::Host(error)) => return End::Host(error),
        }
    }
    if !subscription.has_process() {
        return End::Verdict(Verdict::Keep);
    }
    let began = Instant::now();
    let processed = filter.process(subscription, event, event.attempt).await;
    done(Hook::Process, began);
    match processed {
        Ok(verdict) => End::Verdict(verdict),
        Err(ProcessError::Said(failure)) => End::Said(failure),
        Err(ProcessError::Broke(broken)) => End::Broke(broken),
        Err(ProcessError::Host(error)) => End::Host(error),
    }
}
