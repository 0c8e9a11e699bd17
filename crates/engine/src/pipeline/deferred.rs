//! Events that are left with their source because their key has used its share of the budget up.
//!
//! Only their receipts stay here. Once their keys have room again the source reads them anew, in
//! the order in which they came, and later events that agree with them in key and ordering value
//! queue up behind them: unlike events that are given back, these keep their order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use smallvec::SmallVec;

/// Most events that are read at once: as many as hide the time to the server and back.
const BATCH: usize = 512;
/// Most bytes of them, unless a single one has more.
const BATCH_BYTES: u64 = 1 << 20;

/// Receipts of deferred events, in queues of which no two have an event of the same order.
#[derive(Debug)]
pub(super) struct DeferredEvents<R> {
    queues: BTreeMap<u64, DeferredQueue<R>>,
    /// Orders of all events, each with its queue.
    orders: HashMap<u64, DeferredOrder>,
    /// Number of the next queue that is made.
    next_queue: u64,
    /// Number of events in all queues.
    count: usize,
    /// Queue that was read last: the others have their turn first.
    last_read: u64,
    /// Number of events, at the front of that queue, that are being read.
    reading: usize,
    /// Bytes of those.
    reading_bytes: u64,
}

#[derive(Debug)]
struct DeferredQueue<R> {
    /// Keys of all events that it has or had.
    keys: Vec<Arc<str>>,
    events: VecDeque<DeferredEvent<R>>,
}

#[derive(Debug)]
struct DeferredEvent<R> {
    receipt: R,
    bytes: u64,
    /// What it must not overtake, and what must not overtake it: an order for each of its keys.
    orders: SmallVec<[u64; 2]>,
}

#[derive(Debug)]
struct DeferredOrder {
    queue: u64,
    /// Number of events.
    count: usize,
}

impl<R> Default for DeferredEvents<R> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            orders: HashMap::new(),
            next_queue: 0,
            count: 0,
            last_read: 0,
            reading: 0,
            reading_bytes: 0,
        }
    }
}

