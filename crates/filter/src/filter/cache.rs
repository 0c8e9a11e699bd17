//! Folder of compiled code. Write access to it allows running code as this user.

use std::{
    env,
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use wasmtime::CacheConfig;

use super::error::report;

/// A folder that only this user and root can write to.
#[derive(Debug)]
pub(super) struct CacheFolder {
    path: PathBuf,
    is_temporary: bool,
}

impl CacheFolder {
    /// Creates the folder if it is absent, for this user alone.
    ///
    /// # Errors
    /// If it can't be created, or other users may write to it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("could not use `{}` for compiled components", path.display());
        let path = path::absolute(path).with_context(failed)?;
        private().recursive(true).create(&path).with_context(failed)?;
        check(&path).with_context(failed)?;
        Ok(Self { path, is_temporary: false })
    }

    /// Creates a temporary folder, which is removed when this value is dropped.
    pub(super) fn temporary() -> anyhow::Result<Self> {
        // Fails if the path exists, for another user may have created it.
        let path = env::temp_dir().join(format!("trommel-{:016x}", fastrand::u64(..)));
        private().create(&path).with_context(|| format!("could not make `{}`", path.display()))?;
        Ok(Self { path, is_temporary: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn cache(&self) -> anyhow::Result<wasmtime::Cache> {
        let mut config = CacheConfig::new();
        config.with_directory(&self.path);
        let failed = || format!("could not use `{}` for compiled components", self.path.display());
        wasmtime::Cache::new(config).map_err(report).with_context(failed)
    }
}

impl Drop for CacheFolder {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::debug!(folder = %self.path.display(), %error, "could not remove the compiled components");
        }
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Checks owner and permissions, as ssh does for its keys.
fn check(folder: &Path) -> anyhow::Result<()> {
    let found = fs::metadata(folder)?;
    let (owner, mode) = (found.uid(), found.mode());
    ensure!(
        is_trusted(owner),
        "it belongs to another user ({owner}), who could run code as us: name another folder with `--cache-dir`"
    );
    ensure!(
        mode & 0o022 == 0,
        "others may write to it (mode {:o}), and so run code as us: `chmod go-w` it, or name a folder inside it with \
         `--cache-dir`, which is then made for us alone",
        mode & 0o7777
    );
    Ok(())
}

/// Returns whether only this user and root can change what this owner has.
pub fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache/deep");
        CacheFolder::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        for open in [0o777, 0o720, 0o702] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            let error = format!("{:#}", CacheFolder::open(&folder).unwrap_err());
            assert!(error.contains("others may write to it") && error.contains("chmod go-w"), "{error}");
            // A folder created inside it is private.
            CacheFolder::open(&folder.join("inside")).unwrap();
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        CacheFolder::open(&folder).unwrap();
    }

    #[test]
    fn a_temporary_folder_is_private_and_goes() {
        let folder = CacheFolder::temporary().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(mode(&path), 0o700);
        fs::write(path.join("something"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
