//! Names of files in a folder. Values from an event are made safe (L82, L130): no name leaves the
//! folder or is hidden.

use super::NewFile;
use crate::{
    config::{EventField, OutputField, TemplatePart, TextTemplate},
    sink::safe::safe,
};

/// Longest parts of a name, in bytes. With the longest template they stay under the 255 that file
/// systems allow.
const MAX_VALUE: usize = 80;
const MAX_ID: usize = 120;
const MAX_STEM: usize = 120;
const MAX_NAME: usize = 255;

/// Names that a file may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileNames {
    /// Name by the template, if it tells the output's event from all others.
    pub(super) wanted: Option<String>,
    /// Name that no other output has: it ends in the output's position and a digest of its id.
    pub(super) own: String,
}

impl FileNames {
    /// Returns `TYPE_ID_INDEX-DIGEST` with an extension for the content.
    pub(super) fn plain(file: &NewFile, extension: &str) -> Self {
        let stem = format!("{}_{}", safe(&file.event.event_type, MAX_VALUE), safe(&file.event.id, MAX_ID));
        Self { wanted: None, own: own(&stem, file, extension) }
    }

    pub(super) fn filled(template: &TextTemplate<OutputField>, file: &NewFile) -> Self {
        let event = &file.event;
        let mut name = String::new();
        for part in &template.0 {
            match part {
                TemplatePart::Literal(text) => name.push_str(text),
                TemplatePart::Value(field) => {
                    let longest = if *field == OutputField::Event(EventField::Id) { MAX_ID } else { MAX_VALUE };
                    let value = field.value(event, &file.subject, &file.headers, &file.key);
                    name.push_str(&safe(value, longest));
                }
            }
        }
        let extension = match template.0.last() {
            Some(TemplatePart::Literal(text)) => text.rfind('.').map_or("", |dot| &text[dot..]),
            _ => "",
        };
        let stem = name.strip_suffix(extension).unwrap_or(&name);
        let own = own(&stem[..stem.len().min(MAX_STEM)], file, extension);
        // An id that was changed may look like another's, and only one of an event's outputs can
        // have its name.
        let is_exact = safe(&event.id, MAX_ID) == *event.id && file.index == 0 && name.len() <= MAX_NAME;
        Self { wanted: is_exact.then_some(name), own }
    }
}

fn own(stem: &str, file: &NewFile, extension: &str) -> String {
    format!("{stem}_{}-{:016x}{extension}", file.index, file.digest)
}