impl<R> DeferredEvents<R> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of events that are being read, and their bytes: they need room soon.
    pub(super) fn reading(&self) -> (usize, u64) {
        (self.reading, self.reading_bytes)
    }

    /// Returns whether events of the order are deferred: later ones must not overtake them.
    pub(super) fn holds(&self, order: u64) -> bool {
        self.count > 0 && self.orders.contains_key(&order)
    }

    /// Defers an event of these keys, with its order in each. In those that are `hidden` its order
    /// can't be told, so it goes behind all of their events.
    pub(super) fn push<'a>(
        &mut self,
        keys: impl Iterator<Item = (&'a Arc<str>, u64)> + Clone,
        hidden: &[Arc<str>],
        receipt: R,
        bytes: u64,
    ) {
        let orders: SmallVec<[u64; 2]> = keys.clone().map(|(_, order)| order).collect();
        let names = keys.map(|(name, _)| name);
        let mut found: Vec<_> = orders.iter().filter_map(|order| Some(self.orders.get(order)?.queue)).collect();
        if !hidden.is_empty() {
            let of_hidden = self.queues.iter().filter(|(_, queue)| hidden.iter().any(|name| queue.keys.contains(name)));
            found.extend(of_hidden.map(|(number, _)| *number));
        }
        found.sort_unstable();
        found.dedup();
        let number = match *found {
            [] => self.queue_of(names.clone()),
            [one] => one,
            [first, ref others @ ..] => self.merge(first, others),
        };
        self.enter(number, names, &orders).push_back(DeferredEvent { receipt, bytes, orders });
    }

    /// Puts an event back that was taken by [`Self::take_read`], as the first one, and ends the
    /// reading: its order in a key can't be told yet.
    pub(super) fn put_back<'a>(
        &mut self,
        keys: impl Iterator<Item = (&'a Arc<str>, u64)> + Clone,
        receipt: R,
        bytes: u64,
    ) {
        let orders: SmallVec<[u64; 2]> = keys.clone().map(|(_, order)| order).collect();
        let events = self.enter(self.last_read, keys.map(|(name, _)| name), &orders);
        events.push_front(DeferredEvent { receipt, bytes, orders });
        self.stop_reading();
    }

    /// Notes an event of these keys and orders in a queue. Returns the queue's events.
    fn enter<'a>(
        &mut self,
        number: u64,
        names: impl Iterator<Item = &'a Arc<str>>,
        orders: &[u64],
    ) -> &mut VecDeque<DeferredEvent<R>> {
        for order in orders {
            self.orders.entry(*order).or_insert(DeferredOrder { queue: number, count: 0 }).count += 1;
        }
        self.count += 1;
        let queue =
            self.queues.entry(number).or_insert_with(|| DeferredQueue { keys: Vec::new(), events: VecDeque::new() });
        for name in names {
            if !queue.keys.contains(name) {
                queue.keys.push(Arc::clone(name));
            }
        }
        &mut queue.events
    }

    /// Returns the queue of exactly these keys, or the number of a new one.
    fn queue_of<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>> + Clone) -> u64 {
        let known = self.queues.iter().find(|(_, queue)| names.clone().eq(&queue.keys));
        known.map_or_else(
            || {
                self.next_queue += 1;
                self.next_queue
            },
            |(number, _)| *number,
        )
    }

    /// Makes one queue of several. They have no order in common, so it does not matter which is
    /// first, but that events which are being read stay in front.
    fn merge(&mut self, first: u64, others: &[u64]) -> u64 {
        let is_read = |number: &u64| self.reading > 0 && *number == self.last_read;
        let target = others.iter().copied().find(is_read).unwrap_or(first);
        for other in others.iter().chain([&first]).filter(|other| **other != target) {
            let Some(moved) = self.queues.remove(other) else { continue };
            for order in moved.events.iter().flat_map(|event| &event.orders) {
                if let Some(order) = self.orders.get_mut(order) {
                    order.queue = target;
                }
            }
            if let Some(queue) = self.queues.get_mut(&target) {
                queue.events.extend(moved.events);
                let new = moved.keys.into_iter().filter(|key| !queue.keys.contains(key)).collect::<Vec<_>>();
                queue.keys.extend(new);
            }
        }
        target
    }

    /// Begins to read the oldest events of a queue whose keys are all `able` to take them, as far
    /// as there is room. Returns their receipts: none while others are being read.
    pub(super) fn read(
        &mut self,
        able: impl Fn(&str) -> bool,
        (room, room_bytes): (usize, u64),
    ) -> impl Iterator<Item = &R> {
        let mut turns = self.queues.range(self.last_read + 1..).chain(self.queues.range(..=self.last_read));
        let next = turns.find(|(_, queue)| self.reading == 0 && room > 0 && queue.keys.iter().all(|key| able(key)));
        let mut count = 0;
        if let Some((number, queue)) = next {
            let mut bytes = 0;
            for event in queue.events.iter().take(room.min(BATCH)) {
                if count > 0 && bytes + event.bytes > BATCH_BYTES.min(room_bytes) {
                    break;
                }
                (count, bytes) = (count + 1, bytes + event.bytes);
            }
            (self.last_read, self.reading, self.reading_bytes) = (*number, count, bytes);
        }
        self.queues.get(&self.last_read).into_iter().flat_map(move |queue| queue.events.range(..count)).map(receipt)
    }

    /// Takes the next one out of those that are being read, which now was.
    pub(super) fn take_read(&mut self) -> Option<R> {
        self.reading = self.reading.checked_sub(1)?;
        let queue = self.queues.get_mut(&self.last_read)?;
        let event = queue.events.pop_front()?;
        if queue.events.is_empty() {
            self.queues.remove(&self.last_read);
        }
        self.count -= 1;
        self.reading_bytes -= event.bytes;
        for order in event.orders {
            if let Entry::Occupied(mut entry) = self.orders.entry(order) {
                entry.get_mut().count -= 1;
                if entry.get().count == 0 {
                    entry.remove();
                }
            }
        }
        Some(event.receipt)
    }

    /// Ends the reading before all of it was taken. The others are read first then.
    pub(super) fn stop_reading(&mut self) {
        (self.reading, self.reading_bytes) = (0, 0);
    }

    /// Takes out everything, the oldest of each order first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = R> {
        std::mem::take(self).queues.into_values().flat_map(|queue| queue.events).map(|event| event.receipt)
    }

    pub(super) fn receipts(&mut self) -> impl Iterator<Item = &mut R> {
        self.queues.values_mut().flat_map(|queue| &mut queue.events).map(|event| &mut event.receipt)
    }
}

