//! What the source of Avro container files promises: every record once or more, in order, by the
//! schema that is asked for, and everything before a damage.

use crate::{patience::blocking::until, router};

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use router::Folder;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use trommel::{
    avro::{
        AvroSchema, AvroSchemas, Framing,
        container::{ContainerCodec, ContainerFormat, ContainerReader, ContainerWriter},
    },
    config::{AvroFileSource, EnvelopeFormat, SourceConfig, SourceKind},
    fate::Fate,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{Source, avro_file::AvroFileInput, finite::InputProgress},
    stop::{Stopper, stop},
};

const ORDER: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"id","type":"string"},{"name":"total","type":["null","double"],"default":null}]}"#;
const ORDER_V2: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"currency","type":"string","default":"EUR"},{"name":"key","type":"string","aliases":["id"]}]}"#;
const STRICT: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"total","type":"double"}]}"#;

fn schema(text: &str) -> AvroSchema {
    AvroSchemas::parse(&[("order", text)]).unwrap().get("order").unwrap()
}

/// A file of orders with a block for each.
fn file(orders: &[Value]) -> Vec<u8> {
    let format = ContainerFormat { schema: schema(ORDER), codec: ContainerCodec::Snappy };
    let encoder = AvroSchemas::default().encoder(&format.schema, Framing::Bare).unwrap();
    let writer = ContainerWriter::new(&format, [1; 16]).unwrap();
    let blocks = orders
        .iter()
        .flat_map(|order| writer.block(&[&encoder.encode(order.to_string().as_bytes()).unwrap()]).unwrap());
    writer.header().iter().copied().chain(blocks).collect()
}

/// A source under way, with the test as its pipeline.
struct Rig {
    pipeline: PipelineDouble,
    progress: Arc<InputProgress>,
    _stopper: Stopper,
    run: JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

fn rig(files: &[Vec<u8>], reader: Option<&str>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = |(number, content): (usize, &Vec<u8>)| -> PathBuf {
        let path = folder.path().join(format!("{number}.avro"));
        fs::write(&path, content).unwrap();
        path
    };
    let paths = files.iter().enumerate().map(path).collect();
    let files = AvroFileSource { paths, reader_schema: None, reader: reader.map(schema) };
    let envelope = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
    let source = SourceConfig {
        name: "orders".to_owned(),
        expect_every: None,
        envelope,
        kind: SourceKind::AvroFile(files.clone()),
    };
    let progress = Arc::default();
    let input = AvroFileInput::new(&source, &files, Arc::clone(&progress)).unwrap();
    let (intake, pipeline) = PipelineDouble::new(EventBudget { events: 1000, bytes: 64 << 20 });
    let (stopper, stop) = stop();
    Rig { pipeline, progress, _stopper: stopper, run: tokio::spawn(input.run(intake, stop)), _folder: folder }
}

impl Rig {
    /// The next event's payload, the end of its id and its sequence.
    async fn next(&mut self) -> (Value, String, u64) {
        let ticket = timeout(Duration::from_secs(30), self.pipeline.next()).await.unwrap().unwrap();
        let event = ticket.event().clone();
        ticket.settle(Fate::Emitted);
        let id = event.id.rsplit('/').next().unwrap().to_owned();
        (serde_json::from_slice(&event.payload).unwrap(), id, event.sequence)
    }

