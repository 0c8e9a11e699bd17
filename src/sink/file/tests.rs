use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::*;

/// A sink's file in a folder of its own, with a clock in the test's hand.
struct Rig {
    folder: TempDir,
    ndjson: Ndjson,
    now: SystemTime,
    slot: Slot,
}

fn settings(folder: &TempDir) -> FileSink {
    let path = folder.path().join("made/on/the/way/out.ndjson");
    FileSink { path, max_size: None, max_age: None, keep: None, fsync: Fsync::Never }
}

fn rig(change: impl FnOnce(&mut FileSink)) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    change(&mut settings);
    Rig { ndjson: Ndjson::open(settings).unwrap(), folder, now: SystemTime::now(), slot: 0 }
}

impl Rig {
    fn path(&self) -> PathBuf {
        self.ndjson.settings.path.clone()
    }

    fn try_store(&mut self, payloads: &[&str]) -> Result<(), Stopped> {
        let batch: Vec<_> = payloads.iter().map(|payload| (self.slot, payload.to_string().into())).collect();
        self.slot += batch.len() as u64;
        self.ndjson.store_at(&batch, self.now)
    }

    fn store(&mut self, payloads: &[&str]) {
        self.try_store(payloads).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The rotated files' texts, oldest first.
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
    let mut second = Rig { ndjson: Ndjson::open(settings(&first.folder)).unwrap(), ..first };
    second.store(&["4"]);
    assert_eq!(second.text(), "1\n{\"a\":2}\n\"text\"\n4\n");
}

/// What a crash in the middle of a write leaves must not run into the next line.
#[test]
fn a_torn_line_does_not_spoil_the_next() {
    let first = rig(|_| {});
    fs::write(first.path(), "1\n{\"a\":").unwrap();
    let mut second = Rig { ndjson: Ndjson::open(settings(&first.folder)).unwrap(), ..first };
    second.store(&["2"]);
    assert_eq!(second.text(), "1\n\"{\\\"a\\\":\"\n2\n");
}

#[test]
fn it_rotates_by_size_and_keeps_the_newest() {
    let mut rig = rig(|settings| {
        settings.max_size = Some(4);
        settings.keep = NonZeroUsize::new(2);
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
    let mut rig = rig(|settings| settings.max_age = Some(Duration::from_secs(3600)));
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
    let mut rig = rig(|settings| settings.max_age = Some(Duration::from_secs(1)));
    rig.now += Duration::from_secs(3600);
    rig.store(&["1"]);
    assert_eq!(rig.rotated().len(), 0);
}

#[test]
fn others_may_move_cut_and_remove_the_file() {
    let mut rig = rig(|settings| settings.fsync = Fsync::Batch);
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

#[test]
fn a_file_that_can_not_be_reopened_refuses_for_now_and_is_named() {
    let mut rig = rig(|_| {});
    rig.store(&["1"]);
    fs::remove_file(rig.path()).unwrap();
    fs::create_dir(rig.path()).unwrap();
    let Stopped { at: 0, why: Refusal::Later(cause) } = rig.try_store(&["2"]).unwrap_err() else { panic!() };
    assert!(format!("{cause:#}").starts_with(&format!("could not write `{}`: ", rig.path().display())), "{cause:#}");
    fs::remove_dir(rig.path()).unwrap();
    rig.store(&["2"]);
    assert_eq!(rig.text(), "2\n");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    for path in ["/dev/null", "/dev"] {
        let settings = FileSink { path: path.into(), ..settings(&tempfile::tempdir().unwrap()) };
        let error = Ndjson::open(settings).err().unwrap();
        assert!(format!("{error:#}").starts_with(&format!("could not open `{path}`: ")), "{error:#}");
    }
}
