//! What becomes of an event.

use std::time::{Duration, SystemTime};

use serde::Serialize;

pub use crate::bindings::trommel::filter::types::{Cause, Change, Edit, Emission, Fate, Outcome};
use crate::{Failure, Result};

impl Outcome {
    /// Sends the event on with this payload.
    pub fn replace(payload: impl Into<Vec<u8>>) -> Self {
        Self::Replace(payload.into())
    }

    /// Sends the event on with this as its payload, in JSON.
    ///
    /// # Errors
    /// If the value has no form in JSON, such as a map whose keys are not texts.
    pub fn replace_json(payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self::Replace(serde_json::to_vec(payload)?))
    }
}

/// Changes of an event, made one after the other. All else stays as it was written: numbers, the
/// order of members, blanks.
///
/// ```
/// # use trommel_filter::{Edits, Outcome, Result};
/// # fn process() -> Result<Outcome> {
/// Edits::new().set("/total", 17).remove("/draft").header("region", "eu").into()
/// # }
/// # process().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    /// The first value that has no form in JSON.
    failure: Option<Failure>,
}

impl Edits {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a part of the payload, named by a JSON pointer. One that is not there is added, with the
    /// objects on the way to it; `/list/-` adds an element.
    #[must_use]
    pub fn set(mut self, pointer: impl Into<String>, value: impl Serialize) -> Self {
        let mut json = Vec::with_capacity(24);
        match serde_json::to_writer(&mut json, &value) {
            Ok(()) => self.change(pointer, Change::Set(json)),
            Err(error) => {
                let why = format!("`{}` can't be set: {error}", pointer.into());
                self.failure.get_or_insert(Failure::malformed(why));
                self
            }
        }
    }

    /// Removes a part of the payload, if it is there.
    #[must_use]
    pub fn remove(self, pointer: impl Into<String>) -> Self {
        self.change(pointer, Change::Remove)
    }

    /// Renames a member, which keeps its value and its place.
    #[must_use]
    pub fn rename(self, pointer: impl Into<String>, name: impl Into<String>) -> Self {
        self.change(pointer, Change::Rename(name.into()))
    }

    #[must_use]
    pub fn header(self, name: &str, value: impl Into<String>) -> Self {
        self.change(format!("header:{name}"), Change::Set(value.into().into_bytes()))
    }

    #[must_use]
    pub fn remove_header(self, name: &str) -> Self {
        self.change(format!("header:{name}"), Change::Remove)
    }

    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.change("subject", Change::Set(subject.into().into_bytes()))
    }

    fn change(mut self, field: impl Into<String>, change: Change) -> Self {
        self.list.push(Edit { field: field.into(), change });
        self
    }
}

/// No change at all keeps the event.
impl From<Edits> for Result<Outcome> {
    fn from(edits: Edits) -> Self {
        match edits.failure {
            Some(failure) => Err(failure),
            None if edits.list.is_empty() => Ok(Outcome::Keep),
            None => Ok(Outcome::Edit(edits.list)),
        }
    }
}

/// The fields are public, for tests; the functions of the same names set them.
impl Emission {
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            sink: None,
            id: None,
            not_before: None,
            subject: None,
            headers: Vec::new(),
            fate: Fate::Send,
        }
    }

    /// # Errors
    /// As [`Outcome::replace_json`].
    pub fn json(payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(payload)?))
    }

    /// The only sink that it goes to, one of those that `sinks` of the filter names.
    #[must_use]
    pub fn sink(self, sink: impl Into<String>) -> Self {
        Self { sink: Some(sink.into()), ..self }
    }

    /// Replaces the router's own id. Destinations that drop repeats go by it.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// When it may be sent at the earliest, in whole milliseconds.
    #[must_use]
    pub fn not_before(self, time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { not_before: Some(milliseconds(since)), ..self }
    }

    /// Replaces the event's subject for the sinks that use it.
    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Added to the event's headers; a name that is there already is replaced.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Makes a dead letter of it, beside what else comes of the event. `code` is a word of your own
    /// in lower case with underscores, which `dlq list --reason` finds.
    #[must_use]
    pub fn bury(self, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { fate: Fate::Bury(Cause { code: Some(code.into()), detail: detail.into() }), ..self }
    }
}

impl From<Emission> for Outcome {
    fn from(emission: Emission) -> Self {
        Self::Emit(vec![emission])
    }
}

/// None at all is `Drop`.
impl From<Vec<Emission>> for Outcome {
    fn from(emissions: Vec<Emission>) -> Self {
        Self::Emit(emissions)
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn edits_are_values_of_json_headers_and_the_subject() {
        let edits = Edits::new().set("/a", "x\"").set("/b", 1.5).rename("/c", "d").header("e", "f").remove_header("g");
        let Ok(Outcome::Edit(list)) = edits.remove("/h").subject("i").into() else { panic!("no edits") };
        let edit = |field: &str, change| Edit { field: field.to_owned(), change };
        let set = |value: &str| Change::Set(value.into());
        let expected = [
            edit("/a", set(r#""x\"""#)),
            edit("/b", set("1.5")),
            edit("/c", Change::Rename("d".to_owned())),
            edit("header:e", set("f")),
            edit("header:g", Change::Remove),
            edit("/h", Change::Remove),
            edit("subject", set("i")),
        ];
        assert_eq!(list, expected);
        assert_eq!(Result::from(Edits::new()), Ok(Outcome::Keep));
    }

    #[test]
    fn a_value_without_a_form_in_json_fails_the_event() {
        let outcome: Result<Outcome> = Edits::new().set("/a", BTreeMap::from([((1, 2), 3)])).set("/b", 1).into();
        assert_eq!(outcome, Err(Failure::malformed("`/a` can't be set: key must be a string")));
    }

    #[test]
    fn emissions_say_only_what_they_change() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let emission = Emission::json(&[1]).unwrap().sink("a").id("b").not_before(time).subject("c").header("d", "e");
        let expected = Emission {
            sink: Some("a".into()),
            id: Some("b".into()),
            not_before: Some(1_500),
            subject: Some("c".into()),
            headers: vec![("d".into(), Some("e".into())), ("f".into(), None)],
            fate: Fate::Bury(Cause { code: Some("g".into()), detail: "h".into() }),
            ..Emission::new("[1]")
        };
        assert_eq!(emission.remove_header("f").bury("g", "h"), expected);
        assert_eq!(Outcome::replace_json("a"), Ok(Outcome::replace("\"a\"")));
    }
}
