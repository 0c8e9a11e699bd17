//! Lines of JSON, or Avro records in containers, appended to a file, or shared out over files whose
//! paths depend on the outputs. Files rotate by size and age.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use bytes::Bytes;

use super::{
    Output, Slot,
    blocking::{BlockingDestination, BlockingSink, StoppedBatch},
    permissions,
};
use crate::config::{FileSink, FileUpkeep, Fsync, PathTemplate, RecordSettings};

mod appended;
mod blocks;
mod name;
mod partitions;
mod record;
mod rotation;
mod tail;
mod written;

use appended::{AppendedFile, ChunkBuffers};
use name::{FileEntry, PathNames};
use partitions::FilePartitions;
pub use record::RecordWriter;
pub use written::{partitions, written_files};

/// Opens the sink's file. Missing folders on the way are made.
///
/// # Errors
/// Returns an error if the file can't be opened, is not a regular one, or is no
/// container file where one is to be written.
pub fn open(path: PathBuf, settings: &FileSink) -> anyhow::Result<BlockingSink<OneFile>> {
    let file = AppendedFile::open(path, settings.upkeep, settings.container.as_ref())?;
    Ok(BlockingSink::new(OneFile { file, buffers: ChunkBuffers::new(&settings.record) })?)
}

/// Makes the folder that the sink's files are in. They are opened when there is something for them.
///
/// # Errors
/// Returns an error if the folder can't be made.
pub fn open_partitions(path: PathTemplate, settings: &FileSink) -> anyhow::Result<BlockingSink<FilePartitions>> {
    permissions::make_folder(&path.root).with_context(|| format!("could not open folder `{}`", path.root.display()))?;
    Ok(BlockingSink::new(FilePartitions::new(path, settings))?)
}

/// Appends one line to a file and waits until it is on the disk. Blocks.
///
/// # Errors
/// Returns an error if it can't be written whole.
pub fn append(path: PathBuf, payload: &[u8]) -> anyhow::Result<()> {
    let upkeep = FileUpkeep { fsync: Fsync::Batch, ..FileUpkeep::default() };
    let stored = AppendedFile::open(path, upkeep, None)?.store(
        std::iter::once(payload),
        &mut ChunkBuffers::new(&RecordSettings::default()),
        SystemTime::now(),
    );
    stored.map_err(|stopped| stopped.why.into())
}

/// Returns the line that a sink writes of a payload; of a container file, the record as it stands
/// in a block.
pub(super) fn line(settings: &FileSink, payload: &[u8]) -> Vec<u8> {
    if settings.container.is_some() {
        return payload.to_vec();
    }
    let mut line = Vec::new();
    RecordWriter::new(&settings.record).append(&mut line, payload);
    line
}

/// Returns the path of the sink's file that an output belongs to.
pub(super) fn partition(path: &PathTemplate, output: &Output) -> PathBuf {
    let mut name = String::new();
    PathNames::new(path.names.clone()).fill(&FileEntry::of(output), &mut name);
    path.root.join(name)
}

/// A sink's only file.
pub struct OneFile {
    file: AppendedFile,
    buffers: ChunkBuffers,
}

impl BlockingDestination for OneFile {
    type Item = Bytes;

    fn item(output: &Output) -> Bytes {
        output.payload.clone()
    }

    fn store(&mut self, batch: &[(Slot, Bytes)]) -> Result<(), StoppedBatch> {
        let payloads = batch.iter().map(|(_, payload)| &**payload);
        self.file.store(payloads, &mut self.buffers, SystemTime::now())
    }
}

/// Returns the folder that the file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
