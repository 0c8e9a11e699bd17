use std::{
    fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{
    config::{Fsync, PathPart},
    sink::double,
};

/// Opens `raw/date={date}/node={/node}.ndjson` in a folder of its own.
fn open(folder: &TempDir, upkeep: FileUpkeep) -> FilePartitions {
    let literal = |text: &str| PathPart::Literal(text.to_owned());
    let node = PathPart::Pointer("/node".parse().unwrap());
    let names = vec![vec![literal("date="), PathPart::Date], vec![literal("node="), node, literal(".ndjson")]];
    let path = PathTemplate { root: folder.path().join("raw"), names };
    FilePartitions::new(path, &FileSink { upkeep, ..FileSink::default() })
}

fn payload(node: &str, number: usize) -> String {
    serde_json::json!({ "node": node, "number": number }).to_string()
}

fn batch(payloads: &[String]) -> Vec<(Slot, FileEntry)> {
    let entry = |payload: &String| FileEntry::of(&double::output("t", "1", payload.clone()));
    payloads.iter().enumerate().map(|(slot, payload)| (slot as u64, entry(payload))).collect()
}

/// Returns the path of a node's file. The double's events are all of this day.
fn file(folder: &TempDir, node: &str) -> PathBuf {
    folder.path().join("raw/date=1970-01-01").join(format!("node={node}.ndjson"))
}

fn text(folder: &TempDir, node: &str) -> String {
    fs::read_to_string(file(folder, node)).unwrap()
}

fn lines(payloads: &[String]) -> String {
    payloads.iter().map(|payload| format!("{payload}\n")).collect()
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// J22
#[test]
fn outputs_are_shared_out_by_day_and_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut partitions = open(&folder, FileUpkeep { fsync: Fsync::Batch, ..FileUpkeep::default() });
    let payloads = [payload("a", 1), payload("b", 2), payload("a", 3), "text".to_owned()];
    partitions.store(&batch(&payloads)).unwrap();
    assert_eq!(text(&folder, "a"), lines(&[payload("a", 1), payload("a", 3)]));
    assert_eq!(text(&folder, "b"), lines(&[payload("b", 2)]));
    assert_eq!(text(&folder, "_"), "\"text\"\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file(&folder, "a")), 0o600);
    assert_eq!(mode(file(&folder, "a").parent().unwrap()) & !0o755, 0, "others may look, not write");
}

#[test]
fn no_value_leads_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(1000);
    let nodes = ["../../etc", "/etc/passwd", "..", ".", "", "a\0b", "a/b", "a\\b", "\u{202e}ünïcode", "a\n", &long];
    let payloads = nodes.map(|node| payload(node, 1));
    open(&folder, FileUpkeep::default()).store(&batch(&payloads)).unwrap();
    let files = all_files(folder.path());
    assert_eq!(files.len(), nodes.len());
    for path in files {
        assert_eq!(path.parent(), file(&folder, "a").parent(), "{}", path.display());
    }
}

#[test]
fn more_files_than_may_be_open_get_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut partitions = open(&folder, FileUpkeep::default());
    let node = |number: usize| format!("n{}", number % 150);
    for start in [0, 100, 600] {
        let payloads: Vec<_> = (start..start + 500).map(|number| payload(&node(number), number)).collect();
        partitions.store(&batch(&payloads)).unwrap();
        assert_eq!(partitions.open.len(), MAX_OPEN);
    }
    for number in 0..150 {
        let ours = |range: std::ops::Range<usize>| range.filter(move |other| other % 150 == number);
        let numbers = ours(0..500).chain(ours(100..600)).chain(ours(600..1100));
        let expected: Vec<_> = numbers.map(|other| payload(&node(number), other)).collect();
        assert_eq!(text(&folder, &node(number)), lines(&expected));
    }
}

