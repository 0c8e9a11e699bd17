//! Stored dead letters, in a file or a stream: read in order, and dropped. The sinks write them
//! ([`crate::sink::dead_letter`]).

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    config::{self, DeadLetterTarget, LetterFilter},
    nats::{self, ApiError, ConnectError, ConnectionLife, HistoryError, StreamHistory},
};

mod file;
mod letter;
mod stream;

pub use letter::{DeadLetter, NoLetter};

/// Error while reading or dropping dead letters.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    #[error("the configuration has no place for dead letters")]
    Nowhere,
    #[error("could not connect to NATS")]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] HistoryError),
    #[error("can't drop dead letter {1} of stream `{0}`")]
    Drop(String, u64, #[source] ApiError),
    #[error("can't use the file of dead letters `{}`", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("`{}` was replaced by another file meanwhile, and ids count for one file", .0.display())]
    Replaced(PathBuf),
}

/// One of the stored dead letters, or another record among them.
#[derive(Debug)]
pub struct StoredLetter {
    /// Id shown to users: the record's sequence in the stream, or the offset of its line in the
    /// file. It does not change when letters are added or dropped.
    pub id: u64,
    /// Record as it is stored; if it is too long, its start.
    pub record: Bytes,
    pub letter: Result<DeadLetter, NoLetter>,
    /// Time at which the server stored it.
    stored: Option<Timestamp>,
}

impl StoredLetter {
    /// Returns the time at which it was stored, if known.
    pub fn time(&self) -> Option<Timestamp> {
        self.letter.as_ref().map(|letter| letter.time).ok().or(self.stored)
    }

    /// Returns the letter's payload as it came in, if the letter holds it: see
    /// [`LetterStore::payload`].
    ///
    /// # Errors
    /// Returns an error if it can't be read.
    pub fn payload(&self) -> Result<Bytes, NoLetter> {
        letter::payload(&self.record)
    }

    pub fn is_like(&self, alike: &LetterFilter) -> bool {
        let same = |wanted: &Option<String>, has: fn(&DeadLetter) -> &str| match wanted {
            Some(wanted) => self.letter.as_ref().is_ok_and(|letter| has(letter) == wanted),
            None => true,
        };
        let is_within = match (alike.since, alike.until) {
            (None, None) => true,
            (since, until) => self
                .time()
                .is_some_and(|time| since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)),
        };
        let has_reason = same(&alike.reason, |letter| &letter.reason) || same(&alike.reason, |letter| &letter.code);
        is_within && has_reason && same(&alike.key, |letter| &letter.key)
    }
}

/// Opened store of dead letters. Clones share it.
#[derive(Clone, Debug)]
pub enum LetterStore {
    File(file::LetterFile),
    Stream(stream::LetterStream),
}

impl LetterStore {
    /// Opens the store. One in which nothing was stored yet has no letters.
    ///
    /// # Errors
    /// Returns an error if the server can't be reached, the file can't be opened, or the
    /// configuration has no place for dead letters.
    pub async fn open(from: &DeadLetterTarget, nats: Option<&config::NatsConfig>) -> Result<Self, LettersError> {
        match (from, nats) {
            (DeadLetterTarget::File(path), _) => Ok(Self::File(file::LetterFile::open(path.clone())?)),
            (DeadLetterTarget::Stream { stream, subject }, Some(nats)) => {
                let connection = nats::connect(nats, "dead letters", ConnectionLife::Reconnecting).await?;
                Ok(Self::Stream(stream::LetterStream { connection, name: stream.clone(), subject: subject.clone() }))
            }
            (DeadLetterTarget::Stream { .. }, None) | (DeadLetterTarget::Discard, _) => Err(LettersError::Nowhere),
        }
    }

    /// Reads the letters that are stored now, from this id on, oldest first.
    ///
    /// # Errors
    /// Returns an error if they can't be read.
    pub async fn read(&self, from: u64) -> Result<LetterReader, LettersError> {
        Ok(match self {
            Self::File(file) => {
                file.read(from).await?.map_or(LetterReader::Empty, |lines| LetterReader::File(Box::new(lines)))
            }
            Self::Stream(stream) => {
                stream.read(from).await?.map_or(LetterReader::Empty, |history| LetterReader::Stream(Box::new(history)))
            }
        })
    }

    /// Returns the entry with this id or, if it does not exist, the first one after it.
    ///
    /// # Errors
    /// Returns an error if they can't be read.
    pub async fn at(&self, id: u64) -> Result<Option<StoredLetter>, LettersError> {
        match self {
            Self::File(_) => self.read(id).await?.next().await,
            Self::Stream(stream) => stream.at(id).await,
        }
    }

    /// Returns the payload of an entry with this letter as it came in, from the source's stream if
    /// the letter could not hold it.
    ///
    /// # Errors
    /// Returns an error if it can't be read, or does not exist any more.
    pub async fn payload(&self, entry: &StoredLetter, letter: &DeadLetter) -> Result<Bytes, NoLetter> {
        if letter.cut {
            return Err(NoLetter::Cut(letter.stream.clone(), letter.sequence));
        }
        match (self, &letter.payload_sha256) {
            (Self::Stream(stream), Some(digest)) => stream.payload(letter, digest).await,
            (Self::File(_), Some(_)) => Err(NoLetter::Gone(letter.stream.clone(), letter.sequence)),
            (_, None) => entry.payload(),
        }
    }

    /// Drops these letters for good. Letters that are gone already count as dropped.
    ///
    /// # Errors
    /// Returns an error if one of them can't be dropped. Others may be dropped by then.
    pub async fn drop(&self, ids: Vec<u64>) -> Result<(), LettersError> {
        match self {
            Self::File(file) => file.drop(ids).await,
            Self::Stream(stream) => stream.drop(ids).await,
        }
    }
}

/// Dead letters in the order in which they were stored.
pub enum LetterReader {
    /// Nothing was ever stored.
    Empty,
    File(Box<file::LetterFileReader>),
    Stream(Box<StreamHistory>),
}

impl LetterReader {
    /// Returns the next entry, or `None` after the last. Not cancel safe.
    ///
    /// # Errors
    /// Returns an error if reading fails.
    pub async fn next(&mut self) -> Result<Option<StoredLetter>, LettersError> {
        match self {
            Self::Empty => Ok(None),
            Self::File(lines) => lines.next().await,
            Self::Stream(history) => Ok(history.next().await?.map(stream::entry)),
        }
    }
}
