//! Names of the files that outputs belong to. Values from an event are made safe: they lead to no
//! other folder, to no file of another value, and to none that was rotated away.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::rotation;
use crate::{
    config::PathPart,
    event::Headers,
    json,
    sink::{Output, safe::push_safe},
};

/// Longest value, in characters.
const MAX_VALUE: usize = 80;
/// Longest name, in bytes: file systems allow 255, and the time of a rotation has to fit in, too.
const MAX_NAME: usize = 220;
/// Length of a dash and a digest.
const DIGEST_LEN: usize = 17;
const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// Parts of an output that its file's name and content depend on.
pub struct FileEntry {
    pub(super) payload: Bytes,
    event_type: ByteString,
    subject: ByteString,
    headers: Headers,
    key: Arc<str>,
    observed_at: u64,
}

impl FileEntry {
    pub(super) fn of(output: &Output) -> Self {
        let event = output.ticket.event();
        Self {
            payload: output.payload.clone(),
            event_type: event.event_type.clone(),
            subject: output.subject().clone(),
            headers: output.headers().clone(),
            key: Arc::clone(&output.key),
            observed_at: event.observed_at,
        }
    }
}

/// Path with placeholders, which are filled in for each output.
pub(super) struct PathNames {
    names: Vec<Vec<PathPart>>,
    /// Last day that was filled in and its name: mostly the next one, too.
    day: (u64, String),
}

impl PathNames {
    pub(super) fn new(names: Vec<Vec<PathPart>>) -> Self {
        Self { names, day: (u64::MAX, String::new()) }
    }

    /// Writes the path of the entry's file, relative to the folder of all, into `path`.
    pub(super) fn fill(&mut self, entry: &FileEntry, path: &mut String) {
        path.clear();
        let day = entry.observed_at / NANOS_PER_DAY;
        if self.day.0 != day {
            let time = Timestamp::from_nanosecond(entry.observed_at.into()).unwrap_or_default();
            self.day = (day, time.strftime("%Y-%m-%d").to_string());
        }
        for name in &self.names {
            if !path.is_empty() {
                path.push('/');
            }
            self.push_name(name, entry, path);
        }
    }

    fn push_name(&self, name: &[PathPart], entry: &FileEntry, path: &mut String) {
        if let [PathPart::Literal(text)] = name {
            return path.push_str(text);
        }
        let start = path.len();
        let mut is_exact = true;
        for part in name {
            let value = self.value(part, entry);
            if let PathPart::Literal(_) = part {
                path.push_str(&value);
                continue;
            }
            let from = path.len();
            push_safe(path, &value, MAX_VALUE);
            // `_` is the replacement of an empty value.
            is_exact &= value.is_empty() || (path[from..] == *value && value != "_");
        }
        let extension = match name.last() {
            Some(PathPart::Literal(text)) => text.rfind('.').map_or("", |dot| &text[dot..]),
            _ => "",
        };
        let filled = &path[start..];
        let stem = filled.strip_suffix(extension).unwrap_or(filled);
        if is_exact && filled.len() <= MAX_NAME && !ends_in_digest(stem) && !rotation::is_rotated(filled) {
            return;
        }
        let longest = MAX_NAME.saturating_sub(DIGEST_LEN + extension.len());
        let end = start + stem.floor_char_boundary(longest);
        path.truncate(end);
        let digest = self.digest(name, entry);
        path.push_str(&format!("-{digest:016x}{extension}"));
    }

    fn value<'a>(&'a self, part: &'a PathPart, entry: &'a FileEntry) -> Cow<'a, str> {
        match part {
            PathPart::Literal(text) => Cow::Borrowed(text),
            PathPart::Date => Cow::Borrowed(&self.day.1),
            PathPart::Key => Cow::Borrowed(&entry.key),
            PathPart::Subject => Cow::Borrowed(&entry.subject),
            PathPart::EventType => Cow::Borrowed(&entry.event_type),
            PathPart::Header(name) => Cow::Borrowed(entry.headers.get(name).map_or("", |value| value)),
            PathPart::Pointer(pointer) => match pointer.find(&entry.payload) {
                // JSON's null counts as no value.
                Ok(Some("null") | None) | Err(_) => Cow::Borrowed(""),
                Ok(Some(raw)) => json::text(raw).unwrap_or_default(),
            },
        }
    }

    /// Returns a digest that tells the values of a name from all others.
    fn digest(&self, name: &[PathPart], entry: &FileEntry) -> u64 {
        let mut digest = Sha256::new();
        for part in name {
            let value = self.value(part, entry);
            digest.update((value.len() as u64).to_be_bytes());
            digest.update(&*value);
        }
        let digest = digest.finalize();
        u64::from_be_bytes(std::array::from_fn(|index| digest[index]))
    }
}

