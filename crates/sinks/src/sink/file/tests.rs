use std::{fs, num::NonZeroUsize, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    config::{FileUpkeep, Fsync, RecordSettings},
    sink::SinkRefusal,
};

/// Sink's file in a folder of its own, with a clock that the test sets.
struct Rig {
    folder: TempDir,
    ndjson: AppendedFile,
    lines: ChunkBuffers,
    now: SystemTime,
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("made/on/the/way/out.ndjson")
}

fn rig(change: impl FnOnce(&mut FileUpkeep)) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let mut upkeep = FileUpkeep::default();
    change(&mut upkeep);
    let ndjson = AppendedFile::open(path(&folder), upkeep, None).unwrap();
    Rig { ndjson, folder, lines: ChunkBuffers::new(&RecordSettings::default()), now: SystemTime::now() }
}

impl Rig {
    fn path(&self) -> PathBuf {
        path(&self.folder)
    }

    fn opened_again(self) -> Self {
        Self { ndjson: AppendedFile::open(self.path(), FileUpkeep::default(), None).unwrap(), ..self }
    }

    fn try_store(&mut self, payloads: &[&str]) -> Result<(), StoppedBatch> {
        let payloads = payloads.iter().map(|payload| payload.as_bytes());
        self.ndjson.store(payloads, &mut self.lines, self.now)
    }

    fn store(&mut self, payloads: &[&str]) {
        self.try_store(payloads).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Returns the rotated files' texts, oldest first.
    fn rotated(&self) -> Vec<String> {
        let path = self.path();
        let mut names: Vec<_> = fs::read_dir(folder(&path)).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| *name != path);
        names.sort();
        names.iter().map(|name| fs::read_to_string(name).unwrap()).collect()
    }
}

#[test]
fn lines_are_appended_over_restarts() {
    let mut first = rig(|_| {});
    first.store(&["1", "{\"a\":\n2}", "text"]);
    assert_eq!(first.text(), "1\n{\"a\":2}\n\"text\"\n");
    let mut second = first.opened_again();
    second.store(&["4"]);
    assert_eq!(second.text(), "1\n{\"a\":2}\n\"text\"\n4\n");
}

/// A line torn by a crash in the middle of a write must not run into the next line.
#[test]
fn a_torn_line_does_not_spoil_the_next() {
    let first = rig(|_| {});
    fs::write(first.path(), "1\n{\"a\":").unwrap();
    let mut second = first.opened_again();
    second.store(&["2"]);
    assert_eq!(second.text(), "1\n\"{\\\"a\\\":\"\n2\n");
}

#[test]
fn it_rotates_by_size_and_keeps_the_newest() {
    let mut rig = rig(|upkeep| {
        upkeep.max_size = Some(4);
        upkeep.keep = NonZeroUsize::new(2);
    });
    rig.store(&["1", "2"]);
    assert_eq!((rig.text(), rig.rotated().len()), ("1\n2\n".to_owned(), 0), "full, and nothing has come since");
    rig.store(&["3"]);
    assert_eq!((rig.text(), rig.rotated()), ("3\n".to_owned(), vec!["1\n2\n".to_owned()]));
    rig.store(&["4", "5", "6", "123456", "7"]);
    assert_eq!(rig.text(), "7\n");
    assert_eq!(rig.rotated(), ["5\n6\n", "123456\n"], "the oldest are gone, a long line has a file of its own");
}

#[test]
fn it_rotates_by_age_counted_from_its_first_line() {
    let mut rig = rig(|upkeep| upkeep.max_age = Some(Duration::from_secs(3600)));
    rig.store(&["1"]);
    rig.now += Duration::from_secs(3599);
    rig.store(&["2"]);
    assert_eq!(rig.rotated().len(), 0);
    rig.now += Duration::from_secs(3600);
    rig.store(&["3"]);
    assert_eq!((rig.text(), rig.rotated()), ("3\n".to_owned(), vec!["1\n2\n".to_owned()]));
    rig.now += Duration::from_secs(3599);
    rig.store(&["4"]);
    assert_eq!(rig.rotated().len(), 1);
}

