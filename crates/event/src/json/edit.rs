//! Edits of a JSON text by pointer. All that no edit names stays as it was written, byte for byte.
//!
//! Objects and arrays that pointers lead through are read once, the first time that an edit needs
//! them; all others are passed over, not checked. Of members that have one name the last counts,
//! and an edit that comes by leaves no other behind.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{JsonOutline, PointerError, check, paths::steps, scanner::JsonScanner};
use crate::text::shortened;

mod container;

use container::{Container, EditFault, EditNode, look};

/// Most edits of one text.
const MOST_EDITS: usize = 1024;
/// Most steps of a pointer.
const MOST_STEPS: usize = 128;
/// Members and elements that edits may look at in all; to read one counts as many.
const MOST_LOOKS: usize = 1 << 25;

/// A change of a JSON text. Pointers, names and values are borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonEdit<'a> {
    /// Sets what is at the pointer to a JSON text. An absent member is added behind the others,
    /// absent objects on the way to it are made. An index that is the array's length, or `-`, adds
    /// an element. The empty pointer sets the whole text.
    Set(&'a str, &'a [u8]),
    /// Removes a member or an element; what is not there stays away.
    Remove(&'a str),
    /// Gives a member, which keeps its value and place, another name. One that has that name is
    /// replaced.
    Rename(&'a str, &'a str),
}

/// Error: edits can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("the payload is not JSON, but an edit changes `{pointer}`: replace the whole payload")]
    NotJson { pointer: String },
    #[error("{0} edits are more than the limit of {MOST_EDITS}: replace the whole payload")]
    TooMany(usize),
    /// The objects and arrays on the way have too many members for so many edits.
    #[error("the edits look at more than {MOST_LOOKS} members and elements: replace the whole payload")]
    TooMuch,
    #[error("an edit changes `{pointer}`: {error}")]
    Pointer { pointer: String, error: PointerError },
    #[error("an edit changes `{pointer}`, which has more than {MOST_STEPS} steps")]
    TooDeep { pointer: String },
    #[error("an edit sets `{pointer}` to what is not one JSON text: {reason}")]
    Value { pointer: String, reason: String },
    #[error("an edit sets `{pointer}`, but {at} is {found}, which has no members: set {at} first")]
    Scalar { pointer: String, at: String, found: &'static str },
    #[error("an edit sets `{pointer}`, but {at} is an array of {len}: name an index up to {len}, or `-` to append")]
    Index { pointer: String, at: String, len: usize },
    #[error("an edit renames `{pointer}`, an element of an array: only members of objects have names")]
    Element { pointer: String },
    #[error("an edit removes or renames the whole payload: drop the event, or set a part of it")]
    Whole,
}

/// Unescaped tokens of a pointer.
pub(super) type Steps<'a> = SmallVec<[Cow<'a, str>; 4]>;

