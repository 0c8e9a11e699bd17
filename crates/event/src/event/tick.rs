//! Ticks: what a filter's outputs are made of when the clock has called it and no event.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::{Event, Headers, Origin, Uid, token};

/// Source that ticks have. The names of sources in the configuration have no space in theirs.
pub const TICKS: &str = "filter ticks";

static ORIGIN: LazyLock<Arc<Origin>> =
    LazyLock::new(|| Arc::new(Origin { source: TICKS.to_owned(), stream: String::new() }));

/// What makes a tick of a route the same one when it is called again, by another router as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TickMark {
    /// Its time, in Unix nanoseconds.
    pub now: u64,
    /// Number that tells the run that called it first from others.
    pub run: u64,
    /// Number of the tick in that run.
    pub number: u64,
}

impl Event {
    /// Creates the event of a route's tick.
    pub fn tick(key: &str, route: &str, TickMark { now, run, number }: TickMark) -> Self {
        let names = Origin { source: TICKS.to_owned(), stream: format!("{key}/{route}") };
        Self {
            id: format!("{key}/{route}@{}", now / 1_000_000).into(),
            uid: Uid::at(&names, number, run),
            event_type: "tick".into(),
            subject: token(key).into_owned().into(),
            source_time: None,
            observed_at: now,
            attempt: 1,
            headers: Headers::default(),
            payload: Default::default(),
            origin: Arc::clone(&ORIGIN),
            sequence: number,
        }
    }

    /// Returns whether this is the event of a tick.
    pub fn is_tick(&self) -> bool {
        Arc::ptr_eq(&self.origin, &ORIGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::check_subject;

    #[test]
    fn each_tick_is_another_event() {
        let ticks = [("k", "r", 1, 1), ("k", "r", 1, 2), ("k", "r", 2, 1), ("k", "s", 1, 1), ("a.b", "r", 1, 1)];
        let ticks =
            ticks.map(|(key, route, run, number)| Event::tick(key, route, TickMark { now: 5_000_000, run, number }));
        for (index, tick) in ticks.iter().enumerate() {
            assert!(tick.is_tick());
            assert!(ticks[..index].iter().all(|other| other.uid != tick.uid), "{}", tick.id);
            assert_eq!(check_subject(&tick.subject), Ok(()));
        }
        assert_eq!((&*ticks[0].id, &*ticks[4].subject), ("k/r@5", "a_b"));
    }
}
