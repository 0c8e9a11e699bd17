//! Typed access to a TOML table. An invalid value is reported and then treated as absent, so that
//! reading continues; a field that was never read is reported as unknown at the end of the table.
//!
//! Read every field before giving up on a table: a field that was not read yet counts as unknown.

use std::{
    fmt::Display,
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use crate::{
    config::{ConfigPlace, Problem, StreamLimit, suggest, values},
    document::TomlDocument,
    problem::ProblemReport,
};

mod inputs;
mod json;
pub(crate) mod params;
mod share;

/// A value with its position.
#[derive(Clone, Debug)]
pub(crate) struct PlacedValue<T> {
    pub(crate) value: T,
    pub(crate) place: ConfigPlace,
}

/// A value whose type is declared elsewhere. TOML may spell it as a number or a boolean; its text
/// is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenValue {
    One(String),
    Many(Vec<String>),
}

pub(crate) struct TomlTable<'a> {
    document: &'a TomlDocument<'a>,
    span: Range<usize>,
    entries: DeTable<'a>,
    /// Fields that were read, with the positions of their values.
    known: Vec<(&'static str, Option<Range<usize>>)>,
    /// True if all other fields are reported as unknown.
    strict: bool,
}

/// Returns the word that stands here for one that other programs use, where there is one.
fn synonym(word: &str) -> Option<&'static str> {
    Some(match word {
        // The type of a sink is a known word where it is asked for.
        "file" | "stdin" | "input" => "lines",
        "jetstream" | "nats-jetstream" | "nats_jetstream" | "js" => "nats",
        "nats_js" => "jetstream",
        "http" | "http_client" | "https" => "webhook",
        "http_server" | "webhook" => "http",
        "console" | "print" => "stdout",
        "drop" | "blackhole" | "discard" => "null",
        "process" | "subprocess" | "command" => "exec",
        _ => return None,
    })
}

impl<'a> TomlTable<'a> {
    pub(crate) fn read<T>(
        document: &'a TomlDocument<'a>,
        span: Range<usize>,
        entries: DeTable<'a>,
        fields: impl FnOnce(&mut TomlTable<'a>) -> T,
    ) -> T {
        let mut table = TomlTable { document, span, entries, known: Vec::new(), strict: true };
        let result = fields(&mut table);
        table.report_unknown();
        result
    }

    fn report_unknown(self) {
        let known = self.known.iter().map(|(name, _)| *name);
        for name in self.entries.keys().filter(|_| self.strict) {
            let hint = suggest(name.get_ref(), known.clone(), "known fields", "nothing belongs here");
            let message = format!("unknown field `{}`", name.get_ref());
            self.error(self.document.place(name.span()), message, Some(hint));
        }
    }

    /// Accepts all other fields: they can't be judged, as the field that decides about them is
    /// missing or invalid.
    pub(crate) fn ignore_rest(&mut self) {
        self.strict = false;
    }

    /// The position of the table.
    pub(crate) fn place(&self) -> ConfigPlace {
        self.document.place(self.span.clone())
    }

    /// The position of the value of a field that was read, or that of the table if it is absent.
    pub(crate) fn place_of(&self, name: &str) -> ConfigPlace {
        let span = self.known.iter().find(|(known, _)| *known == name).and_then(|(_, span)| span.clone());
        self.document.place(span.unwrap_or_else(|| self.span.clone()))
    }

    pub(crate) fn report(&self, problem: Problem) {
        self.problems().add(problem);
    }

    /// The report for problems of other files.
    pub(crate) fn problems(&self) -> &'a ProblemReport {
        self.document.report
    }

    pub(crate) fn error(&self, place: ConfigPlace, message: impl Into<String>, hint: Option<String>) {
        self.report(Problem { hint, ..Problem::error(place, message) });
    }

