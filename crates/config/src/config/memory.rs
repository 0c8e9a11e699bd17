//! The memory plan: shares of `[limits] memory` for the router's parts.

use std::{fmt, num::NonZeroUsize};

use bytesize::ByteSize;

use super::{Config, FilterSettings, Grant, SinkKind, SourceKind, StateKeeping, machine};
use crate::avro::container::LARGEST_BLOCK;

const MIB: u64 = 1 << 20;
/// Memory of the program itself, its threads, the registry, and current reads and writes of
/// connections.
const PROGRAM: u64 = 72 * MIB;
/// Memory of a component's instances beside the largest possible one: those that do not grow.
const SMALL_INSTANCES: u64 = 16 * MIB;
/// Smallest share of a source, a sink, or any other member of a part. A source takes one event
/// whatever its size.
const LEAST: u64 = 2 * MIB;
/// Smallest size that an event is counted with: data about it is kept as well, and about the 16
/// times as many that the server may leave unacknowledged, which are deferred.
const EVENT: u64 = 6 << 10;
/// Smallest size that an output is counted with.
const OUTPUT: u64 = 1 << 10;
/// Largest share of one sink.
const SINK: u64 = 32 * MIB;
/// Largest share of a source that reads core NATS.
const LIVE: u64 = 64 * MIB;
/// Largest share of outputs that wait for all attached consumers.
const CONSUMERS: u64 = 144 * MIB;
/// Largest share of requests to webhooks.
const WEBHOOKS: u64 = 64 * MIB;
/// Memory of a program's pipes and lines, beside the outputs that its sink holds.
const PROCESS: u64 = 32 << 10;
/// Memory of an id in the window of `[dedup]`.
const ID: u64 = 100;
/// Memory of a source of Avro files: a block as it is stored and as it is read, and records of it.
const AVRO_FILE: u64 = 2 * LARGEST_BLOCK as u64 + 24 * MIB;
/// Assumed memory if the system does not report it.
const UNKNOWN: u64 = 2 << 30;

/// Memory limits of each part of a router, in bytes. The rest is left for temporary copies and the
/// allocator's overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Memory limit of the process.
    pub total: u64,
    pub components: ComponentMemory,
    /// Open events of each source.
    pub source: u64,
    /// Bodies that each HTTP source may be reading.
    pub bodies: usize,
    /// Messages of core NATS that wait for each source to take them.
    pub live: u64,
    /// Outputs in each sink.
    pub sink: usize,
    /// Outputs waiting for all attached consumers.
    pub consumers: usize,
    /// Requests to webhooks under way.
    pub webhooks: u64,
    /// The `state` of all components.
    pub state: usize,
}

/// The memory that all components share: instances, machine code, and outputs that no sink has
/// confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentMemory {
    pub all: usize,
    /// Memory in use up to which instances are kept for their next call. The rest is for working
    /// instances.
    pub kept: usize,
    /// Largest part of it for outputs.
    pub outputs: usize,
    /// Largest part of it for one output: the share of a sink.
    pub output: usize,
}

impl ComponentMemory {
    /// Limits for programs that only try components out.
    pub const UNLIMITED: Self = Self { all: usize::MAX, kept: usize::MAX, outputs: usize::MAX, output: usize::MAX };
}

/// A part of the plan: its members get equal shares of the memory left beside the instances.
#[derive(Clone, Copy, Debug)]
struct MemoryPart {
    weight: u64,
    members: u64,
    /// Smallest and largest amount that one member can use.
    least: u64,
    most: u64,
}

impl MemoryPart {
    /// The share of each member if `unit` is the share of one weight.
    fn each(&self, unit: u64) -> u64 {
        (unit * self.weight).checked_div(self.members).map_or(0, |each| each.min(self.most))
    }

    /// The smallest sufficient unit.
    fn unit(&self) -> u64 {
        self.least.min(self.most).saturating_mul(self.members).div_ceil(self.weight)
    }
}

/// The memory demand of a folder.
#[derive(Debug)]
struct MemoryDemand {
    sources: MemoryPart,
    bodies: MemoryPart,
    live: MemoryPart,
    sinks: MemoryPart,
    consumers: MemoryPart,
    webhooks: MemoryPart,
    state: MemoryPart,
    /// Size of the largest possible instance.
    instance: u64,
    /// Memory of the ids in all windows, of blocks of Avro files, and of the programs that the
    /// routes' sinks run.
    fixed: u64,
}

/// The summary that a router logs at startup.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, components, source, sink, consumers, .. } = *self;
        let [all, source, sink, consumers] =
            [components.all as u64, source, sink as u64, consumers as u64].map(ByteSize::b);
        write!(
            f,
            "memory is bounded by {}: components have {all}, each source {source} of open events, each sink {sink}, \
             consumers {consumers}",
            ByteSize::b(total)
        )
    }
}

