use super::*;

fn custom(schema: Value) -> OutputSchema {
    OutputSchema::new(SchemaForm::Custom, DeclaredSchema::new(schema).unwrap(), &BTreeMap::new()).unwrap()
}

fn native(schema: Value) -> OutputSchema {
    OutputSchema::new(SchemaForm::Native, DeclaredSchema::new(schema).unwrap(), &BTreeMap::new()).unwrap()
}

fn order() -> Value {
    json!({
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": { "type": "integer" },
            "state": { "type": "string", "description": "where it is" },
            "lines": { "type": "array", "items": { "type": "object", "properties": { "a/b": { "type": "string" } } } },
        },
    })
}

fn mismatch(schema: &OutputSchema, output: &str) -> String {
    schema.check(output.as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_named_by_its_pointer_and_not_repeated() {
    let schema = custom(order());
    assert_eq!(schema.check(br#"{"id":1,"lines":[{"a/b":"x"}]}"#), Ok(()));
    insta::assert_snapshot!(
        mismatch(&schema, r#"{"id":1,"lines":[{"a/b":"x"},{"a/b":["secret"]}]}"#),
        @r#"does not fit the key's schema at `/lines/1/a~1b`: value is not of type "string""#
    );
    insta::assert_snapshot!(
        mismatch(&schema, r#"{"state":"secret"}"#),
        @r#"does not fit the key's schema: "id" is a required property"#
    );
}

/// Messages are kept short, as the record of a dead letter holds the event as well.
#[test]
fn what_is_said_is_short() {
    let closed = custom(json!({ "properties": { "id": {} }, "additionalProperties": false }));
    let name = "ä".repeat(10_000);
    let said = mismatch(&closed, &format!(r#"{{"{name}":1}}"#));
    assert!(said.len() < 1500 && said.ends_with('…'), "{said}");
}

#[test]
fn what_is_not_json_does_not_fit() {
    let schema = custom(order());
    insta::assert_snapshot!(mismatch(&schema, "id=1"), @"is not JSON: expected value at line 1 column 1");
    insta::assert_snapshot!(mismatch(&schema, ""), @"is not JSON: EOF while parsing a value at line 1 column 0");
    assert!(mismatch(&schema, "{\"id\":1} {}").starts_with("is not JSON: trailing characters"));
    // The depth of what is parsed is bounded, so that no output can exhaust the stack.
    assert!(mismatch(&schema, &"[".repeat(100_000)).starts_with("is not JSON: recursion limit"));
}

/// L12
#[test]
fn a_placeholder_is_no_schema() {
    for schema in [Value::Null, json!({}), json!(true), json!([]), json!("")] {
        assert!(matches!(DeclaredSchema::new(schema), Err(SchemaError::Placeholder)));
    }
}

#[test]
fn an_unsound_schema_says_where() {
    let schemas = [
        json!({ "properties": { "id": { "type": "strin" } } }),
        json!({ "properties": { "id": { "pattern": "(" } } }),
        json!({ "properties": { "id": { "$ref": "#/$defs/none" } } }),
        json!({ "$ref": "https://example.com/schema.json" }),
        json!({ "$ref": "other.json" }),
        json!({ "$schema": "https://example.com/dialect", "type": "object" }),
    ];
    let errors = schemas.map(|schema| DeclaredSchema::new(schema).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
    it is not a valid JSON Schema at `/properties/id/type`: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
    it is not a valid JSON Schema at `/properties/id/pattern`: "(" is not a "regex"
    it is not a valid JSON Schema: Pointer '/$defs/none' does not exist
    it is not a valid JSON Schema: it refers to `https://example.com/schema.json`, and other documents are not fetched
    it is not a valid JSON Schema: it refers to `other.json`, and other documents are not fetched
    it is not a valid JSON Schema: Unknown meta-schema: 'https://example.com/dialect'. Custom meta-schemas must be registered in the registry before use
    "#);
}

/// A schema without a meaning must not end in a stack overflow.
#[test]
fn a_schema_that_refers_to_itself_for_ever_ends() {
    let circle =
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } });
    for schema in [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }] }), circle] {
        assert_eq!(custom(schema).check(b"{}"), Ok(()));
    }
    let tree = custom(json!({ "type": "object", "additionalProperties": { "$ref": "#" } }));
    let deep = format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120));
    assert!(mismatch(&tree, &deep).ends_with("value is not of type \"object\""));
}

