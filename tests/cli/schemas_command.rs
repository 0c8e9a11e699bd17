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
    assert_snapshot!(schemas(&folder(), &["list", "DIR"]), @"");
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
    assert_snapshot!(schemas(&folder(), &["show", "DIR", "order-v2"]), @"");
    assert_snapshot!(schemas(&folder(), &["show", "DIR", "oder"]), @"");
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
    assert_snapshot!(decoded(&folder, "DIR", b"\xc3\x01 too short"), @"");
    assert_snapshot!(decoded(&folder, "DIR", b"{}"), @"");

    let writer = ContainerWriter::new(&ContainerFormat { schema: order, codec: ContainerCodec::Xz }, [1; 16]).unwrap();
    let datum = encoded(Framing::Bare);
    let mut file = [writer.header(), &writer.block(&[&datum, &datum]).unwrap()].concat();
    assert_eq!(decoded(&folder, "DIR", &file), "{\"id\":\"a\"}\n{\"id\":\"a\"}\n0");
    let state = "{\"id\":\"a\",\"state\":\"NEW\"}\n";
    assert_eq!(decoded(&folder, "DIR/schemas/order-v2.avsc", &file), format!("{state}{state}0"));
    file.extend([2, 2]);
    assert_snapshot!(decoded(&folder, "DIR", &file), @"");
}

#[test]
fn check_answers_both_ways() {
    let folder =
        folder().write("other.avsc", r#"{"type":"record","name":"Order","fields":[{"name":"n","type":"int"}]}"#);
    assert_snapshot!(schemas(&folder, &["check", "order", "order-v2", "--dir", "DIR"]), @"");
    assert_snapshot!(schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/other.avsc"]), @"");
    assert_snapshot!(schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/trommel.toml"]), @"");
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
    assert_snapshot!(schemas(&folder, &["check", "DIR/schemas/order.avsc", "DIR/sale.avsc"]), @"");
}
