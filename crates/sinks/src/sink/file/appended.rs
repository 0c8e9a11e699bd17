//! File that is being written: of lines, or of the blocks of a container. A line or a block is
//! whole or not there: the rest of a failed write is cut off again, and so is a block that a crash
//! has torn; a torn line is made a line of its own.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

use super::{
    blocks::{self, BlockTail},
    folder,
    record::RecordWriter,
    rotation, tail,
};
use crate::{
    avro::container::{ContainerFormat, ContainerWriter},
    config::{self, FileUpkeep, Fsync},
    sink::{SinkRefusal, blocking::StoppedBatch, chunk::LineChunk, permissions},
};

/// Buffers that lines and blocks are made with, which files may share.
pub(super) struct ChunkBuffers {
    chunk: LineChunk,
    records: RecordWriter,
}

impl ChunkBuffers {
    pub(super) fn new(settings: &config::RecordSettings) -> Self {
        Self { chunk: LineChunk::default(), records: RecordWriter::new(settings) }
    }
}

pub(super) struct AppendedFile {
    path: PathBuf,
    upkeep: FileUpkeep,
    /// `None` for lines.
    container: Option<ContainerFormat>,
    file: fs::File,
    /// Maker of the blocks of a container file.
    blocks: Option<ContainerWriter>,
    /// Bytes of whole lines or blocks that were written.
    len: u64,
    /// Bytes of those whose outputs are confirmed.
    good: u64,
    /// True if unconfirmed bytes may follow the good ones.
    torn: bool,
    /// Time from which the file's age counts.
    began: SystemTime,
}

impl AppendedFile {
    /// Opens the file. Missing folders on the way are made.
    ///
    /// # Errors
    /// Returns an error if it can't be opened, is not a regular file, or is no container file
    /// though it is to be one.
    pub(super) fn open(path: PathBuf, upkeep: FileUpkeep, container: Option<&ContainerFormat>) -> anyhow::Result<Self> {
        let opened =
            open_file(&path, upkeep, container).with_context(|| format!("could not open `{}`", path.display()))?;
        let OpenedFile { file, len, began, blocks } = opened;
        Ok(Self { path, upkeep, container: container.cloned(), file, blocks, len, good: len, torn: false, began })
    }

    /// Appends a line or a record for each payload, in order.
    ///
    /// # Errors
    /// Returns an error with how far it came and why no further.
    pub(super) fn store<'a>(
        &mut self,
        payloads: impl ExactSizeIterator<Item = &'a [u8]>,
        lines: &mut ChunkBuffers,
        now: SystemTime,
    ) -> Result<(), StoppedBatch> {
        let mut stored = 0;
        self.append(payloads, lines, now, &mut stored).map_err(|error| {
            if self.torn {
                // If this fails as well, it is done before the next write.
                let _ = self.cut();
            }
            let context = format!("could not write `{}`", self.path.display());
            StoppedBatch::at(stored, SinkRefusal::Later(anyhow::Error::new(error).context(context)))
        })
    }

    fn append<'a>(
        &mut self,
        mut payloads: impl ExactSizeIterator<Item = &'a [u8]>,
        lines: &mut ChunkBuffers,
        now: SystemTime,
        stored: &mut usize,
    ) -> io::Result<()> {
        if self.torn {
            self.cut()?;
        }
        self.follow_path()?;
        // A clock that was ahead when the file began, and is right now, does not put off its
        // rotation.
        self.began = self.began.min(now);
        let mut written = 0;
        while payloads.len() > 0 {
            if self.is_due(now) {
                self.confirm(written, stored)?;
                self.rotate(now)?;
            }
            let room = self.upkeep.max_size.map_or(u64::MAX, |max| max.saturating_sub(self.len));
            match &self.blocks {
                None => lines.chunk.fill(&mut payloads, room, |bytes, payload| lines.records.append(bytes, payload)),
                Some(blocks) => {
                    let header: &[u8] = if self.len == 0 { blocks.header() } else { &[] };
                    let block = |records: &[&[u8]]| blocks.block(records).map_err(io::Error::other);
                    lines.chunk.fill_block(&mut payloads, room, header, block)?;
                }
            }
            // Before the write, so that what a failed one leaves is cut off.
            self.torn = true;
            let sent = lines.chunk.send(&mut self.file);
            written += sent.lines;
            self.len += sent.whole as u64;
            if let Err(error) = sent.result {
                self.shorten(self.len)?;
                self.confirm(written, stored)?;
                return Err(error);
            }
            if self.upkeep.fsync == Fsync::Never {
                self.confirm(written, stored)?;
            }
        }
        self.confirm(written, stored)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let opened = open_file(&self.path, self.upkeep, self.container.as_ref())?;
        OpenedFile { file: self.file, len: self.len, began: self.began, blocks: self.blocks } = opened;
        self.good = self.len;
        Ok(())
    }

    /// Confirms everything written so far.
    fn confirm(&mut self, written: usize, stored: &mut usize) -> io::Result<()> {
        if self.upkeep.fsync == Fsync::Batch && *stored < written {
            self.file.sync_data()?;
        }
        *stored = written;
        self.good = self.len;
        self.torn = false;
        Ok(())
    }

    /// Cuts off unconfirmed bytes.
    fn cut(&mut self) -> io::Result<()> {
        self.shorten(self.good)?;
        self.len = self.good;
        self.torn = false;
        Ok(())
    }

    /// Cuts the file to a length, unless it is shorter already, cut by another process: then it
    /// would get zeros.
    fn shorten(&self, len: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > len { self.file.set_len(len) } else { Ok(()) }
    }

    /// Reopens the file if it was moved or removed, and repairs its end if it was cut.
    fn follow_path(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                if ours.len() != self.len {
                    if self.container.is_some() {
                        return self.reopen();
                    }
                    self.len = tail::mend(&mut self.file, &self.path)?;
                }
                self.good = self.len;
                Ok(())
            }
            Ok(_) => self.reopen(),
            Err(error) if error.kind() == ErrorKind::NotFound => self.reopen(),
            Err(error) => Err(error),
        }
    }

    fn is_due(&self, now: SystemTime) -> bool {
        let FileUpkeep { max_size, max_age, .. } = self.upkeep;
        let age = now.duration_since(self.began).unwrap_or_default();
        self.len > 0 && (max_size.is_some_and(|max| self.len >= max) || max_age.is_some_and(|max| age >= max))
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        rotation::rotate(&self.path, self.upkeep.keep, now)?;
        self.reopen()?;
        self.began = now;
        Ok(())
    }
}

