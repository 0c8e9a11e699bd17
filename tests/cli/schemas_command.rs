//! `trommel schemas` as a user meets it: what it prints where, and how it ends.

use crate::printed::{json_in, printed};
use crate::router;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use router::Folder;
use serde_json::json;
use trommel::avro::{
    AvroSchemas, Framing,
    container::{ContainerCodec, ContainerFormat, ContainerWriter},
};

const SETTINGS: &str = r#"
    [avro]
    ids = { "7" = "order" }

    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "lake"
    type = "file"
    path = "lake.avro"
    encode = "avro-file"
    writer_schema = "order-v2"
"#;
const KEY: &str = r#"
    [[key]]
    key = "orders"
    subject = "orders"
    decode = "avro"
    reader_schema = "order-v2"
"#;
const ORDER: &str =
    r#"{"type":"record","name":"shop.Order","doc":"An order","fields":[{"name":"id","type":"string"}]}"#;
const ORDER_V2: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"id","type":"string"},{"name":"state","type":"shop.State","default":"NEW"}]}"#;
const STATE: &str = r#"{"type":"enum","name":"shop.State","symbols":["NEW","DONE"]}"#;

fn folder() -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEY).write("schemas/order.avsc", ORDER);
    folder.write("schemas/order-v2.avsc", ORDER_V2).write("schemas/state.avsc", STATE)
}

/// `trommel schemas ARGUMENTS...`, with `DIR` for the folder.
fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let dir = folder.path().display().to_string();
    let mut command = router::trommel();
    command.arg("schemas").args(arguments.iter().map(|argument| argument.replace("DIR", &dir)));
    command
}

fn schemas(folder: &Folder, arguments: &[&str]) -> String {
    printed(&mut command(folder, arguments), folder.path())
}

