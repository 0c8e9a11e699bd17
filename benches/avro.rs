//! What Avro costs: ns per event of reading messages and of writing them, beside plain calls of the
//! crate `apache-avro`. `cargo bench --bench avro`; the figures are medians of rounds in which the
//! cases take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::hint::black_box;

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use trommel::avro::{AvroSchemas, Framing, TimeForm};

#[path = "common/turns.rs"]
mod common;

use common::medians;

const NODE_V1: &str = include_str!("../crates/folder/src/preset/helix/node-v1.avsc");
const NODE_V2: &str = include_str!("../crates/folder/src/preset/helix/node-v2.avsc");
const NODE: &str =
    r#"{"run_id":"01HZX5T0W3Q8","node_id":"node-17","timestamp":1700000000000000000,"action":"heartbeat"}"#;
/// Only what both take from JSON alike.
const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"string"},{"name":"total","type":"double"},{"name":"paid","type":"boolean"},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","SENT","DONE"]}},
    {"name":"tags","type":{"type":"map","values":"string"}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
        {"name":"sku","type":"string"},{"name":"count","type":"int"},{"name":"price","type":"double"}]}}}]}"#;

fn main() {
    let lines: Vec<String> = (0..20).map(|n| format!(r#"{{"sku":"item-{n}","count":{n},"price":{n}.25}}"#)).collect();
    let order = format!(
        r#"{{"id":"o-1","total":123.75,"paid":true,"state":"SENT","tags":{{"region":"eu","source":"web"}},"lines":[{}]}}"#,
        lines.join(",")
    );
    println!("{:<44} {:>12} {:>12} {:>8}", "ns per event, medians", "trommel", "apache-avro", "ratio");
    case("node event (4 fields)", NODE_V2, None, NODE);
    case("node event, V2 read as V1", NODE_V2, Some(NODE_V1), NODE);
    case("order (6 fields, 20 lines)", ORDER, None, &order);
}

fn case(name: &str, writer: &str, reader: Option<&str>, json: &str) {
    let mut files = vec![("writer", writer)];
    files.extend(reader.map(|reader| ("reader", reader)));
    let schemas = AvroSchemas::parse(&files).unwrap();
    let decoder = schemas.decoder(schemas.get("reader").as_ref(), TimeForm::Integer);
    let encoder = schemas.encoder(&schemas.get("writer").unwrap(), Framing::SingleObject).unwrap();
    let message = encoder.encode(json.as_bytes()).unwrap();

    let written = Schema::parse_str(writer).unwrap();
    let wanted = reader.map(|reader| Schema::parse_str(reader).unwrap());
    let plain_reader = GenericDatumReader::builder(&written).maybe_reader_schema(wanted.as_ref()).build().unwrap();
    let plain_writer = GenericDatumWriter::builder(&written).build().unwrap();

    let plain_decode = || {
        let value = plain_reader.read_value(&mut black_box(&message[10..])).unwrap();
        let json = serde_json::Value::try_from(value).unwrap();
        serde_json::to_vec(&json).unwrap()
    };
    let plain_encode = || {
        let json: serde_json::Value = serde_json::from_slice(black_box(json.as_bytes())).unwrap();
        let value = Value::try_from(json).unwrap().resolve(&written).unwrap();
        plain_writer.write_value_to_vec(value).unwrap()
    };
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&decoder.decode(&message).unwrap()).unwrap(),
        serde_json::from_slice::<serde_json::Value>(&plain_decode()).unwrap()
    );
    assert_eq!(plain_encode().len(), message.len() - 10);

    turns(
        &format!("decode {name}"),
        &mut || drop(black_box(decoder.decode(black_box(&message)).unwrap())),
        &mut || drop(black_box(plain_decode())),
    );
    if reader.is_none() {
        turns(
            &format!("encode {name}"),
            &mut || drop(black_box(encoder.encode(black_box(json.as_bytes())).unwrap())),
            &mut || drop(black_box(plain_encode())),
        );
    }
}

fn turns(name: &str, ours: &mut dyn FnMut(), plain: &mut dyn FnMut()) {
    let medians = medians(&mut [ours, plain]);
    let (ours, plain) = (medians[0], medians[1]);
    println!("{name:<44} {ours:>12.0} {plain:>12.0} {:>8.2}", ours / plain);
}
