//! Routes without a key.

use super::KeyConfig;
use crate::event::TypePattern;

/// A route without a key: the events that it takes pass unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeRoute {
    /// The key that it is treated as, with the route's name and default settings.
    pub key: KeyConfig,
    pub types: TypeSelection,
    pub sinks: Vec<String>,
}

/// Selection of event types by a [`TypeRoute`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeSelection {
    Matching(TypePattern),
    /// Types that no other such route matches.
    Rest,
}
