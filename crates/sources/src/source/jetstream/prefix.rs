//! Acknowledging with `ack = "all"`: one ack settles a message and every earlier one, so it may
//! only be sent for a prefix without holes. Neither an event that is still open nor a delivery that
//! was lost on the way may lie below it.

use std::collections::VecDeque;

/// Messages of one consumer ordered by sequence, from the last acknowledged one on.
#[derive(Debug)]
pub(super) struct AckPrefix<R> {
    open: VecDeque<PrefixEntry<R>>,
    /// Last sequence up to which everything was seen.
    seen: u64,
    /// Number of the delivery that brought it. One that follows directly leaves no hole.
    delivery: u64,
    /// Last receipt of the settled prefix, not acknowledged yet.
    settled: Option<R>,
    /// Number of messages settled since the last ack.
    count: usize,
}

#[derive(Debug)]
struct PrefixEntry<R> {
    sequence: u64,
    delivery: u64,
    settled: Option<R>,
}

/// Relation of an arriving message to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrefixFit {
    Next,
    /// Deliveries in between were lost: the sequences from here to the message's are to be read
    /// from the stream first.
    AfterHole(u64),
    /// It is open here; nothing needs to be done.
    Open,
    /// It was settled, and the ack that covers it is on its way or will be.
    Settled,
    /// It was settled and so was everything else: its ack must have been lost.
    AckLost,
}

