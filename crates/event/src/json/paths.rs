//! Sets of JSON pointers, followed in one walk through the document that parses nothing and, while
//! they are few, allocates nothing.
//!
//! Objects and arrays on the way are passed over by their brackets and strings: skipped values are
//! read, not validated. An object is walked to its end, since of members that have one name the
//! last counts; whatever follows the outermost value is not looked at.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, ops::Range};

use smallvec::{SmallVec, smallvec};

use super::{
    NotJson, PointerError,
    outline::{JsonOutline, MemberPlace, OpenOutline},
    scanner::JsonScanner,
};

/// JSON pointers as a tree of their common steps.
#[derive(Clone, Debug)]
pub struct PointerTree {
    /// Nodes of the tree. The first is the document. A child comes after its parent.
    nodes: Box<[PointerNode]>,
    /// Node at which each pointer ends.
    ends: Box<[usize]>,
}

#[derive(Clone, Debug)]
struct PointerNode {
    parent: usize,
    /// Children by member name, sorted as [`by_length`] says.
    members: Box<[(Box<str>, usize)]>,
    /// Children by element index, sorted by index.
    elements: Box<[(usize, usize)]>,
}

/// Values found, one for each pointer.
pub type FoundValues<'a> = SmallVec<[Option<&'a str>; 4]>;

/// Object or array that is being walked through.
struct OpenContainer {
    node: usize,
    start: usize,
    is_array: bool,
    is_begun: bool,
    /// Elements passed so far.
    passed: usize,
    /// Next of the children that are asked for.
    wanted: usize,
    /// The member that is being passed: where it ends is not known yet.
    place: MemberPlace,
    outline: OpenOutline,
}

/// Ranges of values, one for each node of a tree.
type NodePlaces = SmallVec<[Option<Range<usize>>; 8]>;

impl PointerTree {
    /// Builds the tree.
    ///
    /// # Errors
    /// Returns the first text that is not a JSON pointer, and why.
    pub fn new<'t>(pointers: impl IntoIterator<Item = &'t str>) -> Result<Self, (&'t str, PointerError)> {
        let mut nodes = vec![GrowingNode::default()];
        let mut ends = Vec::new();
        for pointer in pointers {
            let mut at = 0;
            for key in steps(pointer).map_err(|error| (pointer, error))? {
                let new = nodes.len();
                let node = &mut nodes[at];
                let index = index(&key);
                let child = *node.members.entry((*key).into()).or_insert(new);
                // The same token is a name in an object and an index in an array.
                node.elements.extend(index.map(|index| (index, child)));
                if child == new {
                    nodes.push(GrowingNode { parent: at, ..GrowingNode::default() });
                }
                at = child;
            }
            ends.push(at);
        }
        let grown = |GrowingNode { parent, members, elements }| {
            let mut members: Box<[(Box<str>, usize)]> = members.into_iter().collect();
            members.sort_unstable_by(|(one, _), (other, _)| by_length(one.as_bytes(), other.as_bytes()));
            PointerNode { parent, members, elements: elements.into_iter().collect() }
        };
        Ok(Self { nodes: nodes.into_iter().map(grown).collect(), ends: ends.into() })
    }

    /// Returns the values that the pointers name, as written in the document, in the order in which
    /// the pointers were given.
    ///
    /// # Errors
    /// Returns an error if what was read is not JSON.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<FoundValues<'a>, NotJson> {
        self.find_in(json, self.walk(json, None)?)
    }

    /// As [`Self::find`], and notes in `outline` what edits of the same text need.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_outlined<'a>(&self, json: &'a [u8], outline: &mut JsonOutline) -> Result<FoundValues<'a>, NotJson> {
        self.find_in(json, self.walk(json, Some(outline))?)
    }

    fn find_in<'a>(&self, json: &'a [u8], mut places: NodePlaces) -> Result<FoundValues<'a>, NotJson> {
        // A value found inside one that a later member of the same name has replaced does not
        // count.
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let is_inside = match (&places[node.parent], &places[index]) {
                (Some(outer), Some(inner)) => inner.start >= outer.start,
                _ => false,
            };
            if !is_inside {
                places[index] = None;
            }
        }
        let value = |end: &usize| match &places[*end] {
            Some(place) => str::from_utf8(json.get(place.clone()).ok_or(NotJson)?).map(Some).map_err(|_| NotJson),
            None => Ok(None),
        };
        self.ends.iter().map(value).collect()
    }

    /// Returns the range of the last value that each node leads to.
    #[inline(always)]
    fn walk(&self, json: &[u8], mut outline: Option<&mut JsonOutline>) -> Result<NodePlaces, NotJson> {
        let mut places = smallvec![None; self.nodes.len()];
        let mut open = SmallVec::<[OpenContainer; 4]>::new();
        let mut scanner = JsonScanner::new(json);
        let mut next = Some(0);
        loop {
            if let Some(node) = next.take() {
                let first = scanner.peek()?;
                let start = scanner.at;
                let PointerNode { members, elements, .. } = &self.nodes[node];
                let is_asked = match first {
                    b'{' => !members.is_empty(),
                    b'[' => !elements.is_empty(),
                    _ => false,
                };
                if is_asked {
                    scanner.at += 1;
                    let is_array = first == b'[';
                    open.push(OpenContainer::new(node, start, is_array));
                } else {
                    // Plain text may begin like a word or a number, so a scalar document is
                    // checked.
                    if node == 0 && !members.is_empty() && !matches!(first, b'{' | b'[') {
                        super::check(json).map_err(|_| NotJson)?;
                    }
                    scanner.skip()?;
                }
                // The end is known once the value has been passed.
                places[node] = Some(start..scanner.at);
            }
            let Some(innermost) = open.last_mut() else { return Ok(places) };
            let OpenContainer { node, start, .. } = *innermost;
            match innermost.step(&self.nodes[node], &mut scanner, outline.as_deref_mut())? {
                PathStep::Into(child) => next = Some(child),
                PathStep::Over => {}
                PathStep::Out => {
                    places[node] = Some(start..scanner.at);
                    open.pop();
                }
            }
        }
    }
}

