//! Outputs shared out over files, of which the last used are kept open.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::ensure;

use super::{
    appended::{AppendedFile, ChunkBuffers},
    name::{FileEntry, PathNames},
};
use crate::{
    avro::container::ContainerFormat,
    config::{FileSink, FileUpkeep, PathTemplate},
    sink::{
        Output, SinkRefusal, Slot,
        blocking::{BlockingDestination, StoppedBatch},
    },
};

/// Files that are open at once.
const MAX_OPEN: usize = 64;

/// A sink's files.
pub struct FilePartitions {
    root: PathBuf,
    names: PathNames,
    upkeep: FileUpkeep,
    container: Option<ContainerFormat>,
    lines: ChunkBuffers,
    /// Open files with their paths below the root, the last used at the end.
    open: Vec<(String, AppendedFile)>,
}

impl FilePartitions {
    pub(super) fn new(path: PathTemplate, settings: &FileSink) -> Self {
        let PathTemplate { root, names } = path;
        let lines = ChunkBuffers::new(&settings.record);
        let (upkeep, container) = (settings.upkeep, settings.container.clone());
        Self { root, names: PathNames::new(names), upkeep, container, lines, open: Vec::new() }
    }

    /// Returns for each file the indices of the batch's outputs that it gets, in order.
    fn share_out(&mut self, batch: &[(Slot, FileEntry)]) -> BTreeMap<String, Vec<usize>> {
        let (mut shares, mut path) = (BTreeMap::<String, Vec<usize>>::new(), String::new());
        for (at, (_, entry)) in batch.iter().enumerate() {
            self.names.fill(entry, &mut path);
            match shares.get_mut(&path) {
                Some(share) => share.push(at),
                None => {
                    shares.insert(path.clone(), vec![at]);
                }
            }
        }
        shares
    }

    fn store_in(&mut self, path: String, batch: &[(Slot, FileEntry)], share: &[usize]) -> Result<(), StoppedBatch> {
        let mut file = match self.open.iter().position(|(open, _)| *open == path) {
            Some(at) => self.open.remove(at).1,
            None => {
                if self.open.len() == MAX_OPEN {
                    self.open.remove(0);
                }
                let opened = no_links(&self.root, &path)
                    .and_then(|()| AppendedFile::open(self.root.join(&path), self.upkeep, self.container.as_ref()));
                opened.map_err(|error| StoppedBatch::at(0, SinkRefusal::Later(error)))?
            }
        };
        let payloads = share.iter().map(|at| &*batch[*at].1.payload);
        let stored = file.store(payloads, &mut self.lines, SystemTime::now());
        self.open.push((path, file));
        stored
    }
}

/// Refuses links among the folders below the root: those folders are the sink's own, and a link may
/// lead anywhere.
fn no_links(root: &Path, path: &str) -> anyhow::Result<()> {
    for (end, _) in path.match_indices('/') {
        let folder = root.join(&path[..end]);
        ensure!(!folder.is_symlink(), "`{}` is a symbolic link, which is not followed", folder.display());
    }
    Ok(())
}

impl BlockingDestination for FilePartitions {
    type Item = FileEntry;

    fn item(output: &Output) -> FileEntry {
        FileEntry::of(output)
    }

    /// Stores each file's share. A file that refuses holds up only its own outputs.
    fn store(&mut self, batch: &[(Slot, FileEntry)]) -> Result<(), StoppedBatch> {
        let mut first: Option<(usize, SinkRefusal)> = None;
        let mut refused = Vec::new();
        for (path, share) in self.share_out(batch) {
            let Err(stopped) = self.store_in(path, batch, &share) else { continue };
            let rest = &share[stopped.at..];
            refused.extend_from_slice(rest);
            if let Some(&at) = rest.first()
                && first.as_ref().is_none_or(|(first, _)| at < *first)
            {
                first = Some((at, stopped.why));
            }
        }
        let Some((at, why)) = first else { return Ok(()) };
        refused.sort_unstable();
        let stored_behind = (at..batch.len()).filter(|at| refused.binary_search(at).is_err()).collect();
        Err(StoppedBatch { at, why, stored_behind })
    }
}

#[cfg(test)]
mod tests;
