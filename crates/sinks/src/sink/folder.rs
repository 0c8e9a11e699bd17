//! One file per output, written under a hidden name first, so that a reader never sees half of one
//! (L117, L130). A redelivered event overwrites its own file, and no output overwrites another's.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use super::{
    Output, SinkRefusal, Slot,
    blocking::{BlockingDestination, BlockingSink, StoppedBatch},
    permissions,
};
use crate::{
    avro::container::ContainerWriter,
    config::{FolderSink, Fsync},
    event::{Event, Headers},
    json::{self, line},
};

mod name;

use name::FileNames;

const PREFIX: &str = ".trommel-";
const SUFFIX: &str = ".tmp";

/// Opens the folder, makes it if it is missing, and removes half-written files that a crash has
/// left.
///
/// # Errors
/// Returns an error if the folder can't be made or read.
pub fn open(settings: &FolderSink) -> anyhow::Result<BlockingSink<FolderWriter>> {
    clean(&settings.path).with_context(|| format!("could not open folder `{}`", settings.path.display()))?;
    Ok(BlockingSink::new(FolderWriter { settings: settings.clone() })?)
}

/// Returns how many files of the folder hold this output: one once it is stored.
pub fn copies(settings: &FolderSink, output: &Output) -> u32 {
    let file = FolderWriter::item(output);
    let Ok((names, content)) = rendered(settings, &file) else { return 0 };
    let holds = |name: &String| fs::read(settings.path.join(name)).is_ok_and(|found| found == content);
    u32::from(names.wanted.as_ref().is_some_and(holds)) + u32::from(holds(&names.own))
}

fn clean(path: &Path) -> io::Result<()> {
    permissions::make_folder(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub struct FolderWriter {
    settings: FolderSink,
}

impl FolderWriter {
    fn write(&self, file: &NewFile) -> io::Result<()> {
        let (names, content) = rendered(&self.settings, file)?;
        // The process id keeps routers apart that share a folder. The digest keeps outputs apart:
        // if a link is left behind, no other output is written through it.
        let hidden = format!("{PREFIX}{}-{:016x}{SUFFIX}", std::process::id(), file.digest);
        let hidden = self.settings.path.join(hidden);
        let written = self.place(&hidden, &names, &content);
        // Gone already if it was renamed; if it can't be removed, it goes when the folder is opened
        // the next time.
        let _ = fs::remove_file(&hidden);
        written
    }

    fn stopped(&self, at: usize, error: io::Error) -> StoppedBatch {
        let context = format!("could not write into folder `{}`", self.settings.path.display());
        StoppedBatch::at(at, SinkRefusal::Later(anyhow::Error::new(error).context(context)))
    }

    fn place(&self, hidden: &Path, names: &FileNames, content: &[u8]) -> io::Result<()> {
        let mut file = permissions::file().write(true).truncate(true).open(hidden)?;
        file.write_all(content)?;
        if self.settings.fsync == Fsync::Batch {
            file.sync_data()?;
        }
        if let Some(wanted) = &names.wanted
            && is_placed(hidden, &self.settings.path.join(wanted), content)?
        {
            return Ok(());
        }
        fs::rename(hidden, self.settings.path.join(&names.own))
    }
}

/// Returns the names and the content of an output's file.
fn rendered(settings: &FolderSink, file: &NewFile) -> io::Result<(FileNames, Bytes)> {
    let is_json = settings.container.is_none() && line::is_json(&file.payload);
    let extension = match (&settings.container, is_json) {
        (Some(_), _) => ".avro",
        (None, true) => ".json",
        (None, false) => ".bin",
    };
    let names = match &settings.name {
        Some(template) => FileNames::filled(template, file),
        None => FileNames::plain(file, extension),
    };
    let mut content = file.payload.clone();
    if settings.pretty && is_json {
        let mut pretty = json::pretty(&content);
        pretty.push(b'\n');
        content = pretty.into();
    }
    if let Some(format) = &settings.container {
        // The same with every delivery, so that the file is known again.
        let marker = Sha256::digest(&content);
        let writer = ContainerWriter::new(format, std::array::from_fn(|at| marker[at])).map_err(io::Error::other)?;
        let block = writer.block(&[&content]).map_err(io::Error::other)?;
        content = [writer.header(), &block].concat().into();
    }
    Ok((names, content))
}

/// Returns the path and the content of an output's file, if no other file has its name.
///
/// # Errors
/// Returns an error if it can't be compressed.
pub(super) fn preview(settings: &FolderSink, output: &Output) -> Result<(PathBuf, Bytes), SinkRefusal> {
    let rendered = rendered(settings, &FolderWriter::item(output));
    let (FileNames { wanted, own }, content) = rendered.map_err(|error| SinkRefusal::Later(error.into()))?;
    Ok((settings.path.join(wanted.unwrap_or(own)), content))
}

/// Gives the hidden file another name. `false` if another output's file has it; a file with the
/// same content is our own, from an earlier delivery.
fn is_placed(hidden: &Path, target: &Path, content: &[u8]) -> io::Result<bool> {
    // Unlike a rename, a link replaces no file.
    match fs::hard_link(hidden, target) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // A symbolic link is never our own file.
            let there = fs::symlink_metadata(target)?;
            Ok(there.is_file() && there.len() == content.len() as u64 && fs::read(target)? == content)
        }
        linked => linked.map(|()| true),
    }
}

/// Parts of an output that its file is made of.
pub struct NewFile {
    event: Event,
    key: Arc<str>,
    subject: ByteString,
    headers: Headers,
    index: u32,
    /// Digest of the output's id.
    digest: u64,
    payload: Bytes,
}

impl BlockingDestination for FolderWriter {
    type Item = NewFile;

    fn item(output: &Output) -> NewFile {
        let digest = Sha256::digest(output.id().to_string());
        NewFile {
            event: output.ticket.event().clone(),
            key: Arc::clone(&output.key),
            subject: output.subject().clone(),
            headers: output.headers().clone(),
            index: output.index,
            digest: u64::from_be_bytes(std::array::from_fn(|index| digest[index])),
            payload: output.payload.clone(),
        }
    }

    fn store(&mut self, batch: &[(Slot, NewFile)]) -> Result<(), StoppedBatch> {
        let path = &self.settings.path;
        for (at, (_, file)) in batch.iter().enumerate() {
            let mut written = self.write(file);
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                written = permissions::make_folder(path).and_then(|()| self.write(file));
            }
            written.map_err(|error| self.stopped(at, error))?;
        }
        if self.settings.fsync == Fsync::Batch {
            // Names are durable only once their folder is synced.
            fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| self.stopped(0, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
