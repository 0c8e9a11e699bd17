//! Folders that the router writes to: there, writable, with room.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use super::{finding::Finding, folder::RunningPlace};
use crate::{
    config::{Config, DEAD_FILE, DeadLetterTarget, SinkKind},
    ownership,
};

/// Room on a disk below which there soon is none.
const LITTLE: u64 = 256 << 20;
/// Room below which writing is about to fail.
const NONE: u64 = 16 << 20;

/// A folder and who writes there.
struct WrittenFolder {
    path: PathBuf,
    writer: String,
    /// True if the router makes it.
    is_made: bool,
    /// True if only the router's user may write there.
    is_private: bool,
}

pub(super) fn examine(config: &Config, cache: Option<PathBuf>, place: &RunningPlace) -> Vec<Finding> {
    let mut findings = Vec::new();
    if cache.is_none() {
        let finding = Finding::warning("cache_folder", "there is no cache folder, so every start compiles");
        findings.push(finding.hint("name one with `--cache-dir` or `TROMMEL_CACHE_DIR`"));
    }
    let mut folders = written(config);
    let private =
        |path, writer: &str| WrittenFolder { path, writer: writer.to_owned(), is_made: true, is_private: true };
    folders.extend(cache.map(|path| private(path, "the cache")));
    folders.extend(place.state.clone().map(|path| private(path, "the router's state")));
    // One line for each disk.
    let mut room = BTreeMap::new();
    for folder in &folders {
        match usable(folder) {
            Ok(existing) => {
                let free = statvfs(&existing).map(|disk| (disk.f_fsid, disk.f_bavail.saturating_mul(disk.f_frsize)));
                room.extend(free.ok().map(|(disk, free)| (disk, (free, existing))));
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(room.into_values().map(|(free, path)| free_room(free, &path)));
    findings
}

fn written(config: &Config) -> Vec<WrittenFolder> {
    let parent = |path: &Path| path.parent().map_or_else(|| config.dir.clone(), Path::to_owned);
    let mut folders = Vec::new();
    for sink in &config.sinks {
        let (path, is_made) = match &sink.kind {
            SinkKind::File(path, _) => (parent(path), false),
            SinkKind::Folder(folder) => (folder.path.clone(), true),
            SinkKind::Webhook(webhook) => (parent(&webhook.database), false),
            SinkKind::Files(template, _) => (template.root.clone(), true),
            _ => continue,
        };
        folders.push(WrittenFolder { path, writer: format!("sink `{}`", sink.name), is_made, is_private: false });
    }
    let letters = match &config.dead_letter {
        DeadLetterTarget::File(path) => parent(path),
        // Where they go that no stream takes.
        DeadLetterTarget::Stream { .. } | DeadLetterTarget::Discard => parent(&config.dir.join(DEAD_FILE)),
    };
    folders.push(WrittenFolder { path: letters, writer: "dead letters".to_owned(), is_made: false, is_private: false });
    folders
}

/// Returns the folder, or what is there of the path to it, if it can be written to.
fn usable(WrittenFolder { path, writer, is_made, is_private }: &WrittenFolder) -> Result<PathBuf, Finding> {
    let shown = path.display();
    let error = |message: String| Finding::error("folder", message);
    let existing = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(Path::new("/"));
    let found = fs::metadata(existing).map_err(|cause| error(format!("`{}`: {cause}", existing.display())))?;
    if !found.is_dir() {
        let finding = error(format!("{writer} can't use `{shown}`: `{}` is no folder", existing.display()));
        return Err(finding.hint("name another folder, or move the file away"));
    }
    if existing != path && !is_made {
        return Err(error(format!("there is no folder `{shown}` for {writer}")).hint(format!("`mkdir -p {shown}`")));
    }
    let is_read_only = statvfs(existing).is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only || access(existing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let finding = error(format!("{writer} can't write to `{}`", existing.display()));
        return Err(finding.hint("give this user the right to write there, or name another folder"));
    }
    if *is_private
        && existing == path
        && let Err(foreign) = ownership::check(&found)
    {
        return Err(error(format!("`{shown}` is not to be trusted with {writer}: {foreign}")));
    }
    Ok(existing.to_owned())
}

fn free_room(free: u64, path: &Path) -> Finding {
    let message = format!("{} free at `{}`", ByteSize::b(free), path.display());
    let hint = "make room, or name a folder on another disk";
    match free {
        ..NONE => Finding::error("disk", message).hint(hint),
        NONE..LITTLE => Finding::warning("disk", message).hint(hint),
        _ => Finding::ok(message),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::finding::FindingLevel;

    fn folder(path: &Path, is_made: bool, is_private: bool) -> WrittenFolder {
        WrittenFolder { path: path.to_owned(), writer: "sink `out`".to_owned(), is_made, is_private }
    }

    #[test]
    fn what_can_not_be_written_to_is_told_before_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(usable(&folder(dir.path(), false, true)).unwrap(), dir.path());
        assert_eq!(usable(&folder(&at("new/deep"), true, true)).unwrap(), dir.path());
        for (path, is_made, is_private, expected) in [
            (at("file"), true, false, "is no folder"),
            (at("file/deep"), true, false, "is no folder"),
            (at("new"), false, false, "there is no folder"),
            (at("open"), true, true, "is not to be trusted"),
        ] {
            let finding = usable(&folder(&path, is_made, is_private)).unwrap_err();
            assert!(finding.message.contains(expected), "{path:?}: {finding}");
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_told() {
        let levels = [NONE - 1, LITTLE - 1, LITTLE].map(|free| free_room(free, Path::new("/")).level);
        assert_eq!(levels, [FindingLevel::Error, FindingLevel::Warning, FindingLevel::Ok]);
    }
}
