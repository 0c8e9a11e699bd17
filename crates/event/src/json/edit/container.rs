//! Objects and arrays under edit, as lists of the texts between their commas.

use std::{borrow::Cow, ops::Range};

use crate::json::{
    JsonOutline, NotJson,
    outline::{MemberPlace, OutlinedContainer},
    paths::index,
    scanner::JsonScanner,
};

/// What reading a member or an element costs, in looks at one.
const READING: usize = 64;

/// Reason why edits stop.
#[derive(Clone, Copy, Debug)]
pub(super) enum EditFault {
    NotJson,
    /// More members and elements were looked at than may be.
    TooMuch,
}

impl From<NotJson> for EditFault {
    fn from(NotJson: NotJson) -> Self {
        Self::NotJson
    }
}

/// A value: as written, or an object or array that edits lead through.
pub(super) enum EditNode<'a> {
    Text(&'a [u8]),
    Open(Container<'a>),
}

/// An object or an array.
pub(super) struct Container<'a> {
    /// Text that the slots' places are in.
    source: &'a [u8],
    is_array: bool,
    slots: Vec<Slot<'a>>,
    /// What follows the last slot: blanks and the closing bracket.
    tail: &'a [u8],
}

/// A member of an object or an element of an array: where it stands in the source, and what it has
/// become if an edit came by. One that was added stands nowhere.
struct Slot<'a> {
    place: MemberPlace,
    changed: Option<Box<ChangedSlot<'a>>>,
}

/// A slot in its parts.
pub(super) struct ChangedSlot<'a> {
    lead: &'a [u8],
    /// The name with its quotes, empty for an element.
    name: Cow<'a, [u8]>,
    is_escaped: bool,
    /// The colon and the blanks around it.
    colon: &'a [u8],
    pub(super) value: EditNode<'a>,
    trail: &'a [u8],
}

impl<'a> EditNode<'a> {
    /// Makes the objects that `steps` lead through to a value.
    pub(super) fn made(steps: &[Cow<'_, str>], value: &'a [u8]) -> Self {
        steps.iter().rfold(Self::Text(value), |inner, step| {
            let is_array = step == "-";
            let source: &[u8] = if is_array { b"[]" } else { b"{}" };
            let mut container = Container { source, is_array, slots: Vec::with_capacity(1), tail: &source[1..] };
            container.add(step, inner);
            Self::Open(container)
        })
    }

    /// Returns the object or array that this is, read if it was not yet, and those within it that
    /// `steps` lead through. `None` for another value.
    pub(super) fn open(
        &mut self,
        steps: &[Cow<'_, str>],
        looks: &mut usize,
    ) -> Result<Option<&mut Container<'a>>, EditFault> {
        if let Self::Text(text) = *self
            && matches!(text.first(), Some(b'{' | b'['))
        {
            *self = Self::Open(Container::read(&mut JsonScanner::new(text), steps, looks)?);
        }
        match self {
            Self::Text(_) => Ok(None),
            Self::Open(container) => Ok(Some(container)),
        }
    }

    /// Returns what stands here, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Open(Container { is_array: false, .. }) => "an object",
            Self::Open(Container { is_array: true, .. }) => "an array",
            Self::Text(text) => match text.trim_ascii_start().first() {
                Some(b'{') => "an object",
                Some(b'[') => "an array",
                Some(b'"') => "a string",
                Some(b't' | b'f') => "a boolean",
                Some(b'n') => "`null`",
                _ => "a number",
            },
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Open(container) => container.write(out),
        }
    }
}

