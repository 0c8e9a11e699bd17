//! Buses of an embedding program, as sources and sinks.

use super::{OutputField, SubjectPlaceholder, TextTemplate, problem::ConfigPlace};
use crate::{bus::OverflowPolicy, event::Pattern};

/// A subscription to a bus of the program that embeds the router.
#[derive(Clone, Debug, PartialEq)]
pub struct BusSource {
    /// Name that the program has given to the bus; `None` for the one without a name.
    pub bus: Option<String>,
    pub pattern: Pattern,
    /// Longest queue of waiting envelopes.
    pub buffer: usize,
    /// Policy for a full queue.
    pub policy: OverflowPolicy,
    /// Position of its declaration, for errors if the folder is run without such a program.
    pub place: ConfigPlace,
}

/// Envelopes for a bus of the program that embeds the router.
#[derive(Clone, Debug, PartialEq)]
pub struct BusSink {
    /// Name that the program has given to the bus; `None` for the one without a name.
    pub bus: Option<String>,
    pub subject: TextTemplate<SubjectPlaceholder<OutputField>>,
    /// Position of its declaration, for errors if the folder is run without such a program.
    pub place: ConfigPlace,
}
