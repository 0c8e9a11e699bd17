//! A subscription to the bus of an embedding program, as a source.

use super::problem::ConfigPlace;
use crate::{bus::OverflowPolicy, event::Pattern};

/// A subscription to the bus of the program that embeds the router.
#[derive(Clone, Debug, PartialEq)]
pub struct BusSource {
    pub pattern: Pattern,
    /// Longest queue of waiting envelopes.
    pub buffer: usize,
    /// Policy for a full queue.
    pub policy: OverflowPolicy,
    /// Position of its declaration, for errors if the folder is run without such a program.
    pub place: ConfigPlace,
}
