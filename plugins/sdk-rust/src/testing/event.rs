//! An event for tests, with its fields by their names.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{Failure, Result};

/// An event on its first delivery, with a payload and what else is said of it.
#[derive(Clone, Debug)]
pub struct TestEvent {
    payload: Vec<u8>,
    fields: BTreeMap<String, String>,
}

impl TestEvent {
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        let fields = [
            ("attempt", "1"),
            ("event-type", "events"),
            ("id", "id-1"),
            ("key", "key"),
            ("observed-at", "0"),
            ("route", "route"),
            ("sequence", "1"),
            ("source", "events"),
            ("stream", "EVENTS"),
            ("subject", "events"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { payload: payload.into(), fields }
    }

    /// Sets a field by its name, such as `subject` or `header:Region`; parts of the payload stand in
    /// the payload.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.fields.insert(canonical(field), value.into());
        self
    }

    /// The values of fields, as the router hands them over.
    ///
    /// # Errors
    /// `malformed` if parts of the payload are asked for and it is not JSON.
    pub(crate) fn values(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        names.iter().map(|name| self.value(name)).collect()
    }

    fn value(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if name == "payload" {
            return Ok(Some(self.payload.clone()));
        }
        if !name.starts_with('/') {
            return Ok(self.fields.get(&canonical(name)).map(|value| value.clone().into_bytes()));
        }
        let payload: &RawValue = serde_json::from_slice(&self.payload)
            .map_err(|error| Failure::malformed(format!("the payload is not JSON: {error}")))?;
        Ok(part(payload, name).map(|part| part.get().as_bytes().to_vec()))
    }
}

/// Headers are found whatever the case of their names.
fn canonical(field: &str) -> String {
    match field.strip_prefix("header:") {
        Some(name) => format!("header:{}", name.to_ascii_lowercase()),
        None => field.to_owned(),
    }
}

/// The part that a JSON pointer leads to, as it is written. Of members of one name the last counts.
fn part<'a>(value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    pointer.split('/').skip(1).try_fold(value, |value, token| {
        let name = token.replace("~1", "/").replace("~0", "~");
        if let Ok(mut members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(value.get()) {
            return members.remove(&*name);
        }
        let elements: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        elements.get(name.parse::<usize>().ok()?).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_as_the_router_finds_them() {
        let event = TestEvent::new(r#"{"a":1,"a":{"b/c":[1, 2.50]},"d":null}"#).with("header:Region", "eu");
        let value = |name| event.value(name).unwrap().map(|value| String::from_utf8(value).unwrap());
        assert_eq!(value("/a/b~1c/1").as_deref(), Some("2.50"));
        assert_eq!(value("/a/b~1c").as_deref(), Some("[1, 2.50]"));
        assert_eq!(value("/a/x"), None);
        assert_eq!(value("/d").as_deref(), Some("null"));
        assert_eq!(value("header:REGION").as_deref(), Some("eu"));
        assert_eq!(value("header:other"), None);
        assert_eq!(value("attempt").as_deref(), Some("1"));
        assert!(TestEvent::new("no").value("/a").is_err());
    }
}
