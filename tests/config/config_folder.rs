//! A router's folder made of texts, and what is said of it when it is loaded.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use trommel::{config::Config, folder::load};

/// A folder whose files their owner alone may read, as files with secrets are kept.
pub struct ConfigFolder(TempDir);

impl ConfigFolder {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn load(&self) -> Config {
        load(self.path()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Everything that is wrong with the folder, which itself appears as `DIR`.
    pub fn problems(&self) -> String {
        load(self.path()).unwrap_err().to_string().replace(&self.path().display().to_string(), "DIR")
    }

    /// What is said of a folder that can be used.
    pub fn warnings(&self) -> String {
        self.load().warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}
