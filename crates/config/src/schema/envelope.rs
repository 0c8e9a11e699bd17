//! The standard envelope around a native event (L15).

use serde_json::{Map, Value, json};

/// Pointer to the event's schema in its envelope's.
const EVENT: &str = "/properties/event";

/// Returns the schema of the envelope around an event with the given schema.
pub(super) fn wrap(mut event: Value) -> Value {
    // The dialect can be declared only at the root of a document.
    let dialect = event.as_object_mut().and_then(|event| event.remove_entry("$schema"));
    move_references(&mut event);
    let text = json!({ "type": "string" });
    let fields = ["event_id", "event_type", "create_time", "token", "app_id", "tenant_key"];
    let header: Map<String, Value> = fields.into_iter().map(|field| (field.to_owned(), text.clone())).collect();
    let envelope = json!({
        "type": "object",
        "properties": {
            "schema": { "type": "string", "enum": ["2.0"] },
            "header": { "type": "object", "properties": header },
            "event": event,
        },
        "required": ["schema", "header", "event"],
    });
    match envelope {
        Value::Object(envelope) => envelope.into_iter().chain(dialect).collect(),
        other => other,
    }
}

/// Rewrites references within the document for its new location. References below an `$id` are
/// relative to that and stay.
fn move_references(schema: &mut Value) {
    match schema {
        Value::Object(members) if !members.contains_key("$id") => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(pointer) = reference.strip_prefix('#')
                && (pointer.is_empty() || pointer.starts_with('/'))
            {
                *reference = format!("#{EVENT}{pointer}");
            }
            members.values_mut().for_each(move_references);
        }
        Value::Array(elements) => elements.iter_mut().for_each(move_references),
        _ => {}
    }
}
