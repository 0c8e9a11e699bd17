//! Dry run of an event through each key.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use super::output::{ExplainedOutput, explained_output};
use crate::{
    ack::{Acker, EventDelivery, Ticket},
    cli::outcome,
    config::{self, Config, TypeSelection},
    event::Event,
    filter::{Emission, EmissionFate, Verdict},
    registry::{KeyInterest, Loader, Snapshot},
    trial::{FilterTrial, RouteFate, TrialEnd, TrialStep, trial, turned_away},
    walk::{RouteResult, RouteWalk, Unsendable, decoded},
};

/// A folder's keys, loaded without sinks.
pub struct Explainer {
    loader: Loader,
    pub config: Config,
}

#[derive(Serialize)]
pub struct ExplainedKey {
    pub key: String,
    /// Location of its declaration.
    pub place: String,
    pub takes: bool,
    /// Rule that decides whether the key takes the event.
    pub because: String,
    /// Set if the key can't decode the event: then no route runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterCause>,
    pub routes: Vec<ExplainedRoute>,
}

#[derive(Serialize)]
pub struct DeadLetterCause {
    pub reason: &'static str,
    pub detail: String,
}

#[derive(Serialize)]
pub struct ExplainedRoute {
    pub route: String,
    pub sinks: Vec<String>,
    pub steps: Vec<ExplainedStep>,
    /// In the format of `trommel plugin test`.
    pub outcome: Value,
    /// Reason for the outcome, if the outcome alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Previews of the outputs for each sink.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ExplainedOutput>,
    #[serde(skip)]
    pub fate: RouteFate,
    /// Why outputs become dead letters beside those that are sent.
    #[serde(skip)]
    pub buried: Vec<String>,
}

#[derive(Serialize)]
pub struct ExplainedStep {
    pub hook: &'static str,
    pub microseconds: f64,
}

impl From<TrialStep> for ExplainedStep {
    fn from(TrialStep { hook, took }: TrialStep) -> Self {
        Self { hook: hook.name(), microseconds: (took.as_secs_f64() * 1e8).round() / 1e2 }
    }
}

impl Explainer {
    pub fn new(config: Config, loader: Loader) -> Self {
        Self { loader, config }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.loader.snapshots().borrow())
    }

    /// Explains an event. `each` gets every route in front of which it comes.
    pub async fn explain(
        &self,
        event: &Event,
        only: Option<&str>,
        mut each: impl FnMut(RouteWalk<'_>),
    ) -> Vec<ExplainedKey> {
        let snapshot = self.snapshot();
        let mut taken = BTreeSet::new();
        snapshot.candidates(event, |key| {
            taken.insert(Arc::clone(&key.name));
        });
        let interests = self.interests();
        let is_matched = interests
            .iter()
            .any(|(_, interest)| matches!(interest, KeyInterest::Matching(_)) && interest.rule(event, false).is_ok());
        let ticket = ticket_of(event);
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
                            let walk = RouteWalk { key: found, route, event };
                            each(walk);
                            routes.push(self.route(walk, &ticket).await);
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

    /// Explains a call of a route by the clock. `None` if there is no such route.
    pub async fn tick(&self, event: &Event, key: &str, route: &str) -> Option<ExplainedRoute> {
        let snapshot = self.snapshot();
        let key = snapshot.key(key)?;
        let route = key.routes.iter().find(|known| *known.name == *route)?;
        Some(self.route(RouteWalk { key, route, event }, &ticket_of(event)).await)
    }

    /// Every key with the rule for the events that it takes.
    pub fn interests(&self) -> Vec<(&config::KeyConfig, KeyInterest)> {
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
        let turned_away = if event.is_tick() { None } else { turned_away(route, event, &is_decimal) };
        let is_turned_away = turned_away.is_some();
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
        let fate = match (&sent, end.fate(key.on_quarantine)) {
            (Err(Unsendable { reason, detail }), _) => RouteFate::Dead(reason, detail.clone()),
            (Ok(_), RouteFate::Dropped(_, failing)) if is_turned_away => RouteFate::Dropped("where", failing),
            (Ok(_), fate) => fate,
        };
        let buried = match (&sent, &end) {
            (Ok(_), TrialEnd::Verdict(Verdict::Emit(emissions))) => emissions.iter().filter_map(buried).collect(),
            _ => Vec::new(),
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
        ExplainedRoute { route: route.name.to_string(), sinks, steps, outcome, because, outputs, fate, buried }
    }
}

/// The event has no source, so its settlement goes nowhere.
fn ticket_of(event: &Event) -> Ticket {
    EventDelivery { event: event.clone(), acker: Acker::unheard() }.open(Arc::default(), None)
}

fn buried(emission: &Emission) -> Option<String> {
    match &emission.fate {
        EmissionFate::Bury(cause) => Some(cause.detail.to_string()),
        EmissionFate::Send => None,
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
