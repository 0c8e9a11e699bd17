//! `[key.schema]` and `[key.field_overrides]`: the schema of a key's outputs (L09 to L13).

use std::collections::BTreeMap;

use crate::{
    config::{ConfigPlace, nearest, quoted},
    schemas::SchemaFiles,
    table::{PlacedValue, TomlTable},
};
use trommel_config::schema::{DeclaredSchema, FieldOverride, OutputSchema, SchemaForm, UnresolvedSchema};

/// Reads the schema of a key, if it declares one. Returns `Err` if a setting of it is invalid; the
/// error is then in the report.
pub(crate) fn schema(table: &mut TomlTable<'_>, schemas: Option<&SchemaFiles>) -> Result<Option<OutputSchema>, ()> {
    let declared = table.table("schema", |table| declared(table, schemas)).flatten();
    let overrides = table.named_tables("field_overrides", laid_over);
    if !table.has("schema") {
        if table.has("field_overrides") {
            let hint = "they are laid over the fields of `[key.schema]`".to_owned();
            table.error(table.place_of("field_overrides"), "`field_overrides` need a schema", Some(hint));
        }
        return Ok(None);
    }
    let (form, declared) = declared.ok_or(())?;
    let (mut places, mut changes) = (BTreeMap::new(), BTreeMap::new());
    for (PlacedValue { value: pointer, place }, laid_over) in overrides.ok_or(())? {
        places.insert(pointer.clone(), place);
        changes.insert(pointer, laid_over);
    }
    OutputSchema::new(form, declared, &changes).map(Some).map_err(|unresolved| match unresolved {
        UnresolvedSchema::Orphans { orphans, known } => orphans.iter().for_each(|orphan| {
            let place = places.get(orphan).unwrap_or(&table.place()).clone();
            orphan_at(table, place, orphan, &known);
        }),
        UnresolvedSchema::Unsound(error) => {
            table.error(table.place_of("field_overrides"), format!("with these, {error}"), None);
        }
    })
}

/// Reports an override of an unknown field. Lists the nearest fields only, as a message may have
/// too many.
fn orphan_at(table: &TomlTable<'_>, place: ConfigPlace, orphan: &str, known: &[String]) {
    let near = nearest(orphan, known.iter().map(String::as_str));
    let hint = if near.is_empty() {
        "`/a/b` is a property of a property, `/a/*` an array's elements; `$ref`s are not followed".to_owned()
    } else {
        format!("did you mean {}?", quoted(near, "or"))
    };
    table.error(place, format!("the schema has no field `{orphan}`"), Some(hint));
}

/// Reads `native` or `custom` (L09). `native = true` is the standard envelope around an arbitrary
/// event.
fn declared(table: &mut TomlTable<'_>, schemas: Option<&SchemaFiles>) -> Option<(SchemaForm, DeclaredSchema)> {
    let native = if table.holds_table("native") {
        table.table("native", |table| specified(table, schemas)).flatten()
    } else {
        any_event(table)
    };
    let custom = table.table("custom", |table| specified(table, schemas)).flatten();
    let hint = "`custom` is the shape of the output, `native` that of the event in the standard envelope".to_owned();
    match (table.has("native"), table.has("custom")) {
        (true, true) => table.error(table.place(), "the schema is both `native` and `custom`: give one", Some(hint)),
        (false, false) => table.error(table.place(), "the schema is neither `native` nor `custom`", Some(hint)),
        (true, false) => return Some((SchemaForm::Native, native?)),
        (false, true) => return Some((SchemaForm::Custom, custom?)),
    }
    None
}

fn any_event(table: &mut TomlTable<'_>) -> Option<DeclaredSchema> {
    let is_native = table.flag("native")?;
    if !is_native {
        table.error(table.place_of("native"), "`native` can't be `false`", Some("leave it out".to_owned()));
    }
    is_native.then(DeclaredSchema::object)
}

/// Reads the schema itself: from a file, or inline (L11).
fn specified(table: &mut TomlTable<'_>, schemas: Option<&SchemaFiles>) -> Option<DeclaredSchema> {
    let file = table.text("file");
    let inline = table.json("inline");
    match (table.has("file"), table.has("inline")) {
        (true, true) => table.error(table.place(), "`file` and `inline` both give the schema: give one", None),
        (false, false) => {
            let hint =
                "give it a `file` in `schemas/`, or the schema itself as `inline = { type = \"object\" }`".into();
            table.error(table.place(), "the schema is not given", Some(hint));
        }
        (true, false) => {
            let found = schemas?.find(&file?, table.problems());
            return found.unwrap_or_else(|missing| {
                table.error(table.place_of("file"), missing.message, Some(missing.hint));
                None
            });
        }
        (false, true) => {
            let declared = DeclaredSchema::new(inline?);
            return declared.map_err(|error| table.error(table.place_of("inline"), error.to_string(), None)).ok();
        }
    }
    None
}

fn laid_over(table: &mut TomlTable<'_>) -> FieldOverride {
    let allowed = table.texts("enum").unwrap_or_default();
    FieldOverride {
        description: table.text("description").unwrap_or_default(),
        allowed: allowed.into_iter().map(|value| value.value).collect(),
        kind: table.text("kind").unwrap_or_default(),
    }
}
