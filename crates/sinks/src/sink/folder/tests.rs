use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    avro::{
        AvroSchemas,
        container::{ContainerCodec, ContainerFormat, ContainerReader},
    },
    config::{EventField, TemplatePart, TextTemplate},
    sink::{double, safe::safe},
};

fn output(event_type: &str, id: &str, route: &str, index: u32, payload: &'static [u8]) -> Output {
    Output { route: route.into(), index, ..double::output(event_type, id, payload) }
}

fn settings(folder: &TempDir) -> FolderSink {
    FolderSink { path: folder.path().to_owned(), name: None, pretty: false, fsync: Fsync::Never, container: None }
}

/// Settings with `{event_type}_{id}_{source_time}.json`, as in L130.
fn named(folder: &TempDir) -> FolderSink {
    let literal = |text: &str| TemplatePart::Literal(text.to_owned());
    let value = |field: EventField| TemplatePart::Value(field.into());
    let (id, time) = (value(EventField::Id), value(EventField::SourceTime));
    let parts = vec![value(EventField::EventType), literal("_"), id, literal("_"), time, literal(".json")];
    FolderSink { name: Some(TextTemplate(parts)), ..settings(folder) }
}

fn store(folder: &TempDir, outputs: &[Output]) -> Result<(), StoppedBatch> {
    store_as(settings(folder), outputs)
}

fn store_as(settings: FolderSink, outputs: &[Output]) -> Result<(), StoppedBatch> {
    let batch: Vec<_> = outputs.iter().map(|output| (0, FolderWriter::item(output))).collect();
    FolderWriter { settings }.store(&batch)
}

fn own_name(output: &Output) -> String {
    FileNames::plain(&FolderWriter::item(output), ".json").own
}

fn names(folder: &TempDir) -> Vec<String> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

fn files(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn every_output_is_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [
        output("order.paid", "o-1", "a", 0, b"{\n}"),
        output("order.paid", "o-1", "a", 1, b"text"),
        output("order.paid", "o-1", "b", 0, b"\xff"),
    ];
    store(&folder, &outputs).unwrap();
    let files = files(&folder);
    let mut contents: Vec<_> = files.iter().map(|(_, content)| content.as_slice()).collect();
    contents.sort();
    assert_eq!(contents, [&b"text"[..], b"{\n}", b"\xff"], "as they are");
    assert!(files.iter().all(|(name, _)| name.starts_with("order.paid_o-1_")), "{files:?}");
    assert!(files.iter().all(|(name, content)| name.ends_with(".json") == (content == b"{\n}")), "{files:?}");
}

#[test]
fn a_redelivery_overwrites_its_file() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder, &[output("t", "1", "a", 0, b"1")]).unwrap();
    store(&folder, &[output("t", "1", "a", 0, b"1")]).unwrap();
    assert_eq!(files(&folder).len(), 1);
}

/// L82 and L130, for the id as well.
#[test]
fn names_are_safe_and_stay_apart() {
    assert_eq!(safe("../a\\b\0c", 80), "_._a_b_c");
    assert_eq!((safe("", 80), safe(".", 80), safe("..", 80)), ("_".into(), "_".into(), "_.".into()));
    assert_eq!(safe("Ünï.-_9", 80), "_n_.-_9");
    let names =
        ["a/b", "a_b", "a\\b", &"x".repeat(300), &"x".repeat(301)].map(|id| own_name(&output("t", id, "r", 0, b"")));
    for (at, one) in names.iter().enumerate() {
        assert!(names[..at].iter().all(|other| other != one), "{one}");
    }
}

#[test]
fn what_a_crash_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".trommel-17.tmp", ".other.tmp", ".trommel-17", "t_1_0-0.json"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    clean(folder.path()).unwrap();
    assert_eq!(names(&folder), [".other.tmp", ".trommel-17", "t_1_0-0.json"]);
}

#[test]
fn a_folder_that_was_removed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::remove_dir(folder.path()).unwrap();
    store(&folder, &[output("t", "1", "a", 0, b"1")]).unwrap();
    assert_eq!(files(&folder).len(), 1);
}

#[test]
fn what_fails_says_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [output("t", "1", "a", 0, b"1"), output("t", "2", "a", 0, b"2"), output("t", "3", "a", 0, b"3")];
    let in_the_way = folder.path().join(own_name(&outputs[1]));
    fs::create_dir(&in_the_way).unwrap();
    fs::write(in_the_way.join("file"), "").unwrap();
    let stopped = store(&folder, &outputs).unwrap_err();
    assert!(matches!(stopped, StoppedBatch { at: 1, why: SinkRefusal::Later(_), .. }), "{stopped:?}");
    fs::remove_dir_all(in_the_way).unwrap();
    store(&folder, &outputs[1..]).unwrap();
    assert_eq!(files(&folder).len(), 3, "and nothing half-written is left");
}

