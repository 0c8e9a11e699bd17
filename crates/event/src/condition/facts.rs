//! Values that were found in one event's payload, and the sets of paths that lead to them.

use std::{
    collections::HashMap,
    fmt, ptr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use smallvec::SmallVec;

use super::value::JsonValue;
use crate::{
    event::Event,
    field::FieldError,
    json::{JsonOutline, JsonPointer, NotJson, PointerTree},
    text::shortened,
};

/// Most sets of paths whose values are remembered; further ones are looked up each time.
pub(super) const REMEMBERED: usize = 8;

/// Function that returns whether the value at a pointer is a decimal, which JSON has as a string.
pub type IsDecimal<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// Values found in one event's payload, shared by the routes that ask for the same ones.
pub struct EventFacts<'a> {
    pub(super) event: &'a Event,
    pub(super) is_decimal: Option<IsDecimal<'a>>,
    /// Sets of paths that were looked up, each with the position of its first value.
    pub(super) known: SmallVec<[(&'a PathSet, usize); 2]>,
    pub(super) values: SmallVec<[Option<FoundValue<'a>>; 4]>,
    outline: Option<JsonOutline>,
}

/// A value as written, read when a condition first compares it.
pub(super) struct FoundValue<'a> {
    raw: &'a str,
    read: Option<JsonValue<'a>>,
}

impl<'a> EventFacts<'a> {
    /// Creates facts without any values yet. Does not allocate.
    pub fn new(event: &'a Event) -> Self {
        Self { event, is_decimal: None, known: SmallVec::new(), values: SmallVec::new(), outline: None }
    }

    /// Notes where the members stand that are passed, for edits of the payload.
    pub fn with_outline(self) -> Self {
        Self { outline: Some(JsonOutline::default()), ..self }
    }

    /// Returns what was noted for edits of the payload: nothing if none of it was looked up.
    pub fn into_outline(self) -> JsonOutline {
        self.outline.unwrap_or_default()
    }

    /// Sets the test for decimals, for an event that was read from a format with decimals.
    pub fn with_decimals(self, is_decimal: IsDecimal<'a>) -> Self {
        Self { is_decimal: Some(is_decimal), ..self }
    }

    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// Returns the value at one of the paths, as conditions compare it.
    pub(super) fn value(&mut self, paths: &'a PathSet, position: usize) -> Result<Option<&JsonValue<'a>>, NotJson> {
        let start = self.look_up(paths)?;
        let found = self.values.get_mut(start + position).and_then(Option::as_mut);
        Ok(found.map(|FoundValue { raw, read }| &*read.get_or_insert_with(|| JsonValue::of(raw))))
    }

    /// Returns the values at all of the paths, as written.
    ///
    /// # Errors
    /// If the payload is not JSON, as far as it was read.
    pub(crate) fn raw_values(
        &mut self,
        paths: &'a PathSet,
    ) -> Result<impl Fn(usize) -> Option<&'a str> + use<'_, 'a>, NotJson> {
        let start = self.look_up(paths)?;
        let values = &self.values;
        Ok(move |position: usize| values.get(start + position).and_then(Option::as_ref).map(|found| found.raw))
    }

    /// Returns the number of sets of paths whose values are remembered.
    #[cfg(test)]
    pub(crate) fn walks(&self) -> usize {
        self.known.len()
    }

    /// Looks all paths of a set up at once, unless it is known. Returns where their values begin.
    fn look_up(&mut self, paths: &'a PathSet) -> Result<usize, NotJson> {
        if let Some((_, start)) = self.known.iter().find(|(known, _)| ptr::eq(*known, paths)) {
            return Ok(*start);
        }
        let payload = &self.event.payload;
        let found = match &mut self.outline {
            Some(outline) => paths.tree.find_outlined(payload, outline)?,
            None => paths.tree.find(payload)?,
        };
        if self.known.len() == REMEMBERED
            && let Some((_, last)) = self.known.pop()
        {
            self.values.truncate(last);
        }
        let start = self.values.len();
        self.values.extend(found.into_iter().map(|raw| raw.map(|raw| FoundValue { raw, read: None })));
        self.known.push((paths, start));
        Ok(start)
    }
}

impl fmt::Debug for EventFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFacts").field("event", &self.event.id).finish_non_exhaustive()
    }
}

/// Distinct JSON pointers, looked up together.
#[derive(Debug)]
pub(crate) struct PathSet {
    /// The pointers, sorted.
    pointers: Box<[Box<str>]>,
    tree: PointerTree,
}

impl PathSet {
    /// Returns the position of one of the set's pointers.
    pub(crate) fn position(&self, pointer: &JsonPointer) -> usize {
        self.pointers.partition_point(|known| **known < *pointer.as_str())
    }
}

/// Sets of paths in use, one object each, so that a known set is recognised by its address.
#[derive(Debug, Default)]
pub struct PathSets(Mutex<PathSetTable>);

#[derive(Debug, Default)]
struct PathSetTable {
    by_pointers: HashMap<Box<[Box<str>]>, Weak<PathSet>>,
    /// Number of sets at which unused ones are removed.
    room: usize,
}

impl PathSets {
    /// Returns the shared set of these pointers.
    ///
    /// # Errors
    /// If one of them is not a pointer.
    pub(crate) fn get<'p>(&self, pointers: impl Iterator<Item = &'p JsonPointer>) -> Result<Arc<PathSet>, FieldError> {
        let mut pointers: Vec<Box<str>> = pointers.map(|pointer| pointer.as_str().into()).collect();
        pointers.sort_unstable();
        pointers.dedup();
        let pointers = pointers.into_boxed_slice();
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = sets.by_pointers.get(&pointers).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let tree = PointerTree::new(pointers.iter().map(|pointer| &**pointer));
        let tree = tree.map_err(|(wrong, _)| FieldError::Pointer(shortened(wrong)))?;
        let paths = Arc::new(PathSet { pointers: pointers.clone(), tree });
        if sets.by_pointers.len() >= sets.room {
            sets.by_pointers.retain(|_, paths| paths.strong_count() > 0);
            sets.room = 2 * sets.by_pointers.len() + 1;
        }
        sets.by_pointers.insert(pointers, Arc::downgrade(&paths));
        Ok(paths)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().by_pointers.len()
    }
}