#[test]
fn the_file_that_was_not_used_for_longest_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut partitions = open(&folder, FileUpkeep::default());
    let mut store = |node: &str| partitions.store(&batch(&[payload(node, 1)])).unwrap();
    (0..MAX_OPEN).for_each(|number| store(&format!("n{number}")));
    store("n0");
    store("new");
    let open = |node: &str| partitions.open.iter().any(|(path, _)| path.ends_with(&format!("={node}.ndjson")));
    assert_eq!((open("n0"), open("n1"), open("n2"), open("new")), (true, false, true, true));
}

#[test]
fn what_a_crash_has_torn_spoils_no_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(file(&folder, "a").parent().unwrap()).unwrap();
    fs::write(file(&folder, "a"), "1\n{\"node\":").unwrap();
    open(&folder, FileUpkeep::default()).store(&batch(&[payload("b", 1), payload("a", 2)])).unwrap();
    assert_eq!(text(&folder, "a"), format!("1\n\"{{\\\"node\\\":\"\n{}\n", payload("a", 2)));
    assert_eq!(text(&folder, "b"), lines(&[payload("b", 1)]));
}

/// A node that is named like a file that was rotated away is not taken for one.
#[test]
fn every_file_rotates_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let keep = NonZeroUsize::new(1);
    let mut partitions = open(&folder, FileUpkeep { max_size: Some(1), keep, ..FileUpkeep::default() });
    let hostile = "a.20240501T100000.123456789Z";
    let payloads = [payload(hostile, 1), payload("a", 2), payload("b", 3), payload("a", 4), payload("a", 5)];
    partitions.store(&batch(&payloads)).unwrap();
    assert_eq!(text(&folder, "a"), lines(&payloads[4..]));
    let texts: Vec<_> = all_files(folder.path()).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut expected = [0, 2, 3, 4].map(|at| lines(&payloads[at..=at]));
    let mut found = texts;
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "of `a` one rotated file is kept");
}

#[test]
fn a_file_that_refuses_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut partitions = open(&folder, FileUpkeep::default());
    let nodes = ["c", "b", "a", "b", "c", "a", "d", "b"];
    let payloads: Vec<_> = nodes.iter().enumerate().map(|(number, node)| payload(node, number)).collect();
    for node in ["b", "d"] {
        fs::create_dir_all(file(&folder, node)).unwrap();
    }
    let batch = batch(&payloads);
    let StoppedBatch { at: 1, why: SinkRefusal::Later(why), stored_behind } = partitions.store(&batch).unwrap_err()
    else {
        panic!()
    };
    assert_eq!(stored_behind, [2, 4, 5]);
    let expected = format!("could not open `{}`: Is a directory", file(&folder, "b").display());
    assert!(format!("{why:#}").starts_with(&expected), "{why:#}");

    let left: Vec<_> = batch.into_iter().filter(|(slot, _)| [1, 3, 6, 7].contains(slot)).collect();
    fs::remove_dir(file(&folder, "b")).unwrap();
    let StoppedBatch { at: 2, stored_behind, .. } = partitions.store(&left).unwrap_err() else { panic!() };
    assert_eq!(stored_behind, [3]);
    fs::remove_dir(file(&folder, "d")).unwrap();
    partitions.store(&left[2..3]).unwrap();
    for (node, numbers) in [("a", vec![2, 5]), ("b", vec![1, 3, 7]), ("c", vec![0, 4]), ("d", vec![6])] {
        let expected: Vec<_> = numbers.iter().map(|number| payload(node, *number)).collect();
        assert_eq!(text(&folder, node), lines(&expected));
    }
}

#[test]
fn no_link_below_the_root_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(folder.path().join("raw")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.path().join("raw/date=1970-01-01")).unwrap();
    let mut partitions = open(&folder, FileUpkeep::default());
    let outputs = batch(&[payload("a", 1)]);
    let SinkRefusal::Later(cause) = partitions.store(&outputs).unwrap_err().why else { panic!() };
    assert!(format!("{cause:#}").contains("is a symbolic link"), "{cause:#}");
    assert!(all_files(&elsewhere).is_empty());
    fs::remove_file(folder.path().join("raw/date=1970-01-01")).unwrap();
    partitions.store(&outputs).unwrap();
    assert_eq!(text(&folder, "a"), lines(&[payload("a", 1)]));
}