/// L130: the name by the template, unless another output has it already.
#[test]
fn outputs_are_called_as_the_template_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = output("im.message.receive_v1", "e-1", "a", 0, b"1");
    store_as(named(&folder), &[first]).unwrap();
    assert_eq!(names(&folder), ["im.message.receive_v1_e-1__.json"], "an event without a time");

    let again = || output("im.message.receive_v1", "e-1", "a", 0, b"1");
    let other = || output("im.message.receive_v1", "e-1", "b", 0, b"2");
    let second = || output("im.message.receive_v1", "e-1", "a", 1, b"1");
    for _ in 0..2 {
        store_as(named(&folder), &[again(), other(), second()]).unwrap();
        let mut contents: Vec<_> = files(&folder).into_iter().map(|(_, content)| content).collect();
        contents.sort();
        assert_eq!(contents, [b"1", b"1", b"2"], "each has a file, and none took another's");
    }
    assert!(names(&folder).contains(&own_name(&other()).replace("e-1_", "e-1___")), "{:?}", names(&folder));
}

#[test]
fn ids_that_look_alike_keep_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(300);
    let ids = ["a/b", "a_b", "a\\b", "../b", &long, &format!("{long}y")];
    let outputs = ids.map(|id| output("t", id, "a", 0, b"same"));
    store_as(named(&folder), &outputs).unwrap();
    store_as(named(&folder), &outputs).unwrap();
    assert_eq!(files(&folder).len(), ids.len(), "{:?}", names(&folder));
}

/// L117, L130
#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("made/here");
    clean(&path).unwrap();
    store_as(
        FolderSink { path: path.clone(), name: None, pretty: false, fsync: Fsync::Never, container: None },
        &[output("t", "1", "a", 0, b"1")],
    )
    .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&path) & !0o755, 0, "others may look, not write");
}

#[test]
fn json_can_be_broken_into_lines() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [output("t", "1", "a", 0, br#"{"b":1.0,"a":[]}"#), output("t", "2", "a", 0, b"text, {}")];
    store_as(FolderSink { pretty: true, ..named(&folder) }, &outputs).unwrap();
    let contents: Vec<_> = files(&folder).into_iter().map(|(_, content)| content).collect();
    assert_eq!(contents, [&b"{\n  \"b\": 1.0,\n  \"a\": []\n}\n"[..], b"text, {}"]);
}

proptest! {
    /// Whatever values an event has, its file lies in the folder, is not hidden, and can be
    /// written.
    #[test]
    fn every_name_can_be_written(
        event_type in "\\PC{0,300}|[./\\\\\\x00]{0,9}",
        id in "\\PC{1,300}|[./\\\\\\x00]{1,9}",
    ) {
        let name = own_name(&output(&event_type, &id, "r", u32::MAX, b""));
        prop_assert!(name.len() <= 255 && !name.starts_with('.') && !name.contains(".."), "{}", name);
        prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", name);
        let folder = tempfile::tempdir().unwrap();
        store(&folder, &[output(&event_type, &id, "r", u32::MAX, b"1")]).unwrap();
        prop_assert_eq!(files(&folder), [(name, b"1".to_vec())]);

        let folder = tempfile::tempdir().unwrap();
        store_as(named(&folder), &[output(&event_type, &id, "r", 0, b"1")]).unwrap();
        let name = names(&folder).pop().unwrap();
        prop_assert!(!name.starts_with('.') && name.ends_with(".json"), "{}", name);
        prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", name);
    }
}

#[test]
fn no_file_is_called_like_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let outputs =
        [output("-rf", "-e", "a", 0, b"1"), output("-rf", "_e", "a", 0, b"1"), output("a-b", "-", "a", 0, b"1")];
    store(&folder, &outputs).unwrap();
    store_as(named(&folder), &outputs).unwrap();
    let names = names(&folder);
    assert_eq!(names.len(), 6, "each has its own: {names:?}");
    assert!(names.iter().all(|name| !name.starts_with('-')), "{names:?}");
}

/// Stored files are there and whole; surviving a crash of the machine is left to the system.
#[test]
fn files_can_be_synced() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [output("t", "1", "a", 0, b"1"), output("t", "2", "a", 0, b"2")];
    store_as(FolderSink { fsync: Fsync::Batch, ..settings(&folder) }, &outputs).unwrap();
    assert_eq!(names(&folder).len(), 2);
    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "no folder").unwrap();
    let settings = FolderSink { fsync: Fsync::Batch, ..settings(&folder) };
    assert!(store_as(settings, &outputs).is_err());
    fs::remove_file(folder.path()).unwrap();
}

/// A redelivery finds its own file.
#[test]
fn a_container_file_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
    let schemas = AvroSchemas::parse(&[("order", order)]).unwrap();
    let schema = schemas.get("order").unwrap();
    let container = Some(ContainerFormat { schema, codec: ContainerCodec::Zstandard });
    // The record's bytes: a text of one byte.
    let outputs = [output("t", "1", "r", 0, b"\x02a")];
    for _ in 0..2 {
        store_as(FolderSink { container: container.clone(), ..named(&folder) }, &outputs).unwrap();
    }
    store_as(FolderSink { container, ..settings(&folder) }, &outputs).unwrap();
    let [(plain, content), (_, other)] = &files(&folder)[..] else { panic!("{:?}", names(&folder)) };
    assert!(plain.ends_with(".avro"), "{plain}");
    assert_eq!(content, other);
    let mut reader = ContainerReader::open(&content[..], None).unwrap();
    assert_eq!(reader.next_record().unwrap().unwrap().json.unwrap(), b"{\"id\":\"a\"}");
    assert!(reader.next_record().unwrap().is_none());
}