impl<R> AckPrefix<R> {
    /// Starts behind what the server has acknowledged.
    pub(super) fn new(sequence: u64, delivery: u64) -> Self {
        Self { open: VecDeque::new(), seen: sequence, delivery, settled: None, count: 0 }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Last sequence up to which everything is settled.
    pub(super) fn floor(&self) -> u64 {
        self.open.front().map_or(self.seen, |first| first.sequence.saturating_sub(1))
    }

    pub(super) fn fit(&self, sequence: u64, delivery: u64) -> PrefixFit {
        if sequence <= self.seen {
            return match self.open.binary_search_by_key(&sequence, |entry| entry.sequence) {
                Ok(_) => PrefixFit::Open,
                // This delivery is later than those of all that is here: acknowledged now, it would
                // make the server ignore their acks.
                Err(_) if !self.open.is_empty() || self.settled.is_some() => PrefixFit::Settled,
                Err(_) => PrefixFit::AckLost,
            };
        }
        if delivery == self.delivery + 1 { PrefixFit::Next } else { PrefixFit::AfterHole(self.seen + 1) }
    }

    /// Notes a message beyond [`Self::seen`] as open.
    pub(super) fn enter(&mut self, sequence: u64, delivery: u64) {
        self.passed(sequence, delivery);
        self.open.push_back(PrefixEntry { sequence, delivery, settled: None });
    }

    /// As [`Self::enter`] for a message whose delivery was lost. Its number must lie between those
    /// of its neighbours: the server ignores an ack whose delivery is not later than the last
    /// one's.
    pub(super) fn enter_lost(&mut self, sequence: u64) {
        self.enter(sequence, self.delivery + 1);
    }

    /// Number of the delivery under which an open message was noted.
    pub(super) fn delivery_of(&self, sequence: u64) -> Option<u64> {
        let index = self.open.binary_search_by_key(&sequence, |entry| entry.sequence).ok()?;
        Some(self.open[index].delivery)
    }

    /// Notes a repeated delivery.
    pub(super) fn repeated(&mut self, delivery: u64) {
        // Behind a lost delivery the hole must stay visible.
        if delivery == self.delivery + 1 {
            self.delivery = delivery;
        }
    }

    /// Notes that nothing is missing up to this sequence, and the delivery that brought it.
    pub(super) fn passed(&mut self, sequence: u64, delivery: u64) {
        self.seen = self.seen.max(sequence);
        self.delivery = delivery;
    }

    pub(super) fn settle(&mut self, sequence: u64, receipt: R) {
        if let Ok(index) = self.open.binary_search_by_key(&sequence, |entry| entry.sequence) {
            self.open[index].settled = Some(receipt);
        }
        self.fold();
    }

    /// Moves what is settled at the front into the prefix.
    fn fold(&mut self) {
        while self.open.front().is_some_and(|first| first.settled.is_some()) {
            self.settled = self.open.pop_front().and_then(|first| first.settled);
            self.count += 1;
        }
    }

    /// Notes that the server has everything up to here settled, by whichever client.
    pub(super) fn know(&mut self, sequence: u64, delivery: u64) {
        while self.open.front().is_some_and(|first| first.sequence <= sequence) {
            self.open.pop_front();
        }
        if sequence > self.seen {
            self.passed(sequence, delivery);
        }
        self.fold();
    }

    /// Number of messages that no ack can settle yet.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Number of messages that one ack would settle now.
    pub(super) fn settled(&self) -> usize {
        self.count
    }

    /// Takes the receipt whose ack settles them.
    pub(super) fn take_settled(&mut self) -> Option<R> {
        self.count = 0;
        self.settled.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_event_holds_the_ack_back() {
        let mut prefix = AckPrefix::new(10, 10);
        for sequence in 11..=13 {
            assert_eq!(prefix.fit(sequence, sequence), PrefixFit::Next);
            prefix.enter(sequence, sequence);
        }
        prefix.settle(12, 12);
        prefix.settle(13, 13);
        assert_eq!((prefix.settled(), prefix.take_settled(), prefix.floor()), (0, None, 10));
        prefix.settle(11, 11);
        assert_eq!((prefix.settled(), prefix.take_settled(), prefix.floor()), (3, Some(13), 13));
        assert_eq!(prefix.take_settled(), None);
    }

    #[test]
    fn a_lost_delivery_is_a_hole_and_a_gap_in_the_stream_is_none() {
        let mut prefix = AckPrefix::<u64>::new(0, 0);
        prefix.enter(5, 1);
        assert_eq!(prefix.fit(9, 2), PrefixFit::Next);
        assert_eq!(prefix.fit(9, 3), PrefixFit::AfterHole(6));
        prefix.enter_lost(7);
        assert_eq!((prefix.delivery_of(7), prefix.fit(9, 3)), (Some(2), PrefixFit::Next));
        prefix.passed(8, 2);
        assert_eq!(prefix.fit(9, 3), PrefixFit::Next);
    }

    #[test]
    fn redeliveries_are_told_apart() {
        let mut prefix = AckPrefix::new(0, 0);
        prefix.enter(1, 1);
        prefix.enter(2, 2);
        prefix.settle(1, 1);
        assert_eq!(prefix.fit(1, 3), PrefixFit::Settled);
        assert_eq!(prefix.fit(2, 4), PrefixFit::Open);
        prefix.settle(2, 2);
        assert_eq!(prefix.fit(1, 5), PrefixFit::Settled);
        assert_eq!(prefix.take_settled(), Some(2));
        assert_eq!(prefix.fit(1, 5), PrefixFit::AckLost);
    }

    #[test]
    fn a_redelivery_is_no_hole_and_hides_none() {
        let mut prefix = AckPrefix::<u64>::new(0, 0);
        prefix.enter(1, 1);
        prefix.repeated(2);
        assert_eq!(prefix.fit(2, 3), PrefixFit::Next);
        prefix.repeated(4);
        assert_eq!(prefix.fit(3, 5), PrefixFit::AfterHole(2));
    }

    /// What another client has settled is not waited for, and what follows it is no hole.
    #[test]
    fn a_floor_that_another_client_has_moved_is_taken_over() {
        let mut prefix = AckPrefix::new(0, 0);
        for sequence in 1..=5 {
            prefix.enter(sequence, sequence);
        }
        prefix.settle(4, 4);
        prefix.know(3, 3);
        assert_eq!((prefix.floor(), prefix.take_settled(), prefix.fit(6, 6)), (4, Some(4), PrefixFit::Next));
        prefix.know(9, 12);
        assert_eq!((prefix.floor(), prefix.seen(), prefix.take_settled()), (9, 9, None));
        prefix.settle(5, 5);
        assert_eq!((prefix.floor(), prefix.take_settled()), (9, None));
        assert_eq!((prefix.fit(10, 13), prefix.fit(10, 14)), (PrefixFit::Next, PrefixFit::AfterHole(10)));
        prefix.know(2, 2);
        assert_eq!((prefix.floor(), prefix.seen()), (9, 9));
    }

    proptest! {
        /// In any order of settling, nothing open is ever below an ack, and in the end all is
        /// acknowledged.
        #[test]
        fn no_ack_passes_what_is_open(order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut prefix = AckPrefix::new(0, 0);
            (1..=40).for_each(|sequence| prefix.enter(sequence, sequence));
            let mut settled = std::collections::HashSet::new();
            let mut acked = 0;
            for sequence in order {
                settled.insert(sequence);
                prefix.settle(sequence, sequence);
                if let Some(upto) = prefix.take_settled() {
                    prop_assert!(upto > acked);
                    acked = upto;
                }
                prop_assert!((1..=acked).all(|sequence| settled.contains(&sequence)));
            }
            prop_assert_eq!(acked, 40);
        }
    }
}