    async fn ended(self) -> anyhow::Result<()> {
        timeout(Duration::from_secs(30), self.run).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn every_record_of_every_file_is_an_event() {
    let (a, b, c) = (json!({"id":"a","total":1.5}), json!({"id":"b","total":null}), json!({"id":"c","total":2.0}));
    let mut rig = rig(&[file(&[a.clone(), b.clone()]), file(&[]), file(std::slice::from_ref(&c))], None);
    assert_eq!(rig.next().await, (a, "0.avro:1".to_owned(), 1));
    assert_eq!(rig.next().await, (b, "0.avro:2".to_owned(), 2));
    assert_eq!(rig.next().await, (c, "2.avro:1".to_owned(), 1));
    let progress = Arc::clone(&rig.progress);
    rig.ended().await.unwrap();
    let share = progress.share().unwrap();
    assert!(share > 0.5 && share <= 1.0, "{share}");
}

#[tokio::test]
async fn records_are_read_by_the_schema_that_is_asked_for() {
    let mut rig = rig(&[file(&[json!({"id":"a","total":1.5})])], Some(ORDER_V2));
    assert_eq!(rig.next().await.0, json!({"currency":"EUR","key":"a"}));
    rig.ended().await.unwrap();
}

/// The record is a dead letter, as it was written; those behind it are events.
#[tokio::test]
async fn a_record_that_the_schema_can_not_take_is_refused_alone() {
    let orders = [json!({"id":"a","total":1.0}), json!({"id":"b","total":null}), json!({"id":"c","total":3.0})];
    let mut rig = rig(&[file(&orders)], Some(STRICT));
    assert_eq!(rig.next().await.0, json!({"total":1.0}));
    let refused = rig.pipeline.next_refused().await.unwrap();
    assert_eq!(refused.dead_letter, Some("avro_unresolvable"));
    assert_eq!(serde_json::from_slice::<Value>(&refused.ticket.event().payload).unwrap(), orders[1]);
    refused.ticket.dead("avro_unresolvable");
    assert_eq!(rig.next().await.0, json!({"total":3.0}));
    rig.ended().await.unwrap();
}

#[tokio::test]
async fn what_is_before_a_damage_is_an_event() {
    let orders = [json!({"id":"a","total":1.0}), json!({"id":"b","total":2.0})];
    let mut cut = file(&orders);
    cut.truncate(cut.len() - 1);
    let mut rig = rig(&[cut, file(&orders)], None);
    assert_eq!(rig.next().await.0, orders[0]);
    let error = format!("{:#}", rig.ended().await.unwrap_err());
    assert!(error.contains("0.avro`: record 2, in the block at byte"), "{error}");
    assert!(error.contains("it was cut, or is still being written"), "{error}");
}

const SETTINGS: &str = r#"
    [[source]]
    name = "orders"
    type = "avro-file"
    path = ["in/one.avro", "in/two.avro"]
    reader_schema = "order"
    id = "/id"

    [[sink]]
    name = "lake"
    type = "file"
    path = "out/{event_type}.avro"
    encode = "avro-file"
    writer_schema = "order"
    codec = "zstandard"
    fsync = "batch"

    [[sink]]
    name = "single"
    type = "folder"
    path = "single"
    encode = "avro-file"
    writer_schema = "order"
"#;
const KEY: &str = r#"
    [[key]]
    key = "orders"
    subject = "orders"

    [[route]]
    key = "orders"
    sinks = ["lake", "single"]
"#;

fn records(path: PathBuf) -> Vec<Value> {
    let mut reader = ContainerReader::open(fs::File::open(path).unwrap(), None).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        records.push(serde_json::from_slice(&record.json.unwrap()).unwrap());
    }
    records
}

fn orders(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|number| json!({ "id": number.to_string(), "total": number as f64 })).collect()
}

#[test]
fn a_router_turns_files_into_files() {
    let folder = Folder::new(SETTINGS).write("keys/orders.toml", KEY).write("schemas/order.avsc", ORDER);
    folder.put("in/one.avro", &file(&orders(0, 300)));
    folder.put("in/two.avro", &file(&orders(300, 500)));
    let output = folder.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(records(folder.file("out/orders.avro")), orders(0, 500));
    let single: Vec<_> = fs::read_dir(folder.file("single")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(single.len(), 500);
    assert!(single.into_iter().all(|path| records(path).len() == 1));
    // A second run appends, and finds its own files in the folder.
    assert!(folder.run().status.success());
    assert_eq!(records(folder.file("out/orders.avro")).len(), 1000);
    assert_eq!(fs::read_dir(folder.file("single")).unwrap().count(), 500);
}

/// Killed in the middle of its work: what was confirmed is there, and the next run writes behind
/// it.
#[test]
fn a_killed_router_leaves_a_file_that_goes_on() {
    let folder = Folder::new(SETTINGS).write("keys/orders.toml", KEY).write("schemas/order.avsc", ORDER);
    folder.put("in/one.avro", &file(&orders(0, 5000)));
    folder.put("in/two.avro", &file(&[]));
    let out = folder.file("out/orders.avro");
    for round in 1..=5 {
        let before = fs::metadata(&out).map_or(0, |found| found.len());
        let router = folder.start();
        until("something is written", || fs::metadata(&out).is_ok_and(|found| found.len() > before));
        router.kill();
        // Whole blocks, and at most one that is torn.
        let mut reader = ContainerReader::open(fs::File::open(&out).unwrap(), None).unwrap();
        let read = std::iter::from_fn(|| reader.next_record().ok().flatten().map(|record| record.number));
        assert!(read.count() > 0, "round {round}");
    }
    assert!(folder.run().status.success());
    let written = records(out);
    assert_eq!(written[written.len() - 5000..], orders(0, 5000), "the last run wrote all of them, in order");
}
