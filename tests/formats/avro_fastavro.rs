//! Exchanges messages with the Python package fastavro, both ways. Installs it once into
//! `target/tools`; without Python or pip the test fails and says so.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use trommel::avro::{AvroSchemas, Framing, TimeForm};

const PYPI: &str = "fastavro==1.13.1";

/// Reads a JSON array of `[writer, reader, values, bodies]` and says for each what the writer's
/// canonical form and fingerprint are, what the values become and what the bodies are to the
/// reader. Bytes are `{"bytes": "hex"}`.
const PEER: &str = r#"
import io, json, sys
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

def plain(value):
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value

def rich(value):
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"]) if list(value) == ["bytes"] else {k: rich(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rich(each) for each in value]
    return value

answers = []
for writer, reader, values, messages in json.load(sys.stdin):
    form = to_parsing_canonical_form(writer)
    writer, reader = parse_schema(writer), reader and parse_schema(reader)
    encoded = []
    for value in values:
        out = io.BytesIO()
        schemaless_writer(out, writer, rich(value))
        encoded.append(out.getvalue().hex())
    decoded = [plain(schemaless_reader(io.BytesIO(bytes.fromhex(each)), writer, reader)) for each in messages]
    answers.append({"form": form, "fingerprint": fingerprint(form, "CRC-64-AVRO"), "encoded": encoded, "decoded": decoded})
json.dump(answers, sys.stdout)
"#;

/// A schema, one to read it with, and values: as they are in JSON here and as fastavro has them.
struct Case {
    writer: Value,
    reader: Option<Value>,
    values: Vec<(Value, Value)>,
    /// As the reader has them.
    read: Vec<(Value, Value)>,
}

fn same(writer: Value, values: Vec<Value>) -> Case {
    let values: Vec<_> = values.into_iter().map(|value| (value.clone(), value)).collect();
    Case { writer, reader: None, read: values.clone(), values }
}

fn cases() -> Vec<Case> {
    let preset = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("crates/folder/src/preset/helix")
            .join(name)
            .with_extension("avsc");
        serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let node = json!({ "run_id": "r", "node_id": "n1", "timestamp": 1_700_000_000_000_000_000_i64 });
    let mut joined = node.clone();
    joined["action"] = "join".into();
    let mut defaulted = node.clone();
    defaulted["action"] = "".into();
    let list = json!({ "type": "record", "name": "list.Node", "fields": [
        { "name": "value", "type": ["null", "boolean", "long", "double", "string"] },
        { "name": "tags", "type": { "type": "map", "values": { "type": "array", "items": "int" } } },
        { "name": "next", "type": ["null", "Node"] },
    ] });
    let nodes = json!({ "value": "ä\n\"", "tags": { "a": [1, -2, 2_147_483_647], "b": [] },
        "next": { "value": 1.5, "tags": {}, "next": { "value": -9_007_199_254_740_993_i64, "tags": {}, "next": null } } });
    let binary = json!({ "type": "record", "name": "Binary", "namespace": "a.b", "doc": "left out", "fields": [
        { "name": "data", "type": "bytes" },
        { "name": "print", "type": { "type": "fixed", "name": "Print", "size": 3, "aliases": ["P"] } },
        { "name": "other", "type": ["null", "Print"], "order": "ignore" },
        { "name": "kind", "type": { "type": "enum", "name": "c.Kind", "symbols": ["ONE", "TWO"], "default": "ONE" } },
        { "name": "at", "type": { "type": "long", "x": 1 } },
        { "name": "ratio", "type": "float" },
    ] });
    let binaries = (
        json!({ "data": "AP8=", "print": "AQID", "other": "/wD/", "kind": "TWO", "at": 0, "ratio": 0.25 }),
        json!({ "data": { "bytes": "00ff" }, "print": { "bytes": "010203" }, "other": { "bytes": "ff00ff" }, "kind": "TWO", "at": 0, "ratio": 0.25 }),
    );
    let old = json!({ "type": "record", "name": "Old", "fields": [
        { "name": "gone", "type": { "type": "array", "items": "string" } },
        { "name": "count", "type": "int" },
        { "name": "name", "type": "string" },
    ] });
    let new = json!({ "type": "record", "name": "New", "aliases": ["Old"], "fields": [
        { "name": "title", "type": "string", "aliases": ["name"] },
        { "name": "count", "type": ["null", "double"] },
        { "name": "since", "type": "long", "default": 5 },
    ] });
    let wrote = json!({ "gone": ["x", "y"], "count": 3, "name": "n" });
    let read = json!({ "title": "n", "count": 3.0, "since": 5 });
    vec![
        same(preset("node-v1"), vec![node.clone()]),
        same(preset("node-v2"), vec![joined.clone()]),
        same(list, vec![nodes]),
        same(json!(["null", "int"]), vec![json!(null), json!(-1)]),
        Case { writer: binary, reader: None, values: vec![binaries.clone()], read: vec![binaries] },
        Case {
            writer: preset("node-v2"),
            reader: Some(preset("node-v1")),
            values: vec![(joined.clone(), joined)],
            read: vec![(node.clone(), node.clone())],
        },
        Case {
            writer: preset("node-v1"),
            reader: Some(preset("node-v2")),
            values: vec![(node.clone(), node)],
            read: vec![(defaulted.clone(), defaulted)],
        },
        Case { writer: old, reader: Some(new), values: vec![(wrote.clone(), wrote)], read: vec![(read.clone(), read)] },
    ]
}

