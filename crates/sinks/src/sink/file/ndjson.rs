//! NDJSON file that is being written. A line is whole or not there: the rest of a failed write is
//! cut off again, the rest of a crash is made a line of its own.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

use super::{folder, record::RecordWriter, rotation, tail};
use crate::{
    config::{self, FileUpkeep, Fsync},
    sink::{SinkRefusal, blocking::StoppedBatch, chunk::LineChunk, permissions},
};

/// Buffers that lines are made with, which files may share.
pub(super) struct LineBuffers {
    chunk: LineChunk,
    records: RecordWriter,
}

impl LineBuffers {
    pub(super) fn new(settings: &config::RecordSettings) -> Self {
        Self { chunk: LineChunk::default(), records: RecordWriter::new(settings) }
    }
}

pub(super) struct NdjsonFile {
    path: PathBuf,
    upkeep: FileUpkeep,
    file: fs::File,
    /// Bytes of whole lines that were written.
    len: u64,
    /// Bytes of the lines whose outputs are confirmed.
    good: u64,
    /// True if unconfirmed bytes may follow the good ones.
    torn: bool,
    /// Time from which the file's age counts.
    began: SystemTime,
}

impl NdjsonFile {
    /// Opens the file. Missing folders on the way are made.
    ///
    /// # Errors
    /// Returns an error if it can't be opened, is not a regular file, or doesn't look like NDJSON.
    pub(super) fn open(path: PathBuf, upkeep: FileUpkeep) -> anyhow::Result<Self> {
        let (file, len, began) =
            open_file(&path, upkeep.fsync).with_context(|| format!("could not open `{}`", path.display()))?;
        Ok(Self { path, upkeep, file, len, good: len, torn: false, began })
    }

    /// Appends a line for each payload, in order.
    ///
    /// # Errors
    /// Returns an error with how far it came and why no further.
    pub(super) fn store<'a>(
        &mut self,
        payloads: impl ExactSizeIterator<Item = &'a [u8]>,
        lines: &mut LineBuffers,
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
        lines: &mut LineBuffers,
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
            lines.chunk.fill(&mut payloads, room, |bytes, payload| lines.records.append(bytes, payload));
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
        (self.file, self.len, self.began) = open_file(&self.path, self.upkeep.fsync)?;
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

/// Opens the file for the next line. Returns it with its length, and the time at which it began.
fn open_file(path: &Path, fsync: Fsync) -> io::Result<(fs::File, u64, SystemTime)> {
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
    let len = tail::mend(&mut file, path)?;
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
    Ok((file, len, began))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write that has failed is cut off again, but no file is filled up with zeros.
    #[test]
    fn what_others_have_cut_off_is_not_filled_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let mut lines = LineBuffers::new(&config::RecordSettings::default());
        let mut ndjson = NdjsonFile::open(path.clone(), FileUpkeep::default()).unwrap();
        let mut store = |ndjson: &mut NdjsonFile, payload: &str| {
            ndjson.store([payload.as_bytes()].into_iter(), &mut lines, SystemTime::now()).unwrap();
        };
        store(&mut ndjson, "{\"a\":1}");
        fs::File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
        ndjson.torn = true;
        store(&mut ndjson, "3");
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"{\\\"a\"\n3\n");
    }
}
