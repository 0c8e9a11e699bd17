//! Parts that the embedding program gives to its router: buses, sinks and sources.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use super::outlets::OutletStarter;
use crate::{
    bus::Bus,
    config::{Config, ConfigPlace, Problem, Problems, SinkConfig, SinkKind, SourceKind},
    metrics::SourceMetrics,
    pipeline::Pipeline,
    poison::ignore_poison,
    sink::{Sink, outlet::SinkQueue},
    source::Source,
    stop::Stop,
};

const HINT: &str = "a program that embeds the router gives it with `ProgramParts`: see `examples/embedded`";

/// Parts that the embedding program gives to its router. The folder declares each by its name, with
/// `type = "bus"` or `type = "program"`.
#[derive(Default)]
pub struct ProgramParts {
    bus: Option<Bus>,
    buses: BTreeMap<String, Bus>,
    sinks: Mutex<BTreeMap<String, SinkStart>>,
    sources: Mutex<BTreeMap<String, SourceStart>>,
}

/// Starts the outlet of a sink.
type SinkStart = Box<dyn FnOnce(&mut OutletStarter<'_>, &SinkConfig, usize) -> SinkQueue + Send>;
/// Starts a source.
type SourceStart = Box<dyn FnOnce(&Pipeline, Arc<SourceMetrics>, Stop) -> RunningSource + Send>;
pub(super) type RunningSource = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

impl ProgramParts {
    /// Gives the bus of sources and sinks of type `bus` that name none.
    pub fn bus(self, bus: &Bus) -> Self {
        Self { bus: Some(bus.clone()), ..self }
    }

    /// Gives the bus of sources and sinks of type `bus` with `bus = "NAME"`.
    pub fn named_bus(mut self, name: impl Into<String>, bus: &Bus) -> Self {
        self.buses.insert(name.into(), bus.clone());
        self
    }

    /// Gives the sink that the folder declares with `type = "program"`. It has the queue, the
    /// retries and the policy of every other sink; what it has to promise is said at [`Sink`].
    pub fn sink(mut self, name: impl Into<String>, sink: impl Sink) -> Self {
        let start: SinkStart = Box::new(move |starter, settings, capacity| starter.start(settings, capacity, sink));
        ignore_poison(self.sinks.get_mut()).insert(name.into(), start);
        self
    }

    /// Gives the source that the folder declares with `type = "program"`; what it has to promise is
    /// said at [`Source`].
    pub fn source(mut self, name: impl Into<String>, source: impl Source) -> Self {
        let start: SourceStart =
            Box::new(move |pipeline, metrics, stop| Box::pin(source.run(pipeline.intake(metrics), stop)));
        ignore_poison(self.sources.get_mut()).insert(name.into(), start);
        self
    }

    pub(super) fn bus_of(&self, name: Option<&str>) -> Option<&Bus> {
        match name {
            Some(name) => self.buses.get(name),
            None => self.bus.as_ref(),
        }
    }

    pub(super) fn take_sink(&self, name: &str) -> Option<SinkStart> {
        ignore_poison(self.sinks.lock()).remove(name)
    }

    pub(super) fn take_source(&self, name: &str) -> Option<SourceStart> {
        ignore_poison(self.sources.lock()).remove(name)
    }

    /// Checks that the program gives what the folder declares, and warns of parts that it does not
    /// declare. Sinks are not needed by a run that only records.
    pub(super) fn check(&self, config: &Config, only_records: bool) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let (mut sources, mut sinks) = (names(&self.sources), names(&self.sinks));
        for source in &config.sources {
            let needs = |what: String, place: &ConfigPlace| missing(format!("source `{}`", source.name), what, place);
            match &source.kind {
                SourceKind::Bus(bus) if self.bus_of(bus.bus.as_deref()).is_none() => {
                    problems.push(needs(format!("listens to {}", shown(bus.bus.as_deref())), &bus.place));
                }
                SourceKind::Program(place) if !remove(&mut sources, &source.name) => {
                    problems.push(needs("is one of a program".to_owned(), place));
                }
                _ => {}
            }
        }
        for sink in config.sinks.iter().filter(|_| !only_records) {
            let needs = |what: String, place: &ConfigPlace| missing(format!("sink `{}`", sink.name), what, place);
            match &sink.kind {
                SinkKind::Bus(bus) if self.bus_of(bus.bus.as_deref()).is_none() => {
                    problems.push(needs(format!("publishes on {}", shown(bus.bus.as_deref())), &bus.place));
                }
                SinkKind::Program(place) if !remove(&mut sinks, &sink.name) => {
                    problems.push(needs("is one of a program".to_owned(), place));
                }
                _ => {}
            }
        }
        if !problems.is_empty() {
            return Err(Problems::new(problems));
        }
        for (kind, names) in [("source", sources), ("sink", sinks)] {
            for name in names {
                let hint = format!("declare it: `[[{kind}]]` with `name = \"{name}\"` and `type = \"program\"`");
                tracing::warn!(name, hint, "the program gives what the folder does not declare");
            }
        }
        Ok(())
    }
}

fn names<T>(parts: &Mutex<BTreeMap<String, T>>) -> Vec<String> {
    ignore_poison(parts.lock()).keys().cloned().collect()
}

fn remove(names: &mut Vec<String>, name: &str) -> bool {
    let before = names.len();
    names.retain(|known| known != name);
    names.len() < before
}

fn shown(bus: Option<&str>) -> String {
    bus.map_or_else(|| "the bus of a program".to_owned(), |name| format!("the bus `{name}` of a program"))
}

fn missing(part: String, what: String, place: &ConfigPlace) -> Problem {
    let message = format!("{part} {what}, and this router has none");
    Problem::error(place.clone(), message).hint(HINT)
}
