//! Parts of a router that an operator has paused, until they are resumed.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    health::{HealthLevel, HealthTrouble, PartHealth, PartKind},
    poison::ignore_poison,
};

/// Kind of a part that can be paused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PausableKind {
    /// Its events wait, and use up no more of the budget than those of a slow key.
    Key,
    /// It takes nothing.
    Source,
    /// Its outputs wait, as for a destination that is away.
    Sink,
}

impl PausableKind {
    fn part(self) -> PartKind {
        match self {
            Self::Key => PartKind::Key,
            Self::Source => PartKind::Source,
            Self::Sink => PartKind::Sink,
        }
    }

    /// Returns the word for it, in messages and metrics.
    pub fn word(self) -> &'static str {
        self.part().word()
    }
}

impl fmt::Display for PausableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A paused part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PausedPart {
    pub kind: PausableKind,
    pub name: String,
    /// The operator that paused it: a user's number, or a token.
    pub who: String,
    pub since: Timestamp,
}

impl PausedPart {
    pub fn is(&self, kind: PausableKind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }

    /// Returns the pause as trouble of the part.
    pub fn health(&self) -> PartHealth {
        let Self { kind, name, who, since } = self;
        let why = format!("paused by {who}");
        let trouble = HealthTrouble { since: *since, why, remedy: format!("`trommel resume DIR {name}`") };
        let level = HealthLevel::Degraded;
        PartHealth { kind: kind.part(), name: name.clone(), level, paused: true, trouble: Some(trouble) }
    }
}

/// The paused parts of a router.
#[derive(Debug, Default)]
pub struct PausedParts(Mutex<Vec<PausedPart>>);

impl PausedParts {
    /// Returns all paused parts, in the order in which they were paused.
    pub fn all(&self) -> Vec<PausedPart> {
        ignore_poison(self.0.lock()).clone()
    }

    pub fn set(&self, parts: Vec<PausedPart>) {
        *ignore_poison(self.0.lock()) = parts;
    }
}

/// Switch by which an operator stops a part that looks at it before it takes anything.
#[derive(Debug, Default)]
pub struct PauseSwitch {
    is_on: AtomicBool,
    lifted: Notify,
}

impl PauseSwitch {
    pub fn pause(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    pub fn resume(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.lifted.notify_waiters();
    }

    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Resolves once the part is not paused. Cancel safe.
    pub async fn resumed(&self) {
        loop {
            // Before the look, so that a lift in between is not missed.
            let lifted = self.lifted.notified();
            if !self.is_on() {
                return;
            }
            lifted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_switch_is_waited_for_until_it_is_lifted() {
        let switch = Arc::<PauseSwitch>::default();
        switch.resumed().await;
        switch.pause();
        assert!(timeout(Duration::from_secs(60), switch.resumed()).await.is_err());
        let waits = tokio::spawn({
            let switch = Arc::clone(&switch);
            async move { switch.resumed().await }
        });
        tokio::task::yield_now().await;
        switch.resume();
        timeout(Duration::from_secs(60), waits).await.unwrap().unwrap();
    }

    #[test]
    fn a_pause_is_told_beside_other_trouble() {
        let since = Timestamp::UNIX_EPOCH;
        let paused = PausedPart { kind: PausableKind::Sink, name: "out".to_owned(), who: "uid 7".to_owned(), since };
        let cell = crate::health::HealthCell::default();
        let well = cell.of(PartKind::Sink, "out").and(paused.health());
        assert_eq!((well.level, well.paused), (HealthLevel::Degraded, true));
        cell.report(HealthLevel::Down, "away".to_owned(), "wait");
        let both = cell.of(PartKind::Sink, "out").and(paused.health());
        assert_eq!((both.level, both.paused), (HealthLevel::Down, true));
        assert_eq!(both.trouble.unwrap().why, "away; paused by uid 7");
    }
}
