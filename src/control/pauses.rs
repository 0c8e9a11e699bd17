//! The file that keeps pauses over restarts.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{config, pause::PausedPart};

const NAME: &str = "paused.json";
const LARGEST: u64 = 1 << 20;

/// The file of one router's pauses.
#[derive(Clone, Debug)]
pub(super) struct PauseFile(PathBuf);

impl PauseFile {
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join(NAME))
    }

    /// Reads the pauses; none if there is no file.
    ///
    /// # Errors
    /// Returns an error if there is a file and it can't be read.
    pub(super) fn read(&self) -> anyhow::Result<Vec<PausedPart>> {
        let at = || format!("could not read what is paused from `{}`: remove it, and nothing is", self.0.display());
        if !self.0.try_exists().with_context(at)? {
            return Ok(Vec::new());
        }
        let bytes = config::read(&self.0, LARGEST).with_context(at)?;
        serde_json::from_slice(&bytes).with_context(at)
    }

    /// Replaces the pauses, all of them or none.
    ///
    /// # Errors
    /// Returns an error if the folder can't be written to.
    pub(super) fn write(&self, parts: &[PausedPart]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let draft = self.0.with_extension("tmp");
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(parts)?)?;
        file.sync_all()?;
        fs::rename(draft, &self.0)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pause::PausableKind;

    #[test]
    fn pauses_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = PauseFile::of(&folder.path().join("state"));
        assert_eq!(file.read().unwrap(), []);
        let part = PausedPart {
            kind: PausableKind::Source,
            name: "in".to_owned(),
            who: "uid 0".to_owned(),
            since: Timestamp::now(),
        };
        file.write(std::slice::from_ref(&part)).unwrap();
        assert_eq!(file.read().unwrap(), [part]);
        fs::write(file.path(), "[").unwrap();
        assert!(format!("{:#}", file.read().unwrap_err()).contains("remove it"));
    }
}
