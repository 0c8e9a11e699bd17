//! Attributes of types: logical types and lists of names.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::types::{AvroType, BytesForm, EnumSymbols, TimeUnit, TypeName};

/// Largest precision of a decimal, in digits.
const MOST_DIGITS: u64 = 1000;

pub(super) fn symbols(naming: TypeName, schema: &Map<String, Value>) -> Result<AvroType, String> {
    let full = &naming.full;
    let all = texts(schema, "symbols")?;
    if let Some(symbol) = all.iter().find(|symbol| !is_name(symbol)) {
        return Err(format!("`{symbol}` is not a symbol of the enum `{full}`"));
    }
    if all.is_empty() || all.iter().collect::<HashSet<_>>().len() < all.len() {
        return Err(format!("the symbols of the enum `{full}` are none, or some of them the same"));
    }
    let default = match schema.get("default") {
        None => None,
        Some(Value::String(symbol)) if all.contains(symbol) => Some(symbol.clone()),
        Some(_) => return Err(format!("the default of the enum `{full}` is none of its symbols")),
    };
    Ok(AvroType::Enum(naming, EnumSymbols { all, default }))
}

pub(super) fn fixed(naming: TypeName, schema: &Map<String, Value>) -> Result<AvroType, String> {
    let size = schema.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or_else(|| format!("`{}` has no proper `size`", naming.full))?;
    let form = match (logical(schema), size) {
        ("duration", 12) => BytesForm::Duration,
        ("uuid", 16) => BytesForm::Uuid,
        _ => decimal(schema)?.unwrap_or(BytesForm::Base64),
    };
    Ok(AvroType::Fixed(naming, size, form))
}

/// Parses the `decimal` attributes. `None` if they are absent or invalid: Avro says that they are
/// to be ignored then.
pub(super) fn decimal(schema: &Map<String, Value>) -> Result<Option<BytesForm>, String> {
    let number = |name| schema.get(name).map_or(Some(0), Value::as_u64);
    match (logical(schema), number("precision"), number("scale")) {
        ("decimal", Some(precision), _) if precision > MOST_DIGITS => {
            Err(format!("a decimal has more than {MOST_DIGITS} digits"))
        }
        ("decimal", Some(precision @ 1..), Some(scale)) if scale <= precision => {
            // Both are at most `MOST_DIGITS`.
            Ok(Some(BytesForm::Decimal { precision: precision as usize, scale: scale as usize }))
        }
        _ => Ok(None),
    }
}

/// Parses the logical type of a long that is a timestamp.
pub(super) fn timestamp(schema: &Map<String, Value>) -> Option<TimeUnit> {
    match logical(schema) {
        "timestamp-millis" => Some(TimeUnit::Millis),
        "timestamp-micros" => Some(TimeUnit::Micros),
        "timestamp-nanos" => Some(TimeUnit::Nanos),
        _ => None,
    }
}

fn logical(schema: &Map<String, Value>) -> &str {
    schema.get("logicalType").and_then(Value::as_str).unwrap_or_default()
}

/// Reads a member that is an array of strings; empty if it is absent.
pub(super) fn texts(schema: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let texts = match schema.get(name) {
        None => Some(Vec::new()),
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    texts.ok_or_else(|| format!("`{name}` is not an array of strings"))
}

pub(super) fn check_name(full: &str) -> Result<(), String> {
    let primitive = matches!(full, "null" | "boolean" | "int" | "long" | "float" | "double" | "string" | "bytes");
    if primitive || !full.split('.').all(is_name) {
        return Err(format!("`{full}` is not a valid name of a type"));
    }
    Ok(())
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
}
