//! Subscription of one route to a filter.

use std::{sync::Arc, time::Duration};

use super::{FilterHooks, Params, granted::GrantedResources, interest::EventReads};
use crate::{
    condition::{Conditions, EventFacts, Untested},
    config::{GuestLimits, LimitOverrides},
    json::NotJson,
    projection::{ProjectedPlace, ProjectedValues},
};

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

    /// Sinks of the route that its outputs may choose by name.
    pub fn sinks(&self) -> &[Arc<str>] {
        &self.sinks
    }

    /// Returns whether the filter has `matches`, to be called for events that passed the
    /// conditions, before `process`.
    pub fn has_matches(&self) -> bool {
        self.hooks.matches
    }

    /// Returns whether the filter has `process`. Without it every event that matched is kept as it
    /// is.
    pub fn has_process(&self) -> bool {
        self.hooks.process
    }
}