/// What `schemas decode` prints, given this on standard input.
fn decoded(folder: &Folder, from: &str, input: &[u8]) -> String {
    let mut command = command(folder, &["decode", from]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    format!("{stdout}{stderr}{}", output.status.code().unwrap()).replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn list_says_who_uses_a_schema() {
    assert_snapshot!(schemas(&folder(), &["list", "DIR"]), @r"
      NAME      TYPE        FINGERPRINT       IDS  READ BY  WRITTEN BY
      order     shop.Order  7e0df4aa83162c6a  7    -        -
      order-v2  shop.Order  2b4fb1415ecec26d  -    orders   lake
      state     shop.State  0adb2e2540c5ea34  -    -        -

    `trommel schemas show DIR NAME` shows a schema
    --- stderr
    --- exit code 0
    ");
    let [value] = &json_in(&schemas(&folder(), &["list", "DIR", "--json"]))[..] else { panic!() };
    assert_eq!(
        value["schemas"][1],
        json!({
            "name": "order-v2", "type": "shop.Order", "fingerprint": value["schemas"][1]["fingerprint"], "ids": [],
            "read_by": ["orders"], "written_by": ["lake"],
        })
    );
}

#[test]
fn show_has_the_fields_and_the_canonical_form() {
    assert_snapshot!(schemas(&folder(), &["show", "DIR", "order-v2"]), @r#"
    order-v2
      type         shop.Order
      fingerprint  2b4fb1415ecec26d
      read by      orders
      written by   lake

      FIELD  TYPE
      id     string
      state  shop.State

    canonical form
    {"name":"shop.Order","type":"record","fields":[{"name":"id","type":"string"},{"name":"state","type":{"name":"shop.State","type":"enum","symbols":["NEW","DONE"]}}]}
    --- stderr
    --- exit code 0
    "#);
    assert_snapshot!(schemas(&folder(), &["show", "DIR", "oder"]), @r"
    --- stderr
    error: there is no Avro schema `oder`
      did you mean `order`?
    --- exit code 2
    ");
    let [value] = &json_in(&schemas(&folder(), &["show", "DIR", "order-v2", "--json"]))[..] else { panic!() };
    assert_eq!(
        value["schema"]["fields"][1]["type"]["symbols"],
        json!(["NEW", "DONE"]),
        "the other file's type is in it"
    );
}

/// With what fastavro has for them, see `avro_fastavro`.
#[test]
fn fingerprints_are_those_of_messages() {
    let folder = folder();
    let schemas_of = AvroSchemas::parse(&[("order", ORDER)]).unwrap();
    let print = format!("{:016x}", schemas_of.get("order").unwrap().fingerprint());
    let all = schemas(&folder, &["fingerprint", "DIR"]);
    assert!(all.lines().any(|line| line == format!("{print}  order")), "{all}");
    let one = schemas(&folder, &["fingerprint", "DIR/schemas/order.avsc"]);
    assert_eq!(one, format!("{print}  DIR/schemas/order.avsc\n--- stderr\n--- exit code 0"));
    let with_types = schemas(&folder, &["fingerprint", "DIR/schemas/order-v2.avsc", "--json"]);
    assert!(all.contains(json_in(&with_types)[0]["schemas"][0]["fingerprint"].as_str().unwrap()), "{all}");
}

#[test]
fn messages_and_container_files_are_decoded() {
    let folder = folder();
    let known = AvroSchemas::parse(&[("order", ORDER)]).unwrap().with_ids(&[(7, "order".to_owned())].into()).unwrap();
    let order = known.get("order").unwrap();
    let encoded = |framing| known.encoder(&order, framing).unwrap().encode(b"{\"id\":\"a\"}").unwrap();
    for framing in [Framing::SingleObject, Framing::Confluent] {
        assert_eq!(decoded(&folder, "DIR", &encoded(framing)), "{\"id\":\"a\"}\n0", "{framing:?}");
    }
    for framing in [Framing::SingleObject, Framing::Confluent, Framing::Bare] {
        assert_eq!(decoded(&folder, "DIR/schemas/order.avsc", &encoded(framing)), "{\"id\":\"a\"}\n0", "{framing:?}");
    }
    assert_snapshot!(decoded(&folder, "DIR", b"\xc3\x01 too short"), @r"
    error: unknown_schema: no schema has the fingerprint 6f6873206f6f7420
      expected one Avro message, or a container file, on standard input
    2
    ");
    assert_snapshot!(decoded(&folder, "DIR", b"{}"), @r"
    error: not_avro: it begins neither with C3 01 nor with 0
      expected one Avro message, or a container file, on standard input
    2
    ");

    let writer =
        ContainerWriter::new(&ContainerFormat { schema: order.clone(), codec: ContainerCodec::Xz }, [1; 16]).unwrap();
    let datum = encoded(Framing::Bare);
    let mut file = [writer.header(), &writer.block(&[&datum, &datum]).unwrap()].concat();
    assert_eq!(decoded(&folder, "DIR", &file), "{\"id\":\"a\"}\n{\"id\":\"a\"}\n0");
    let state = "{\"id\":\"a\",\"state\":\"NEW\"}\n";
    assert_eq!(decoded(&folder, "DIR/schemas/order-v2.avsc", &file), format!("{state}{state}0"));
    file.extend([2, 2]);
    let damaged = decoded(&folder, "DIR", &file);
    assert!(damaged.starts_with("{\"id\":\"a\"}\n{\"id\":\"a\"}\nerror: record 3, in the block at byte "), "{damaged}");
    assert!(damaged.contains("it was cut, or is still being written; all records before it were read"), "{damaged}");
}

#[test]
fn check_answers_both_ways() {
    let folder =
        folder().write("other.avsc", r#"{"type":"record","name":"Order","fields":[{"name":"n","type":"int"}]}"#);
    assert_snapshot!(schemas(&folder, &["check", "order", "order-v2", "--dir", "DIR"]), @r"
    `order-v2` reads all of what `order` wrote
    `order` reads all of what `order-v2` wrote
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/other.avsc"]), @r"
    `DIR/other.avsc` reads nothing of what `DIR/schemas/order.avsc` wrote
      `order` can't be read as `other`: the reader's field `n` of `Order` is not written, and has no default
    `DIR/schemas/order.avsc` reads nothing of what `DIR/other.avsc` wrote
      `other` can't be read as `order`: the reader's field `id` of `shop.Order` is not written, and has no default
    --- stderr
    --- exit code 2
    ");
    let refused = schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/trommel.toml"]);
    assert!(refused.contains("error: `DIR/trommel.toml`: it is not JSON"), "{refused}");
    assert!(refused.ends_with("--- exit code 2"), "{refused}");
    let json = schemas(&folder, &["check", "order-v2", "order", "--dir", "DIR", "--json"]);
    assert_eq!(
        json_in(&json)[0]["new_reads_old"],
        json!({
            "reads": "all", "reasons": [], "apache_avro": { "reads": "all", "reasons": [] },
        })
    );
}

/// The crate takes a type that is another by its alias for another.
#[test]
fn check_shows_what_the_second_resolver_says() {
    let renamed =
        r#"{"type":"record","name":"Sale","aliases":["shop.Order"],"fields":[{"name":"id","type":"string"}]}"#;
    let folder = folder().write("sale.avsc", renamed);
    assert_snapshot!(schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/sale.avsc"]), @r"
    `DIR/sale.avsc` reads all of what `DIR/schemas/order.avsc` wrote
      the crate apache-avro says otherwise: nothing
        Incompatible schemata! The name must be the same for both schemas. Writer's name Order and reader's name Sale
    `DIR/schemas/order.avsc` reads nothing of what `DIR/sale.avsc` wrote
      `sale` can't be read as `order`: the writer's `Sale` can't become the reader's `shop.Order`
    --- stderr
    --- exit code 0
    ");
}