enum PathStep {
    /// To the value of this node, which comes next.
    Into(usize),
    /// Past a value that no pointer asks for.
    Over,
    /// Past the end of the object or array.
    Out,
}

impl OpenContainer {
    fn new(node: usize, start: usize, is_array: bool) -> Self {
        let (is_begun, passed, wanted, place, outline) = Default::default();
        Self { node, start, is_array, is_begun, passed, wanted, place, outline }
    }

    #[inline(always)]
    fn step(
        &mut self,
        node: &PointerNode,
        scanner: &mut JsonScanner<'_>,
        outline: Option<&mut JsonOutline>,
    ) -> Result<PathStep, NotJson> {
        let end = scanner.at;
        let is_end = scanner.peek()? == if self.is_array { b']' } else { b'}' };
        let is_noted = outline.is_some();
        if let Some(outline) = outline {
            if self.is_begun {
                let behind = if is_end { end } else { scanner.at };
                outline.note(&mut self.outline, self.place.ended(behind, end));
            }
            if is_end {
                outline.close(self.outline, self.start..scanner.at + 1);
            }
        }
        if is_end {
            scanner.at += 1;
            return Ok(PathStep::Out);
        }
        let mut start = end;
        if self.is_begun {
            scanner.expect(b',')?;
            start = scanner.at;
        }
        self.is_begun = true;
        let (child, name, is_escaped) = if self.is_array {
            let Some((index, child)) = node.elements.get(self.wanted) else {
                scanner.leave(1)?;
                return Ok(PathStep::Out);
            };
            let is_wanted = *index == self.passed;
            self.passed += 1;
            self.wanted += usize::from(is_wanted);
            scanner.peek()?;
            (is_wanted.then_some(*child), scanner.at..scanner.at, false)
        } else {
            scanner.expect(b'"')?;
            let start = scanner.at - 1;
            let (name, is_escaped) = scanner.text()?;
            let range = start..scanner.at;
            scanner.expect(b':')?;
            scanner.peek()?;
            (node.member(name, is_escaped), range, is_escaped)
        };
        if is_noted {
            self.place = MemberPlace { span: start..start, name, is_escaped, value: scanner.at..scanner.at };
        }
        match child {
            Some(child) => Ok(PathStep::Into(child)),
            None => scanner.skip().map(|()| PathStep::Over),
        }
    }
}

impl PointerNode {
    fn member(&self, raw: &[u8], is_escaped: bool) -> Option<usize> {
        if is_escaped {
            let quoted = [b"\"", raw, b"\""].concat();
            let name = serde_json::from_slice::<String>(&quoted).ok()?;
            return self.member(name.as_bytes(), false);
        }
        let found = self.members.binary_search_by(|(name, _)| by_length(name.as_bytes(), raw)).ok()?;
        self.members.get(found).map(|(_, child)| *child)
    }
}

/// Compares names by their length first: most of those in a document then differ at a glance.
fn by_length(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[derive(Default)]
struct GrowingNode {
    parent: usize,
    members: BTreeMap<Box<str>, usize>,
    elements: BTreeMap<usize, usize>,
}

/// Splits a pointer into its tokens, unescaped.
pub(super) fn steps(pointer: &str) -> Result<SmallVec<[Cow<'_, str>; 4]>, PointerError> {
    let Some(tokens) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() { Ok(SmallVec::new()) } else { Err(PointerError::NoSlash) };
    };
    tokens.split('/').map(unescaped).collect()
}

fn unescaped(token: &str) -> Result<Cow<'_, str>, PointerError> {
    if !token.contains('~') {
        return Ok(Cow::Borrowed(token));
    }
    let mut key = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(char) = chars.next() {
        key.push(match (char, if char == '~' { chars.next() } else { None }) {
            ('~', Some('0')) => '~',
            ('~', Some('1')) => '/',
            ('~', _) => return Err(PointerError::BadEscape),
            (other, _) => other,
        });
    }
    Ok(Cow::Owned(key))
}

/// Parses a token as an array index; `None` if it is not one.
pub(super) fn index(key: &str) -> Option<usize> {
    let is_index = key == "0" || !key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit());
    if is_index { key.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
