//! Schemas, of JSON and of Avro, that can't be used are refused, with what was perhaps meant.

use crate::{
    config_folder::ConfigFolder,
    refusals::{SETTINGS, in_schema, in_settings},
};

use insta::assert_snapshot;

const ORDER: (&str, &str) = (
    "schemas/order.json",
    r#"{ "type": "object", "properties": { "amount": { "type": "integer" }, "customer": { "type": "object" } } }"#,
);

/// L09 and L11
#[test]
fn a_schema_is_given_in_one_way() {
    assert_snapshot!(in_schema("[key.schema]", &[ORDER]), @r"
    keys/orders.toml:4:1: the schema is neither `native` nor `custom`
      `custom` is the shape of the output, `native` that of the event in the standard envelope
    ");
    assert_snapshot!(in_schema("[key.schema]\nnative = true\ncustom = { file = \"order.json\" }", &[ORDER]), @r"
    keys/orders.toml:4:1: the schema is both `native` and `custom`: give one
      `custom` is the shape of the output, `native` that of the event in the standard envelope
    ");
    assert_snapshot!(in_schema("[key.schema]\nnative = false", &[ORDER]), @r"
    keys/orders.toml:5:10: `native` can't be `false`
      leave it out
    ");
    assert_snapshot!(in_schema("[key.schema.custom]", &[ORDER]), @r#"
    keys/orders.toml:4:1: the schema is not given
      give it a `file` in `schemas/`, or the schema itself as `inline = { type = "object" }`
    "#);
    assert_snapshot!(
        in_schema("[key.schema.native]\nfile = \"order.json\"\ninline = { type = \"object\" }", &[ORDER]),
        @"keys/orders.toml:4:1: `file` and `inline` both give the schema: give one"
    );
    assert_snapshot!(in_schema("[key.schema.custom]\npath = \"order.json\"", &[ORDER]), @r#"
    keys/orders.toml:4:1: the schema is not given
      give it a `file` in `schemas/`, or the schema itself as `inline = { type = "object" }`
    keys/orders.toml:5:1: unknown field `path`
      known fields: `file` and `inline`
    "#);
}

#[test]
fn a_schema_file_that_is_not_there() {
    assert_snapshot!(in_schema("[key.schema.custom]\nfile = \"oder.json\"", &[ORDER]), @r"
    keys/orders.toml:5:8: there is no schema `schemas/oder.json`
      did you mean `order.json`?
    ");
    assert_snapshot!(in_schema("[key.schema.custom]\nfile = \"../order.json\"", &[]), @r"
    keys/orders.toml:5:8: there is no schema `schemas/../order.json`
      there is no schema in `schemas/`
    ");
}

/// L12: said once, however many keys name the file.
#[test]
fn a_schema_file_that_is_no_schema() {
    let twice = r#"schema = { custom = { file = "order.json" } }
[[key]]
key = "more"
subject = "a"
schema = { native = { file = "order.json" } }"#;
    for text in ["", "null", "{}", "true", "{\n  \"type\": \"object\",\n}", "{ \"type\": \"objekt\" }"] {
        let found = in_schema(twice, &[("schemas/order.json", text)]);
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let one = |text| in_schema(twice, &[("schemas/order.json", text)]);
    assert_snapshot!(one(""), @"schemas/order.json:1:1: the file is not JSON: EOF while parsing a value");
    assert_snapshot!(one("{}"), @r"
    schemas/order.json: it is a placeholder: a schema is a JSON object that says something
    ");
    assert_snapshot!(one("{\n  \"type\": \"object\",\n}"), @r"
    schemas/order.json:3:1: the file is not JSON: trailing comma
    ");
    assert_snapshot!(one("{ \"type\": \"objekt\" }"), @r#"
    schemas/order.json: it is not a valid JSON Schema at `/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword
    "#);
}

/// L11 and L12
#[test]
fn an_inline_schema_that_is_none() {
    assert_snapshot!(in_schema("schema = { custom = { inline = {} } }", &[]), @r"
    keys/orders.toml:4:32: it is a placeholder: a schema is a JSON object that says something
    ");
    assert_snapshot!(in_schema("schema = { custom = { inline = { type = \"objekt\" } } }", &[]), @r#"
    keys/orders.toml:4:32: it is not a valid JSON Schema at `/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword
    "#);
    assert_snapshot!(in_schema("schema = { custom = { inline = { const = 2026-01-01, maximum = nan } } }", &[]), @r"
    keys/orders.toml:4:42: `const` must be something that JSON has too, found a date or time
    keys/orders.toml:4:64: `maximum` must be something that JSON has too, found a float
    ");
    assert_snapshot!(in_schema("schema = { custom = { inline = \"{}\" } }", &[]), @r"
    keys/orders.toml:4:32: `inline` must be a table, found a string
    ");
}

/// L13
#[test]
fn overrides_of_fields_that_there_are_not() {
    let schema = "[key.schema.custom]\nfile = \"order.json\"\n[key.field_overrides]\n";
    let overrides = r#""/customer" = { description = "who" }
"/zone" = { description = "where" }
"amount" = { kind = "money" }
"/customer/*" = { enum = ["a"] }
"#;
    assert_snapshot!(in_schema(&format!("{schema}{overrides}"), &[ORDER]), @r"
    keys/orders.toml:8:1: the schema has no field `/zone`
      `/a/b` is a property of a property, `/a/*` an array's elements; `$ref`s are not followed
    keys/orders.toml:9:1: the schema has no field `amount`
      did you mean `/amount`?
    keys/orders.toml:10:1: the schema has no field `/customer/*`
      did you mean `/customer`?
    ");
    assert_snapshot!(in_schema(&format!("{schema}\"/amount\" = {{ format = \"money\" }}"), &[ORDER]), @r"
    keys/orders.toml:7:15: unknown field `format`
      known fields: `description`, `enum` and `kind`
    ");
    assert_snapshot!(in_schema(&format!("{schema}\"/amount\" = \"money\""), &[ORDER]), @r"
    keys/orders.toml:7:13: `/amount` must be a table, found a string
    ");
    assert_snapshot!(in_schema("[key.field_overrides.\"/amount\"]\nkind = \"money\"", &[ORDER]), @r"
    keys/orders.toml:4:6: `field_overrides` need a schema
      they are laid over the fields of `[key.schema]`
    ");
}

/// L16
#[test]
fn fields_about_validation_and_identity() {
    assert_snapshot!(in_schema("validate = \"all\"", &[]), @r"
    keys/orders.toml:4:12: there is no schema to validate against
      declare the shape of the outputs in `[key.schema]`
    ");
    assert_snapshot!(in_schema("schema = { native = true }\nvalidate = \"some\"", &[]), @r"
    keys/orders.toml:5:12: `validate` can't be `some`
      known words: `all`, `off` and `sample`
    ");
    assert_snapshot!(in_schema("auth_types = [\"user\", \"robot\"]\nscopes = [\"\"]\nsingle_consumer = 1", &[]), @r"
    keys/orders.toml:4:23: `auth_types` can't be `robot`: it is `user` or `bot`
    keys/orders.toml:5:11: `scopes` can't be ``: it is empty
    keys/orders.toml:6:19: `single_consumer` must be `true` or `false`, found an integer
    ");
}

const AVRO: (&str, &str) =
    ("schemas/order.avsc", r#"{ "type": "record", "name": "Order", "fields": [{ "name": "n", "type": "long" }] }"#);

/// H47, H53
#[test]
fn avro_that_is_not_as_it_should_be() {
    assert_snapshot!(in_schema("decode = \"avr\"", &[]), @r"
    keys/orders.toml:4:10: `decode` can't be `avr`
      did you mean `avro`?
    ");
    assert_snapshot!(in_schema("reader_schema = \"order\"", &[AVRO]), @r#"
    keys/orders.toml:4:17: `reader_schema` is for Avro
      add `decode = "avro"`, or `"auto"` where JSON comes too
    "#);
    assert_snapshot!(in_schema("decode = \"avro\"\nreader_schema = \"oder\"", &[AVRO]), @r"
    keys/orders.toml:5:17: there is no Avro schema `oder`
      did you mean `order`?
    ");
    assert_snapshot!(in_schema("", &[("schemas/order.avsc", "{ \"type\": \"record\" }")]), @"schemas/order.avsc: a type of kind `record` has no `name`");
    assert_snapshot!(in_schema("", &[("schemas/order.avsc", "{ \"type\": ")]), @"schemas/order.avsc: it is not JSON: EOF while parsing a value at line 1 column 10");
    let line = r#"{ "type": "record", "name": "Line", "fields": [{ "name": "order", "type": "Ordr" }] }"#;
    assert_snapshot!(in_schema("", &[AVRO, ("schemas/line.avsc", line)]), @"schemas/line.avsc: there is no type `Ordr`");
    assert_snapshot!(in_settings("[avro]\nids = { \"x\" = \"order\", \"7\" = \"order\" }\n[[source]]\nname = \"in\"\ntype = \"lines\"\n"), @r"
    trommel.toml: id 7 in `[avro]`: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    trommel.toml:2:9: `x` is not a valid id: it is a number of 32 bits
    ");
}

/// A schema of another type is not meant for it.
#[test]
fn schemas_that_a_key_can_not_read_are_warned_of() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\ndecode = \"auto\"\nreader_schema = \"order\"";
    let missing = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
    let partly = r#"{"type":"record","name":"shop.Order","fields":[{"name":"n","type":["null","long"]}]}"#;
    let fits = r#"{"type":"record","name":"Order","fields":[{"name":"n","type":"int"}]}"#;
    let other = r#"{"type":"record","name":"Other","fields":[]}"#;
    let folder = ConfigFolder::of(&[
        ("trommel.toml", SETTINGS),
        ("keys/orders.toml", key),
        AVRO,
        ("schemas/missing.avsc", missing),
        ("schemas/partly.avsc", partly),
        ("schemas/fits.avsc", fits),
        ("schemas/other.avsc", other),
    ]);
    assert_snapshot!(folder.warnings(), @r#"
    keys/orders.toml:1:1: warning: key `orders` has no route: nothing of it reaches a sink
      add `[[route]]` with `key = "orders"` and `sinks`; without one, only `trommel consume` gets its events
    schemas/missing.avsc: warning: key `orders`, which reads by `order`, can read nothing of what `missing` writes: `missing` can't be read as `order`: the reader's field `n` of `Order` is not written, and has no default
      give fields that are missing a default in the reader's schema; `trommel schemas check` compares two
    schemas/partly.avsc: warning: key `orders`, which reads by `order`, can read only a part of what `partly` writes: the writer's `null` can't become the reader's `long`
      give fields that are missing a default in the reader's schema; `trommel schemas check` compares two
    "#);
}
