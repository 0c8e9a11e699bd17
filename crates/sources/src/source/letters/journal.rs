//! Results of retried letters: sinks record the outputs they took, the source records what was
//! settled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::{ack::Outcome, dead_letters::DeadLetter, poison::ignore_poison};

/// Results that may wait for their reader.
const WAITING: usize = 64;

/// Accounts of the letters whose events are open.
#[derive(Debug)]
pub struct RetryJournal {
    open: Mutex<HashMap<u64, LetterAccount>>,
    retried: mpsc::Sender<RetriedLetter>,
}

#[derive(Debug, Default)]
struct LetterAccount {
    outputs: BTreeMap<String, u64>,
    dead: Vec<DeathCause>,
}

/// Result of retrying a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetriedLetter {
    /// The letter's id.
    pub letter: u64,
    /// Id of the event; empty if the entry is not a letter, or its signature is not accepted.
    pub event: String,
    pub result: RetryEnd,
    /// Number of outputs that each sink took.
    pub outputs: BTreeMap<String, u64>,
    /// Causes for which it died again.
    pub dead: Vec<DeathCause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryEnd {
    /// Sinks took its outputs.
    Emitted,
    /// No filter let it through.
    Filtered,
    /// It died again in at least one of its routes.
    Dead,
    /// It was not finished: the router could not go on, and its log has the reason.
    Failed,
}

/// Cause of death, as in a dead letter. Unknown fields are empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeathCause {
    pub reason: String,
    pub detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sink: String,
}

impl RetryJournal {
    /// Creates a journal and the receiver of its results.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<RetriedLetter>) {
        let (retried, read) = mpsc::channel(WAITING);
        (Arc::new(Self { open: Mutex::default(), retried }), read)
    }

    /// Notes that a sink took an output.
    pub fn emitted(&self, letter: u64, sink: &str) {
        *self.open().entry(letter).or_default().outputs.entry(sink.to_owned()).or_default() += 1;
    }

    /// Notes that the event died again; its new letter has this record.
    pub fn died(&self, letter: u64, reason: &str, record: &[u8]) {
        let cause = match DeadLetter::parse(record) {
            Ok(DeadLetter { reason, detail, key, route, sink, .. }) => DeathCause { reason, detail, key, route, sink },
            Err(_) => DeathCause::new(reason, String::new()),
        };
        self.open().entry(letter).or_default().dead.push(cause);
    }

    /// Reports an entry that cannot be made an event.
    pub(super) async fn refused(&self, letter: u64, reason: &str, detail: String) {
        let (event, outputs, dead) = (String::new(), BTreeMap::new(), vec![DeathCause::new(reason, detail)]);
        self.tell(RetriedLetter { letter, event, result: RetryEnd::Dead, outputs, dead }).await;
    }

    pub(super) async fn settled(&self, letter: u64, event: String, outcome: Outcome) {
        let LetterAccount { outputs, dead } = self.open().remove(&letter).unwrap_or_default();
        let result = match outcome {
            Outcome::Done if outputs.is_empty() => RetryEnd::Filtered,
            Outcome::Done => RetryEnd::Emitted,
            Outcome::Dead(_) => RetryEnd::Dead,
            Outcome::Retry(_) => RetryEnd::Failed,
        };
        self.tell(RetriedLetter { letter, event, result, outputs, dead }).await;
    }

    async fn tell(&self, retried: RetriedLetter) {
        // The reader may have left: the letters are retried all the same.
        let _ = self.retried.send(retried).await;
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, LetterAccount>> {
        ignore_poison(self.open.lock())
    }
}

impl DeathCause {
    fn new(reason: &str, detail: String) -> Self {
        Self { reason: reason.to_owned(), detail, key: String::new(), route: String::new(), sink: String::new() }
    }
}
