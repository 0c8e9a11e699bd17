//! What files are called. What comes out of an event is made safe (L82, L130): no name leaves the folder or is hidden.

use super::NewFile;
use crate::config::{Part, Template};

/// Longest parts of a name, in bytes. With the longest template they stay under the 255 that file systems allow.
const MAX_VALUE: usize = 80;
const MAX_ID: usize = 120;
const MAX_STEM: usize = 120;
const MAX_NAME: usize = 255;

/// What a file may be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// As the template has it, when that tells the output's event from all others.
    pub(super) wanted: Option<String>,
    /// A name that no other output has: it ends in the output's position and a digest of its id.
    pub(super) own: String,
}

impl Names {
    /// `TYPE_ID_INDEX-DIGEST` and what the content is.
    pub(super) fn plain(file: &NewFile, is_json: bool) -> Self {
        let stem = format!("{}_{}", safe(&file.event.event_type, MAX_VALUE), safe(&file.event.id, MAX_ID));
        Self { wanted: None, own: own(&stem, file, if is_json { ".json" } else { ".bin" }) }
    }

    pub(super) fn filled(template: &Template, file: &NewFile) -> Self {
        let event = &file.event;
        let mut name = String::new();
        for part in &template.0 {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::EventType => name.push_str(&safe(&event.event_type, MAX_VALUE)),
                Part::Subject => name.push_str(&safe(&file.subject, MAX_VALUE)),
                Part::Id => name.push_str(&safe(&event.id, MAX_ID)),
                Part::SourceTime => name.push_str(&safe(event.source_time.as_deref().unwrap_or_default(), MAX_VALUE)),
                Part::Key => name.push_str(&safe(&file.key, MAX_VALUE)),
                Part::Header(header) => {
                    name.push_str(&safe(file.headers.get(header).map_or("", |value| value), MAX_VALUE));
                }
            }
        }
        let extension = match template.0.last() {
            Some(Part::Literal(text)) => text.rfind('.').map_or("", |dot| &text[dot..]),
            _ => "",
        };
        let stem = name.strip_suffix(extension).unwrap_or(&name);
        let own = own(&stem[..stem.len().min(MAX_STEM)], file, extension);
        // An id that was changed may look like another's, and of an event's outputs only one can bear its name.
        let is_exact = safe(&event.id, MAX_ID) == *event.id && file.index == 0 && name.len() <= MAX_NAME;
        Self { wanted: is_exact.then_some(name), own }
    }
}

fn own(stem: &str, file: &NewFile, extension: &str) -> String {
    format!("{stem}_{}-{:016x}{extension}", file.index, file.digest)
}

/// Letters, digits, `.`, `_` and `-`, with no dot first or next to another: never hidden, never the way to another folder.
pub(super) fn safe(text: &str, max: usize) -> String {
    let mut safe = String::new();
    for char in text.chars().take(max) {
        let is_safe = char.is_ascii_alphanumeric()
            || matches!(char, '_' | '-')
            || (char == '.' && !safe.ends_with('.') && !safe.is_empty());
        safe.push(if is_safe { char } else { '_' });
    }
    if safe.is_empty() { "_".to_owned() } else { safe }
}