    /// Returns whether the field is present, valid or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.known.iter().any(|(known, span)| *known == name && span.is_some())
    }

    pub(crate) fn holds_table(&self, name: &str) -> bool {
        matches!(self.entries.get(name).map(Spanned::get_ref), Some(DeValue::Table(_)))
    }

    pub(crate) fn holds_flag(&self, name: &str) -> bool {
        matches!(self.entries.get(name).map(Spanned::get_ref), Some(DeValue::Boolean(_)))
    }

    /// The router's folder.
    pub(crate) fn dir(&self) -> &'a Path {
        self.document.dir
    }

    /// Reads a required field with `read`.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self, name);
        if !self.has(name) {
            self.error(self.place(), format!("`{name}` is missing"), None);
        }
        value
    }

    /// Reports a field that belongs somewhere else.
    pub(crate) fn misplaced(&mut self, name: &'static str, where_to: &str) {
        if let Some((key, _)) = self.entries.remove_entry(name) {
            let hint = Some(format!("it belongs in {where_to}"));
            self.error(self.document.place(key.span()), format!("`{name}` does not belong here"), hint);
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Spanned<DeValue<'a>>> {
        let value = self.entries.remove(name);
        self.known.push((name, value.as_ref().map(Spanned::span)));
        value
    }

    fn wrong_type(&self, name: &str, expected: &str, found: &Spanned<DeValue<'_>>) {
        let found_type = match found.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.error(self.document.place(found.span()), format!("`{name}` must be {expected}, found {found_type}"), None);
    }

    fn wrong_value(&self, name: &str, value: impl Display, error: impl Display, place: ConfigPlace) {
        self.error(place, format!("`{name}` can't be `{value}`: {error}"), None);
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.text_that_is(name, "a string")
    }

    /// Reads a string; `expected` is its name in error messages.
    pub(crate) fn text_that_is(&mut self, name: &'static str, expected: &str) -> Option<String> {
        let value = self.take(name)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => {
                self.wrong_type(name, expected, &value);
                None
            }
        }
    }

    /// Reads a string and parses it with `parse`.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|error| self.wrong_value(name, &text, error, self.place_of(name))).ok()
    }

    /// Reads one of a few words.
    pub(crate) fn choice<T: Clone>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let choice = choices.iter().find(|(word, _)| *word == text);
        if choice.is_none() {
            let words = || choices.iter().map(|(word, _)| *word);
            let hint = match synonym(&text).filter(|meant| words().any(|word| word == *meant)) {
                Some(meant) => format!("it is called `{meant}` here"),
                None => suggest(&text, words(), "known words", ""),
            };
            self.error(self.place_of(name), format!("`{name}` can't be `{text}`"), Some(hint));
        }
        choice.map(|(_, value)| value.clone())
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong_type(name, "`true` or `false`", &value);
                None
            }
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Option<i64> {
        let value = self.take(name)?;
        match value.get_ref() {
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
                if number.is_none() {
                    self.wrong_value(name, integer, "it is too large", self.document.place(value.span()));
                }
                number
            }
            _ => {
                self.wrong_type(name, "an integer", &value);
                None
            }
        }
    }

    /// Reads an integer of at least `least` that fits into `T`.
    pub(crate) fn count_from<T: TryFrom<i64>>(&mut self, name: &'static str, least: i64) -> Option<T> {
        let number = self.integer(name)?;
        let count = if number >= least { T::try_from(number).ok() } else { None };
        if count.is_none() {
            let error = if number < least { format!("it must be at least {least}") } else { "it is too large".into() };
            self.wrong_value(name, number, error, self.place_of(name));
        }
        count
    }

    /// Reads an integer from 1 to `most`.
    pub(crate) fn positive(&mut self, name: &'static str, most: usize) -> Option<NonZeroUsize> {
        let count = NonZeroUsize::new(self.count_from(name, 1)?)?;
        if count.get() > most {
            self.wrong_value(name, count, format!("it must be at most {most}"), self.place_of(name));
            return None;
        }
        Some(count)
    }

    /// Reads a number of bytes, 1 or more: an integer, or a string such as `64MiB`.
    pub(crate) fn size(&mut self, name: &'static str) -> Option<u64> {
        if let Some(DeValue::Integer(_)) = self.entries.get(name).map(Spanned::get_ref) {
            return self.count_from(name, 1);
        }
        let text = self.text_that_is(name, "a number of bytes or a size such as `\"64MiB\"`")?;
        values::size(&text).map_err(|error| self.wrong_value(name, &text, error, self.place_of(name))).ok()
    }

    /// Reads a size of at least `least` bytes.
    pub(crate) fn size_from(&mut self, name: &'static str, least: u64) -> Option<u64> {
        let size = self.size(name)?;
        if size < least {
            self.wrong_value(name, size, format!("it must be at least {least}"), self.place_of(name));
            return None;
        }
        Some(size)
    }

    /// Reads a size in memory.
    pub(crate) fn memory_size(&mut self, name: &'static str) -> Option<usize> {
        let size = self.size(name)?;
        let fits = usize::try_from(size).ok();
        if fits.is_none() {
            self.wrong_value(name, size, "it is more than this machine can address", self.place_of(name));
        }
        fits
    }

    /// Reads a duration, which must not be zero.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let duration = self.duration_or_zero(name)?;
        if duration.is_zero() {
            self.error(self.place_of(name), format!("`{name}` can't be zero"), None);
            return None;
        }
        Some(duration)
    }

    pub(crate) fn duration_or_zero(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.text_that_is(name, "a duration in quotes, such as `\"5s\"`")?;
        values::duration(&text).map_err(|error| self.wrong_value(name, &text, error, self.place_of(name))).ok()
    }

    /// Reads a limit with `read`, or `"unlimited"` (J11).
    pub(crate) fn bound<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<StreamLimit<T>> {
        if self.entries.get(name).is_some_and(|value| value.get_ref().as_str() == Some("unlimited")) {
            self.take(name);
            return Some(StreamLimit::Unlimited);
        }
        read(self, name).map(StreamLimit::Most)
    }

    /// Reads a point in time: a TOML datetime, or a string.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Datetime(time) => time.to_string(),
            _ => {
                self.wrong_type(name, "a time", &value);
                return None;
            }
        };
        values::time(&text).map_err(|error| self.wrong_value(name, &text, error, self.place_of(name))).ok()
    }

    /// Reads a path, relative to the router's folder.
    pub(crate) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.error(self.place_of(name), format!("`{name}` is empty"), None);
            return None;
        }
        Some(self.document.dir.join(text))
    }

    /// Reads strings; a single one stands for a list of one. Other values are reported and left
    /// out.
    pub(crate) fn texts(&mut self, name: &'static str) -> Option<Vec<PlacedValue<String>>> {
        let value = self.take(name)?;
        let elements = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().collect(),
            DeValue::String(_) => vec![&value],
            _ => {
                self.wrong_type(name, "a list of strings", &value);
                return None;
            }
        };
        let text = |element: &Spanned<DeValue<'_>>| match element.get_ref() {
            DeValue::String(text) => Some(self.at(text.clone().into_owned(), element.span())),
            _ => {
                self.wrong_type(name, "a list of strings", element);
                None
            }
        };
        Some(elements.into_iter().filter_map(text).collect())
    }

    /// Reads [`Self::texts`] and parses all of them with `parse`.
    pub(crate) fn list<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(name)?;
        let parse = |text: PlacedValue<String>| {
            parse(&text.value).map_err(|error| self.wrong_value(name, &text.value, error, text.place)).ok()
        };
        // All are read before any is given up, so that every mistake is reported.
        let parsed: Vec<_> = texts.into_iter().map(parse).collect();
        parsed.into_iter().collect()
    }

    /// Reads a table inside this one.
    pub(crate) fn table<T>(&mut self, name: &'static str, fields: impl FnOnce(&mut TomlTable<'a>) -> T) -> Option<T> {
        let value = self.take(name)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => Some(TomlTable::read(self.document, span, entries, fields)),
            other => {
                self.wrong_type(name, "a table", &Spanned::new(span, other));
                None
            }
        }
    }

    /// Reads the tables written `[[name]]`.
    pub(crate) fn tables<T>(&mut self, name: &'static str, mut fields: impl FnMut(&mut TomlTable<'a>) -> T) -> Vec<T> {
        let expected = format!("a list of tables, each written `[[{name}]]`");
        let Some(value) = self.take(name) else { return Vec::new() };
        let span = value.span();
        let elements = match value.into_inner() {
            DeValue::Array(elements) => elements,
            other => {
                self.wrong_type(name, &expected, &Spanned::new(span, other));
                return Vec::new();
            }
        };
        let mut results = Vec::new();
        for element in elements {
            let span = element.span();
            match element.into_inner() {
                DeValue::Table(entries) => results.push(TomlTable::read(self.document, span, entries, &mut fields)),
                other => self.wrong_type(name, &expected, &Spanned::new(span, other)),
            }
        }
        results
    }

    /// Reads tables inside a table whose names are the user's own; none if the field is absent.
    /// Returns `None` if one of its values is not a table.
    pub(crate) fn named_tables<T>(
        &mut self,
        name: &'static str,
        mut fields: impl FnMut(&mut TomlTable<'a>) -> T,
    ) -> Option<Vec<(PlacedValue<String>, T)>> {
        let Some(value) = self.take(name) else { return Some(Vec::new()) };
        let span = value.span();
        let entries = match value.into_inner() {
            DeValue::Table(entries) => entries,
            other => {
                self.wrong_type(name, "a table of tables", &Spanned::new(span, other));
                return None;
            }
        };
        let entry = |(name, value): (Spanned<DeString<'a>>, Spanned<DeValue<'a>>)| {
            let (at, span) = (self.at(name.get_ref().clone().into_owned(), name.span()), value.span());
            match value.into_inner() {
                DeValue::Table(entries) => Some((at, TomlTable::read(self.document, span, entries, &mut fields))),
                other => {
                    self.wrong_type(&at.value, "a table", &Spanned::new(span, other));
                    None
                }
            }
        };
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        entries.into_iter().collect()
    }

    /// Reads a table whose names are the user's own, in the order of the file. Returns `None` if it
    /// is absent or one of its values is invalid.
    pub(crate) fn map(&mut self, name: &'static str) -> Option<Vec<(PlacedValue<String>, PlacedValue<GivenValue>)>> {
        let value = self.take(name)?;
        let DeValue::Table(entries) = value.get_ref() else {
            self.wrong_type(name, "a table", &value);
            return None;
        };
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let given = given(value.get_ref());
            if given.is_none() {
                self.wrong_type(name.get_ref(), "a string, an integer, a boolean or a list of strings", value);
            }
            Some((self.at(name.get_ref().clone().into_owned(), name.span()), self.at(given?, value.span())))
        };
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        entries.into_iter().collect()
    }

    fn at<T>(&self, value: T, span: Range<usize>) -> PlacedValue<T> {
        PlacedValue { value, place: self.document.place(span) }
    }
}

pub(crate) fn given(value: &DeValue<'_>) -> Option<GivenValue> {
    match value {
        DeValue::String(text) => Some(GivenValue::One(text.clone().into_owned())),
        DeValue::Integer(integer) => {
            let decimal = i64::from_str_radix(integer.as_str(), integer.radix());
            Some(GivenValue::One(decimal.map_or_else(|_| integer.to_string(), |number| number.to_string())))
        }
        DeValue::Boolean(flag) => Some(GivenValue::One(flag.to_string())),
        DeValue::Array(elements) => {
            let text = |element: &Spanned<DeValue<'_>>| element.get_ref().as_str().map(str::to_owned);
            elements.iter().map(text).collect::<Option<_>>().map(GivenValue::Many)
        }
        _ => None,
    }
}
