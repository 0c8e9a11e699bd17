//! A folder's router without its ends: messages go in as they arrive, and what would become of each
//! comes out. The way in between is that of `explain`.

use std::sync::Arc;

use crate::{
    api::ApiClients,
    app,
    cli::{explain::explainer::Explainer, refusal::CommandRefusal},
    config::Config,
    event::{Event, GIVEN_AT, TickMark},
    filter::CodeCache,
    folder::{ArrivingMessage, CaseTick},
    registry::{Route, Snapshot},
    walk::RouteWalk,
};

mod arrival;
mod ends;

pub use arrival::ArrivalError;
use arrival::SourceEntry;
pub use ends::{MessageEnd, sent};

/// A router that reads and writes nothing.
pub struct DryRouter {
    explainer: Explainer,
    entries: Vec<SourceEntry>,
}

impl DryRouter {
    /// Loads the folder's keys. Without `apis`, filters call the router's own. Must be called on a
    /// runtime with I/O enabled.
    ///
    /// # Errors
    /// Returns the problems of the folder.
    pub async fn start(config: Config, cache: CodeCache, apis: Option<ApiClients>) -> Result<Self, CommandRefusal> {
        let loader = match apis {
            Some(apis) => app::rehearse_with(&config, cache, apis).await?,
            None => app::rehearse(&config, cache).await?,
        };
        let entries = config.sources.iter().map(|source| SourceEntry::new(source, &config.dir)).collect();
        Ok(Self { explainer: Explainer::new(config, loader), entries })
    }

    /// Returns what becomes of a message. `number` is its position where it says none; `each` gets
    /// every route in front of which the event comes.
    ///
    /// # Errors
    /// Says why no source would take it.
    pub async fn take(
        &self,
        message: &ArrivingMessage,
        number: u64,
        each: impl FnMut(RouteWalk<'_>),
    ) -> Result<Vec<MessageEnd>, ArrivalError> {
        let entry = arrival::entry(&self.entries, message)?;
        match entry.open(message, number)? {
            Ok(event) => {
                let keys = self.explainer.explain(&event, None, each).await;
                Ok(ends::of_event(&self.explainer.config, &event, keys))
            }
            Err(malformed) => Ok(vec![ends::malformed(&malformed)]),
        }
    }

    /// Returns what becomes of a call by the clock.
    ///
    /// # Errors
    /// Says that there is no such route, or none that is called.
    pub async fn tick(&self, tick: &CaseTick, number: u64) -> Result<Vec<MessageEnd>, ArrivalError> {
        let snapshot = self.snapshot();
        let refused = |message: String| Err(ArrivalError::new(message));
        let Some(key) = snapshot.key(&tick.key) else {
            return refused(format!("there is no key `{}` with a route", tick.key));
        };
        let route = match (&tick.route, &*key.routes) {
            (Some(route), _) => route.clone(),
            (None, [one]) => one.name.to_string(),
            (None, _) => return refused(format!("key `{}` has several routes: say which with `route`", tick.key)),
        };
        let ticks = |route: &Route| route.subscription.as_ref().is_some_and(|known| known.has_tick());
        match key.routes.iter().find(|known| *known.name == *route) {
            None => return refused(format!("key `{}` has no route `{route}`", tick.key)),
            Some(route) if !ticks(route) => return refused(format!("the filter of key `{}` has no `tick`", tick.key)),
            Some(_) => {}
        }
        let now = tick.time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(GIVEN_AT);
        let event = Event::tick(&tick.key, &route, TickMark { now, run: 0, number });
        let explained = self.explainer.tick(&event, &tick.key, &route).await;
        let config = &self.explainer.config;
        Ok(explained.map(|route| ends::of_route(config, &event, &tick.key, route)).unwrap_or_default())
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.explainer.snapshot()
    }

    /// Names of the keys and where they are declared.
    pub fn key_places(&self) -> impl Iterator<Item = (String, String)> {
        self.explainer.interests().into_iter().map(|(key, _)| (key.name.clone(), key.place.to_string()))
    }
}
