//! The dedup window, in which repeated events are recognised (L60 to L66): per source, before
//! matching. An id is recorded only when its event is done; one that is still open is known too, so
//! a repeat can wait for it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    config,
    event::{Event, Uid},
    field::Field,
};

/// State of an id in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdState {
    No,
    /// Its event is open, in this slot.
    Open(usize),
    Done,
}

/// Field by which events are equal (X11).
#[derive(Debug)]
enum DedupField {
    Id,
    Sequence,
    Field(Field),
}

#[derive(Debug)]
pub(super) struct DedupWindow {
    by: DedupField,
    ttl: Duration,
    capacity: usize,
    ids: HashMap<Uid, IdRecord>,
    /// Ids of finished events, oldest first.
    done: VecDeque<(Uid, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum IdRecord {
    Open(usize),
    Done(Instant),
}

impl DedupWindow {
    pub(super) fn new(settings: &config::DedupConfig) -> Self {
        let by = match &settings.by {
            config::DedupBy::Id => DedupField::Id,
            config::DedupBy::Sequence => DedupField::Sequence,
            config::DedupBy::Field(field) => DedupField::Field(field.clone()),
        };
        let capacity = settings.capacity.get();
        Self { by, ttl: settings.ttl, capacity, ids: HashMap::new(), done: VecDeque::new() }
    }

    /// Looks an event up and, if it is new, notes that it is open in `slot`. Also returns the id
    /// that it is known by: none if the field to compare is absent (L66), and then the event counts
    /// as new. If producers' ids count, the event's unique id is derived from its producer's from
    /// now on, so that destinations recognise a repeat as well.
    pub(super) fn enter(&mut self, event: &mut Event, slot: usize) -> (IdState, Option<Uid>) {
        let id = match &self.by {
            DedupField::Id => {
                event.uid = Uid::named(event);
                Some(event.uid)
            }
            DedupField::Sequence => Some(event.uid),
            DedupField::Field(field) => {
                let value = field.of(event).filter(|value| !value.is_empty());
                value.map(|value| Uid::valued(event, &value))
            }
        };
        let seen = id.map_or(IdState::No, |id| self.look_up(id, slot, Instant::now));
        (seen, id)
    }

    /// Looks an id up. L62: a hit does not refresh the time, and at exactly its time to live an id
    /// has expired. Only a hit reads the clock: expired ids that are not met again stay until the
    /// capacity pushes them out.
    fn look_up(&mut self, id: Uid, slot: usize, now: impl FnOnce() -> Instant) -> IdState {
        let mut entry = match self.ids.entry(id) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                entry.insert(IdRecord::Open(slot));
                return IdState::No;
            }
        };
        match *entry.get() {
            IdRecord::Open(open) => IdState::Open(open),
            IdRecord::Done(at) if now().duration_since(at) < self.ttl => IdState::Done,
            IdRecord::Done(_) => {
                entry.insert(IdRecord::Open(slot));
                IdState::No
            }
        }
    }

    /// Records that the id's event is done.
    pub(super) fn done(&mut self, id: Uid, now: Instant) {
        if self.done.len() == self.capacity {
            self.forget_oldest();
        }
        self.ids.insert(id, IdRecord::Done(now));
        self.done.push_back((id, now));
    }

    /// Forgets an id whose event will be delivered again.
    pub(super) fn forget(&mut self, id: Uid) {
        self.ids.remove(&id);
    }

    fn forget_oldest(&mut self) {
        if let Some((id, at)) = self.done.pop_front()
            && let Entry::Occupied(entry) = self.ids.entry(id)
            // L65: the id may have been recorded again since; only the record of this very time is
            // removed.
            && *entry.get() == IdRecord::Done(at)
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::event::Origin;

    const TTL: Duration = Duration::from_secs(300);

    fn window(capacity: usize) -> DedupWindow {
        let capacity = NonZeroUsize::new(capacity).unwrap();
        DedupWindow::new(&config::DedupConfig { ttl: TTL, capacity, by: config::DedupBy::Id })
    }

    fn id(number: u64) -> Uid {
        Uid::at(&Origin { source: String::new(), stream: String::new() }, number, 0)
    }

    #[test]
    fn l62_an_id_is_seen_until_exactly_its_time_to_live() {
        let (mut window, start) = (window(10), Instant::now());
        assert_eq!(window.look_up(id(1), 0, || start), IdState::No);
        window.done(id(1), start);
        assert_eq!(window.look_up(id(1), 1, || start + TTL / 2), IdState::Done);
        assert_eq!(window.look_up(id(1), 1, || start + TTL - Duration::from_nanos(1)), IdState::Done);
        assert_eq!(window.look_up(id(1), 1, || start + TTL), IdState::No, "a hit must not refresh the time");
    }

    #[test]
    fn l63_capacity_bounds_the_window() {
        let (mut window, now) = (window(10), Instant::now());
        for number in 0..11 {
            assert_eq!(window.look_up(id(number), 0, || now), IdState::No);
            window.done(id(number), now);
        }
        assert_eq!(window.look_up(id(10), 0, || now), IdState::Done);
        assert_eq!(window.look_up(id(0), 0, || now), IdState::No, "the oldest was forgotten");
        assert_eq!(window.done.len(), 10);
    }

    /// What is expired and not met again costs its place in the capacity, and no more than that.
    #[test]
    fn l64_what_is_expired_goes_when_it_is_met_again_or_pushed_out() {
        let (mut window, start) = (window(2), Instant::now());
        window.done(id(1), start);
        window.done(id(2), start);
        let later = start + TTL;
        assert_eq!(window.look_up(id(3), 0, || later), IdState::No);
        window.done(id(3), later);
        let known = |window: &DedupWindow, number| window.ids.get(&id(number)).copied();
        assert_eq!(known(&window, 1), None, "capacity pushed it out");
        assert_eq!(known(&window, 2), Some(IdRecord::Done(start)), "a new event removes nothing else");
        assert_eq!(window.look_up(id(2), 5, || later), IdState::No);
        assert_eq!(known(&window, 2), Some(IdRecord::Open(5)));
    }

    #[test]
    fn l65_a_stale_record_does_not_evict_a_fresh_one() {
        let (mut window, start) = (window(3), Instant::now());
        window.done(id(1), start);
        window.done(id(1), start + Duration::from_secs(1));
        window.done(id(2), start + Duration::from_secs(1));
        window.done(id(3), start + Duration::from_secs(1));
        assert_eq!(window.look_up(id(1), 0, || start + Duration::from_secs(2)), IdState::Done);
    }

    #[test]
    fn an_open_id_is_known_by_its_slot_and_forgotten_when_it_failed() {
        let (mut window, now) = (window(3), Instant::now());
        assert_eq!(window.look_up(id(1), 7, || now), IdState::No);
        assert_eq!(window.look_up(id(1), 8, || now), IdState::Open(7));
        window.forget(id(1));
        assert_eq!(window.look_up(id(1), 9, || now), IdState::No);
    }
}
