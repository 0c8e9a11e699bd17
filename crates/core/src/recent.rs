//! Recently ended events, in memory, with their fates for display (C11).
//!
//! They are noted where an event ends, on the thread that is done with it last. Each has a place of
//! its own with a lock of its own, which is contended only by readers, or once a thousand others
//! have ended. Places are reused with their memory, so that noting allocates nothing once they have
//! been filled.

use std::{
    cmp::Reverse,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{event::Event, fate::Fate, poison::ignore_poison};

/// Number of events kept of one source.
const KEPT: usize = 1000;
/// Limit of each kept text, in bytes: producers choose how long an id is.
const LONGEST: usize = 256;
/// Number of events shown by default.
const SHOWN: usize = 50;

/// Request for ended events.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RecentQuery {
    /// Event types; none means all.
    #[serde(default)]
    pub types: Vec<String>,
    /// Largest number of events. 0 and less means 50.
    #[serde(default)]
    pub limit: i64,
}

impl RecentQuery {
    pub fn limit(&self) -> usize {
        usize::try_from(self.limit).ok().filter(|limit| *limit > 0).unwrap_or(SHOWN)
    }
}

/// An event that has ended. Long texts are cut.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct EndedEvent {
    /// Time at which the router saw it.
    pub time: Timestamp,
    pub source: String,
    pub id: String,
    pub event_type: String,
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub fate: Fate,
    /// Reason of its dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ring of the last ended events of one source.
#[derive(Debug)]
pub struct RecentEvents {
    /// Number of events ended so far.
    count: AtomicU64,
    places: Box<[Mutex<RecentSlot>]>,
}

#[derive(Debug, Default)]
struct RecentSlot {
    /// Number of the ended event, from 1; 0 in a place not used yet.
    number: u64,
    observed_at: u64,
    id: String,
    event_type: String,
    subject: String,
    /// Tenant; empty without one.
    tenant: String,
    fate: Fate,
    reason: Option<&'static str>,
}

impl Default for RecentEvents {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), places: (0..KEPT).map(|_| Mutex::default()).collect() }
    }
}

impl RecentEvents {
    /// Notes the end of an event.
    pub fn note(&self, event: &Event, fate: Fate, reason: Option<&'static str>) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // The remainder is a valid index.
        let mut place = lock(&self.places[(number % KEPT as u64) as usize]);
        let RecentSlot { id, event_type, subject, tenant, .. } = &mut *place;
        fill(id, &event.id);
        fill(event_type, &event.event_type);
        fill(subject, &event.subject);
        fill(tenant, event.tenant().unwrap_or_default());
        place.number = number + 1;
        place.observed_at = event.observed_at;
        place.fate = fate;
        place.reason = reason;
    }

    /// Returns those of these types, the newest first.
    pub fn ended(&self, source: &str, types: &[String]) -> Vec<EndedEvent> {
        let wanted = |place: &RecentSlot| place.number > 0 && (types.is_empty() || types.contains(&place.event_type));
        let ended = |place: MutexGuard<'_, RecentSlot>| (place.number, place.ended(source));
        let mut found: Vec<_> = self.places.iter().map(lock).filter(|place| wanted(place)).map(ended).collect();
        found.sort_by_key(|(number, _)| Reverse(*number));
        found.into_iter().map(|(_, ended)| ended).collect()
    }

    /// Returns the ends behind the first `seen`, the oldest first, but of more than `most` only the
    /// newest; and how many ends a reader has seen with them.
    pub fn since(&self, source: &str, seen: u64, most: u64) -> (u64, Vec<EndedEvent>) {
        let count = self.count.load(Ordering::Relaxed);
        let (mut seen, mut ended) = (seen.max(count.saturating_sub(most.min(KEPT as u64))), Vec::new());
        while seen < count {
            // The remainder is a valid index.
            let place = lock(&self.places[(seen % KEPT as u64) as usize]);
            // Its thread has counted it and not filled the place yet: it is left for the next time.
            if place.number <= seen {
                break;
            }
            seen += 1;
            // A later one may have taken the place meanwhile.
            if place.number == seen {
                ended.push(place.ended(source));
            }
        }
        (seen, ended)
    }
}

impl RecentSlot {
    fn ended(&self, source: &str) -> EndedEvent {
        EndedEvent {
            time: Timestamp::from_nanosecond(self.observed_at.into()).unwrap_or_default(),
            source: source.to_owned(),
            id: self.id.clone(),
            event_type: self.event_type.clone(),
            subject: self.subject.clone(),
            tenant: (!self.tenant.is_empty()).then(|| self.tenant.clone()),
            fate: self.fate,
            reason: self.reason.map(str::to_owned),
        }
    }
}

