//! Trial of one event in one filter, once, for a filter's author and for tests. The steps are those
//! of [`crate::walk`]; a lane, in addition, tries a break once more and retries a failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    condition::{EventFacts, IsDecimal, Untested},
    config::OnQuarantine,
    event::Event,
    filter::{
        BrokenCall, CallFault, Failure, FailureKind, Filter, MatchError, Matcher, ProcessError, RouteSubscription,
        Verdict,
    },
    registry::Route,
    telemetry::StageSpan,
    walk::{Hook, MatchAnswer, match_event, passes, unfulfilled},
};

/// Result of a trial.
#[derive(Debug)]
pub struct FilterTrial {
    pub end: TrialEnd,
    pub steps: Vec<TrialStep>,
}

/// A step of the walk, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialStep {
    pub hook: Hook,
    pub took: Duration,
}

/// End of a trial.
#[derive(Debug)]
pub enum TrialEnd {
    /// The conditions do not hold: the first failing test of each list.
    Unfulfilled(Vec<String>),
    /// `matches` returned false.
    Unmatched,
    Verdict(Verdict),
    Untested(Untested),
    Said(Failure),
    Broke(BrokenCall),
    /// The host failed.
    Host(anyhow::Error),
}

/// What a route makes of an event, if its filter answers as it did this once. A failure that the
/// filter wants tried again is taken to last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFate {
    /// The verdict's outputs are sent, those that it buries excepted.
    Sent,
    /// Dropped by a rule, in a word, and what exactly did not hold.
    Dropped(&'static str, Option<String>),
    /// A dead letter, with its reason code and a description.
    Dead(&'static str, String),
    /// The event waits in the router: in a word, and a description.
    Held(&'static str, String),
}

impl TrialEnd {
    /// Returns the fate that this end leads to. `where` is tested by [`turned_away`] alone.
    pub fn fate(&self, on_quarantine: OnQuarantine) -> RouteFate {
        match self {
            Self::Unfulfilled(failing) => RouteFate::Dropped("conditions", Some(failing.join(" | "))),
            Self::Unmatched => RouteFate::Dropped("matches", None),
            Self::Verdict(Verdict::Drop) => RouteFate::Dropped("process", None),
            Self::Verdict(_) => RouteFate::Sent,
            Self::Untested(error) => RouteFate::Dead(error.code(), error.to_string()),
            Self::Broke(broken) => RouteFate::Dead(broken.reason.code(), broken.to_string()),
            Self::Host(error) => RouteFate::Held("unavailable", format!("{error:#}")),
            Self::Said(Failure { kind, cause }) => {
                let detail = cause.detail.to_string();
                match (kind, on_quarantine) {
                    (FailureKind::Malformed, _) => RouteFate::Dead("malformed", detail),
                    (FailureKind::Retry(_) | FailureKind::Failed, _) => RouteFate::Dead("failed", detail),
                    (FailureKind::Defer(_), _) => RouteFate::Held("deferred", detail),
                    (FailureKind::Broken, OnQuarantine::Pause) => RouteFate::Held("quarantined", detail),
                    (FailureKind::Broken, OnQuarantine::DeadLetter) => RouteFate::Dead("quarantined", detail),
                }
            }
        }
    }
}

/// Returns the end of an event that does not fulfil the `where` of a route or of its key.
pub fn turned_away(route: &Route, event: &Event, is_decimal: IsDecimal<'_>) -> Option<TrialEnd> {
    let mut facts = EventFacts::new(event).with_decimals(is_decimal);
    match passes(route, &mut facts) {
        Ok(true) => None,
        Ok(false) => Some(unfulfilled(route, &mut facts).map_or_else(TrialEnd::Untested, TrialEnd::Unfulfilled)),
        Err(error) => Some(TrialEnd::Untested(error)),
    }
}

/// Runs an event through a filter, or calls its `tick` if the event is one, once.
pub async fn trial(
    filter: &Filter,
    subscription: &Arc<RouteSubscription>,
    matcher: &mut Matcher,
    event: &Event,
    is_decimal: IsDecimal<'_>,
) -> FilterTrial {
    let mut steps = Vec::new();
    let end = walk(filter, subscription, matcher, event, is_decimal, &mut steps).await;
    FilterTrial { end, steps }
}

async fn walk(
    filter: &Filter,
    subscription: &Arc<RouteSubscription>,
    matcher: &mut Matcher,
    event: &Event,
    is_decimal: IsDecimal<'_>,
    steps: &mut Vec<TrialStep>,
) -> TrialEnd {
    let mut began = Instant::now();
    let mut asked = |hook| {
        let now = Instant::now();
        steps.push(TrialStep { hook, took: now.duration_since(began) });
        began = now;
    };
    if event.is_tick() {
        let ticked = filter.tick(subscription, event, &mut StageSpan::none()).await;
        asked(Hook::Tick);
        return end_of(ticked);
    }
    let mut facts = EventFacts::new(event).with_decimals(is_decimal);
    match match_event(
        subscription,
        &mut facts,
        |facts| matcher.matches_known(subscription, facts, &mut StageSpan::none()),
        &mut asked,
    ) {
        Ok(MatchAnswer::Wanted) if !subscription.has_process() => return TrialEnd::Verdict(Verdict::Keep),
        Ok(MatchAnswer::Wanted) => {}
        Ok(MatchAnswer::Unfulfilled) => {
            return subscription
                .conditions()
                .failing(&mut facts)
                .map_or_else(TrialEnd::Untested, TrialEnd::Unfulfilled);
        }
        Ok(MatchAnswer::Unmatched) => return TrialEnd::Unmatched,
        Err(MatchError::Untested(error)) => return TrialEnd::Untested(error),
        Err(MatchError::Fault(CallFault::Broke(broken))) => return TrialEnd::Broke(broken),
        Err(MatchError::Fault(CallFault::Host(error))) => return TrialEnd::Host(error),
    }
    let processed = filter.process(subscription, event, event.attempt).await;
    asked(Hook::Process);
    end_of(processed)
}

fn end_of(answer: Result<Verdict, ProcessError>) -> TrialEnd {
    match answer {
        Ok(verdict) => TrialEnd::Verdict(verdict),
        Err(ProcessError::Said(failure)) => TrialEnd::Said(failure),
        Err(ProcessError::Unread(error)) => TrialEnd::Untested(error),
        Err(ProcessError::Broke(broken)) => TrialEnd::Broke(broken),
        Err(ProcessError::Host(error)) => TrialEnd::Host(error),
        Err(ProcessError::Away(why)) => TrialEnd::Host(anyhow::Error::msg(why)),
    }
}
