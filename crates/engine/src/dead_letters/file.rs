//! Dead letters in a file, a line each, to which a router may be appending. Their ids are the
//! offsets of their lines.
//!
//! A letter is dropped in its place: its line becomes blank, from its first byte on, and that byte
//! decides. No letter begins with a space, so it is either there or not, whatever interrupts the
//! drop, and nothing has to be coordinated with the router, which never touches a line that has its
//! end. All other letters keep their places, and with them their ids. The file does not shrink; it
//! may be moved away at any time, and the router begins a new one.

use std::{
    fs,
    io::{self, ErrorKind, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader, Take},
    task::spawn_blocking,
};

use super::{DeadLetter, LettersError, NoLetter, StoredLetter};

/// Longest line that is read as a letter.
const MAX_LINE: u64 = 64 << 20;
/// Bytes of a longer line that are kept.
const KEPT: usize = 64 << 10;
const BLOCK: usize = 64 << 10;
static BLANK: [u8; BLOCK] = [b' '; BLOCK];

#[derive(Clone, Debug)]
pub struct LetterFile {
    path: PathBuf,
    /// Handle of the file that the ids count for, to tell it from another in its place. `None` if
    /// there was no file.
    opened: Option<Arc<fs::File>>,
}

impl LetterFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, LettersError> {
        let opened = match fs::File::open(&path) {
            Ok(file) => Some(Arc::new(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(LettersError::File(path, error)),
        };
        Ok(Self { path, opened })
    }

    /// Reads lines from the offset `from` on. `None` if there is no file.
    pub(super) async fn read(&self, from: u64) -> Result<Option<LetterFileReader>, LettersError> {
        let Some(opened) = &self.opened else { return Ok(None) };
        let file = self.again(opened, fs::File::options().read(true))?;
        let reader = LetterFileReader::start(file, self.path.clone(), from).await;
        reader.map(Some).map_err(|error| self.failed(error))
    }

    pub(super) async fn drop(&self, ids: Vec<u64>) -> Result<(), LettersError> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let file = self.again(opened, fs::File::options().read(true).write(true))?;
        let erased = spawn_blocking(move || {
            ids.into_iter().try_for_each(|id| erase(&file, id))?;
            file.sync_data()
        });
        erased.await.map_err(io::Error::other).flatten().map_err(|error| self.failed(error))
    }

    /// Opens the path again, and checks that it is still the same file.
    fn again(&self, opened: &fs::File, options: &fs::OpenOptions) -> Result<fs::File, LettersError> {
        let file = options.open(&self.path).map_err(|error| self.failed(error))?;
        let identity = |file: &fs::File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        match (identity(&file), identity(opened)) {
            (Ok(now), Ok(then)) if now == then => Ok(file),
            (Ok(_), Ok(_)) => Err(LettersError::Replaced(self.path.clone())),
            (Err(error), _) | (_, Err(error)) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> LettersError {
        LettersError::File(self.path.clone(), error)
    }
}

/// Makes the line that begins at `start` blank.
fn erase(file: &fs::File, start: u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut end = start;
    loop {
        let read = file.read_at(&mut block, end)?;
        if let Some(newline) = block[..read].iter().position(|byte| *byte == b'\n') {
            end += newline as u64;
            break;
        }
        if read == 0 {
            let message = format!("the line at {start} has no end yet: its router still has a hand in it");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        end += read as u64;
    }
    let mut at = start;
    // Forwards, as the first byte decides.
    while at < end {
        let length = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
        file.write_all_at(&BLANK[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Reader of lines up to the length that the file had when reading began.
pub struct LetterFileReader {
    path: PathBuf,
    input: BufReader<Take<tokio::fs::File>>,
    /// Offset of the next line.
    at: u64,
    line: Vec<u8>,
}

impl LetterFileReader {
    /// Starts at the first line that begins at `from` or after it.
    async fn start(file: fs::File, path: PathBuf, from: u64) -> io::Result<Self> {
        let len = file.metadata()?.len();
        // The byte before it tells whether a line begins there.
        let start = from.saturating_sub(1).min(len);
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(start)).await?;
        let mut input = BufReader::with_capacity(4 * BLOCK, file.take(len - start));
        let skipped = if from > 0 { skip_line(&mut input).await? } else { 0 };
        Ok(Self { path, input, at: start + skipped, line: Vec::new() })
    }

    pub(super) async fn next(&mut self) -> Result<Option<StoredLetter>, LettersError> {
        self.read().await.map_err(|error| LettersError::File(self.path.clone(), error))
    }

    async fn read(&mut self) -> io::Result<Option<StoredLetter>> {
        loop {
            self.line.clear();
            let id = self.at;
            let mut length = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line).await? as u64;
            if length == 0 {
                return Ok(None);
            }
            let mut letter = None;
            if !self.line.ends_with(b"\n") {
                let rest = skip_line(&mut self.input).await?;
                length += rest;
                letter = Some(if rest > 0 { NoLetter::TooLong(length) } else { NoLetter::Unfinished });
                self.line.truncate(KEPT);
            }
            self.at += length;
            if self.line.starts_with(b" ") || self.line.trim_ascii().is_empty() {
                continue;
            }
            let record = Bytes::copy_from_slice(self.line.trim_ascii_end());
            let letter = letter.map_or_else(|| DeadLetter::parse(&record), Err);
            return Ok(Some(StoredLetter { id, record, letter, stored: None }));
        }
    }
}

/// Skips the rest of a line, and returns how many bytes that was.
async fn skip_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf().await?;
        let (length, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(newline) => (newline + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(length);
        skipped += length as u64;
        if ends {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests;
