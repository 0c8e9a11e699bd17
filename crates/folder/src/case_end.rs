//! Ends of an event, as cases of a router expect them.

use serde_json::{Map, Value as Json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use crate::{
    config::ConfigPlace,
    event::Headers,
    table::{GivenValue, PlacedValue, TomlTable},
    toml_value::{set, toml_value},
};

/// Fields that hold the payload of an output, of which an end has one.
pub const PAYLOADS: [&str; 3] = ["payload", "payload_text", "payload_base64"];

/// Fields of which each end has one: they tell its kind.
const KINDS: [&str; 4] = ["sink", "dead_letter", "dropped", "held"];

const DROPPED: [&str; 6] = ["unrouted", "where", "conditions", "matches", "process", "sink"];
const HELD: [&str; 4] = ["deferred", "quarantined", "unavailable", "stop"];

/// An end of an event: an output, a dead letter, or why there is neither. What a case expects has
/// the fields that are to be compared; what came out has all.
#[derive(Clone, Debug, Default)]
pub struct CaseEnd {
    /// Where it is written, if it is expected.
    pub place: Option<ConfigPlace>,
    fields: Vec<(&'static str, Json)>,
}

impl CaseEnd {
    /// Adds a field. `null` adds none.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.fields.push((name, value));
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Json)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    /// The field that tells its kind, and the value: the name of the sink, the reason, the rule.
    pub fn kind(&self) -> (&'static str, &str) {
        let found = KINDS.into_iter().find_map(|kind| Some((kind, self.text(kind)?)));
        found.unwrap_or_default()
    }

    /// Returns the ends as they are written in a file, to be put behind their case.
    pub fn toml(ends: &[Self]) -> String {
        let mut document = DocumentMut::new();
        let mut case = Table::new();
        case.set_implicit(true);
        case.insert("expect", array(ends.iter().map(Self::table)));
        document.insert("case", Item::Table(case));
        document.to_string()
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        self.write(&mut table);
        table
    }

    /// Makes a table hold these fields and no others. What has not changed keeps its comments.
    pub(crate) fn write(&self, table: &mut Table) {
        table.retain(|name, _| self.get(name).is_some());
        for (name, json) in &self.fields {
            let is_there = table.get(name).and_then(Item::as_str).is_some_and(|old| json.as_str() == Some(old));
            if let Some(value) = toml_value(json).filter(|_| !is_there) {
                set(table, name, Item::Value(value));
            }
        }
    }
}

/// Ends as the value of `expect`.
pub(crate) fn array(ends: impl ExactSizeIterator<Item = Table>) -> Item {
    if ends.len() == 0 {
        Item::Value(Value::Array(Array::new()))
    } else {
        Item::ArrayOfTables(ends.collect::<ArrayOfTables>())
    }
}

/// Returns headers as an object: a text for each name, or a list where there are several.
pub fn header_fields(headers: &Headers) -> Json {
    let mut object = Map::new();
    for (name, value) in headers.iter() {
        let value = Json::from(value.to_string());
        match object.get_mut(&**name) {
            None => drop(object.insert(name.to_string(), value)),
            Some(Json::Array(values)) => values.push(value),
            Some(one) => *one = Json::Array(vec![one.take(), value]),
        }
    }
    Json::Object(object)
}

/// Reads an end that a case expects.
pub(crate) fn expected_end(table: &mut TomlTable<'_>) -> Option<CaseEnd> {
    let mut end = CaseEnd { place: Some(table.place()), fields: Vec::new() };
    let word = |words: &[&'static str]| words.iter().map(|word| (*word, *word)).collect::<Vec<_>>();
    for name in ["key", "route", "sink", "dead_letter"] {
        end = end.with(name, table.text(name));
    }
    end = end.with("dropped", table.choice("dropped", &word(&DROPPED)));
    end = end.with("held", table.choice("held", &word(&HELD)));
    for name in ["because", "subject", "file"] {
        end = end.with(name, table.text(name));
    }
    for name in ["webhooks", "command"] {
        let texts = table.texts(name).map(|texts| texts.into_iter().map(|text| text.value).collect::<Vec<_>>());
        end = end.with(name, texts);
    }
    end = end.with("not_before", table.time("not_before").map(|time| time.to_string()));
    let headers = table.map("headers").map(|headers| {
        let header = |(name, given): (PlacedValue<String>, PlacedValue<GivenValue>)| {
            let value = match given.value {
                GivenValue::One(value) => Json::from(value),
                GivenValue::Many(values) => Json::from(values),
            };
            (name.value, value)
        };
        headers.into_iter().map(header).collect::<Map<_, _>>()
    });
    end = end.with("headers", headers.map(Json::Object));
    end = end.with("payload", table.json_text("payload"));
    for name in ["payload_text", "payload_base64"] {
        end = end.with(name, table.text(name));
    }
    if KINDS.iter().filter(|kind| table.has(kind)).count() != 1 {
        let message = "an `expect` has one of `sink`, `dead_letter`, `dropped` and `held`";
        table.error(table.place(), message, None);
        return None;
    }
    one_payload(table)?;
    Some(end)
}

/// Checks that no more than one payload is given.
pub(crate) fn one_payload(table: &TomlTable<'_>) -> Option<()> {
    if PAYLOADS.iter().filter(|name| table.has(name)).count() > 1 {
        table.error(table.place(), "give one of `payload`, `payload_text` and `payload_base64`", None);
        return None;
    }
    Some(())
}
