//! Rotation: a full file moves away under a name that holds the time, `out.ndjson` as
//! `out.20240501T100000.123456789Z.ndjson`.

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};

use super::folder;

const STAMP: &str = "%Y%m%dT%H%M%S.%9fZ";
/// Length of the filled-in stamp.
const STAMP_LEN: usize = 26;

/// Moves the file away and removes the oldest of its predecessors beyond `keep`. Failures to remove
/// them are only logged.
pub(super) fn rotate(path: &Path, keep: Option<NonZeroUsize>, now: SystemTime) -> io::Result<()> {
    let mut rotated = rotated(path)?;
    let mut time = Timestamp::try_from(now).map_err(io::Error::other)?;
    // The newest name is the last, whatever the clock reads; and an existing name would be
    // overwritten.
    if let Some(newest) = rotated.last().filter(|newest| **newest >= time) {
        time = newest.checked_add(1.nanosecond()).map_err(io::Error::other)?;
    }
    fs::rename(path, name(path, time))?;
    rotated.push(time);
    if let Some(keep) = keep {
        let surplus = rotated.len().saturating_sub(keep.get());
        rotated[..surplus].iter().for_each(|time| remove(&name(path, *time)));
    }
    Ok(())
}

/// Returns whether [`rotate`] gives such names to files that are moved away from another.
pub(super) fn is_rotated(name: &str) -> bool {
    let ends_in_time = |stem: &str| {
        let stamp = stem.len().checked_sub(STAMP_LEN).and_then(|start| stem.get(start..));
        stamp.is_some_and(|stamp| DateTime::strptime(STAMP, stamp).is_ok())
    };
    ends_in_time(name) || name.rsplit_once('.').is_some_and(|(stem, _)| ends_in_time(stem))
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not remove an old file");
        }
        _ => {}
    }
}

/// Returns the files that [`rotate`] has moved away from `path`, oldest first.
pub(super) fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(rotated(path)?.into_iter().map(|time| name(path, time)).collect())
}

/// Returns the times of all the files that [`rotate`] has moved away from `path`, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<Timestamp>> {
    let mut times = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        times.extend(time(path, &entry?.file_name()));
    }
    times.sort_unstable();
    Ok(times)
}

fn name(path: &Path, time: Timestamp) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(time.strftime(STAMP).to_string());
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Returns the time in a name that [`rotate`] gave. `None` for any other file.
fn time(path: &Path, file: &OsStr) -> Option<Timestamp> {
    let after_stem = file.to_str()?.strip_prefix(path.file_stem()?.to_str()?)?.strip_prefix('.')?;
    let (stamp, _) = after_stem.split_once('Z')?;
    let time = DateTime::strptime(STAMP, format!("{stamp}Z")).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (name(path, time).file_name() == Some(file)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_taken_for_rotated_files() {
        let moved: Timestamp = "2024-05-01T10:00:00.123456789Z".parse().unwrap();
        for (path, file) in [
            ("out.ndjson", "out.20240501T100000.123456789Z.ndjson"),
            ("out", "out.20240501T100000.123456789Z"),
            ("a.Zb.c", "a.Zb.20240501T100000.123456789Z.c"),
        ] {
            assert_eq!(name(Path::new(path), moved), Path::new(file));
            assert_eq!(time(Path::new(path), OsStr::new(file)), Some(moved), "{file}");
            assert!(is_rotated(file) && !is_rotated(path), "{file}");
        }
        for other in [
            "out.ndjson",
            "out.20240501T100000.123456789Z.ndjson.gz",
            "out.20240501T100000.123456789Z",
            "out.20240501T100000.123456789Zndjson",
            "out.20240501T100000.1Z.ndjson",
            "out.20241301T100000.123456789Z.ndjson",
            "out2.20240501T100000.123456789Z.ndjson",
            "out.backup.ndjson",
        ] {
            assert_eq!(time(Path::new("out.ndjson"), OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        for (line, seconds) in ["a", "b", "c"].iter().zip([20, 10, 10]) {
            fs::write(&path, line).unwrap();
            rotate(&path, None, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        let read = |time: &Timestamp| fs::read_to_string(name(&path, *time)).unwrap();
        assert_eq!(rotated(&path).unwrap().iter().map(read).collect::<String>(), "abc");
    }
}