impl MemoryPlan {
    /// Makes the plan for a router's folder. Without `[limits] memory` it has half of the machine's
    /// memory, or the least that it needs if that is more.
    ///
    /// # Errors
    /// Returns the least `memory` that the folder needs if it has less.
    pub fn new(config: &Config) -> Result<Self, TooLittle> {
        let demand = MemoryDemand::of(config);
        let least = demand.least();
        match config.memory {
            Some(total) if total < least => Err(TooLittle { total, least }),
            Some(total) => Ok(demand.share_out(total)),
            None => Ok(demand.share_out((machine::memory().unwrap_or(UNKNOWN) / 2).max(least))),
        }
    }

    /// The configuration with its limits lowered to those of the plan.
    pub fn apply(&self, mut config: Config) -> Config {
        let pipeline = &mut config.pipeline;
        pipeline.in_flight_bytes = pipeline.in_flight_bytes.min(self.source);
        pipeline.in_flight = pipeline.in_flight.min(count(self.source / EVENT));
        self.fit(&mut config.filters);
        self.fit(&mut config.registry.filters);
        config
    }

    /// Lowers the limits of filters to their part.
    pub fn fit(&self, filters: &mut [FilterSettings]) {
        for filter in filters {
            filter.limits.state = filter.limits.state.min(self.state);
        }
    }

    /// The largest number of outputs that one sink may hold.
    pub fn outputs(&self) -> usize {
        count(self.sink as u64 / OUTPUT).get()
    }
}

fn half_more(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.div_ceil(2))
}