impl<'a> Container<'a> {
    /// Reads the object or array that begins here, and those within it that `steps` lead through.
    pub(super) fn read(
        scanner: &mut JsonScanner<'a>,
        steps: &[Cow<'_, str>],
        looks: &mut usize,
    ) -> Result<Self, EditFault> {
        let source = scanner.json;
        let is_array = scanner.peek()? == b'[';
        let close = if is_array { b']' } else { b'}' };
        scanner.at += 1;
        let (mut start, mut end) = (scanner.at, scanner.at);
        let mut slots = Vec::new();
        let mut is_done = scanner.peek()? == close;
        while !is_done {
            look(READING, looks)?;
            let (name, is_escaped) = if is_array { (0..0, false) } else { member_name(scanner)? };
            let first = scanner.peek()?;
            let from = scanner.at;
            let written = (!is_array).then(|| (&source[name.clone()], is_escaped));
            let inner = match matches!(first, b'{' | b'[') && leads_on(steps, written, slots.len()) {
                true => Some(Self::read(scanner, &steps[1..], looks)?),
                false => scanner.skip().map(|()| None)?,
            };
            end = scanner.at;
            is_done = match scanner.peek()? {
                b',' => false,
                byte if byte == close => true,
                _ => return Err(EditFault::NotJson),
            };
            let span = start..if is_done { end } else { scanner.at };
            let name = if is_array { from..from } else { name };
            let mut slot = Slot { place: MemberPlace { span, name, is_escaped, value: from..end }, changed: None };
            if let Some(inner) = inner {
                slot.change(source).value = EditNode::Open(inner);
            }
            slots.push(slot);
            if !is_done {
                scanner.at += 1;
                start = scanner.at;
            }
        }
        scanner.at += 1;
        Ok(Self { source, is_array, slots, tail: &source[end..scanner.at] })
    }

    /// As [`Self::read`], of an object or array that was noted. `None` if one of those within it
    /// that `steps` lead through was not.
    pub(super) fn outlined(
        source: &'a [u8],
        outline: &JsonOutline,
        noted: &OutlinedContainer,
        steps: &[Cow<'_, str>],
        looks: &mut usize,
    ) -> Result<Option<Self>, EditFault> {
        look(READING * noted.count, looks)?;
        let is_array = source.get(noted.range.start) == Some(&b'[');
        // One may be added.
        let mut slots = Vec::with_capacity(noted.count + 1);
        slots.extend(outline.members(noted).map(|place| Slot { place: place.clone(), changed: None }));
        slots.reverse();
        for (position, slot) in slots.iter_mut().enumerate() {
            let MemberPlace { name, is_escaped, value, .. } = &slot.place;
            let written = (!is_array).then(|| (&source[name.clone()], *is_escaped));
            if matches!(source[value.start], b'{' | b'[') && leads_on(steps, written, position) {
                let Some(inner) = outline.container(value.start) else { return Ok(None) };
                let Some(inner) = Self::outlined(source, outline, inner, &steps[1..], looks)? else { return Ok(None) };
                slot.change(source).value = EditNode::Open(inner);
            }
        }
        let end = slots.last().map_or(noted.range.start + 1, |slot| slot.place.value.end);
        Ok(Some(Self { source, is_array, slots, tail: &source[end..noted.range.end] }))
    }

    pub(super) fn is_array(&self) -> bool {
        self.is_array
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Finds a member by its name, of which no other stays, or an element by its index.
    pub(super) fn find(&mut self, step: &str, looks: &mut usize) -> Result<Option<usize>, EditFault> {
        if self.is_array {
            return Ok(index(step).filter(|index| *index < self.slots.len()));
        }
        look(self.slots.len(), looks)?;
        let mut named = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_named(self.source, step));
        let Some((first, _)) = named.next() else { return Ok(None) };
        let (last, more) = named.fold((first, 0), |(_, more), (index, _)| (index, more + 1));
        if more > 0 {
            let source = self.source;
            self.retain(|index, slot| index == last || !slot.is_named(source, step));
        }
        Ok(Some(last - more))
    }

    /// Returns whether something can be added under a name or index that was not found.
    pub(super) fn takes(&self, step: &str) -> bool {
        !self.is_array || step == "-" || index(step) == Some(self.slots.len())
    }

    /// Adds a member or an element, in the style of the last one.
    pub(super) fn add(&mut self, step: &str, value: EditNode<'a>) {
        let (lead, colon) = match self.slots.last() {
            Some(slot) => slot.style(self.source),
            None => (&b""[..], if self.is_array { &b""[..] } else { b":" }),
        };
        let name = if self.is_array { Cow::Borrowed(&b""[..]) } else { quoted(step) };
        let is_escaped = name.contains(&b'\\');
        let changed = Some(Box::new(ChangedSlot { lead, name, is_escaped, colon, value, trail: b"" }));
        self.slots.push(Slot { place: MemberPlace::default(), changed });
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.retain(|slot, _| slot != index);
    }

    /// Gives a member a name, and removes all others of that name.
    pub(super) fn rename(&mut self, index: usize, name: &str) {
        if self.slots[index].is_named(self.source, name) {
            return;
        }
        let slot = self.change(index);
        slot.name = quoted(name);
        slot.is_escaped = slot.name.contains(&b'\\');
        let source = self.source;
        self.retain(|slot, other| slot == index || !other.is_named(source, name));
    }

    /// Returns a slot in its parts.
    pub(super) fn change(&mut self, index: usize) -> &mut ChangedSlot<'a> {
        self.slots[index].change(self.source)
    }

    /// Keeps some of the slots. The first of those that stay begins as the first did.
    fn retain(&mut self, mut is_kept: impl FnMut(usize, &Slot<'a>) -> bool) {
        let Some((lead, _)) = self.slots.first().map(|slot| slot.style(self.source)) else { return };
        let (mut index, mut is_first_kept) = (0, true);
        self.slots.retain(|slot| {
            let kept = is_kept(index, slot);
            is_first_kept &= kept || index > 0;
            index += 1;
            kept
        });
        if !is_first_kept && !self.slots.is_empty() {
            self.change(0).lead = lead;
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.is_array { b'[' } else { b'{' });
        // Slots that follow each other in the source are written with their commas.
        let mut run = 0..0;
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.changed.is_none() && !run.is_empty() && run.end + 1 == slot.place.span.start {
                run.end = slot.place.span.end;
                continue;
            }
            out.extend_from_slice(&self.source[std::mem::take(&mut run)]);
            if index > 0 {
                out.push(b',');
            }
            match &slot.changed {
                None => run = slot.place.span.clone(),
                Some(changed) => changed.write(out),
            }
        }
        out.extend_from_slice(&self.source[run]);
        out.extend_from_slice(self.tail);
    }
}

impl<'a> Slot<'a> {
    fn is_named(&self, source: &[u8], name: &str) -> bool {
        match &self.changed {
            None => is_named(&source[self.place.name.clone()], self.place.is_escaped, name),
            Some(changed) => is_named(&changed.name, changed.is_escaped, name),
        }
    }