/// Returns `json` with the edits made one after the other.
///
/// # Errors
/// If an edit can't be made, or `json`, which is walked through and not checked, turns out not to
/// be JSON.
pub fn edited(json: &[u8], edits: &[JsonEdit<'_>]) -> Result<Vec<u8>, EditError> {
    edited_along(json, &JsonOutline::default(), edits)
}

/// As [`edited`], without reading again what is in an outline, which is one of this text. If the
/// text is not JSON, that is found out where the walk did that made the outline.
///
/// # Errors
/// As [`edited`].
pub fn edited_along(json: &[u8], outline: &JsonOutline, edits: &[JsonEdit<'_>]) -> Result<Vec<u8>, EditError> {
    if edits.len() > MOST_EDITS {
        return Err(EditError::TooMany(edits.len()));
    }
    let mut text = EditedText::new(json, outline);
    let mut grown = json.len();
    for edit in edits {
        match *edit {
            JsonEdit::Set(pointer, value) => {
                grown += pointer.len() + value.len() + 8;
                text.set(pointer, value)?;
            }
            JsonEdit::Remove(pointer) => text.remove(pointer)?,
            JsonEdit::Rename(pointer, name) => {
                grown += name.len();
                text.rename(pointer, name)?;
            }
        }
    }
    let mut out = Vec::with_capacity(grown);
    text.write(&mut out);
    Ok(out)
}

/// A text under edit: its outermost value, and the blanks around it once they are known.
struct EditedText<'a> {
    lead: &'a [u8],
    root: EditNode<'a>,
    trail: &'a [u8],
    outline: &'a JsonOutline,
    is_read: bool,
    /// Members and elements that may still be looked at.
    looks: usize,
}

impl<'a> EditedText<'a> {
    fn new(json: &'a [u8], outline: &'a JsonOutline) -> Self {
        Self { lead: b"", root: EditNode::Text(json), trail: b"", outline, is_read: false, looks: MOST_LOOKS }
    }

    fn set(&mut self, pointer: &str, value: &'a [u8]) -> Result<(), EditError> {
        let invalid = |error: super::InvalidJson| EditError::Value {
            pointer: shortened(pointer),
            reason: shortened(&error.to_string()),
        };
        check(value).map_err(invalid)?;
        let value = value.trim_ascii();
        let steps = parsed(pointer)?;
        if steps.is_empty() {
            *self = Self { lead: b"", root: EditNode::Text(value), trail: b"", is_read: true, ..*self };
            return Ok(());
        }
        let fault = |fault| faulty(pointer, fault);
        self.read(&steps).map_err(fault)?;
        let mut node = &mut self.root;
        for (depth, step) in steps.iter().enumerate() {
            let found = node.kind();
            let Some(container) = node.open(&steps[depth..], &mut self.looks).map_err(fault)? else {
                return Err(EditError::Scalar { pointer: shortened(pointer), at: start(pointer, depth), found });
            };
            match container.find(step, &mut self.looks).map_err(fault)? {
                Some(index) => node = &mut container.change(index).value,
                None if container.takes(step) => {
                    container.add(step, EditNode::made(&steps[depth + 1..], value));
                    return Ok(());
                }
                None => {
                    let at = start(pointer, depth);
                    return Err(EditError::Index { pointer: shortened(pointer), at, len: container.len() });
                }
            }
        }
        *node = EditNode::Text(value);
        Ok(())
    }

    fn remove(&mut self, pointer: &str) -> Result<(), EditError> {
        let steps = parsed(pointer)?;
        if let Some((container, index)) = self.place(pointer, &steps)? {
            container.remove(index);
        }
        Ok(())
    }

    fn rename(&mut self, pointer: &str, name: &str) -> Result<(), EditError> {
        let steps = parsed(pointer)?;
        match self.place(pointer, &steps)? {
            Some((container, _)) if container.is_array() => Err(EditError::Element { pointer: shortened(pointer) }),
            Some((container, index)) => {
                container.rename(index, name);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Finds what a pointer names: in which object or array it stands, and where.
    fn place<'t>(
        &'t mut self,
        pointer: &str,
        steps: &[Cow<'_, str>],
    ) -> Result<Option<(&'t mut Container<'a>, usize)>, EditError> {
        let fault = |fault| faulty(pointer, fault);
        let (last, parents) = steps.split_last().ok_or(EditError::Whole)?;
        self.read(steps).map_err(fault)?;
        let mut node = &mut self.root;
        for (depth, step) in parents.iter().enumerate() {
            let Some(container) = node.open(&steps[depth..], &mut self.looks).map_err(fault)? else { return Ok(None) };
            let Some(index) = container.find(step, &mut self.looks).map_err(fault)? else { return Ok(None) };
            node = &mut container.change(index).value;
        }
        let Some(container) = node.open(&[], &mut self.looks).map_err(fault)? else { return Ok(None) };
        let Some(index) = container.find(last, &mut self.looks).map_err(fault)? else { return Ok(None) };
        // What is removed or renamed there moves or compares all others.
        look(container.len(), &mut self.looks).map_err(fault)?;
        Ok(Some((container, index)))
    }

    /// Reads the outermost value, before the first edit within it.
    fn read(&mut self, steps: &[Cow<'_, str>]) -> Result<(), EditFault> {
        let EditNode::Text(json) = self.root else { return Ok(()) };
        if self.is_read {
            return Ok(());
        }
        self.is_read = true;
        let mut scanner = JsonScanner::new(json);
        if !matches!(scanner.peek()?, b'{' | b'[') {
            return check(json).map_err(|_| EditFault::NotJson);
        }
        self.lead = &json[..scanner.at];
        let (outline, start) = (self.outline, scanner.at);
        let noted = outline.container(start);
        let known = noted.map(|noted| Container::outlined(json, outline, noted, steps, &mut self.looks)).transpose()?;
        self.root = EditNode::Open(match (known.flatten(), noted) {
            (Some(known), Some(noted)) => {
                scanner.at = noted.range.end;
                known
            }
            _ => Container::read(&mut scanner, steps, &mut self.looks)?,
        });
        self.trail = &json[scanner.at..];
        // The end of the text is an error of the scanner, as it wants more.
        if scanner.peek().is_ok() { Err(EditFault::NotJson) } else { Ok(()) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.lead);
        self.root.write(out);
        out.extend_from_slice(self.trail);
    }
}

fn parsed(pointer: &str) -> Result<Steps<'_>, EditError> {
    let steps = steps(pointer).map_err(|error| EditError::Pointer { pointer: shortened(pointer), error })?;
    if steps.len() > MOST_STEPS { Err(EditError::TooDeep { pointer: shortened(pointer) }) } else { Ok(steps) }
}

fn faulty(pointer: &str, fault: EditFault) -> EditError {
    match fault {
        EditFault::NotJson => EditError::NotJson { pointer: shortened(pointer) },
        EditFault::TooMuch => EditError::TooMuch,
    }
}

/// Returns the first steps of a pointer, for a message.
fn start(pointer: &str, steps: usize) -> String {
    match pointer.match_indices('/').nth(steps) {
        None | Some((0, _)) => "the whole payload".to_owned(),
        Some((end, _)) => format!("`{}`", shortened(&pointer[..end])),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
