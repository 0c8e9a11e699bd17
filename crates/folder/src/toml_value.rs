//! Values that are written into TOML, beside what is there already.

use serde_json::Value as Json;
use toml_edit::{InlineTable, Item, Table, Value};

/// Sets a field. What the old value is surrounded by stays, such as a comment behind it.
pub(crate) fn set(table: &mut Table, name: &str, mut new: Item) {
    if let (Some(old), Some(new)) = (table.get(name).and_then(Item::as_value), new.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(name, new);
}

/// The same value in TOML, which has no `null`.
pub(crate) fn toml_value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => Value::Array(values.iter().filter_map(toml_value).collect()),
        Json::Object(members) => {
            let members = members.iter().filter_map(|(name, value)| Some((name.as_str(), toml_value(value)?)));
            Value::InlineTable(members.collect::<InlineTable>())
        }
    })
}
