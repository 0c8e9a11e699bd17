//! Params, whose types are declared elsewhere.

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use crate::{
    config::KeptIn,
    table::{GivenValue, PlacedValue, TomlTable, given},
};

/// A value of a param, before its type is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParamValue {
    One(String),
    Many(Vec<String>),
    /// A table, or a list that is not one of strings.
    Json(Value),
}

impl TomlTable<'_> {
    /// Reads params, in the order of the file. Returns `None` if they are absent or one has a type
    /// that no param has.
    pub(crate) fn params(&mut self, name: &'static str) -> Option<Vec<(PlacedValue<String>, PlacedValue<ParamValue>)>> {
        let value = self.take(name)?;
        let DeValue::Table(entries) = value.get_ref() else {
            self.wrong_type(name, "a table", &value);
            return None;
        };
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let read = self.param(name.get_ref(), value);
            Some((self.at(name.get_ref().clone().into_owned(), name.span()), self.at(read?, value.span())))
        };
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        entries.into_iter().collect()
    }

    fn param(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<ParamValue> {
        match (given(value.get_ref()), value.get_ref()) {
            (Some(GivenValue::One(text)), _) => Some(ParamValue::One(text)),
            (Some(GivenValue::Many(texts)), _) => Some(ParamValue::Many(texts)),
            (None, DeValue::Float(float)) => Some(ParamValue::One(float.as_str().replace('_', ""))),
            (None, DeValue::Array(_) | DeValue::Table(_)) => self.as_json(name, value).map(ParamValue::Json),
            (None, _) => {
                self.wrong_type(name, "a string, a number, a boolean, a list or a table", value);
                None
            }
        }
    }
}

/// Where a secret is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
pub(crate) fn kept(value: &Value, dir: &std::path::Path) -> Option<KeptIn> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (place, named) = members.iter().next()?;
    match (place.as_str(), named.as_str().filter(|named| !named.is_empty())?) {
        ("env", variable) => Some(KeptIn::Env(variable.to_owned())),
        ("file", path) => Some(KeptIn::File(dir.join(path))),
        _ => None,
    }
}
