//! Settings of components: what each is granted, and its limits.

use super::{Config, GuestLimits, RegistryConfig};

/// Settings of one component in `plugins/`; those without an entry have the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSettings {
    pub name: String,
    /// Capabilities that the component may have if it asks for them.
    pub grants: Vec<Grant>,
    pub on_quarantine: OnQuarantine,
    pub instances: InstanceScope,
    /// SHA-256 of the only content that is taken, in hex; `None` takes any.
    pub digest: Option<String>,
    pub limits: GuestLimits,
}

impl FilterSettings {
    /// The settings of a component that is not configured.
    pub fn new(name: String) -> Self {
        Self {
            name,
            grants: Vec::new(),
            on_quarantine: OnQuarantine::default(),
            instances: InstanceScope::default(),
            digest: None,
            limits: GuestLimits::default(),
        }
    }
}

impl Config {
    /// Returns the settings of a filter, or the defaults if it is not configured.
    pub fn filter(&self, name: &str) -> FilterSettings {
        self.filter_of(&self.registry, name)
    }

    /// Returns the settings of a filter as [`Self::filter`], with those of another registry.
    pub fn filter_of(&self, registry: &RegistryConfig, name: &str) -> FilterSettings {
        let given = self.filters.iter().chain(&registry.filters).find(|settings| settings.name == name).cloned();
        given.unwrap_or_else(|| FilterSettings { limits: self.limits, ..FilterSettings::new(name.to_owned()) })
    }
}

/// Scope in which an instance that processes events is reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceScope {
    /// The key that it served before: no key sees what a guest keeps of another key's events.
    #[default]
    Key,
    /// Any key of the filter.
    Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    State,
    /// Calls of the API in `[api]`.
    Api,
    /// Setting, in its outputs, the identity that an event happened for and the whole that it is
    /// part of.
    Identity,
}

/// Policy for the events of a filter that keeps failing and has no last good version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnQuarantine {
    /// Hold events until the filter has been fixed.
    #[default]
    Pause,
    DeadLetter,
}
