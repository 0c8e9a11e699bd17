//! Tokens of a router without replicas, in a file that outlives it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;

use super::ledger::{ClaimAnswer, OrphanTenure, TenureRecord, TenureScope};
use crate::poison::ignore_poison;

const NAME: &str = "tenures.json";

#[derive(Debug)]
pub(super) struct FileLedger(Arc<FileLedgerInner>);

#[derive(Debug)]
struct FileLedgerInner {
    folder: PathBuf,
    state: Mutex<LedgerState>,
    /// Version of the file. A task that finds the lock taken waits for a write that may include its
    /// own change.
    written: Mutex<u64>,
}

#[derive(Debug, Default)]
struct LedgerState {
    records: BTreeMap<TenureScope, TenureRecord>,
    /// Number of changes.
    version: u64,
}

impl FileLedger {
    /// Reads the records left by an earlier run. The folder is created if absent, for this user
    /// alone.
    ///
    /// # Errors
    /// If the file exists and can't be read, or the folder can't be created.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        private_folder(folder).with_context(|| format!("could not make `{}`", folder.display()))?;
        let path = folder.join(NAME);
        let records: Vec<TenureRecord> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "`{}` is not what trommel wrote: mend it, or move it away and with it the tokens",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
        };
        let records = records.into_iter().map(|record| (record.scope.clone(), record)).collect();
        let state = Mutex::new(LedgerState { records, version: 0 });
        Ok(Self(Arc::new(FileLedgerInner { folder: folder.to_owned(), state, written: Mutex::default() })))
    }

    pub(super) fn claim(&self, scope: &TenureScope) -> ClaimAnswer {
        let state = ignore_poison(self.0.state.lock());
        match state.records.get(scope) {
            Some(record) => ClaimAnswer::Held(record.clone()),
            None => ClaimAnswer::First { unfinished: None },
        }
    }

    pub(super) async fn hold(&self, record: &TenureRecord) -> anyhow::Result<()> {
        if record.token.is_none() {
            // Nothing to clean up: the next run begins anew.
            return Ok(());
        }
        self.change(|records| records.insert(record.scope.clone(), record.clone())).await
    }

    pub(super) async fn end(&self, scope: &TenureScope) -> anyhow::Result<()> {
        let is_known = ignore_poison(self.0.state.lock()).records.contains_key(scope);
        if is_known { self.change(|records| records.remove(scope)).await } else { Ok(()) }
    }

    /// Returns whether the orphan is still held as it was.
    pub(super) fn take_over(&self, orphan: &OrphanTenure) -> bool {
        let state = ignore_poison(self.0.state.lock());
        state.records.get(&orphan.record.scope) == Some(&orphan.record)
    }

    pub(super) fn orphans(&self, is_mine: impl Fn(&TenureScope) -> bool) -> Vec<OrphanTenure> {
        let state = ignore_poison(self.0.state.lock());
        let orphans = state.records.values().filter(|record| !is_mine(&record.scope));
        orphans.map(|record| OrphanTenure { record: record.clone(), revision: 0 }).collect()
    }

    /// Changes the records. Returns once the change is on the disk.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<TenureScope, TenureRecord>) -> T,
    ) -> anyhow::Result<()> {
        let version = {
            let mut state = ignore_poison(self.0.state.lock());
            change(&mut state.records);
            state.version += 1;
            state.version
        };
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || inner.write(version)).await?;
        written.with_context(|| format!("could not write `{}`", self.0.folder.join(NAME).display()))
    }
}

impl FileLedgerInner {
    /// Makes sure that the file has `version` or a later one: two hundred changes at once are a few
    /// writes.
    fn write(&self, version: u64) -> anyhow::Result<()> {
        let mut written = ignore_poison(self.written.lock());
        if *written >= version {
            return Ok(());
        }
        let (newest, mut json) = {
            let state = ignore_poison(self.state.lock());
            (state.version, serde_json::to_vec_pretty(&state.records.values().collect::<Vec<_>>())?)
        };
        json.push(b'\n');
        let temporary = self.folder.join(format!("{NAME}.new"));
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // Tokens are secret: only this user may read them.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(&json)?;
        // Complete before the rename: a crash leaves the old file or the new one.
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join(NAME))?;
        File::open(&self.folder)?.sync_all()?;
        *written = newest;
        Ok(())
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}
