//! Answers of streams to what was published.

use std::borrow::Cow;

use anyhow::anyhow;
use async_nats::Subject;
use serde::Deserialize;

use super::ingest::{BatchOperation, BatchPlace};
use crate::{nats::code, sink::SinkRefusal};

/// Ack of one message, or of a batch at its end.
#[derive(Deserialize)]
pub(super) struct PublishAck<'a> {
    #[serde(borrow, default)]
    pub(super) stream: Cow<'a, str>,
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
    pub(super) error: Option<PublishRefusal>,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct PublishRefusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Meaning of an answer to a message of a batch.
#[derive(Debug, PartialEq)]
pub(super) enum BatchWord {
    Flow {
        through: u64,
        every: u64,
    },
    /// The batch has ended, and its first `count` messages are stored.
    Ended {
        count: u64,
    },
    /// The message was not taken, the one with `sequence` if it is named.
    Refused {
        sequence: Option<u64>,
        refusal: PublishRefusal,
    },
    /// The stream does not know the batch, or takes none.
    Gone,
    Nothing,
}

/// All forms of an answer within a batch.
#[derive(Deserialize)]
struct BatchReply<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    seq: Option<u64>,
    msgs: Option<u64>,
    count: Option<u64>,
    error: Option<PublishRefusal>,
}

impl BatchWord {
    pub(super) fn of(payload: &[u8], operation: BatchOperation) -> Self {
        // What is no answer of this protocol is none of a server that has the batch.
        let Ok(reply) = serde_json::from_slice::<BatchReply<'_>>(payload) else { return Self::Gone };
        let BatchReply { kind, seq, msgs, count, error } = reply;
        match (kind.as_deref(), error) {
            (Some("ack"), _) => Self::Flow { through: seq.unwrap_or(0), every: msgs.unwrap_or(1) },
            (Some("err"), Some(refusal)) => Self::Refused { sequence: seq, refusal },
            (Some(_), _) => Self::Nothing,
            (None, Some(refusal)) if operation == BatchOperation::End || refusal.is_of_batch() => Self::Gone,
            (None, Some(refusal)) => Self::Refused { sequence: None, refusal },
            (None, None) => count.map_or(Self::Gone, |count| Self::Ended { count }),
        }
    }
}

impl PublishRefusal {
    /// Returns whether it is the batch that is refused, and not the message.
    fn is_of_batch(&self) -> bool {
        code::BATCH_PUBLISH.contains(&self.err_code)
    }

    pub(super) fn meaning(self, subject: &Subject) -> SinkRefusal {
        let Self { err_code, description } = self;
        let why = anyhow!("the stream of `{subject}` says: {description} (error code {err_code})");
        match err_code {
            code::MESSAGE_EXCEEDS_MAXIMUM => SinkRefusal::Never("too_large", why),
            code if code::is_final(code) => SinkRefusal::Never("refused_by_stream", why),
            _ => SinkRefusal::Apart(why),
        }
    }
}

/// Reads `INDEX.TOKEN-BATCH.FLOW.fail.SEQUENCE.OPERATION.$FI`, a reply subject behind its inbox.
/// `None` for that of a message on its own.
pub(super) fn reply_place(rest: &str) -> Option<(usize, BatchPlace)> {
    let mut tokens = rest.strip_suffix(".$FI")?.split('.');
    let index = tokens.next()?.parse().ok()?;
    let batch = tokens.next()?.rsplit_once('-')?.1.parse().ok()?;
    let sequence = tokens.nth(2)?.parse().ok()?;
    let operation = match tokens.next()? {
        "0" => BatchOperation::Start,
        "1" => BatchOperation::Append,
        "2" => BatchOperation::Commit,
        "3" => BatchOperation::End,
        _ => return None,
    };
    Some((index, BatchPlace { batch, sequence, operation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.15.1 writes them.
    #[test]
    fn answers_within_a_batch_are_understood() {
        let refusal = |err_code, description: &str| PublishRefusal { err_code, description: description.to_owned() };
        let too_large = "message size exceeds maximum allowed";
        for (payload, operation, expected) in [
            (r#"{"type":"ack","seq":0,"msgs":10}"#, BatchOperation::Start, BatchWord::Flow { through: 0, every: 10 }),
            (r#"{"type":"ack","seq":20,"msgs":5}"#, BatchOperation::Append, BatchWord::Flow { through: 20, every: 5 }),
            (
                r#"{"stream":"FAST","seq":25,"batch":"b1","count":25}"#,
                BatchOperation::Commit,
                BatchWord::Ended { count: 25 },
            ),
            // All of them were duplicates.
            (r#"{"stream":"FAST","seq":0,"batch":"b1","count":3}"#, BatchOperation::End, BatchWord::Ended { count: 3 }),
            (r#"{"type":"gap","last_seq":3,"seq":4}"#, BatchOperation::Append, BatchWord::Nothing),
            (
                r#"{"type":"err","seq":6,"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#,
                BatchOperation::Append,
                BatchWord::Refused { sequence: Some(6), refusal: refusal(10077, "maximum messages exceeded") },
            ),
            (
                r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"S","seq":0}"#,
                BatchOperation::Append,
                BatchWord::Refused { sequence: None, refusal: refusal(10054, too_large) },
            ),
            (
                r#"{"error":{"code":400,"err_code":10205,"description":"batch publish is disabled"},"stream":"S","seq":0}"#,
                BatchOperation::Start,
                BatchWord::Gone,
            ),
            (
                r#"{"error":{"code":400,"err_code":10206,"description":"batch publish pattern is invalid"},"stream":"S","seq":0}"#,
                BatchOperation::End,
                BatchWord::Gone,
            ),
            // An old server takes the reply subject for any other.
            (r#"{"stream":"S","seq":1}"#, BatchOperation::Start, BatchWord::Gone),
            ("hello", BatchOperation::Append, BatchWord::Gone),
        ] {
            assert_eq!(BatchWord::of(payload.as_bytes(), operation), expected, "{payload}");
        }
    }

    #[test]
    fn reply_subjects_are_told_apart() {
        let place = BatchPlace { batch: 7, sequence: 12, operation: BatchOperation::Commit };
        assert_eq!(reply_place("3.a-b-7.500.fail.12.2.$FI"), Some((3, place)));
        for other in ["17", "3.a-7.500.fail.12.4.$FI", "3.a-7.500.fail.12.2", "x.a-7.1.fail.1.0.$FI", ".$FI", ""] {
            assert_eq!(reply_place(other), None, "{other}");
        }
    }
}
