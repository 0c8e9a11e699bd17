//! Dry run of an event through each key.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use super::output::{ExplainedOutput, explained_output};
use crate::{
    ack::{Acker, EventDelivery, Ticket},
    app,
    cli::{outcome, refusal::CommandRefusal},
    config::{self, Config, TypeSelection},
    event::Event,
    filter::{CodeCache, Verdict},
    registry::{KeyInterest, Loader},
    trial::{FilterTrial, TrialEnd, TrialStep, trial, turned_away},
    walk::{RouteResult, RouteWalk, Unsendable, decoded},
};

/// A folder's keys, loaded without sinks.
pub(super) struct Explainer {
    loader: Loader,
    config: Config,
}

#[derive(Serialize)]
pub(super) struct ExplainedKey {
    pub(super) key: String,
    /// Location of its declaration.
    pub(super) place: String,
    pub(super) takes: bool,
    /// Rule that decides whether the key takes the event.
    pub(super) because: String,
    /// Set if the key can't decode the event: then no route runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter: Option<DeadLetterCause>,
    pub(super) routes: Vec<ExplainedRoute>,
}

#[derive(Serialize)]
pub(super) struct DeadLetterCause {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

#[derive(Serialize)]
pub(super) struct ExplainedRoute {
    pub(super) route: String,
    pub(super) sinks: Vec<String>,
    pub(super) steps: Vec<ExplainedStep>,
    /// In the format of `trommel plugin test`.
    pub(super) outcome: Value,
    /// Reason for the outcome, if the outcome alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
    /// Previews of the outputs for each sink.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) outputs: Vec<ExplainedOutput>,
}

#[derive(Serialize)]
pub(super) struct ExplainedStep {
    pub(super) hook: &'static str,
    pub(super) microseconds: f64,
}

impl From<TrialStep> for ExplainedStep {
    fn from(TrialStep { hook, took }: TrialStep) -> Self {
        Self { hook: hook.name(), microseconds: (took.as_secs_f64() * 1e8).round() / 1e2 }
    }
}

impl Explainer {
    /// Must be called on a runtime with I/O enabled.
    pub(super) async fn new(config: Config, cache: CodeCache) -> Result<Self, CommandRefusal> {
        let loader = app::rehearse(&config, cache).await?;
        Ok(Self { loader, config })
    }

    pub(super) async fn explain(&mut self, event: &Event, only: Option<&str>) -> Vec<ExplainedKey> {
        let snapshot = Arc::clone(&self.loader.snapshots().borrow());
        let mut taken = BTreeSet::new();
        snapshot.candidates(event, |key| {
            taken.insert(Arc::clone(&key.name));
        });
        let interests = self.interests();
        let is_matched = interests
            .iter()
            .any(|(_, interest)| matches!(interest, KeyInterest::Matching(_)) && interest.rule(event, false).is_ok());
        // The event has no source, so its settlement goes nowhere.
        let ticket = EventDelivery { event: event.clone(), acker: Acker::unheard() }.open(Arc::default());
        let mut explained = Vec::new();
        for (key, interest) in interests.iter().filter(|(key, _)| only.is_none_or(|only| only == key.name)) {
            let rule = interest.rule(event, is_matched);
            let found = snapshot.key(&key.name);
            // A key without a route is not in the index and never gets an event, so its rule alone
            // decides.
            let takes = if found.is_some() { taken.contains(&*key.name) } else { rule.is_ok() };
            let (Ok(because) | Err(because)) = rule;
            let (mut routes, mut dead_letter) = (Vec::new(), None);
            if let Some(found) = found.filter(|_| takes) {
                match decoded(found, event) {
                    Ok(decoded) => {
                        let event = decoded.as_ref().unwrap_or(event);
                        for route in &found.routes {
                            routes.push(self.route(RouteWalk { key: found, route, event }, &ticket).await);
                        }
                    }
                    Err(error) => dead_letter = Some(DeadLetterCause { reason: error.reason, detail: error.detail }),
                }
            }
            let (key, place) = (key.name.clone(), key.place.to_string());
            explained.push(ExplainedKey { key, place, takes, because, dead_letter, routes });
        }
        explained
    }

    /// Every key with the rule for the events that it takes.
    fn interests(&self) -> Vec<(&config::KeyConfig, KeyInterest)> {
        let registry = &self.config.registry;
        let named = registry
            .keys
            .iter()
            .map(|key| (key, KeyInterest::Named { subject: key.subject.clone(), event_type: key.event_type.clone() }));
        let by_type = registry.type_routes.iter().map(|route| match &route.types {
            TypeSelection::Matching(pattern) => (&route.key, KeyInterest::Matching(pattern.clone())),
            TypeSelection::Rest => (&route.key, KeyInterest::Rest),
        });
        named.chain(by_type).collect()
    }

    async fn route(&self, walk: RouteWalk<'_>, ticket: &Ticket) -> ExplainedRoute {
        let RouteWalk { key, route, event } = walk;
        let is_decimal = |pointer: &str| key.decoding.as_ref().is_some_and(|decoding| decoding.is_decimal(pointer));
        let turned_away = turned_away(route, event, &is_decimal);
        let FilterTrial { end, steps } = match (turned_away, &key.filter, &route.subscription) {
            (Some(end), ..) => FilterTrial { end, steps: Vec::new() },
            (None, Some(filter), Some(subscription)) => {
                trial(filter, subscription, &mut filter.matcher(), event, &is_decimal).await
            }
            _ => FilterTrial { end: TrialEnd::Verdict(Verdict::Keep), steps: Vec::new() },
        };
        let mut outputs = Vec::new();
        let sent = match &end {
            TrialEnd::Verdict(verdict) => walk.outputs(verdict.clone(), |result| match result {
                RouteResult::Output(output) => {
                    outputs.push(explained_output(&self.config, key, route, ticket, output));
                }
                // It stands in the outcome.
                RouteResult::Buried { .. } => {}
            }),
            _ => Ok(false),
        };
        let (outcome, because) = match sent {
            Err(Unsendable { reason, detail }) => (json!({ "dead_letter": reason }), Some(detail)),
            Ok(_) => {
                let because = because(&end);
                outcome::of(end)
                    .map(|outcome| (outcome, because))
                    .unwrap_or_else(|error| (json!({ "error": format!("{error:#}") }), None))
            }
        };
        let sinks = route.sinks.iter().map(|sink| sink.queue.name().to_string()).collect();
        let steps = steps.into_iter().map(Into::into).collect();
        ExplainedRoute { route: route.name.to_string(), sinks, steps, outcome, because, outputs }
    }
}

fn because(end: &TrialEnd) -> Option<String> {
    match end {
        TrialEnd::Unfulfilled(failing) => Some(format!("no list of conditions holds: {}", failing.join(" | "))),
        TrialEnd::Unmatched => Some("`matches` said no".to_owned()),
        TrialEnd::Verdict(Verdict::Drop) => Some("`process` dropped it".to_owned()),
        TrialEnd::Broke(broken) => Some(broken.to_string()),
        _ => None,
    }
}