#[test]
fn fastavro_and_this_module_understand_each_other() {
    let cases = cases();
    let mut asked = Vec::new();
    let mut ours = Vec::new();
    for case in &cases {
        let writer = case.writer.to_string();
        let reader = case.reader.as_ref().map(ToString::to_string);
        let mut files = vec![("writer", writer.as_str())];
        files.extend(reader.as_deref().map(|reader| ("reader", reader)));
        let schemas = AvroSchemas::parse(&files).unwrap();
        let encoder = schemas.encoder(&schemas.get("writer").unwrap(), Framing::SingleObject).unwrap();
        let messages = case.values.iter().map(|(value, _)| encoder.encode(value.to_string().as_bytes()).unwrap());
        let messages: Vec<Vec<u8>> = messages.collect();
        let theirs: Vec<&Value> = case.values.iter().map(|(_, theirs)| theirs).collect();
        let bodies: Vec<String> = messages.iter().map(|message| hex(&message[10..])).collect();
        asked.push(json!([case.writer, case.reader, theirs, bodies]));
        ours.push((schemas, messages));
    }
    let answers = ask(&Value::from(asked));
    for ((case, (schemas, messages)), answer) in cases.iter().zip(ours).zip(answers.as_array().unwrap()) {
        let writer = schemas.get("writer").unwrap();
        assert_eq!(answer["form"], writer.canonical_form());
        assert_eq!(answer["fingerprint"], hex(&messages[0][2..10]));
        let read: Vec<&Value> = case.read.iter().map(|(_, theirs)| theirs).collect();
        assert_eq!(answer["decoded"], json!(read));
        let decoder = schemas.decoder(schemas.get("reader").as_ref(), TimeForm::Integer);
        for ((message, body), (read, _)) in messages.iter().zip(answer["encoded"].as_array().unwrap()).zip(&case.read) {
            let theirs = [&message[..10], &unhex(body.as_str().unwrap())].concat();
            assert_eq!(hex(&theirs), hex(message));
            assert_eq!(serde_json::from_slice::<Value>(&decoder.decode(&theirs).unwrap()).unwrap(), *read);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn ask(asked: &Value) -> Value {
    let mut peer =
        python(&installed()).args(["-c", PEER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    peer.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "fastavro failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn python(home: &Path) -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", home);
    python
}

/// Installs the package under `target/tools`, once for all the test processes that ask at the same
/// time.
fn installed() -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools");
    fs::create_dir_all(&tools).unwrap();
    let lock = File::create(tools.join("fastavro.lock")).unwrap();
    lock.lock().unwrap();
    let home = tools.join(PYPI);
    let there =
        || python(&home).args(["-c", "import fastavro"]).stderr(Stdio::null()).status().is_ok_and(|it| it.success());
    if !there() {
        eprintln!("installing {PYPI} into {home:?}");
        let pip =
            Command::new("python3").args(["-m", "pip", "install", "--quiet", "--target"]).arg(&home).arg(PYPI).status();
        assert!(
            pip.as_ref().is_ok_and(|status| status.success()) && there(),
            "installing {PYPI} failed ({pip:?}): this test takes python3 and its pip"
        );
    }
    home
}
