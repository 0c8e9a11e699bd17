//! Outputs that are published and not confirmed, with the deadline of each.

use std::collections::VecDeque;

use async_nats::Subject;
use tokio::time::Instant;

use crate::sink::Slot;

/// Queue of outputs by slot. Slots grow, so each is found by its distance from the lowest.
#[derive(Default)]
pub(super) struct PublishWindow {
    entries: VecDeque<Option<UnconfirmedOutput>>,
    /// Slot of the first entry.
    first: Slot,
    /// Deadlines in the order of writing, which is that of time. One that differs from its entry's
    /// is outdated.
    deadlines: VecDeque<(Instant, Slot)>,
}

struct UnconfirmedOutput {
    subject: Subject,
    deadline: Instant,
}

impl PublishWindow {
    pub(super) fn insert(&mut self, slot: Slot, subject: Subject, deadline: Instant) {
        if self.entries.is_empty() {
            self.first = slot;
        }
        while slot < self.first {
            self.entries.push_front(None);
            self.first -= 1;
        }
        while self.first + self.entries.len() as u64 <= slot {
            self.entries.push_back(None);
        }
        self.deadlines.push_back((deadline, slot));
        if let Some(entry) = self.entry(slot) {
            *entry = Some(UnconfirmedOutput { subject, deadline });
        }
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Option<UnconfirmedOutput>> {
        let index = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Takes an output out. `None` if it is not under way.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Subject> {
        let entry = self.entry(slot)?.take()?;
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        while self.deadlines.front().is_some_and(|(_, slot)| *slot < self.first) {
            self.deadlines.pop_front();
        }
        Some(entry.subject)
    }

    /// Takes out all outputs under way, in order.
    pub(super) fn drain(&mut self) -> Vec<Slot> {
        self.deadlines.clear();
        let slots = (self.first..).zip(self.entries.drain(..));
        slots.filter_map(|(slot, entry)| entry.map(|_| slot)).collect()
    }

    /// Returns the first output on this subject.
    pub(super) fn find(&self, subject: &str) -> Option<Slot> {
        let is_it = |entry: &Option<UnconfirmedOutput>| entry.as_ref().is_some_and(|entry| *entry.subject == *subject);
        self.entries.iter().position(is_it).map(|index| self.first + index as u64)
    }

    /// Returns the last output that is under way.
    pub(super) fn last(&self) -> Option<Slot> {
        let index = self.entries.iter().rposition(Option::is_some)?;
        Some(self.first + index as u64)
    }

    /// Returns the next deadline.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while let Some(&(deadline, slot)) = self.deadlines.front() {
            if self.entry(slot).is_some_and(|entry| entry.as_ref().is_some_and(|entry| entry.deadline == deadline)) {
                return Some(deadline);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Takes out an output whose deadline has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(Slot, Subject)> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let (_, slot) = self.deadlines.pop_front()?;
        self.remove(slot).map(|subject| (slot, subject))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn insert(window: &mut PublishWindow, slot: Slot, deadline: Instant) {
        window.insert(slot, format!("s.{slot}").into(), deadline);
    }

    #[test]
    fn slots_come_and_go_in_any_order() {
        let (mut window, start) = (PublishWindow::default(), Instant::now());
        for slot in 10..15 {
            insert(&mut window, slot, start);
        }
        assert_eq!(window.remove(12).as_deref(), Some("s.12"));
        assert_eq!(window.remove(12), None);
        assert_eq!((window.remove(9), window.remove(15)), (None, None));
        assert_eq!((window.find("s.13"), window.find("s.12"), window.last()), (Some(13), None, Some(14)));
        window.remove(10);
        insert(&mut window, 10, start);
        assert_eq!(window.drain(), [10, 11, 13, 14]);
        assert_eq!((window.last(), window.deadline()), (None, None));
    }

    #[test]
    fn a_repeated_output_has_the_time_of_its_repetition() {
        let (mut window, start) = (PublishWindow::default(), Instant::now());
        let later = start + Duration::from_secs(1);
        insert(&mut window, 1, start);
        insert(&mut window, 2, start);
        window.remove(1);
        insert(&mut window, 1, later);
        assert_eq!(window.expired(start).map(|(slot, _)| slot), Some(2));
        assert_eq!(window.expired(start), None);
        assert_eq!(window.deadline(), Some(later));
        assert_eq!(window.expired(later).map(|(slot, _)| slot), Some(1));
    }

    #[test]
    fn deadlines_do_not_pile_up() {
        let (mut window, start) = (PublishWindow::default(), Instant::now());
        for slot in 0..10_000 {
            insert(&mut window, slot, start);
            window.remove(slot);
        }
        assert_eq!((window.deadlines.len(), window.entries.len()), (0, 0));
    }
}
