//! What would become of an event, key by key.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use crate::{
    app,
    cli::{outcome, refusal::Refusal},
    config::{self, Config, Types},
    event::Event,
    filter::Verdict,
    registry::{self, Loader},
    trial::{End, Step, Trial, trial},
};

/// Everything that a folder's keys would do, without sinks.
pub(super) struct Explainer {
    loader: Loader,
    config: Config,
}

#[derive(Serialize)]
pub(super) struct ExplainedKey {
    pub(super) key: String,
    /// Where it is declared.
    pub(super) place: String,
    pub(super) takes: bool,
    /// The rule that decides.
    pub(super) because: String,
    pub(super) routes: Vec<ExplainedRoute>,
}

#[derive(Serialize)]
pub(super) struct ExplainedRoute {
    pub(super) route: String,
    pub(super) sinks: Vec<String>,
    pub(super) steps: Vec<ExplainedStep>,
    /// In the words of `trommel plugin test`.
    pub(super) outcome: Value,
    /// What led to it, where the outcome alone does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ExplainedStep {
    pub(super) hook: &'static str,
    pub(super) microseconds: f64,
}

impl From<Step> for ExplainedStep {
    fn from(Step { hook, took }: Step) -> Self {
        Self { hook: hook.name(), microseconds: (took.as_secs_f64() * 1e8).round() / 1e2 }
    }
}

impl Explainer {
    /// Must be called on a runtime with sockets.
    pub(super) async fn new(config: Config, cache: Option<PathBuf>) -> Result<Self, Refusal> {
        let loader = app::rehearse(&config, cache).await?;
        Ok(Self { loader, config })
    }

    pub(super) async fn explain(&mut self, event: &Event, only: Option<&str>) -> Vec<ExplainedKey> {
        let snapshot = Arc::clone(&self.loader.snapshots().borrow());
        let registry = &self.config.registry;
        let mut explained = Vec::new();
        let keys = registry.keys.iter().map(|key| (key, named(key, event)));
        let matched = registry.type_routes.iter().any(|route| match &route.types {
            Types::Matching(pattern) => pattern.matches(&event.event_type),
            Types::Rest => false,
        });
        let routes = registry.type_routes.iter().map(|route| (&route.key, by_type(&route.types, event, matched)));
        for (key, rule) in keys.chain(routes) {
            if only.is_some_and(|only| only != key.name) {
                continue;
            }
            let (takes, because) = match rule {
                Ok(rule) => (true, rule),
                Err(rule) => (false, rule),
            };
            let mut routes = Vec::new();
            if takes && let Some(found) = snapshot.key(&key.name) {
                for route in &found.routes {
                    routes.push(self.route(found, route, event).await);
                }
            }
            let (key, place) = (key.name.clone(), key.place.to_string());
            explained.push(ExplainedKey { key, place, takes, because, routes });
        }
        explained
    }

    async fn route(&self, key: &registry::Key, route: &registry::Route, event: &Event) -> ExplainedRoute {
        let sinks = self.sinks(&route.name);
        let done = |steps: Vec<Step>, outcome: Value, because: Option<String>| ExplainedRoute {
            route: route.name.to_string(),
            sinks,
            steps: steps.into_iter().map(Into::into).collect(),
            outcome,
            because,
        };
        let dead = |reason: &str, detail: String| (serde_json::json!({ "dead_letter": reason }), Some(detail));
        let decoded = match key.decoding.as_ref().map(|decoding| decoding.payload(event)) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(payload))) => Some(Event { payload, ..event.clone() }),
            Some(Err(undecodable)) => {
                let (outcome, because) = dead(undecodable.reason, undecodable.detail);
                return done(Vec::new(), outcome, because);
            }
        };
        let event = decoded.as_ref().unwrap_or(event);
        let is_decimal = |pointer: &str| key.decoding.as_ref().is_some_and(|decoding| decoding.is_decimal(pointer));
        let Trial { end, steps } = match (&key.filter, &route.subscription) {
            (Some(filter), Some(subscription)) => {
                trial(filter, subscription, &mut filter.matcher(), event, &is_decimal).await
            }
            _ => Trial { end: End::Verdict(Verdict::Keep), steps: Vec::new() },
        };
        if let Some(mismatch) = mismatch(key, event, &end) {
            let (outcome, because) = dead("schema_mismatch", mismatch);
            return done(steps, outcome, because);
        }
        let because = because(&end);
        match outcome::of(end) {
            Ok(outcome) => done(steps, outcome, because),
            Err(error) => done(steps, serde_json::json!({ "error": format!("{error:#}") }), None),
        }
    }

    fn sinks(&self, route: &str) -> Vec<String> {
        let registry = &self.config.registry;
        let routes = registry.routes.iter().map(|route| (&route.name, &route.sinks));
        let type_routes = registry.type_routes.iter().map(|route| (&route.key.name, &route.sinks));
        let mut all = routes.chain(type_routes);
        all.find(|(name, _)| *name == route).map(|(_, sinks)| sinks.clone()).unwrap_or_default()
    }
}

/// Whether a key takes the event, and by which of its rules or against which.
fn named(key: &config::Key, event: &Event) -> Result<String, String> {
    let mut rules = Vec::new();
    if let Some(pattern) = &key.subject {
        if !pattern.matches(&event.subject) {
            return Err(format!("subject `{pattern}` does not fit `{}`", event.subject));
        }
        rules.push(format!("subject `{pattern}` fits"));
    }
    if let Some(event_type) = &key.event_type {
        if *event_type != *event.event_type {
            return Err(format!("event type is `{}`, not `{event_type}`", event.event_type));
        }
        rules.push(format!("event type is `{event_type}`"));
    }
    Ok(rules.join(", "))
}

fn by_type(types: &Types, event: &Event, matched: bool) -> Result<String, String> {
    match types {
        Types::Matching(pattern) if pattern.matches(&event.event_type) => {
            Ok(format!("`{}` is found in the event type", pattern.as_str()))
        }
        Types::Matching(pattern) => Err(format!("`{}` is not found in the event type", pattern.as_str())),
        Types::Rest if matched => Err("another route's expression is found in the event type".to_owned()),
        Types::Rest => Ok("no route's expression is found in the event type".to_owned()),
    }
}

fn because(end: &End) -> Option<String> {
    match end {
        End::Unfulfilled(failing) => Some(format!("no list of conditions holds: {}", failing.join(" | "))),
        End::Unmatched => Some("`matches` said no".to_owned()),
        End::Verdict(Verdict::Drop) => Some("`process` dropped it".to_owned()),
        End::Broke(broken) => Some(broken.to_string()),
        _ => None,
    }
}

/// The first output that does not fit the key's schema.
fn mismatch(key: &registry::Key, event: &Event, end: &End) -> Option<String> {
    let validation = key.validation.as_ref()?;
    let outputs: Vec<&[u8]> = match end {
        End::Verdict(Verdict::Keep) => vec![&event.payload],
        End::Verdict(Verdict::Replace(output)) => vec![output],
        End::Verdict(Verdict::Emit(emissions)) => emissions.iter().map(|emission| &*emission.payload).collect(),
        _ => Vec::new(),
    };
    outputs.into_iter().enumerate().find_map(|(index, output)| {
        let mismatch = validation.check(output).err()?;
        Some(format!("output {index} {mismatch}"))
    })
}
