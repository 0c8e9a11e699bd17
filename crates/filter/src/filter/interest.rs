//! What a subscription is interested in: which events, and which parts of them.

use std::sync::Arc;

use super::{CallError, manifest::EventFields};
use crate::{
    condition::{ConditionLists, ExpressionError, PathSets},
    field::Field,
    json::JsonPointer,
    projection::Projection,
};

/// A subscription's interest as its guest declares it.
pub(super) struct DeclaredInterest {
    pub(super) conditions: Result<ConditionLists, ExpressionError>,
    pub(super) match_reads: DeclaredReads,
    pub(super) process_reads: DeclaredReads,
    /// Sinks that its emissions may choose.
    pub(super) sinks: Vec<Arc<str>>,
}

/// The parts of an event that a call is handed, as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeclaredReads {
    /// Of version 0.1.
    Parts(EventFields),
    /// Names of fields, of version 0.2.
    Names(Vec<String>),
}

/// The parts of an event that a call is handed: either of the two is empty.
#[derive(Debug)]
pub(super) struct EventReads {
    pub(super) parts: EventFields,
    pub(super) fields: Projection,
}

impl DeclaredReads {
    /// Returns the pointers into the payload that are read.
    pub(super) fn pointers(&self) -> impl Iterator<Item = JsonPointer> {
        let names = match self {
            Self::Parts(_) => &[],
            Self::Names(names) => &names[..],
        };
        names.iter().filter_map(|name| name.parse::<Field>().ok()?.pointer().cloned())
    }

    /// `call` is the function that reads them. The pointers `beside` are looked up in the same
    /// walk.
    ///
    /// # Errors
    /// If there is no field of such a name.
    pub(super) fn resolve(
        self,
        call: &'static str,
        paths: &PathSets,
        beside: &[JsonPointer],
    ) -> Result<EventReads, CallError> {
        let (parts, names) = match self {
            Self::Parts(parts) => (parts, Vec::new()),
            Self::Names(names) => (EventFields::default(), names),
        };
        let fields = Projection::new(&names, paths, beside).map_err(|error| CallError::Reads(call, error))?;
        Ok(EventReads { parts, fields })
    }
}
