//! Subscription of one route to a filter.

use std::{sync::Arc, time::Duration};

use super::{FilterHooks, Params, granted::GrantedResources, interest::EventReads};
use crate::{
    condition::{Conditions, EventFacts, Untested},
    config::{GuestLimits, LimitOverrides},
    event::Event,
    json::{JsonOutline, NotJson},
    projection::{ProjectedPlace, ProjectedValues},
};

/// Part of a limit that every KiB of payload and every further event of a batch add to it, as a
/// divisor: 64 events may take twice the limit.
const SHARE: u32 = 64;

/// Limits of one call: the filter's, with the overrides of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallLimits {
    pub(super) match_cpu: Duration,
    pub(super) process_cpu: Duration,
    pub(super) process_wall: Duration,
    pub(super) output: usize,
    pub(super) emissions: usize,
    pub(super) host_calls: u32,
    pub(super) log_lines: u32,
}

impl CallLimits {
    pub fn new(filter: &GuestLimits, key: &LimitOverrides) -> Self {
        Self {
            match_cpu: key.match_cpu.unwrap_or(filter.match_cpu),
            process_cpu: key.process_cpu.unwrap_or(filter.process_cpu),
            process_wall: key.process_wall.unwrap_or(filter.process_wall),
            output: key.output.unwrap_or(filter.output),
            emissions: key.emissions.unwrap_or(filter.emissions),
            host_calls: key.host_calls.unwrap_or(filter.host_calls),
            log_lines: key.log_lines.unwrap_or(filter.log_lines),
        }
    }
}

/// Returns the computing time for a call about an event with `payload` bytes: each KiB adds a 64th
/// of the limit, because what it takes to read an event grows with it.
pub(super) fn time_for(limit: Duration, payload: usize) -> Duration {
    let kib = u32::try_from(payload >> 10).unwrap_or(u32::MAX);
    limit.saturating_add((limit / SHARE).saturating_mul(kib))
}

/// Returns the computing time for a call about `count` events that are handed over in `size` bytes.
pub(super) fn time_of_batch(limit: Duration, count: usize, size: usize) -> Duration {
    let more = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    time_for(limit, size).saturating_add((limit / SHARE).saturating_mul(more))
}

/// A route's subscription: its normalised params and its conditions. Instances construct the
/// guest's own object for it when they first need it and drop it some time after the last reference
/// to this has gone.
#[derive(Debug)]
pub struct RouteSubscription {
    pub(super) granted: Arc<GrantedResources>,
    pub(super) params: Params,
    pub(super) limits: CallLimits,
    pub(super) conditions: Conditions,
    pub(super) hooks: FilterHooks,
    pub(super) route: Arc<str>,
    pub(super) match_reads: EventReads,
    pub(super) process_reads: EventReads,
    pub(super) sinks: Vec<Arc<str>>,
}

/// An event in front of `process`.
pub(super) struct ReadEvent<'a> {
    pub(super) event: &'a Event,
    /// Values of the fields that are read.
    pub(super) values: ProjectedValues<'a>,
    /// Where the members stand that were passed on the way to them.
    pub(super) outline: JsonOutline,
}

impl RouteSubscription {
    pub fn key(&self) -> &str {
        &self.granted.key
    }

    /// Params as normalised by the filter.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Conditions, to be tested before anything else.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Returns the values of the fields that a call of the guest is handed.
    ///
    /// # Errors
    /// If a part of the payload is read, and the payload is not JSON.
    pub(super) fn values<'a>(
        &'a self,
        reads: &'a EventReads,
        facts: &mut EventFacts<'a>,
        attempt: u32,
    ) -> Result<ProjectedValues<'a>, Untested> {
        let place = ProjectedPlace { key: &self.granted.key, route: &self.route, attempt };
        reads.fields.values(facts, &place).map_err(|NotJson| Untested::Unreadable)
    }

    /// Returns what a call of `process` is handed.
    ///
    /// # Errors
    /// As [`Self::values`].
    pub(super) fn read<'a>(&'a self, event: &'a Event, attempt: u32) -> Result<ReadEvent<'a>, Untested> {
        let mut facts = EventFacts::new(event).with_outline();
        let values = self.values(&self.process_reads, &mut facts, attempt)?;
        Ok(ReadEvent { event, values, outline: facts.into_outline() })
    }

    /// Sinks of the route that its outputs may choose by name.
    pub fn sinks(&self) -> &[Arc<str>] {
        &self.sinks
    }

    /// Returns whether the filter has `matches`, to be called for events that passed the
    /// conditions, before `process`.
    pub fn has_matches(&self) -> bool {
        self.hooks.matches
    }

    /// Returns whether the filter has `tick`.
    pub fn has_tick(&self) -> bool {
        self.hooks.tick
    }

    /// Returns whether the filter has `process`. Without it every event that matched is kept as it
    /// is.
    pub fn has_process(&self) -> bool {
        self.hooks.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_grows_with_the_payload_and_never_overflows() {
        let limit = Duration::from_millis(64);
        let times = [0, 1023, 1024, 1 << 20].map(|payload| time_for(limit, payload).as_millis());
        assert_eq!(times, [64, 64, 65, 64 + 1024]);
        assert_eq!(time_for(Duration::MAX, usize::MAX), Duration::MAX);
    }
}