fn count(number: u64) -> NonZeroUsize {
    NonZeroUsize::new(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// Error for a `[limits] memory` that is less than the folder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`memory` is {}, and what this folder declares needs {} at least", ByteSize::b(*.total), ByteSize::b(*.least))]
pub struct TooLittle {
    /// The bytes that the folder has.
    pub total: u64,
    /// The bytes that it needs.
    pub least: u64,
}

impl TooLittle {
    /// Hint on how to resolve the error.
    pub const HINT: &str = "raise it, or let components have smaller instances (`instance_memory`), HTTP sources \
                            smaller bodies (`max_body`), or have fewer sources and sinks";
}

/// Number of programs that run when every route has outputs.
fn processes(config: &Config) -> u64 {
    let programs = config.sinks.iter().filter(|sink| matches!(sink.kind, SinkKind::Exec(_)));
    let routes = (config.registry.routes.len() + config.registry.type_routes.len()) as u64;
    routes.saturating_mul(programs.count() as u64)
}

impl MemoryDemand {
    fn of(config: &Config) -> Self {
        let http = || {
            config.sources.iter().filter_map(|source| match &source.kind {
                SourceKind::Http(http) => Some(http),
                _ => None,
            })
        };
        let request = http().map(|http| http.max_body.saturating_add(http.max_head) as u64).max();
        let request = request.unwrap_or(0).max(LEAST);
        let requests = http().map(|http| http.max_body.saturating_mul(http.connections) as u64).max().unwrap_or(0);
        let pipeline = &config.pipeline;
        let events = pipeline.in_flight_bytes.max(EVENT.saturating_mul(pipeline.in_flight.get() as u64));
        let has_webhooks = config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Webhook(_)));
        let filters = || config.filters.iter().chain(&config.registry.filters);
        let has_state = config.state.keeping == StateKeeping::Memory
            && filters().any(|filter| filter.grants.contains(&Grant::State));
        let sources = config.sources.len() as u64;
        let live = config.sources.iter().filter(|source| matches!(source.kind, SourceKind::Nats(_)));
        let avro_files = config.sources.iter().filter(|source| matches!(source.kind, SourceKind::AvroFile(_)));
        let avro_files = avro_files.count() as u64;
        let part = |weight, members, least, most| MemoryPart { weight, members, least, most };
        let state = filters().map(|filter| filter.limits.state).max().unwrap_or(0) as u64;
        let instances = filters().map(|filter| filter.limits.memory).chain([config.limits.memory]);
        let ids = config.dedup.as_ref().map_or(0, |dedup| ID.saturating_mul(dedup.capacity.get() as u64));
        Self {
            // Half as much again, for the events that overtake those of a stalled key.
            sources: part(4, sources, half_more(request), half_more(events)),
            bodies: part(1, http().count() as u64, request, requests),
            live: part(1, live.count() as u64, LEAST, LIVE),
            sinks: part(3, config.sinks.len() as u64 + 1, LEAST, SINK),
            consumers: part(1, 1, LEAST, CONSUMERS),
            webhooks: part(1, has_webhooks.into(), LEAST, WEBHOOKS),
            state: part(2, has_state.into(), LEAST.min(state), state),
            instance: instances.max().unwrap_or(0) as u64,
            fixed: ids
                .saturating_mul(sources)
                .saturating_add(AVRO_FILE.saturating_mul(avro_files))
                .saturating_add(PROCESS.saturating_mul(processes(config))),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &MemoryPart> {
        let all = [&self.sources, &self.bodies, &self.live, &self.sinks, &self.consumers, &self.webhooks, &self.state];
        all.into_iter().filter(|part| part.members > 0)
    }

    fn weights(&self) -> u64 {
        self.parts().map(|part| part.weight).sum()
    }

    /// The smallest share of components: instances alone.
    fn instances(&self) -> u64 {
        self.instance.saturating_add(SMALL_INSTANCES)
    }

    /// The smallest sum of the shares of all parts.
    fn parts_least(&self) -> u64 {
        let unit = self.parts().map(MemoryPart::unit).max().unwrap_or(0);
        unit.saturating_mul(self.weights())
    }

    /// The least memory that the folder needs.
    fn least(&self) -> u64 {
        let shared = self.instances().saturating_add(self.parts_least());
        shared.div_ceil(3).saturating_mul(5).saturating_add(PROGRAM).saturating_add(self.fixed)
    }

    /// Divides three fifths of the memory beside the program. Components also get the memory that
    /// other parts can't use.
    fn share_out(&self, total: u64) -> MemoryPlan {
        let shared = total.saturating_sub(PROGRAM + self.fixed) / 5 * 3;
        // A quarter, unless the parts need that: small instances leave it to them.
        let instances = (shared / 4).min(shared.saturating_sub(self.parts_least())).max(self.instances());
        let unit = shared.saturating_sub(instances) / self.weights().max(1);
        let used: u64 = self.parts().map(|part| part.each(unit) * part.members).sum();
        let outputs = self.sinks.each(unit) * self.sinks.members;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        // Outputs of components count there as well: their memory belongs to the components for as
        // long as their sinks hold them.
        let all = shared - (used - outputs).min(shared);
        MemoryPlan {
            total,
            components: ComponentMemory {
                all: size(all),
                kept: size(all.saturating_sub(outputs + self.instance)),
                outputs: size(outputs),
                output: size(self.sinks.each(unit)),
            },
            source: self.sources.each(unit) / 3 * 2,
            bodies: size(self.bodies.each(unit)),
            live: self.live.each(unit),
            sink: size(self.sinks.each(unit)),
            consumers: size(self.consumers.each(unit)),
            webhooks: self.webhooks.each(unit),
            state: size(self.state.each(unit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The total of the shared-out memory.
    fn sum(plan: &MemoryPlan, demand: &MemoryDemand) -> u64 {
        let MemoryPlan { components, source, bodies, live, consumers, webhooks, state, .. } = *plan;
        let read = bodies as u64 * demand.bodies.members + live * demand.live.members;
        let sources = half_more(source) * demand.sources.members + read;
        // The share of the sinks is part of that of the components.
        components.all as u64 + sources + consumers as u64 + webhooks + state as u64
    }

    prop_compose! {
        fn demands()(
            (sources, https, lives, sinks) in (0_u64..20, 0_u64..5, 0_u64..5, 1_u64..40),
            (webhooks, states) in (0_u64..2, 0_u64..2),
            (request, in_flight, state, instance, fixed) in
                (LEAST..40 * MIB, 1..1_u64 << 40, 1..1_u64 << 40, 1..1_u64 << 32, 0..1_u64 << 30),
        ) -> MemoryDemand {
            let part = |weight, members, least, most| MemoryPart { weight, members, least, most };
            MemoryDemand {
                sources: part(4, sources, half_more(request), half_more(in_flight)),
                bodies: part(1, https, request, request * 100),
                live: part(1, lives, LEAST, LIVE),
                sinks: part(3, sinks, LEAST, SINK),
                consumers: part(1, 1, LEAST, CONSUMERS),
                webhooks: part(1, webhooks, LEAST, WEBHOOKS),
                state: part(2, states, LEAST.min(state), state),
                instance,
                fixed,
            }
        }
    }

    proptest! {
        /// For every folder: the parts together are within three fifths of the memory beside the
        /// program, each member has what it needs, the largest instance fits whatever sinks hold,
        /// and no part has more than it can use.
        #[test]
        fn the_parts_are_within_the_whole_and_large_enough(demand in demands(), more in 0..1_u64 << 40) {
            let total = demand.least() + more;
            let plan = demand.share_out(total);
            let shared = (total - PROGRAM - demand.fixed) / 5 * 3;
            prop_assert!(sum(&plan, &demand) <= shared);
            let ComponentMemory { all, kept, outputs, .. } = plan.components;
            prop_assert!(all - kept - outputs >= demand.instance as usize);
            prop_assert_eq!(outputs as u64, plan.sink as u64 * demand.sinks.members);
            let parts = [
                (demand.sources, half_more(plan.source) + 3),
                (demand.bodies, plan.bodies as u64),
                (demand.live, plan.live),
                (demand.sinks, plan.sink as u64),
                (demand.consumers, plan.consumers as u64),
                (demand.webhooks, plan.webhooks),
                (demand.state, plan.state as u64),
            ];
            for (part, has) in parts.into_iter().filter(|(part, _)| part.members > 0) {
                prop_assert!(has >= part.least.min(part.most) && has <= part.most + 3, "{part:?} has {has}");
            }
        }
    }
}