fn lock(place: &Mutex<RecentSlot>) -> MutexGuard<'_, RecentSlot> {
    ignore_poison(place.lock())
}

fn fill(place: &mut String, text: &str) {
    place.clear();
    place.push_str(&text[..text.floor_char_boundary(LONGEST)]);
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use bytestring::ByteString;

    use super::*;
    use crate::event::{Headers, Origin};

    fn event(number: usize) -> Event {
        Event {
            id: format!("e{number}").into(),
            uid: Default::default(),
            event_type: ["even", "odd"][number % 2].into(),
            subject: "a.b".into(),
            source_time: None,
            observed_at: number as u64,
            attempt: 1,
            headers: Headers::default(),
            payload: Default::default(),
            origin: Arc::new(Origin { source: "in".to_owned(), stream: "IN".to_owned() }),
            sequence: 1,
        }
    }

    fn ids(ended: &[EndedEvent]) -> Vec<&str> {
        ended.iter().map(|ended| &*ended.id).collect()
    }

    /// C11
    #[test]
    fn the_last_thousand_are_kept_the_newest_first() {
        let recent = RecentEvents::default();
        for number in 0..2500 {
            recent.note(&event(number), Fate::Emitted, None);
        }
        let all = recent.ended("in", &[]);
        assert_eq!(all.len(), 1000);
        assert_eq!(ids(&all[..2]), ["e2499", "e2498"]);
        assert_eq!(ids(&all[999..]), ["e1500"]);
        let odd = recent.ended("in", &["odd".to_owned()]);
        assert_eq!((odd.len(), &*odd[1].id), (500, "e2497"));
        assert!(recent.ended("in", &["none".to_owned()]).is_empty());
    }

    #[test]
    fn what_became_of_it_is_kept_with_it() {
        let recent = RecentEvents::default();
        let mut headers = Headers::default();
        headers.push("Tenant", "t-1");
        recent.note(&Event { headers, ..event(7) }, Fate::DeadLettered, Some("trap"));
        let [ended] = &recent.ended("in", &[])[..] else { panic!("one has ended") };
        let expected = r#"{"time":"1970-01-01T00:00:00.000000007Z","source":"in","id":"e7","event_type":"odd","subject":"a.b","tenant":"t-1","fate":"dead_lettered","reason":"trap"}"#;
        assert_eq!(serde_json::to_string(ended).unwrap(), expected);
        assert_eq!(serde_json::from_str::<EndedEvent>(expected).unwrap(), *ended);
    }

    /// Producers choose ids, but must not choose how much memory they take.
    #[test]
    fn long_texts_are_cut() {
        let recent = RecentEvents::default();
        let id: ByteString = format!("{}é", "x".repeat(LONGEST - 1)).into();
        recent.note(&Event { id, ..event(1) }, Fate::Failed, None);
        assert_eq!(recent.ended("in", &[])[0].id, "x".repeat(LONGEST - 1));
    }

    #[test]
    fn a_reader_that_comes_again_gets_what_is_new() {
        let recent = RecentEvents::default();
        assert_eq!(recent.since("in", 0, 10), (0, Vec::new()));
        (0..3).for_each(|n| recent.note(&event(n), Fate::Emitted, None));
        let (seen, ended) = recent.since("in", 0, 10);
        assert_eq!((seen, ids(&ended)), (3, vec!["e0", "e1", "e2"]));
        assert_eq!(recent.since("in", seen, 10), (3, Vec::new()));
        (3..2000).for_each(|n| recent.note(&event(n), Fate::Emitted, None));
        let (seen, ended) = recent.since("in", seen, 2);
        assert_eq!((seen, ids(&ended)), (2000, vec!["e1998", "e1999"]));
        assert_eq!(recent.since("in", 0, u64::MAX).1.len(), KEPT);
    }

    #[test]
    fn without_a_limit_fifty_are_shown() {
        for (limit, expected) in [(0, 50), (-7, 50), (1, 1), (100, 100), (i64::MAX, usize::MAX >> 1)] {
            assert_eq!(RecentQuery { limit, ..RecentQuery::default() }.limit(), expected);
        }
    }

    /// Threads that end events at the same time lose none.
    #[test]
    fn many_threads_note_at_once() {
        let recent = RecentEvents::default();
        thread::scope(|scope| {
            for thread in 0..4 {
                let recent = &recent;
                scope.spawn(move || {
                    (0..250).for_each(|n| recent.note(&event(thread * 250 + n), Fate::Filtered, None));
                });
            }
        });
        let mut ids: Vec<_> = recent.ended("in", &[]).into_iter().map(|ended| ended.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
    }
}
