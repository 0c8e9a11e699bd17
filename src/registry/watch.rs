//! Notices changes in a router's folders. It only says that something changed; what, is found out by whoever asked.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// Files must have stayed as they are for this long before they are read.
pub const QUIET: Duration = Duration::from_millis(200);
/// Files that never come to rest are read after this long all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look without being told: network file systems tell nothing.
const POLL: Duration = Duration::from_secs(5);

/// Watches folders, through symbolic links and their replacement.
pub struct Watch {
    folders: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    wakes: mpsc::Receiver<()>,
    seen: Files,
}

type Files = BTreeMap<PathBuf, State>;

/// What tells one state of a file from another: a careful copy changes the inode, a careless one the time or the length.
#[derive(Debug, PartialEq, Eq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Watch {
    /// Begins to watch. What changes from now on is noticed, also before the first [`Self::changed`].
    pub fn new(folders: Vec<PathBuf>) -> Self {
        // One pending wake is enough: it says no more than that something changed.
        let (wake, wakes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = wake.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, poll = ?POLL, "changes can't be watched, polling instead"))
            .ok();
        let seen = files(&folders);
        let mut watch = Self { folders, watcher, wakes, seen };
        watch.follow();
        watch
    }

    /// Watches the folders as they are now. Of one that is a link also the folder that holds it: the link may be pointed
    /// elsewhere. One that is not there yet is found by polling: beside it, sinks may be writing all the time.
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

    /// Resolves when the folders' files have changed and come to rest again. Cancel safe: a change that was not
    /// reported is reported by the next call.
    pub async fn changed(&mut self) {
        loop {
            // An error means that there is no watcher; polling goes on.
            if timeout(POLL, self.wakes.recv()).await == Ok(None) {
                sleep(POLL).await;
            }
            let started = Instant::now();
            let mut now = self.look().await;
            if now == self.seen {
                // Somebody writes other files there; look again, but not all the time.
                sleep(QUIET).await;
                continue;
            }
            loop {
                sleep(QUIET).await;
                let later = self.look().await;
                let at_rest = later == now;
                now = later;
                if at_rest || started.elapsed() >= PATIENCE {
                    break;
                }
            }
            self.seen = now;
            self.follow();
            return;
        }
    }

    async fn look(&self) -> Files {
        let folders = self.folders.clone();
        tokio::task::spawn_blocking(move || files(&folders)).await.unwrap_or_default()
    }
}

fn files(folders: &[PathBuf]) -> Files {
    folders.iter().flat_map(|folder| list(folder)).collect()
}

fn list(folder: &Path) -> Vec<(PathBuf, State)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        // Follows links: what they point to counts.
        let data = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((path, State { length: data.len(), modified: data.modified().ok(), inode: data.ino() }))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reported(watch: &mut Watch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_new_file_a_changed_one_and_a_removed_one_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![folder.path().to_owned()]);
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
        let mut watch = Watch::new(vec![folder.clone()]);
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
        let mut watch = Watch::new(vec![link.clone()]);
        let new = root.path().join("new");
        std::os::unix::fs::symlink("two", &new).unwrap();
        fs::rename(&new, &link).unwrap();
        assert!(reported(&mut watch).await);
        fs::write(root.path().join("two/a.toml"), "changed").unwrap();
        assert!(reported(&mut watch).await, "the folder behind the link must be watched now");
    }
}
