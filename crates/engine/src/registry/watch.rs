//! Watch on a router's folders. It only reports that something changed; the caller finds out what.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout_at},
};

/// Time for which files must have stayed as they are before they are read.
pub const QUIET: Duration = Duration::from_millis(200);
/// Time after which files that never come to rest are read all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same if a file got shorter in its place: overwriting a file empties it first.
const QUIET_IF_SHORTER: Duration = Duration::from_secs(2);
const PATIENCE_IF_SHORTER: Duration = Duration::from_secs(10);
/// Time between looks without a notification: network file systems send none, and watches may run
/// out.
const POLL: Duration = Duration::from_secs(5);

/// Watches folders, through symbolic links and their replacement.
pub struct FolderWatch {
    folders: Vec<PathBuf>,
    concerns: fn(&Path) -> bool,
    watcher: Option<RecommendedWatcher>,
    wakes: mpsc::Receiver<()>,
    seen: FileStates,
    /// Time of the next look without a notification.
    poll: Instant,
    not_before: Instant,
    /// A look under way; a file system that hangs holds up nothing else.
    looking: Option<JoinHandle<FileStates>>,
    unrest: Option<UnsettledFiles>,
}

/// Files that have changed and may change further.
struct UnsettledFiles {
    began: Instant,
    files: FileStates,
}

type FileStates = BTreeMap<PathBuf, FileState>;

/// State of a file, which differs after a change. Every change of the content changes `changed`,
/// which can't be set, even if the length and the modification time stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    device: u64,
    inode: u64,
}

/// Returns whether a file of this name is read from a router's folders: keys, components and
/// schemas. Other files there, such as dead letters, are ignored.
pub fn is_read(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !is_hidden && matches!(extension, Some("toml" | "wasm" | "json" | "avsc"))
}

impl FolderWatch {
    /// Begins to watch files for whose path `concerns` returns true. Changes are noticed from now
    /// on, also before the first [`Self::changed`].
    pub fn new(folders: Vec<PathBuf>, concerns: fn(&Path) -> bool) -> Self {
        // One pending wake is enough: it only tells that something changed.
        let (wake, wakes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = wake.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, poll = ?POLL, "changes can't be watched, polling instead"))
            .ok();
        let seen = files(&folders, concerns);
        let now = Instant::now();
        let (looking, unrest) = (None, None);
        let (poll, not_before) = (now + POLL, now);
        let mut watch = Self { folders, concerns, watcher, wakes, seen, poll, not_before, looking, unrest };
        watch.follow();
        watch
    }

    /// Watches the folders as they are now. For a link, the folder that holds it is watched, too:
    /// the link may be pointed elsewhere. A folder that does not exist yet is found by polling:
    /// beside it, sinks may be writing all the time.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let parents = self.folders.iter().filter(|folder| folder.is_symlink());
        let parents = parents.filter_map(|folder| folder.parent());
        for folder in self.folders.iter().map(PathBuf::as_path).chain(parents) {
            let _ = watcher.unwatch(folder);
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "can't be watched, polling instead");
            }
        }
    }

    /// Resolves once the folders' files have changed and come to rest again. Cancel safe: the next
    /// call goes on where this one was.
    pub async fn changed(&mut self) {
        loop {
            sleep_until(self.not_before).await;
            if self.looking.is_none() && self.unrest.is_none() {
                // `None` means that there is no watcher; polling goes on.
                if timeout_at(self.poll, self.wakes.recv()).await == Ok(None) {
                    sleep_until(self.poll).await;
                }
            }
            let files = self.look().await;
            let now = Instant::now();
            let (before, began) = match self.unrest.take() {
                Some(UnsettledFiles { began, files }) => (Some(files), began),
                None if files == self.seen => {
                    // Other files there are being written; look again, but not all the time.
                    self.not_before = now + QUIET;
                    continue;
                }
                None => (None, now),
            };
            let (quiet, patience) = match self.is_shorter(&files) {
                true => (QUIET_IF_SHORTER, PATIENCE_IF_SHORTER),
                false => (QUIET, PATIENCE),
            };
            if before.as_ref() == Some(&files) || now - began >= patience {
                self.seen = files;
                self.follow();
                return;
            }
            self.not_before = now + quiet;
            self.unrest = Some(UnsettledFiles { began, files });
        }
    }

    async fn look(&mut self) -> FileStates {
        let looking = self.looking.get_or_insert_with(|| {
            let (folders, concerns) = (self.folders.clone(), self.concerns);
            spawn_blocking(move || files(&folders, concerns))
        });
        let found = looking.await;
        self.looking = None;
        self.poll = Instant::now() + POLL;
        found.unwrap_or_else(|_| self.seen.clone())
    }

    /// Returns whether a file of `now` got shorter, unless it is another one in its place.
    fn is_shorter(&self, now: &FileStates) -> bool {
        let shorter = |(path, now): (&PathBuf, &FileState)| {
            let before = self.seen.get(path);
            before.is_some_and(|before| {
                (before.device, before.inode) == (now.device, now.inode) && now.length < before.length
            })
        };
        now.iter().any(shorter)
    }
}