fn ends_in_digest(stem: &str) -> bool {
    let end = stem.len().checked_sub(DIGEST_LEN).and_then(|start| stem.get(start..)?.strip_prefix('-'));
    end.is_some_and(|digits| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sink::double;

    fn literal(text: &str) -> PathPart {
        PathPart::Literal(text.into())
    }

    fn header(name: &str) -> PathPart {
        PathPart::Header(name.into())
    }

    fn pointer(text: &str) -> PathPart {
        PathPart::Pointer(text.parse().unwrap())
    }

    fn fill(names: Vec<Vec<PathPart>>, entry: &FileEntry) -> String {
        let mut path = "left over".to_owned();
        PathNames::new(names).fill(entry, &mut path);
        path
    }

    fn entry(payload: &'static str) -> FileEntry {
        FileEntry::of(&double::output("order.paid", "o-1", payload))
    }

    /// Returns the name of `VALUE.ndjson`.
    fn named(value: &str) -> String {
        let mut headers = Headers::default();
        headers.push("node", value);
        fill(vec![vec![header("Node"), literal(".ndjson")]], &FileEntry { headers, ..entry("") })
    }

    #[test]
    fn placeholders_stand_for_parts_of_the_output() {
        let names = vec![
            vec![literal("date="), PathPart::Date],
            vec![literal("all..")],
            vec![PathPart::Key, literal("-"), PathPart::Subject, PathPart::EventType],
            vec![literal("node="), pointer("/node"), literal("."), header("none"), literal(".ndjson")],
        ];
        let entry = FileEntry { observed_at: 1_714_607_999_999_999_999, ..entry(r#"{"node":"a-1"}"#) };
        assert_eq!(fill(names, &entry), "date=2024-05-01/all../key-orders.euorder.paid/node=a-1._.ndjson");
    }

    #[test]
    fn pointers_lead_into_whatever_the_payload_is() {
        for (payload, expected) in [
            (r#"{"a":17}"#, "17"),
            (r#"{"a":""}"#, "_"),
            (r#"{"b":1}"#, "_"),
            ("text", "_"),
            ("\0", "_"),
            (r#"{"a":null}"#, "_"),
            (r#"{"a":"null"}"#, "null"),
        ] {
            assert_eq!(fill(vec![vec![pointer("/a")]], &entry(payload)), expected, "{payload}");
        }
    }

    #[test]
    fn days_change_in_utc() {
        let mut names = PathNames::new(vec![vec![PathPart::Date]]);
        let mut path = String::new();
        let mut day = |observed_at| {
            names.fill(&FileEntry { observed_at, ..entry("") }, &mut path);
            path.clone()
        };
        assert_eq!(day(NANOS_PER_DAY - 1), "1970-01-01");
        assert_eq!(day(NANOS_PER_DAY), "1970-01-02");
        assert_eq!(day(NANOS_PER_DAY - 1), "1970-01-01");
        assert_eq!(day(u64::MAX), "2554-07-21");
    }

    #[test]
    fn a_value_that_was_changed_bears_a_digest() {
        for (value, stem) in [
            ("../../etc/passwd", "_._.__etc_passwd"),
            ("/etc", "_etc"),
            ("..", "_."),
            ("-rf", "_rf"),
            ("_", "_"),
            ("ünï", "_n_"),
            ("a\0b", "a_b"),
            (&"x".repeat(300), &"x".repeat(80)),
        ] {
            let name = named(value);
            assert!(name.starts_with(&format!("{stem}-")) && name.len() == stem.len() + 17 + 7, "{value}: {name}");
        }
        for value in ["a", "a.b", "A-1_b", "a.", &"x".repeat(80)] {
            assert_eq!(named(value), format!("{value}.ndjson"));
        }
        assert_eq!(named(""), "_.ndjson");
    }

    /// A node that is named like another node's file, or like a file that was rotated away.
    #[test]
    fn no_value_gets_at_the_file_of_another() {
        let digested = named("a/b");
        assert_ne!(named(digested.strip_suffix(".ndjson").unwrap()), digested);
        let rotated = "a.20240501T100000.123456789Z";
        assert!(!rotation::is_rotated(&named(rotated)) && named(rotated).starts_with(&format!("{rotated}-")));

        let mut headers = Headers::default();
        headers.push("one", "20240501T100000");
        headers.push("two", "123456789Z");
        let parts = vec![literal("a."), header("one"), literal("."), header("two")];
        let name = fill(vec![parts], &FileEntry { headers, ..entry("") });
        assert!(!rotation::is_rotated(&name), "{name}");
    }

    #[test]
    fn the_longest_name_can_be_rotated() {
        let long = literal(&format!(".{}", "é".repeat(49)));
        let mut headers = Headers::default();
        headers.push("node", "x".repeat(300));
        let name = fill(vec![[vec![header("node"); 9], vec![long]].concat()], &FileEntry { headers, ..entry("") });
        assert!(name.len() > 200 && name.len() + ".20240501T100000.123456789Z".len() <= 255, "{name}");
    }

    proptest! {
        /// Whatever the values are, the path has as many names as the template, and different
        /// values have different files.
        #[test]
        fn every_path_stays_below(one in "\\PC{0,200}|[./\\\\\\x00_a-]{0,9}", other in "[./\\\\\\x00_a-]{0,9}") {
            let (path, another) = (named(&one), named(&other));
            prop_assert!(!path.contains('/') && !path.starts_with(['.', '-']) && path.len() <= MAX_NAME, "{}", path);
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", path);
            prop_assert_eq!(one == other, path == another, "{} {}", path, another);
        }
    }
}