    /// Returns the blanks that it begins with, and its colon.
    fn style(&self, source: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match &self.changed {
            None => {
                let MemberPlace { span, name, value, .. } = &self.place;
                (&source[span.start..name.start], &source[name.end..value.start])
            }
            Some(changed) => (changed.lead, changed.colon),
        }
    }

    /// Returns its parts, which can be changed.
    fn change(&mut self, source: &'a [u8]) -> &mut ChangedSlot<'a> {
        let (lead, colon) = self.style(source);
        let MemberPlace { span, name, is_escaped, value } = &self.place;
        self.changed.get_or_insert_with(|| {
            Box::new(ChangedSlot {
                lead,
                name: Cow::Borrowed(&source[name.clone()]),
                is_escaped: *is_escaped,
                colon,
                value: EditNode::Text(&source[value.clone()]),
                trail: &source[value.end..span.end],
            })
        })
    }
}

impl ChangedSlot<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        for part in [self.lead, &self.name, self.colon] {
            out.extend_from_slice(part);
        }
        self.value.write(out);
        out.extend_from_slice(self.trail);
    }
}

/// Returns whether `steps` lead through a value: that of a member, the name of which is given as it
/// is written, or of the element at a position.
fn leads_on(steps: &[Cow<'_, str>], member: Option<(&[u8], bool)>, position: usize) -> bool {
    match (steps, member) {
        ([step, _, ..], Some((written, is_escaped))) => is_named(written, is_escaped, step),
        ([step, _, ..], None) => index(step) == Some(position),
        _ => false,
    }
}

/// Subtracts a number of looks from those that are left.
pub(super) fn look(count: usize, looks: &mut usize) -> Result<(), EditFault> {
    *looks = looks.checked_sub(count).ok_or(EditFault::TooMuch)?;
    Ok(())
}

/// Reads the name of a member and its colon. Returns where the name stands, with its quotes, and
/// whether there is an escape in it.
fn member_name(scanner: &mut JsonScanner<'_>) -> Result<(Range<usize>, bool), NotJson> {
    scanner.expect(b'"')?;
    let start = scanner.at - 1;
    let (_, is_escaped) = scanner.text()?;
    let name = start..scanner.at;
    scanner.expect(b':')?;
    Ok((name, is_escaped))
}

/// Returns whether a name as written, in its quotes, is this one.
fn is_named(written: &[u8], is_escaped: bool, name: &str) -> bool {
    if is_escaped {
        return serde_json::from_slice::<String>(written).is_ok_and(|unescaped| unescaped == name);
    }
    written.len() == name.len() + 2 && written[1..].starts_with(name.as_bytes())
}

fn quoted<'a>(name: &str) -> Cow<'a, [u8]> {
    // A text can always be written.
    Cow::Owned(serde_json::to_vec(name).unwrap_or_default())
}