fn files(folders: &[PathBuf], concerns: fn(&Path) -> bool) -> FileStates {
    folders.iter().flat_map(|folder| list(folder, concerns)).collect()
}

fn list(folder: &Path, concerns: fn(&Path) -> bool) -> Vec<(PathBuf, FileState)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.flatten().map(|entry| entry.path()).filter(|path| concerns(path)).filter_map(|path| {
        // Follows links: their targets count.
        let data = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let state = FileState {
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
            device: data.dev(),
            inode: data.ino(),
        };
        Some((path, state))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::SystemTime};

    use tokio::time::timeout;

    use super::*;

    async fn reported(watch: &mut FolderWatch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_new_file_a_changed_one_and_a_removed_one_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(vec![folder.path().to_owned()], is_read);
        let file = folder.path().join("a.toml");
        fs::write(&file, "1").unwrap();
        assert!(reported(&mut watch).await);
        fs::write(&file, "22").unwrap();
        assert!(reported(&mut watch).await);
        fs::remove_file(&file).unwrap();
        assert!(reported(&mut watch).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_comes_later_is_found() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("schemas");
        let mut watch = FolderWatch::new(vec![folder.clone()], is_read);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.json"), "{}").unwrap();
        assert!(reported(&mut watch).await);
    }

    #[tokio::test]
    async fn a_link_to_a_folder_that_is_swapped_is_followed() {
        let root = tempfile::tempdir().unwrap();
        for version in ["one", "two"] {
            fs::create_dir(root.path().join(version)).unwrap();
            fs::write(root.path().join(version).join("a.toml"), version).unwrap();
        }
        let link = root.path().join("keys");
        std::os::unix::fs::symlink("one", &link).unwrap();
        let mut watch = FolderWatch::new(vec![link.clone()], is_read);
        let new = root.path().join("new");
        std::os::unix::fs::symlink("two", &new).unwrap();
        fs::rename(&new, &link).unwrap();
        assert!(reported(&mut watch).await);
        fs::write(root.path().join("two/a.toml"), "changed").unwrap();
        assert!(reported(&mut watch).await, "the folder behind the link must be watched now");
    }

    /// Tar, `rsync -t` and reproducible builds give files the time that they had elsewhere.
    #[tokio::test]
    async fn a_file_that_keeps_its_length_and_its_time_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut watch = FolderWatch::new(vec![folder.path().to_owned()], is_read);
        for content in ["two", "six"] {
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.set_modified(time).unwrap();
            drop(file);
            assert!(reported(&mut watch).await, "{content}");
        }
    }

    /// Looks without a watcher, as when the watches have run out, while the caller is called away
    /// all the time.
    #[tokio::test(start_paused = true)]
    async fn polling_finds_what_nobody_tells_of_however_often_it_is_called_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(vec![folder.path().to_owned()], is_read);
        watch.watcher = None;
        fs::write(folder.path().join("a.toml"), "1").unwrap();
        for turn in 0.. {
            if timeout(Duration::from_millis(70), watch.changed()).await.is_ok() {
                break;
            }
            assert!(turn < 200, "a change was not reported");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_not_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(vec![folder.path().to_owned()], is_read);
        for name in ["dead-letters.ndjson", ".hidden.toml", "a.toml~", "README", "a.toml.tmp"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        assert!(timeout(10 * POLL, watch.changed()).await.is_err());
        fs::write(folder.path().join("a.avsc"), "{}").unwrap();
        assert!(reported(&mut watch).await);
    }

    /// Overwriting a file empties it first, and may take a while.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_got_shorter_is_given_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "longer").unwrap();
        let mut watch = FolderWatch::new(vec![folder.path().to_owned()], is_read);
        let began = Instant::now();
        fs::write(&path, "").unwrap();
        let pause = timeout(QUIET_IF_SHORTER - Duration::from_millis(1), watch.changed());
        assert!(pause.await.is_err(), "{:?}", began.elapsed());
        assert!(reported(&mut watch).await, "in the end it is what is there");
        // Another file in its place is whole.
        fs::write(folder.path().join("new"), "1").unwrap();
        fs::write(&path, "longer").unwrap();
        assert!(reported(&mut watch).await);
        fs::rename(folder.path().join("new"), &path).unwrap();
        let began = Instant::now();
        assert!(reported(&mut watch).await && began.elapsed() < POLL + QUIET_IF_SHORTER, "{:?}", began.elapsed());
    }

    #[test]
    fn a_state_is_told_by_more_than_length_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let state = || files(&[folder.path().to_owned()], is_read)[&path];
        fs::write(&path, "1").unwrap();
        let before = state();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let after = state();
        assert_eq!((before.length, before.inode, before.device), (after.length, after.inode, after.device));
        assert_ne!(before.modified, after.modified);
    }
}
