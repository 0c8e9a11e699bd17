//! `trommel keys` as a user meets it: what it prints where, and how it ends.

use crate::printed::{json_in, printed};
use crate::router;

use insta::assert_snapshot;
use router::Folder;
use serde_json::{Value, json};

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "out"
    type = "null"
"#;

const KEYS: &str = r#"
    [[key]]
    key = "orders.large"
    display_name = "Large orders"
    description = "Orders above a threshold\nThe amount is in the order's own currency"
    subject = "orders.*.created"
    filter = "select"
    auth_types = ["user", "bot"]
    scopes = ["orders:read", "orders:watch"]
    console_events = ["order.created"]
    single_consumer = true
    validate = "sample"

    [[key.params]]
    name = "min_amount"
    type = "int"
    required = true
    description = "Smallest amount that passes"
    subscription_key = true

    [[key.params]]
    name = "regions"
    type = "multi"
    default = "eu"
    values = { eu = "Europe", america = "North and South America" }

    [key.schema.custom]
    file = "order.json"

    [key.field_overrides."/amount"]
    description = "In the order's own currency"

    [[key]]
    key = "orders.all"
    event_type = "order.created"

    [[key]]
    key = "board"
    subject = "board.>"
    auth_types = "bot"
    description = "What happens on a board"
    schema = { native = true }
"#;

fn folder() -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    folder.write("schemas/order.json", r#"{ "type": "object", "properties": { "amount": { "type": "number" } } }"#)
}

/// `trommel keys COMMAND DIR ARGUMENTS...`, with the folder written as `DIR`.
fn keys(folder: &Folder, command: &str, arguments: &[&str]) -> String {
    printed(folder.trommel(&["keys", command]).args(arguments), folder.path())
}

/// What a command prints as JSON.
fn json_of(folder: &Folder, command: &str, arguments: &[&str]) -> Value {
    let [value] = &mut json_in(&keys(folder, command, &[&["--json"], arguments].concat()))[..] else {
        panic!("not one value")
    };
    value.take()
}