#[test]
fn an_empty_file_does_not_rotate() {
    let mut rig = rig(|upkeep| upkeep.max_age = Some(Duration::from_secs(1)));
    rig.now += Duration::from_secs(3600);
    rig.store(&["1"]);
    assert_eq!(rig.rotated().len(), 0);
}

#[test]
fn others_may_move_cut_and_remove_the_file() {
    let mut rig = rig(|upkeep| upkeep.fsync = Fsync::Batch);
    rig.store(&["1"]);
    fs::rename(rig.path(), rig.path().with_extension("1")).unwrap();
    rig.store(&["2"]);
    assert_eq!((rig.text(), rig.rotated()), ("2\n".to_owned(), vec!["1\n".to_owned()]));
    fs::remove_dir_all(folder(&rig.path())).unwrap();
    rig.store(&["3"]);
    assert_eq!(rig.text(), "3\n");
    fs::write(rig.path(), "").unwrap();
    rig.store(&["4"]);
    assert_eq!(rig.text(), "4\n");
}

/// Wherever the file is cut from outside, the next line is a line, and the rest of the one before
/// it can still be read.
#[test]
fn a_cut_in_the_middle_of_a_line_spoils_no_other() {
    let whole = "{\"a\":1}\n{\"é\":2}\n";
    for cut in 0..=whole.len() {
        let mut rig = rig(|_| {});
        rig.store(&["{\"a\":1}", "{\"é\":2}"]);
        fs::File::options().write(true).open(rig.path()).unwrap().set_len(cut as u64).unwrap();
        rig.store(&["{\"b\":3}"]);
        rig.store(&["{\"b\":4}"]);
        let text = rig.text();
        assert!(text.ends_with("{\"b\":3}\n{\"b\":4}\n"), "{cut}: {text}");
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{cut}: {text}");
    }
}

#[test]
fn a_link_in_a_files_place_is_not_followed() {
    let mut rig = rig(|_| {});
    rig.store(&["1"]);
    let other = rig.folder.path().join("other");
    fs::write(&other, "precious\n").unwrap();
    fs::remove_file(rig.path()).unwrap();
    std::os::unix::fs::symlink(&other, rig.path()).unwrap();
    let StoppedBatch { why: SinkRefusal::Later(cause), .. } = rig.try_store(&["2"]).unwrap_err() else { panic!() };
    assert!(format!("{cause:#}").contains("is a symbolic link, which is not followed"), "{cause:#}");
    let error = AppendedFile::open(rig.path(), FileUpkeep::default(), None).err().unwrap();
    assert!(format!("{error:#}").contains("is a symbolic link, which is not followed"), "{error:#}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious\n");
    fs::remove_file(rig.path()).unwrap();
    rig.store(&["2"]);
    assert_eq!(rig.text(), "2\n");
}

/// The age of a file that seems to come from the future counts from the first time we see it.
#[test]
fn a_clock_that_was_ahead_does_not_put_off_a_rotation() {
    let mut rig = rig(|upkeep| upkeep.max_age = Some(Duration::from_secs(3600)));
    rig.now -= Duration::from_secs(1_000_000);
    rig.store(&["1"]);
    rig.now += Duration::from_secs(3600);
    rig.store(&["2"]);
    assert_eq!((rig.text(), rig.rotated()), ("2\n".to_owned(), vec!["1\n".to_owned()]));
}

#[test]
fn a_file_that_can_not_be_reopened_refuses_for_now_and_is_named() {
    let mut rig = rig(|_| {});
    rig.store(&["1"]);
    fs::remove_file(rig.path()).unwrap();
    fs::create_dir(rig.path()).unwrap();
    let StoppedBatch { at: 0, why: SinkRefusal::Later(cause), .. } = rig.try_store(&["2"]).unwrap_err() else {
        panic!()
    };
    assert!(format!("{cause:#}").starts_with(&format!("could not write `{}`: ", rig.path().display())), "{cause:#}");
    fs::remove_dir(rig.path()).unwrap();
    rig.store(&["2"]);
    assert_eq!(rig.text(), "2\n");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    for path in ["/dev/null", "/dev"] {
        let error = AppendedFile::open(path.into(), FileUpkeep::default(), None).err().unwrap();
        assert!(format!("{error:#}").starts_with(&format!("could not open `{path}`: ")), "{error:#}");
    }
}

mod containers;