fn receipt<R>(event: &DeferredEvent<R>) -> &R {
    &event.receipt
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// An event of these keys, with a value of each by which the key orders it.
    #[derive(Clone, Debug)]
    struct Sample {
        keys: Vec<(u8, u8)>,
        bytes: u64,
        /// True if its value for the first key can't be told.
        is_hidden: bool,
    }

    impl Sample {
        fn hides(&self, key: u8) -> bool {
            self.is_hidden && self.keys[0].0 == key
        }

        /// Returns whether the two must stay in order.
        fn agrees(&self, other: &Self) -> bool {
            let own = self.keys.iter().any(|key| other.keys.contains(key) || other.hides(key.0));
            own || other.keys.iter().any(|key| self.hides(key.0))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Sample),
        Read { able: [bool; 4], room: usize },
        Take(usize),
        PutBack,
        Stop,
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let keys = prop::collection::btree_map(0..4_u8, 0..3_u8, 1..3);
        let is_hidden = prop::bool::weighted(0.1);
        (keys, 1..400_000_u64, is_hidden).prop_map(|(keys, bytes, is_hidden)| Sample {
            keys: keys.into_iter().collect(),
            bytes,
            is_hidden,
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => sample().prop_map(Step::Push),
            2 => (any::<[bool; 4]>(), 1..100_usize).prop_map(|(able, room)| Step::Read { able, room }),
            2 => (1..100_usize).prop_map(Step::Take),
            1 => Just(Step::PutBack),
            1 => Just(Step::Stop),
        ]
    }

    fn order((key, value): (u8, u8)) -> u64 {
        u64::from(key) * 10 + u64::from(value)
    }

    /// The value that stands for all of a key.
    const ALL: u8 = 9;

    proptest! {
        /// However pushes, readings and their ends mix: each event comes out once, none before an
        /// earlier one that agrees with it in a key and its ordering value, no more than there is
        /// room for, and only of keys that are able to take them.
        #[test]
        fn every_order_is_kept(steps in prop::collection::vec(step(), 1..300)) {
            let names: Vec<Arc<str>> = (0..4).map(|key: u8| key.to_string().into()).collect();
            let mut deferred = DeferredEvents::<usize>::default();
            let (mut samples, mut kept) = (Vec::<Sample>::new(), BTreeSet::new());
            let mut orders = Vec::<Vec<u64>>::new();
            for step in steps {
                match step {
                    Step::Push(sample) => {
                        let hidden: Vec<_> = (0..4).filter(|key| sample.hides(*key)).collect();
                        let stands = |(key, value): (u8, u8)| {
                            let is_hidden = hidden.contains(&key) || deferred.holds(order((key, ALL)));
                            order((key, if is_hidden { ALL } else { value }))
                        };
                        orders.push(sample.keys.iter().copied().map(stands).collect());
                        let hidden: Vec<_> = hidden.iter().map(|key| names[usize::from(*key)].clone()).collect();
                        let keys = sample.keys.iter().zip(&orders[samples.len()]);
                        let keys = keys.map(|((key, _), order)| (&names[usize::from(*key)], *order));
                        deferred.push(keys, &hidden, samples.len(), sample.bytes);
                        kept.insert(samples.len());
                        samples.push(sample);
                    }
                    Step::Read { able, room } => {
                        let was_reading = deferred.reading().0 > 0;
                        let is_able = |name: &str| able[name.parse::<usize>().unwrap()];
                        let read: Vec<_> = deferred.read(is_able, (room, 500_000)).copied().collect();
                        prop_assert!(!was_reading || read.is_empty());
                        prop_assert!(read.len() <= room.min(BATCH));
                        let bytes = read.iter().map(|number| samples[*number].bytes).sum::<u64>();
                        prop_assert!(read.len() <= 1 || bytes <= 500_000);
                        let mut keys = read.iter().flat_map(|number| &samples[*number].keys);
                        prop_assert!(keys.all(|(key, _)| able[usize::from(*key)]));
                        if able == [true; 4] && !was_reading {
                            prop_assert_eq!(read.is_empty(), kept.is_empty());
                        }
                        if !was_reading {
                            prop_assert_eq!(deferred.reading(), (read.len(), bytes));
                        }
                    }
                    Step::Take(most) => {
                        for _ in 0..most.min(deferred.reading().0) {
                            let number = deferred.take_read().unwrap();
                            prop_assert!(kept.remove(&number), "{number} came twice");
                            let agrees = |other: &&usize| samples[**other].agrees(&samples[number]);
                            let earlier = kept.range(..number).find(agrees);
                            prop_assert_eq!(earlier, None, "{} came first", number);
                        }
                    }
                    Step::PutBack => if let Some(number) = deferred.take_read() {
                        let keys = samples[number].keys.iter().zip(&orders[number]);
                        let keys = keys.map(|((key, _), order)| (&names[usize::from(*key)], *order));
                        deferred.put_back(keys, number, samples[number].bytes);
                        prop_assert_eq!(deferred.reading(), (0, 0));
                    },
                    Step::Stop => deferred.stop_reading(),
                }
                prop_assert_eq!(deferred.len(), kept.len());
                let held: BTreeSet<_> = kept.iter().flat_map(|number| orders[*number].iter().copied()).collect();
                for key in (0..4).flat_map(|key| (0..3).map(move |value| (key, value))) {
                    prop_assert_eq!(deferred.holds(order(key)), held.contains(&order(key)));
                }
            }
            let rest: BTreeSet<_> = deferred.take_all().collect();
            prop_assert_eq!(rest, kept);
            prop_assert_eq!((deferred.len(), deferred.reading()), (0, (0, 0)));
        }
    }

    /// What can't be read now leaves the turn to others.
    #[test]
    fn the_queues_take_turns() {
        let names: Vec<Arc<str>> = ["a", "b"].map(Into::into).to_vec();
        let mut deferred = DeferredEvents::default();
        for number in 0..4 {
            deferred.push([(&names[number % 2], (number % 2) as u64)].into_iter(), &[], number, 1);
        }
        let mut read = || {
            let read: Vec<_> = deferred.read(|_| true, (1, 1)).copied().collect();
            deferred.stop_reading();
            read
        };
        assert_eq!((read(), read(), read()), (vec![0], vec![1], vec![0]));
    }
}
