//! Dead letters in a stream. Their ids are its sequences.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{DeadLetter, LettersError, NoLetter, StoredLetter};
use crate::{
    config::{RangeBegin, StreamRange},
    nats::{Connection, HistoryError, RawMessage, StoredMessage, StreamHistory, code},
};

/// Messages that are deleted at a time.
const AT_ONCE: usize = 64;

#[derive(Clone, Debug)]
pub struct LetterStream {
    pub(super) connection: Connection,
    pub(super) name: String,
    /// Prefix of the letters' subjects.
    pub(super) subject: String,
}

impl LetterStream {
    /// Reads letters from a sequence on. `None` if the stream does not exist, and so holds none.
    pub(super) async fn read(&self, from: u64) -> Result<Option<StreamHistory>, LettersError> {
        let range = StreamRange {
            stream: self.name.clone(),
            subjects: vec![format!("{}.>", self.subject)],
            begin: if from == 0 { RangeBegin::First } else { RangeBegin::Sequence(from) },
            until: None,
            to: None,
            limit: None,
        };
        // The history's client may end because of a message that was published there; this one is
        // still needed.
        let connection = self.connection.again().await?;
        match StreamHistory::open(connection, range).await {
            Err(HistoryError::NoStream(_)) => Ok(None),
            opened => Ok(opened.map(Some)?),
        }
    }

    /// Returns the first entry at or after a sequence.
    pub(super) async fn at(&self, sequence: u64) -> Result<Option<StoredLetter>, LettersError> {
        let subjects: Vec<_> = format!("{}.>", self.subject).parse().into_iter().collect();
        match RawMessage::next(&self.connection, &self.name, &subjects, sequence).await {
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(HistoryError::Api(self.name.clone(), error).into()),
            Ok(found) => Ok(found.map(|RawMessage { sequence, payload, stored_at, .. }| StoredLetter {
                id: sequence,
                letter: DeadLetter::parse(&payload),
                record: payload,
                stored: Timestamp::from_nanosecond(stored_at.into()).ok(),
            })),
        }
    }

    pub(super) async fn drop(&self, ids: Vec<u64>) -> Result<(), LettersError> {
        stream::iter(ids).map(|id| self.delete(id)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Reads the payload that was too large for its letter from the stream of its source.
    pub(super) async fn payload(&self, letter: &DeadLetter, digest: &str) -> Result<Bytes, NoLetter> {
        let DeadLetter { stream, sequence, .. } = letter;
        let gone = || NoLetter::Gone(stream.clone(), *sequence);
        let answer = self.connection.api(&format!("STREAM.MSG.GET.{stream}"), &json!({ "seq": sequence })).await;
        let answer = answer.map_err(|error| match error.code() {
            Some(code::MESSAGE_NOT_FOUND | code::STREAM_NOT_FOUND) => gone(),
            _ => NoLetter::Away(stream.clone(), error),
        })?;
        let data = answer.pointer("/message/data").and_then(Value::as_str).unwrap_or_default();
        let payload = BASE64_STANDARD.decode(data).map_err(NoLetter::BadPayload)?;
        // Another message may have this sequence by now.
        if format!("{:x}", Sha256::digest(&payload)) == digest { Ok(payload.into()) } else { Err(gone()) }
    }

    async fn delete(&self, id: u64) -> Result<(), LettersError> {
        let request = format!("STREAM.MSG.DELETE.{}", self.name);
        match self.connection.api(&request, &json!({ "seq": id, "no_erase": true })).await {
            Err(error) if !self.is_gone(id).await => Err(LettersError::Drop(self.name.clone(), id, error)),
            _ => Ok(()),
        }
    }

    /// Returns whether a message is gone. Called when one can't be deleted: the server has one code
    /// for all the reasons.
    async fn is_gone(&self, id: u64) -> bool {
        let found = self.connection.api(&format!("STREAM.MSG.GET.{}", self.name), &json!({ "seq": id })).await;
        found.is_err_and(|error| error.code() == Some(code::MESSAGE_NOT_FOUND))
    }
}

pub(super) fn entry(message: StoredMessage) -> StoredLetter {
    let StoredMessage { sequence, time, payload, .. } = message;
    StoredLetter { id: sequence, letter: DeadLetter::parse(&payload), record: payload, stored: Some(time) }
}
