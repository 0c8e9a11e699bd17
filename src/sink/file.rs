//! NDJSON appended to a file that rotates by size and age. A line is whole or not there: what a failed write left
//! behind is cut off again, what a crash left behind is made a line of its own.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
    time::SystemTime,
};

use anyhow::Context as _;
use bytes::Bytes;

use super::{
    Output, Refusal, Slot,
    blocking::{Blocking, Destination, Stopped},
    chunk::Chunk,
    permissions,
};
use crate::config::{FileSink, Fsync};

mod rotation;
mod tail;

/// Opens the sink's file. Missing folders on the way are made.
///
/// # Errors
/// When the file can't be opened, is not a regular one, or doesn't look like NDJSON.
pub fn open(settings: &FileSink) -> anyhow::Result<Blocking<Ndjson>> {
    Ok(Blocking::new(Ndjson::open(settings.clone())?)?)
}

/// The file that is being written.
pub struct Ndjson {
    settings: FileSink,
    file: fs::File,
    /// Bytes of whole lines that were written.
    len: u64,
    /// Of those, the bytes that count: their outputs are confirmed.
    good: u64,
    /// Something that doesn't count may stand behind the good bytes.
    torn: bool,
    began: SystemTime,
    chunk: Chunk,
}

impl Ndjson {
    fn open(settings: FileSink) -> anyhow::Result<Self> {
        let (file, len, began) =
            open_file(&settings).with_context(|| format!("could not open `{}`", settings.path.display()))?;
        Ok(Self { settings, file, len, good: len, torn: false, began, chunk: Chunk::default() })
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.len, self.began) = open_file(&self.settings)?;
        self.good = self.len;
        Ok(())
    }

    fn store_at(&mut self, batch: &[(Slot, Bytes)], now: SystemTime) -> Result<(), Stopped> {
        let mut stored = 0;
        self.append(batch, now, &mut stored).map_err(|error| {
            if self.torn {
                // Should this fail as well, it is done before the next write.
                let _ = self.cut();
            }
            let context = format!("could not write `{}`", self.settings.path.display());
            Stopped { at: stored, why: Refusal::Later(anyhow::Error::new(error).context(context)) }
        })
    }

    fn append(&mut self, batch: &[(Slot, Bytes)], now: SystemTime, stored: &mut usize) -> io::Result<()> {
        if self.torn {
            self.cut()?;
        }
        self.follow_path()?;
        let mut written = 0;
        while written < batch.len() {
            if self.is_due(now) {
                self.confirm(written, stored)?;
                self.rotate(now)?;
            }
            let room = self.settings.max_size.map_or(u64::MAX, |max| max.saturating_sub(self.len));
            self.chunk.fill(&batch[written..], room);
            self.torn = true;
            let sent = self.chunk.send(&mut self.file);
            written += sent.lines;
            self.len += sent.whole as u64;
            if let Err(error) = sent.result {
                self.file.set_len(self.len)?;
                self.confirm(written, stored)?;
                return Err(error);
            }
            if self.settings.fsync == Fsync::Never {
                self.confirm(written, stored)?;
            }
        }
        self.confirm(written, stored)
    }

    /// Makes everything written so far count.
    fn confirm(&mut self, written: usize, stored: &mut usize) -> io::Result<()> {
        if self.settings.fsync == Fsync::Batch && *stored < written {
            self.file.sync_data()?;
        }
        *stored = written;
        self.good = self.len;
        self.torn = false;
        Ok(())
    }

    /// Cuts off what doesn't count.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.good)?;
        self.len = self.good;
        self.torn = false;
        Ok(())
    }

    /// Opens the file anew when someone has moved or removed it, and notices when someone has cut it.
    fn follow_path(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match fs::metadata(&self.settings.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                self.len = ours.len();
                self.good = self.len;
                Ok(())
            }
            Ok(_) => self.reopen(),
            Err(error) if error.kind() == ErrorKind::NotFound => self.reopen(),
            Err(error) => Err(error),
        }
    }

    fn is_due(&self, now: SystemTime) -> bool {
        let FileSink { max_size, max_age, .. } = self.settings;
        let age = now.duration_since(self.began).unwrap_or_default();
        self.len > 0 && (max_size.is_some_and(|max| self.len >= max) || max_age.is_some_and(|max| age >= max))
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        rotation::rotate(&self.settings.path, self.settings.keep, now)?;
        self.reopen()?;
        self.began = now;
        Ok(())
    }
}

impl Destination for Ndjson {
    type Item = Bytes;

    fn item(output: &Output) -> Bytes {
        output.payload.clone()
    }

    fn store(&mut self, batch: &[(Slot, Bytes)]) -> Result<(), Stopped> {
        self.store_at(batch, SystemTime::now())
    }
}

/// The file, ready for the next line, its length, and when it began.
fn open_file(settings: &FileSink) -> io::Result<(fs::File, u64, SystemTime)> {
    let folder = folder(&settings.path);
    permissions::make_folder(folder)?;
    let mut file = permissions::file().read(true).append(true).open(&settings.path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let len = tail::mend(&mut file, &settings.path)?;
    if settings.fsync == Fsync::Batch {
        // A new name is safe only with its folder.
        fs::File::open(folder)?.sync_all()?;
    }
    // Not every file system knows when a file was made.
    let began = metadata.created().or_else(|_| metadata.modified())?;
    Ok((file, len, began))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