/// L110, L07 and L08
#[test]
fn list_is_a_table_for_each_domain() {
    assert_snapshot!(keys(&folder(), "list", &[]), @r"
    board
      KEY           AUTH      PARAMS  DESCRIPTION
      board         bot       0       What happens on a board

    orders
      KEY           AUTH      PARAMS  DESCRIPTION
      orders.all    -         0       -
      orders.large  user|bot  2       Orders above a threshold

    `trommel keys schema DIR KEY` shows a key's params and what its outputs look like
    --- stderr
    --- exit code 0
    ");
}

/// L110: the columns stay where they are.
#[test]
fn list_of_a_domain_is_its_part_of_the_whole() {
    assert_snapshot!(keys(&folder(), "list", &["--domain", "board"]), @r"
    board
      KEY           AUTH      PARAMS  DESCRIPTION
      board         bot       0       What happens on a board

    `trommel keys schema DIR KEY` shows a key's params and what its outputs look like
    --- stderr
    --- exit code 0
    ");
    let definitions = json_of(&folder(), "list", &["--domain", "board"]);
    assert_eq!(definitions.as_array().unwrap().len(), 1);
    assert_eq!(definitions[0]["key"], "board");
}

/// L110
#[test]
fn an_unknown_domain_is_refused_with_those_that_there_are() {
    assert_snapshot!(keys(&folder(), "list", &["--domain", "order"]), @r"
    --- stderr
    error: there is no domain `order`
      domains: `board` and `orders`
    --- exit code 2
    ");
    assert_snapshot!(keys(&folder(), "list", &["--domain", "order", "--json"]), @r#"
    --- stderr
    {"ok":false,"error":{"type":"validation","subtype":"unknown_domain","param":"--domain","message":"there is no domain `order`","hint":"domains: `board` and `orders`"}}
    --- exit code 2
    "#);
}

#[test]
fn without_keys_list_says_so() {
    let folder = Folder::new(SETTINGS);
    assert_snapshot!(keys(&folder, "list", &[]), @r"
    DIR declares no keys: they go into `keys/*.toml`
    --- stderr
    --- exit code 0
    ");
    assert_eq!(json_of(&folder, "list", &[]), json!([]));
    assert_snapshot!(keys(&folder, "list", &["--domain", "orders"]), @r"
    --- stderr
    error: there is no domain `orders`
      no key is declared in `keys/`
    --- exit code 2
    ");
}

/// L110
#[test]
fn list_for_programs_is_all_definitions_with_their_schemas() {
    let definitions = json_of(&folder(), "list", &[]);
    let names: Vec<_> = definitions.as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert_eq!(names, ["board", "orders.all", "orders.large"]);
    assert_eq!(definitions[0]["resolved_output_schema"]["required"], json!(["schema", "header", "event"]));
    assert_eq!(definitions[1]["resolved_output_schema"], Value::Null);
    let params = json!([
        {
            "name": "min_amount", "type": "int", "required": true, "default": null,
            "description": "Smallest amount that passes", "values": [], "subscription_key": true,
        },
        {
            "name": "regions", "type": "multi", "required": false, "default": "eu", "description": "",
            "values": [
                { "value": "eu", "description": "Europe" },
                { "value": "america", "description": "North and South America" },
            ],
            "subscription_key": false,
        },
    ]);
    let large = json!({
        "key": "orders.large",
        "display_name": "Large orders",
        "description": "Orders above a threshold\nThe amount is in the order's own currency",
        "domain": "orders",
        "subject": "orders.*.created",
        "event_type": null,
        "filter": "select",
        "pre_consume": false,
        "params": params,
        "auth_types": ["user", "bot"],
        "scopes": ["orders:read", "orders:watch"],
        "console_events": ["order.created"],
        "single_consumer": true,
        "buffer_size": 100,
        "workers": 1,
        "validate": "sample",
        "resolved_output_schema": {
            "type": "object",
            "properties": { "amount": { "type": "number", "description": "In the order's own currency" } },
        },
        "jq_root_path": ".",
    });
    assert_eq!(definitions[2], large);
}

/// L111
#[test]
fn schema_shows_what_a_key_is() {
    assert_snapshot!(keys(&folder(), "schema", &["orders.large"]), @r#"
    orders.large: Large orders
    Orders above a threshold
    The amount is in the order's own currency

      subject         orders.*.created
      filter          select
      auth            user|bot
      scopes          orders:read, orders:watch
      console events  order.created
      consumers       one for each subscription

    params
      NAME        TYPE   REQUIRED  SUB-KEY  DEFAULT  DESCRIPTION
      min_amount  int    yes       yes      -        Smallest amount that passes
      regions     multi  no        no       eu       -

    values of regions
      eu       Europe
      america  North and South America

    output schema (custom, validated: sample, jq root: .)
    {
      "properties": {
        "amount": {
          "description": "In the order's own currency",
          "type": "number"
        }
      },
      "type": "object"
    }
    --- stderr
    --- exit code 0
    "#);
    assert_snapshot!(keys(&folder(), "schema", &["orders.all"]), @r"
    orders.all

      event type  order.created

    params: none

    output schema: none
    --- stderr
    --- exit code 0
    ");
}

/// L111
#[test]
fn schema_for_programs_says_where_a_query_begins() {
    let native = json_of(&folder(), "schema", &["board"]);
    assert_eq!(native["jq_root_path"], ".event");
    assert_eq!(native["resolved_output_schema"]["properties"]["event"], json!({ "type": "object" }));
    let custom = json_of(&folder(), "schema", &["orders.large"]);
    assert_eq!(custom["jq_root_path"], ".");
}

/// L111
#[test]
fn schema_shows_whether_something_is_held_upstream() {
    let keys_of = |filter: &str| {
        let key = format!("[[key]]\nkey = \"mail\"\nsubject = \"mail\"\nfilter = \"{filter}\"\n");
        Folder::new(SETTINGS).write("keys/mail.toml", &key)
    };
    let folder = keys_of("lifecycle").plugin("lifecycle", "lifecycle");
    assert!(keys(&folder, "schema", &["mail"]).contains("\n  pre-consume  yes\n"));
    assert_eq!(json_of(&folder, "schema", &["mail"])["pre_consume"], true);
    // What is not a filter is for `check` to complain about.
    let folder = keys_of("broken").write("plugins/broken.wasm", "no component");
    assert_eq!(json_of(&folder, "schema", &["mail"])["pre_consume"], Value::Null);
}

/// L115 and L124
#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_snapshot!(keys(&folder(), "schema", &["orders.lrage"]), @r"
    --- stderr
    error: there is no key `orders.lrage`
      did you mean `orders.large`?
      `trommel keys list DIR` shows all
    --- exit code 2
    ");
    assert_snapshot!(keys(&folder(), "schema", &["order", "--json"]), @r#"
    --- stderr
    {"ok":false,"error":{"type":"validation","subtype":"unknown_key","param":"KEY","message":"there is no key `order`","hint":"did you mean `orders.all` or `orders.large`?\n`trommel keys list DIR` shows all"}}
    --- exit code 2
    "#);
    assert_snapshot!(keys(&folder(), "schema", &["nothing.like.it"]), @r"
    --- stderr
    error: there is no key `nothing.like.it`
      `trommel keys list DIR` shows all
    --- exit code 2
    ");
}

/// L124
#[test]
fn a_wrong_configuration_is_refused_with_its_problems() {
    let folder = folder().write("schemas/order.json", "{ \"type\": ");
    assert_snapshot!(keys(&folder, "list", &[]), @r"
    --- stderr
    error: the configuration has problems:
    schemas/order.json:1:10: the file is not JSON: EOF while parsing a value
    --- exit code 2
    ");
    assert_snapshot!(keys(&folder, "schema", &["board", "--json"]), @r#"
    --- stderr
    {"ok":false,"error":{"type":"validation","subtype":"bad_config","param":null,"message":"the configuration has problems:\nschemas/order.json:1:10: the file is not JSON: EOF while parsing a value","hint":null}}
    --- exit code 2
    "#);
}
