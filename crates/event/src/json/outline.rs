//! Where the members of objects and the elements of arrays stand, noted by a walk that looks for
//! values, so that edits of the same text need no walk of their own.

use std::ops::Range;

/// Most members and elements, and most objects and arrays, that are noted; a text with more of them
/// is walked through again.
const MOST_PLACES: usize = 128;
/// Members and elements for which there is room at once.
const FEW_PLACES: usize = 16;

/// Objects and arrays of one text that were walked through from end to end.
#[derive(Clone, Debug, Default)]
pub struct JsonOutline {
    containers: Vec<OutlinedContainer>,
    places: Vec<LinkedPlace>,
    is_full: bool,
}

/// Where a member of an object or an element of an array stands.
#[derive(Clone, Debug, Default)]
pub(super) struct MemberPlace {
    /// All between the commas or brackets around it; behind the last there are no blanks.
    pub(super) span: Range<usize>,
    /// The name with its quotes, empty for an element.
    pub(super) name: Range<usize>,
    pub(super) is_escaped: bool,
    pub(super) value: Range<usize>,
}

/// An object or array, with its brackets.
#[derive(Clone, Debug)]
pub(super) struct OutlinedContainer {
    pub(super) range: Range<usize>,
    /// Number of its members or elements.
    pub(super) count: usize,
    last: Option<usize>,
}

/// The members of one container are linked, as those of others stand between them.
#[derive(Clone, Debug)]
struct LinkedPlace {
    place: MemberPlace,
    previous: Option<usize>,
}

/// A container whose members are being noted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenOutline {
    count: usize,
    last: Option<usize>,
}

impl MemberPlace {
    /// The place of a member that was passed, once the ends of it and of its value are known.
    pub(super) fn ended(&self, behind: usize, value: usize) -> Self {
        let Self { span, name, is_escaped, value: Range { start, .. } } = self;
        Self { span: span.start..behind, name: name.clone(), is_escaped: *is_escaped, value: *start..value }
    }
}

impl JsonOutline {
    /// Notes the next member of an open container.
    #[inline]
    pub(super) fn note(&mut self, open: &mut OpenOutline, place: MemberPlace) {
        if self.places.len() >= MOST_PLACES {
            self.is_full = true;
            return;
        }
        if self.places.is_empty() {
            self.places.reserve(FEW_PLACES);
        }
        self.places.push(LinkedPlace { place, previous: open.last });
        *open = OpenOutline { count: open.count + 1, last: Some(self.places.len() - 1) };
    }

    /// Notes a container that was walked through.
    pub(super) fn close(&mut self, open: OpenOutline, range: Range<usize>) {
        if self.containers.len() >= MOST_PLACES {
            self.is_full = true;
            return;
        }
        self.containers.push(OutlinedContainer { range, count: open.count, last: open.last });
    }

    /// Returns the object or array that begins at a position of the text, if all of it was noted.
    pub(super) fn container(&self, start: usize) -> Option<&OutlinedContainer> {
        self.containers.iter().find(|container| container.range.start == start && !self.is_full)
    }

    /// Returns the members of a container, the last one first.
    pub(super) fn members(&self, container: &OutlinedContainer) -> impl Iterator<Item = &MemberPlace> {
        let mut next = container.last;
        std::iter::from_fn(move || {
            let LinkedPlace { place, previous } = self.places.get(next?)?;
            next = *previous;
            Some(place)
        })
    }
}
