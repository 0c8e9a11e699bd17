//! Overrides of single fields of a key's outputs, merged into the schema (L13).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Override of one field's schema. Empty members leave what is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldOverride {
    pub description: String,
    /// The values that are allowed.
    pub allowed: Vec<String>,
    /// The kind of value, such as `open_id`; becomes the `format`.
    pub kind: String,
}

/// Merges `overrides` into the subschemas that their pointers name: `""` or `/` is the root, `/a/b`
/// a property, `/*` an array's elements. Returns the pointers that do not match, sorted.
pub(super) fn apply(schema: &mut Value, overrides: &BTreeMap<String, FieldOverride>) -> Vec<String> {
    let mut orphans = Vec::new();
    for (pointer, laid_over) in overrides {
        match find(schema, pointer) {
            Some(place) => laid_over.apply(place),
            None => orphans.push(pointer.clone()),
        }
    }
    orphans
}

impl FieldOverride {
    fn apply(&self, place: &mut Map<String, Value>) {
        let Self { description, allowed, kind } = self;
        let text = |text: &String| (!text.is_empty()).then(|| Value::from(text.as_str()));
        let allowed = (!allowed.is_empty()).then(|| Value::from(allowed.as_slice()));
        let members = [("description", text(description)), ("enum", allowed), ("format", text(kind))];
        place.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
}

fn find<'a>(schema: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    let mut place = schema;
    if !matches!(pointer, "" | "/") {
        for segment in pointer.strip_prefix('/')?.split('/') {
            place = match segment {
                "*" => place.get_mut("items")?,
                name => place.get_mut("properties")?.get_mut(name.replace("~1", "/").replace("~0", "~"))?,
            };
        }
    }
    place.as_object_mut()
}

/// The pointers of all subschemas, without the root's.
pub(super) fn places(schema: &Value) -> Vec<String> {
    fn walk(schema: &Value, pointer: &str, found: &mut Vec<String>) {
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let named = properties.map(|(name, place)| (name.replace('~', "~0").replace('/', "~1"), place));
        let elements = schema.get("items").map(|place| ("*".to_owned(), place));
        for (segment, place) in named.chain(elements).filter(|(_, place)| place.is_object()) {
            let pointer = format!("{pointer}/{segment}");
            walk(place, &pointer, found);
            found.push(pointer);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}
