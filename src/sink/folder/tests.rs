use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::sink::double;

fn output(event_type: &str, id: &str, route: &str, index: u32, payload: &'static [u8]) -> Output {
    Output { route: route.into(), index, ..double::output(event_type, id, payload) }
}

fn store(folder: &TempDir, outputs: &[Output]) -> Result<(), Stopped> {
    let batch: Vec<_> = outputs.iter().map(|output| (0, Folder::item(output))).collect();
    Folder { path: folder.path().to_owned() }.store(&batch)
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
    let stems =
        ["a/b", "a_b", "a\\b", &"x".repeat(300), &"x".repeat(301)].map(|id| stem(&output("t", id, "r", 0, b"")));
    for (at, one) in stems.iter().enumerate() {
        assert!(stems[..at].iter().all(|other| other != one), "{one}");
    }
}

#[test]
fn what_a_crash_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".trommel-17.tmp", ".other.tmp", ".trommel-17", "t_1_0-0.json"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    clean(folder.path()).unwrap();
    let left: Vec<_> = files(&folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [".other.tmp", ".trommel-17", "t_1_0-0.json"]);
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
    let in_the_way = folder.path().join(format!("{}.json", stem(&outputs[1])));
    fs::create_dir(&in_the_way).unwrap();
    fs::write(in_the_way.join("file"), "").unwrap();
    let stopped = store(&folder, &outputs).unwrap_err();
    assert!(matches!(stopped, Stopped { at: 1, why: Refusal::Later(_) }), "{stopped:?}");
    fs::remove_dir_all(in_the_way).unwrap();
    store(&folder, &outputs[1..]).unwrap();
    assert_eq!(files(&folder).len(), 3, "and nothing half-written is left");
}

proptest! {
    /// Whatever an event calls itself, its file lies in the folder, is not hidden, and can be written.
    #[test]
    fn every_name_can_be_written(event_type in "\\PC{0,300}|[./\\\\\\x00]{0,9}", id in "\\PC{1,300}|[./\\\\\\x00]{1,9}") {
        let name = format!("{}.json", stem(&output(&event_type, &id, "r", u32::MAX, b"")));
        prop_assert!(name.len() <= 255 && !name.starts_with('.') && !name.contains(".."), "{}", name);
        prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", name);
        let folder = tempfile::tempdir().unwrap();
        store(&folder, &[output(&event_type, &id, "r", u32::MAX, b"1")]).unwrap();
        prop_assert_eq!(files(&folder), [(name, b"1".to_vec())]);
    }
}