/// File that is open for the next line or block.
struct OpenedFile {
    file: fs::File,
    len: u64,
    /// Time at which it began.
    began: SystemTime,
    blocks: Option<ContainerWriter>,
}

/// Opens the file for the next line or block. A container file to which nothing can be added is
/// moved away as if it were full.
fn open_file(path: &Path, upkeep: FileUpkeep, container: Option<&ContainerFormat>) -> io::Result<OpenedFile> {
    let opened = open_there(path, upkeep.fsync, container)?;
    match opened {
        Ok(opened) => Ok(opened),
        Err(why) => {
            tracing::warn!(path = %path.display(), why, "moved away, a new file is begun");
            rotation::rotate(path, upkeep.keep, SystemTime::now())?;
            let again = open_there(path, upkeep.fsync, container)?;
            again.map_err(|why| io::Error::new(ErrorKind::InvalidData, why))
        }
    }
}

/// Opens the file that is there, or a new one. The inner error says why nothing can be added to it.
fn open_there(
    path: &Path,
    fsync: Fsync,
    container: Option<&ContainerFormat>,
) -> io::Result<Result<OpenedFile, String>> {
    let folder = folder(path);
    let there = folder.ancestors().find(|folder| folder.is_dir());
    permissions::make_folder(folder)?;
    let mut file = permissions::file().read(true).append(true).open(path).map_err(|error| {
        if !permissions::is_link(&error) {
            return error;
        }
        let message = "it is a symbolic link, which is not followed: name the file that it leads to";
        io::Error::new(ErrorKind::InvalidInput, message)
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let (len, blocks) = match container {
        None => (tail::mend(&mut file, path)?, None),
        Some(format) => match blocks::continued(&file, path, format)? {
            BlockTail::Open(len, blocks) => (len, Some(blocks)),
            BlockTail::Closed(why) => return Ok(Err(why)),
        },
    };
    if fsync == Fsync::Batch {
        // A new name is durable only once its folder is synced, and a new folder's once the one
        // above is.
        for folder in folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
            if Some(folder) == there {
                break;
            }
        }
    }
    // Some file systems don't record when a file was made.
    let began = metadata.created().or_else(|_| metadata.modified())?;
    Ok(Ok(OpenedFile { file, len, began, blocks }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write that has failed is cut off again, but no file is filled up with zeros.
    #[test]
    fn what_others_have_cut_off_is_not_filled_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let mut lines = ChunkBuffers::new(&config::RecordSettings::default());
        let mut ndjson = AppendedFile::open(path.clone(), FileUpkeep::default(), None).unwrap();
        let mut store = |ndjson: &mut AppendedFile, payload: &str| {
            ndjson.store([payload.as_bytes()].into_iter(), &mut lines, SystemTime::now()).unwrap();
        };
        store(&mut ndjson, "{\"a\":1}");
        fs::File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
        ndjson.torn = true;
        store(&mut ndjson, "3");
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"{\\\"a\"\n3\n");
    }
}
