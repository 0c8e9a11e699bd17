//! Health of the parts of a router: what is wrong with each, since when, and what lifts it.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::poison::ignore_poison;

/// Shortest time between two times that trouble of one part is logged, unless it gets worse.
const QUIET: Duration = Duration::from_secs(10);
/// Interval at which trouble that lasts is logged again.
const AGAIN: Duration = Duration::from_secs(60);

/// How well a part does its work.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    #[default]
    Ok,
    /// It works, but not for all events, or not with what it was given last.
    Degraded,
    /// It does nothing.
    Down,
}

impl fmt::Display for HealthLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// Kind of a part that has a health.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// The files of the router's folder, as read last.
    Configuration,
    Source,
    /// A key, as long as it is paused.
    Key,
    Filter,
    Sink,
    Webhook,
}

impl PartKind {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Source => "source",
            Self::Key => "key",
            Self::Filter => "filter",
            Self::Sink => "sink",
            Self::Webhook => "webhook",
        }
    }
}

/// What is wrong with a part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HealthTrouble {
    pub since: Timestamp,
    /// In words, with names and values.
    pub why: String,
    /// What has to happen that it ends.
    pub remedy: String,
}

/// One part of a router, with its health.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PartHealth {
    pub kind: PartKind,
    /// Name in the configuration; empty for the configuration itself.
    pub name: String,
    pub level: HealthLevel,
    /// True if an operator has paused it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// `None` while all is well.
    #[serde(flatten)]
    pub trouble: Option<HealthTrouble>,
}

impl PartHealth {
    /// Adds what else is known of the part. Worse trouble is told first.
    pub fn and(self, other: Self) -> Self {
        let (first, second) = if other.level >= self.level { (other, self) } else { (self, other) };
        let trouble = match (first.trouble, second.trouble) {
            (Some(first), Some(second)) => Some(HealthTrouble {
                since: first.since,
                why: format!("{}; {}", first.why, second.why),
                remedy: format!("{}; {}", first.remedy, second.remedy),
            }),
            (first, second) => first.or(second),
        };
        Self { kind: first.kind, name: first.name, level: first.level, paused: first.paused || second.paused, trouble }
    }
}

/// Health of one part. Set by the part, read by those who ask.
#[derive(Debug, Default)]
pub struct HealthCell {
    /// Whether there is trouble, to be read on the way of every event.
    is_troubled: AtomicBool,
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    ongoing: Option<OngoingTrouble>,
    /// When trouble was logged last, and how bad it was.
    said: Option<(Instant, HealthLevel)>,
}

#[derive(Debug)]
struct OngoingTrouble {
    level: HealthLevel,
    trouble: HealthTrouble,
    began: Instant,
    /// True once it was logged.
    is_said: bool,
}

impl HealthCell {
    /// Notes what is wrong, as often as it is seen. Returns whether it is to be logged: when it
    /// begins or gets worse, and then once a minute.
    pub fn report(&self, level: HealthLevel, why: String, remedy: impl Into<Cow<'static, str>>) -> bool {
        let (now, remedy) = (Instant::now(), remedy.into().into_owned());
        let mut state = ignore_poison(self.state.lock());
        self.is_troubled.store(true, Ordering::Relaxed);
        let HealthState { ongoing, said } = &mut *state;
        let ongoing = ongoing.get_or_insert_with(|| OngoingTrouble {
            level,
            trouble: HealthTrouble { since: Timestamp::now(), why: String::new(), remedy: String::new() },
            began: now,
            is_said: false,
        });
        (ongoing.level, ongoing.trouble.why, ongoing.trouble.remedy) = (level, why, remedy);
        let pause = if ongoing.is_said { AGAIN } else { QUIET };
        let is_due = said.is_none_or(|(last, worst)| level > worst || now.duration_since(last) >= pause);
        if is_due {
            *said = Some((now, level));
            ongoing.is_said = true;
        }
        is_due
    }

    /// Notes that all is well. Returns how long it was not, if that was logged.
    pub fn recover(&self) -> Option<Duration> {
        if !self.is_troubled() {
            return None;
        }
        let mut state = ignore_poison(self.state.lock());
        self.is_troubled.store(false, Ordering::Relaxed);
        let ended = state.ongoing.take()?;
        ended.is_said.then(|| ended.began.elapsed())
    }

    pub fn is_troubled(&self) -> bool {
        self.is_troubled.load(Ordering::Relaxed)
    }

    /// Returns the health as that of a part.
    pub fn of(&self, kind: PartKind, name: &str) -> PartHealth {
        let state = ignore_poison(self.state.lock());
        let (level, trouble) = match &state.ongoing {
            Some(OngoingTrouble { level, trouble, .. }) => (*level, Some(trouble.clone())),
            None => (HealthLevel::Ok, None),
        };
        PartHealth { kind, name: name.to_owned(), level, paused: false, trouble }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::{HealthLevel::*, *};

    #[tokio::test(start_paused = true)]
    async fn trouble_is_logged_when_it_begins_or_gets_worse_and_once_a_minute() {
        let cell = HealthCell::default();
        let report = |level| cell.report(level, "full".to_owned(), "make room");
        assert!(report(Degraded));
        for _ in 0..59 {
            advance(Duration::from_secs(1)).await;
            assert!(!report(Degraded));
        }
        advance(Duration::from_secs(1)).await;
        assert!(report(Degraded));
        assert!(report(Down));
        assert!(!report(Degraded));
        advance(Duration::from_secs(4)).await;
        assert_eq!(cell.recover(), Some(Duration::from_secs(64)));
        assert_eq!(cell.recover(), None);
    }

    /// A part that fails and works in turn does not fill the log.
    #[tokio::test(start_paused = true)]
    async fn trouble_that_comes_and_goes_is_logged_once_in_a_while() {
        let cell = HealthCell::default();
        let mut said = 0;
        for _ in 0..100 {
            said += usize::from(cell.report(Degraded, "refused".to_owned(), "wait"));
            said += usize::from(cell.recover().is_some());
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(said, 2);
        assert!(cell.report(Degraded, "refused".to_owned(), "wait"));
    }

    #[test]
    fn the_last_reason_is_shown_with_the_first_time() {
        let cell = HealthCell::default();
        assert_eq!(cell.of(PartKind::Sink, "out").trouble, None);
        cell.report(Down, "away".to_owned(), "wait");
        let first = cell.of(PartKind::Sink, "out").trouble.unwrap().since;
        cell.report(Degraded, "full".to_owned(), "make room");
        let shown = serde_json::to_value(cell.of(PartKind::Sink, "out")).unwrap();
        let expected = serde_json::json!({
            "kind": "sink", "name": "out", "level": "degraded", "since": first, "why": "full", "remedy": "make room",
        });
        assert_eq!(shown, expected);
        cell.recover();
        let shown = serde_json::to_value(cell.of(PartKind::Sink, "out")).unwrap();
        assert_eq!(shown, serde_json::json!({ "kind": "sink", "name": "out", "level": "ok" }));
    }
}
