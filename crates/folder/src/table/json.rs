//! JSON written as TOML.

use serde_json::{Number, Value};
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use crate::{json, table::TomlTable};

impl TomlTable<'_> {
    /// Reads a table as a JSON object. Returns `None` if it is absent or contains a value that JSON
    /// does not have.
    pub(crate) fn json(&mut self, name: &'static str) -> Option<Value> {
        let value = self.take(name)?;
        if !value.get_ref().is_table() {
            self.wrong_type(name, "a table", &value);
            return None;
        }
        self.as_json(name, &value)
    }

    /// Reads JSON, as its text in a string or as a value in TOML, and returns its text.
    pub(crate) fn json_text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        let DeValue::String(text) = value.get_ref() else {
            return self.as_json(name, &value).map(|json| json.to_string());
        };
        let text = text.trim();
        if let Err(error) = json::check(text.as_bytes()) {
            let hint = format!("a text that is no JSON is `{name}_text`");
            self.error(self.place_of(name), format!("`{name}` is not JSON: {error}"), Some(hint));
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn as_json(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let number = match value.get_ref() {
            DeValue::String(text) => return Some(Value::from(&**text)),
            DeValue::Boolean(flag) => return Some(Value::from(*flag)),
            // All are read before any is given up, so that every mistake is reported.
            DeValue::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(|element| self.as_json(name, element)).collect();
                return elements.into_iter().collect::<Option<Vec<_>>>().map(Value::from);
            }
            DeValue::Table(members) => {
                let member = |(name, value): (&Spanned<DeString<'_>>, _)| {
                    (name.get_ref().clone().into_owned(), self.as_json(name.get_ref(), value))
                };
                let members: Vec<_> = members.iter().map(member).collect();
                let members = members.into_iter().map(|(name, value)| Some((name, value?)));
                return members.collect::<Option<_>>().map(Value::Object);
            }
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Number::from),
            DeValue::Float(float) => float.as_str().parse().ok().and_then(Number::from_f64),
            DeValue::Datetime(_) => None,
        };
        if number.is_none() {
            self.wrong_type(name, "something that JSON has too", value);
        }
        number.map(Value::from)
    }
}
