//! Events that are left with their source because their key has used its share of the budget up.
//!
//! Only their receipts stay here. Once the key has room again the source reads them anew, in the
//! order in which they came, and later events of the key queue up behind them: unlike events that
//! are given back, these keep their order.

use std::{collections::VecDeque, sync::Arc};

/// Most events that are read at once: as many as hide the time to the server and back.
const BATCH: usize = 64;
/// Most bytes of them, unless a single one has more.
const BATCH_BYTES: u64 = 1 << 20;

/// Receipts of deferred events, by key.
#[derive(Debug)]
pub(super) struct DeferredEvents<R> {
    /// Queues that hold something. The first one is being read while `reading` is above 0.
    queues: VecDeque<KeyQueue<R>>,
    /// Number of events in all queues.
    count: usize,
    /// Number of events, at the front of the first queue, that are being read.
    reading: usize,
    /// Bytes of those.
    reading_bytes: u64,
    /// Makes a receipt independent of the message that it came with, whose memory would stay.
    detach: fn(R) -> R,
}

#[derive(Debug)]
struct KeyQueue<R> {
    key: Arc<str>,
    events: VecDeque<DeferredEvent<R>>,
}

#[derive(Debug)]
struct DeferredEvent<R> {
    receipt: R,
    bytes: u64,
}

impl<R> DeferredEvents<R> {
    pub(super) fn new(detach: fn(R) -> R) -> Self {
        Self { queues: VecDeque::new(), count: 0, reading: 0, reading_bytes: 0, detach }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of events that are being read, and their bytes: they need room soon.
    pub(super) fn reading(&self) -> (usize, u64) {
        (self.reading, self.reading_bytes)
    }

    /// Returns whether events of the key are deferred: later ones must not overtake them.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.queues.iter().any(|queue| *queue.key == *key)
    }

    pub(super) fn push(&mut self, key: &Arc<str>, receipt: R, bytes: u64) {
        let event = DeferredEvent { receipt: (self.detach)(receipt), bytes };
        self.count += 1;
        match self.queues.iter_mut().find(|queue| queue.key == *key) {
            Some(queue) => queue.events.push_back(event),
            None => self.queues.push_back(KeyQueue { key: Arc::clone(key), events: [event].into() }),
        }
    }

    /// Begins to read the oldest events of the first key that is `able` to take them, as far as
    /// there is room. Returns their receipts: none while others are being read.
    pub(super) fn read(
        &mut self,
        able: impl Fn(&str) -> bool,
        (room, room_bytes): (usize, u64),
    ) -> impl Iterator<Item = &R> {
        let able = self.queues.iter().position(|queue| self.reading == 0 && able(&queue.key));
        let (mut count, mut bytes) = (0, 0);
        if let Some(at) = able {
            self.queues.rotate_left(at);
            for event in self.queues[0].events.iter().take(room.min(BATCH)) {
                if count > 0 && bytes + event.bytes > BATCH_BYTES.min(room_bytes) {
                    break;
                }
                (count, bytes) = (count + 1, bytes + event.bytes);
            }
            (self.reading, self.reading_bytes) = (count, bytes);
        }
        self.queues.iter().take(1).flat_map(move |queue| queue.events.range(..count)).map(|event| &event.receipt)
    }

    /// Takes the next one out of those that are being read, which now was.
    pub(super) fn take_read(&mut self) -> Option<R> {
        self.reading = self.reading.checked_sub(1)?;
        let mut queue = self.queues.pop_front()?;
        let event = queue.events.pop_front()?;
        self.count -= 1;
        self.reading_bytes -= event.bytes;
        match (queue.events.is_empty(), self.reading) {
            (true, _) => {}
            (false, 1..) => self.queues.push_front(queue),
            // The keys take turns.
            (false, 0) => self.queues.push_back(queue),
        }
        Some(event.receipt)
    }

    /// Ends the reading before all of it was taken.
    pub(super) fn stop_reading(&mut self) {
        (self.reading, self.reading_bytes) = (0, 0);
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = R> {
        (self.count, self.reading, self.reading_bytes) = (0, 0, 0);
        std::mem::take(&mut self.queues).into_iter().flat_map(|queue| queue.events).map(|event| event.receipt)
    }

    pub(super) fn receipts(&mut self) -> impl Iterator<Item = &mut R> {
        self.queues.iter_mut().flat_map(|queue| &mut queue.events).map(|event| &mut event.receipt)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However pushes, readings and their ends mix: each key's events come out once, in their
        /// order, no more than there is room for, and only of keys that are able to take them.
        #[test]
        fn each_key_keeps_its_order(
            steps in prop::collection::vec((0..6_u8, 0..3_u8, 1..400_000_u64, 1..100_usize), 1..300),
        ) {
            let mut deferred = DeferredEvents::new(|receipt: (u8, u64, u64)| receipt);
            let (mut came, mut went) = (BTreeMap::<u8, u64>::new(), BTreeMap::<u8, u64>::new());
            let mut kept = BTreeSet::new();
            for (step, key, bytes, room) in steps {
                match step {
                    0..=2 => {
                        let number = came.entry(key).or_default();
                        deferred.push(&key.to_string().into(), (key, *number, bytes), bytes);
                        kept.insert((key, *number));
                        *number += 1;
                    }
                    3 | 4 => {
                        let able = |name: &str| name == key.to_string();
                        let was_reading = deferred.reading().0 > 0;
                        let read: Vec<_> = deferred.read(able, (room, 500_000)).copied().collect();
                        if !was_reading {
                            let next = went.get(&key).copied().unwrap_or_default();
                            prop_assert!(read.iter().map(|(_, number, _)| *number).eq(next..next + read.len() as u64));
                            prop_assert!(read.iter().all(|(of, ..)| *of == key));
                            prop_assert_eq!(!read.is_empty(), deferred.holds(&key.to_string()));
                            prop_assert!(read.len() <= room.min(BATCH));
                            let bytes = read.iter().map(|(.., bytes)| bytes).sum::<u64>();
                            prop_assert!(read.len() <= 1 || bytes <= 500_000);
                            prop_assert_eq!(deferred.reading(), (read.len(), bytes));
                        } else {
                            prop_assert!(read.is_empty());
                        }
                    }
                    _ => {
                        for _ in 0..room.min(deferred.reading().0) {
                            let (key, number, _) = deferred.take_read().unwrap();
                            prop_assert_eq!(went.insert(key, number + 1).unwrap_or_default(), number);
                            prop_assert!(kept.remove(&(key, number)));
                        }
                        if bytes % 2 == 0 {
                            deferred.stop_reading();
                        }
                    }
                }
                prop_assert_eq!(deferred.len(), kept.len());
            }
            let rest: BTreeSet<_> = deferred.take_all().map(|(key, number, _)| (key, number)).collect();
            prop_assert_eq!(rest, kept);
            prop_assert_eq!((deferred.len(), deferred.reading()), (0, (0, 0)));
        }
    }
}
