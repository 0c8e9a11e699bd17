//! What an operator orders of the loader, beside a reload.

use std::{collections::BTreeSet, mem};

use super::Loader;
use crate::config::{Config, ConfigPlace, FilterSettings, GuestLimits, MemoryPlan, Problem, TooLittle};

/// Reason why a filter's quarantine is not lifted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReleaseError {
    /// No key in force has a filter of this name.
    Unknown,
    NotQuarantined,
}

impl Loader {
    /// Pauses the keys of these names, and resumes all others, in one new generation. A name that
    /// no key has counts once there is one.
    ///
    /// # Errors
    /// Returns the problems for which the keys stay as they are.
    pub async fn pause(&mut self, names: BTreeSet<String>) -> Result<(), Vec<Problem>> {
        let concerned: BTreeSet<_> = self.paused.symmetric_difference(&names).cloned().collect();
        if concerned.is_empty() {
            return Ok(());
        }
        let before = mem::replace(&mut self.paused, names);
        let redone = self.redo(&concerned).await;
        if redone.is_err() {
            self.paused = before;
        }
        redone
    }

    /// Takes other settings of filters over, which the next reload takes into service.
    ///
    /// # Errors
    /// Returns an error if the router's memory is too little for them.
    pub fn adopt(&mut self, mut filters: Vec<FilterSettings>, limits: GuestLimits) -> Result<(), TooLittle> {
        let registry = self.registry.as_ref().clone();
        let demanding = Config { filters: filters.clone(), limits, registry, ..self.config.clone() };
        let plan = MemoryPlan::new(&demanding)?;
        plan.fit(&mut filters);
        // Of the limits, one counts for conditions, whether their key has a filter or not.
        self.is_outdated |= limits != self.config.limits;
        (self.config.filters, self.config.limits) = (filters, limits);
        Ok(())
    }

    /// Lifts the quarantine of a filter. Returns the generation in which events go to it again.
    ///
    /// # Errors
    /// Returns an error if there is no such filter, or it is not quarantined.
    pub fn release(&mut self, name: &str) -> Result<u64, ReleaseError> {
        let component = self.filters.get_mut(name).ok_or(ReleaseError::Unknown)?;
        if !component.lift() {
            return Err(ReleaseError::NotQuarantined);
        }
        self.note_all_sound(&self.filters);
        // Events that were held are taken up with a newer snapshot.
        Ok(self.put_in_force())
    }

    /// Returns the names of all filters in service.
    pub fn filter_names(&self) -> impl Iterator<Item = &str> {
        self.filters.keys().map(String::as_str)
    }

    /// Returns whether a component is still to be loaded that a reload has found changed.
    pub fn is_compiling(&self) -> bool {
        !self.compiling.is_empty()
    }

    /// Returns the problems of components that were refused at an earlier reload, and are not tried
    /// again until they change.
    pub fn standing_problems(&self) -> Vec<Problem> {
        let refused = self.filters.iter().filter_map(|(name, component)| Some((name, component.refused()?)));
        let problem = |(name, digest): (&String, &str)| {
            let place: ConfigPlace = self.place(name);
            let cell = &self.metrics.filter(name).health;
            let known = cell.of(crate::health::PartKind::Filter, name).trouble.map(|trouble| trouble.why);
            Problem::error(place, known.unwrap_or_else(|| format!("the component {digest} was refused before")))
        };
        refused.map(problem).collect()
    }
}
