//! What became of each letter that is retried: sinks write down what they took, the source what was settled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::{ack::Outcome, dead_letters::Letter};

/// Letters that wait for whoever reads what became of them.
const WAITING: usize = 64;

/// Accounts of the letters whose events are open.
#[derive(Debug)]
pub struct Journal {
    open: Mutex<HashMap<u64, Account>>,
    retried: mpsc::Sender<Retried>,
}

#[derive(Debug, Default)]
struct Account {
    outputs: BTreeMap<String, u64>,
    dead: Vec<Cause>,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retried {
    /// The letter's id.
    pub letter: u64,
    /// The event's; empty when it is not a letter, or none that is believed.
    pub event: String,
    pub result: End,
    /// How many each sink took.
    pub outputs: BTreeMap<String, u64>,
    /// Why it is dead again.
    pub dead: Vec<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Sinks took what came of it.
    Emitted,
    /// No filter let it through.
    Filtered,
    /// It died again, at least in one of its routes.
    Dead,
    /// It was not brought to its end: the router could not go on, and its log says why.
    Failed,
}

/// As in a dead letter. What is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub reason: String,
    pub detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sink: String,
}

impl Journal {
    /// A journal, and what is read of it.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Retried>) {
        let (retried, read) = mpsc::channel(WAITING);
        (Arc::new(Self { open: Mutex::default(), retried }), read)
    }

    /// A sink took an output.
    pub fn emitted(&self, letter: u64, sink: &str) {
        *self.open().entry(letter).or_default().outputs.entry(sink.to_owned()).or_default() += 1;
    }

    /// The event died again; its new letter has this record.
    pub fn died(&self, letter: u64, reason: &str, record: &[u8]) {
        let cause = match Letter::parse(record) {
            Ok(Letter { reason, detail, key, route, sink, .. }) => Cause { reason, detail, key, route, sink },
            Err(_) => Cause::new(reason, String::new()),
        };
        self.open().entry(letter).or_default().dead.push(cause);
    }

    /// There is no event to be had of what is stored there.
    pub(super) async fn refused(&self, letter: u64, reason: &str, detail: String) {
        let (event, outputs, dead) = (String::new(), BTreeMap::new(), vec![Cause::new(reason, detail)]);
        self.tell(Retried { letter, event, result: End::Dead, outputs, dead }).await;
    }

    pub(super) async fn settled(&self, letter: u64, event: String, outcome: Outcome) {
        let Account { outputs, dead } = self.open().remove(&letter).unwrap_or_default();
        let result = match outcome {
            Outcome::Done if outputs.is_empty() => End::Filtered,
            Outcome::Done => End::Emitted,
            Outcome::Dead(_) => End::Dead,
            Outcome::Retry(_) => End::Failed,
        };
        self.tell(Retried { letter, event, result, outputs, dead }).await;
    }

    async fn tell(&self, retried: Retried) {
        // Whoever read it may have left: the letters are retried all the same.
        let _ = self.retried.send(retried).await;
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Account>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cause {
    fn new(reason: &str, detail: String) -> Self {
        Self { reason: reason.to_owned(), detail, key: String::new(), route: String::new(), sink: String::new() }
    }
}
