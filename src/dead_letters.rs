//! Dead letters where they are stored, a file or a stream: read in order, and dropped. The sinks write them
//! ([`crate::sink::dead_letter`]).

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    config::{self, Alike, DeadLetter},
    nats::{self, ApiError, ConnectError, History, HistoryError, Life},
};

mod file;
mod letter;
mod stream;

pub use letter::{Letter, NoLetter};

/// Why dead letters can't be read or dropped.
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

/// One of the dead letters, or what else stands among them.
#[derive(Debug)]
pub struct Entry {
    /// What users call it: its sequence in the stream, or where its line begins in the file. Neither changes when letters
    /// come or go.
    pub id: u64,
    /// As it is stored; of what is too long, its start.
    pub record: Bytes,
    pub letter: Result<Letter, NoLetter>,
    /// When the server took it.
    stored: Option<Timestamp>,
}

impl Entry {
    /// When it was stored, as far as that is known.
    pub fn time(&self) -> Option<Timestamp> {
        self.letter.as_ref().map(|letter| letter.time).ok().or(self.stored)
    }

    /// The letter's payload as it came in, where the letter has it: see [`Letters::payload`].
    ///
    /// # Errors
    /// When it can't be read.
    pub fn payload(&self) -> Result<Bytes, NoLetter> {
        letter::payload(&self.record)
    }

    pub fn is_like(&self, alike: &Alike) -> bool {
        let same = |wanted: &Option<String>, has: fn(&Letter) -> &str| match wanted {
            Some(wanted) => self.letter.as_ref().is_ok_and(|letter| has(letter) == wanted),
            None => true,
        };
        let is_within = match (alike.since, alike.until) {
            (None, None) => true,
            (since, until) => self
                .time()
                .is_some_and(|time| since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)),
        };
        is_within && same(&alike.reason, |letter| &letter.reason) && same(&alike.key, |letter| &letter.key)
    }
}

/// Where dead letters are. Clones share it.
#[derive(Clone, Debug)]
pub enum Letters {
    File(file::File),
    Stream(stream::Stream),
}

impl Letters {
    /// Where nothing was stored yet, there are none.
    ///
    /// # Errors
    /// When the server can't be reached, or the file not be opened.
    pub async fn open(from: &DeadLetter, nats: Option<&config::Nats>) -> Result<Self, LettersError> {
        match (from, nats) {
            (DeadLetter::File(path), _) => Ok(Self::File(file::File::open(path.clone())?)),
            (DeadLetter::Stream { stream, subject }, Some(nats)) => {
                let connection = nats::connect(nats, "dead letters", Life::Reconnecting).await?;
                Ok(Self::Stream(stream::Stream { connection, name: stream.clone(), subject: subject.clone() }))
            }
            (DeadLetter::Stream { .. }, None) | (DeadLetter::Discard, _) => Err(LettersError::Nowhere),
        }
    }

    /// Reads them from this id on, those that are there now, oldest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn read(&self, from: u64) -> Result<Reader, LettersError> {
        Ok(match self {
            Self::File(file) => file.read(from).await?.map_or(Reader::Empty, |lines| Reader::File(Box::new(lines))),
            Self::Stream(stream) => {
                stream.read(from).await?.map_or(Reader::Empty, |history| Reader::Stream(Box::new(history)))
            }
        })
    }

    /// The one with this id; without it, the first one behind it.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn at(&self, id: u64) -> Result<Option<Entry>, LettersError> {
        match self {
            Self::File(_) => self.read(id).await?.next().await,
            Self::Stream(stream) => stream.at(id).await,
        }
    }

    /// The payload of an entry with this letter as it came in, from the source's stream where the letter could not hold it.
    ///
    /// # Errors
    /// When it can't be read, or is not there any more.
    pub async fn payload(&self, entry: &Entry, letter: &Letter) -> Result<Bytes, NoLetter> {
        if letter.cut {
            return Err(NoLetter::Cut(letter.stream.clone(), letter.sequence));
        }
        match (self, &letter.payload_sha256) {
            (Self::Stream(stream), Some(digest)) => stream.payload(letter, digest).await,
            (Self::File(_), Some(_)) => Err(NoLetter::Gone(letter.stream.clone(), letter.sequence)),
            (_, None) => entry.payload(),
        }
    }

    /// Drops these for good. Those that are gone already count as dropped.
    ///
    /// # Errors
    /// When one of them can't be dropped. Others may be dropped by then.
    pub async fn drop(&self, ids: Vec<u64>) -> Result<(), LettersError> {
        match self {
            Self::File(file) => file.drop(ids).await,
            Self::Stream(stream) => stream.drop(ids).await,
        }
    }
}

/// Dead letters in the order in which they were stored.
pub enum Reader {
    /// Nothing was ever stored.
    Empty,
    File(Box<file::Reader>),
    Stream(Box<History>),
}

impl Reader {
    /// The next one; `None` behind the last. Not cancel safe.
    ///
    /// # Errors
    /// When they can't be read on.
    pub async fn next(&mut self) -> Result<Option<Entry>, LettersError> {
        match self {
            Self::Empty => Ok(None),
            Self::File(lines) => lines.next().await,
            Self::Stream(history) => Ok(history.next().await?.map(stream::entry)),
        }
    }
}