/// L15
#[test]
fn a_native_schema_is_that_of_the_event_in_the_envelope() {
    let schema = native(order());
    assert_eq!(schema.json().pointer("/properties/event"), Some(&order()));
    assert_eq!(schema.json()["properties"]["schema"]["enum"], json!(["2.0"]));
    let header = schema.json()["properties"]["header"]["properties"].as_object().unwrap();
    let fields: Vec<_> = header.keys().map(String::as_str).collect();
    assert_eq!(fields, ["app_id", "create_time", "event_id", "event_type", "tenant_key", "token"]);
    assert_eq!(schema.check(br#"{"schema":"2.0","header":{"event_id":"e"},"event":{"id":1}}"#), Ok(()));
    for (output, pointer) in [
        (r#"{"schema":"1.0","header":{},"event":{"id":1}}"#, "`/schema`"),
        (r#"{"schema":"2.0","header":{"token":1},"event":{"id":1}}"#, "`/header/token`"),
        (r#"{"schema":"2.0","header":{},"event":{"id":"1"}}"#, "`/event/id`"),
        (r#"{"id":1}"#, "schema: \"schema\" is a required"),
    ] {
        assert!(mismatch(&schema, output).contains(pointer), "{output}");
    }
}

#[test]
fn references_find_their_way_in_the_envelope() {
    let tree = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": { "left": { "$ref": "#" }, "name": { "$ref": "#/definitions/name" } },
        "definitions": { "name": { "type": "string" } },
    });
    let schema = native(tree);
    assert_eq!(schema.json()["$schema"], "http://json-schema.org/draft-07/schema#");
    let output = |name: &str| format!(r#"{{"schema":"2.0","header":{{}},"event":{{"left":{{"name":{name}}}}}}}"#);
    assert_eq!(schema.check(output("\"x\"").as_bytes()), Ok(()));
    assert!(mismatch(&schema, &output("1")).contains("`/event/left/name`"));
}

#[test]
fn references_below_an_id_stay() {
    let event = json!({
        "$id": "https://example.com/event",
        "properties": { "name": { "$ref": "#/$defs/name" } },
        "$defs": { "name": { "type": "string" } },
    });
    let schema = native(event);
    assert!(mismatch(&schema, r#"{"schema":"2.0","header":{},"event":{"name":1}}"#).contains("`/event/name`"));
}

fn overrides(overrides: &[(&str, FieldOverride)]) -> BTreeMap<String, FieldOverride> {
    overrides.iter().map(|(pointer, laid_over)| ((*pointer).to_owned(), laid_over.clone())).collect()
}

fn described(description: &str) -> FieldOverride {
    FieldOverride { description: description.to_owned(), ..FieldOverride::default() }
}

/// L13: a given member replaces, an empty one leaves what is declared, a kind is the format.
#[test]
fn overrides_are_laid_over_what_is_declared() {
    let state = FieldOverride { description: String::new(), allowed: vec!["paid".into()], kind: "state".into() };
    let overrides =
        overrides(&[("/", described("an order")), ("/state", state), ("/lines/*/a~1b", described("a line"))]);
    let schema = OutputSchema::new(SchemaForm::Custom, DeclaredSchema::new(order()).unwrap(), &overrides).unwrap();
    let json = schema.json();
    assert_eq!(json["description"], "an order");
    let state = json!({ "type": "string", "description": "where it is", "enum": ["paid"], "format": "state" });
    assert_eq!(json["properties"]["state"], state);
    assert_eq!(json.pointer("/properties/lines/items/properties/a~1b/description"), Some(&json!("a line")));
    assert!(mismatch(&schema, r#"{"id":1,"state":"open"}"#).contains("`/state`"));
    assert_eq!(schema.check(br#"{"id":1,"state":"paid"}"#), Ok(()));
}

/// L13
#[test]
fn overrides_that_point_nowhere_are_all_named_in_order() {
    let nowhere = ["/zone", "/lines/*/none", "id", "/id/*", "/lines/0"];
    let overrides = overrides(&nowhere.map(|pointer| (pointer, described("x"))));
    let unresolved =
        OutputSchema::new(SchemaForm::Custom, DeclaredSchema::new(order()).unwrap(), &overrides).unwrap_err();
    let UnresolvedSchema::Orphans { orphans, known } = unresolved else { panic!("{unresolved:?}") };
    assert_eq!(orphans, ["/id/*", "/lines/*/none", "/lines/0", "/zone", "id"]);
    assert_eq!(known, ["/id", "/lines/*/a~1b", "/lines/*", "/lines", "/state"]);
}

#[test]
fn overrides_of_a_native_schema_begin_at_the_envelope() {
    let overrides = overrides(&[("/event/id", described("its number"))]);
    let schema = OutputSchema::new(SchemaForm::Native, DeclaredSchema::new(order()).unwrap(), &overrides).unwrap();
    assert_eq!(schema.json()["properties"]["event"]["properties"]["id"]["description"], "its number");
}
