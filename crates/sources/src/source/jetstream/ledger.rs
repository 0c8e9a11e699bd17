//! States of a consumer's messages where each has an ack of its own. While the consumer has no
//! other reader, they show which deliveries did not arrive, and where the consumer has to go on if
//! it is lost.

use std::{collections::VecDeque, ops::Range};

use super::{
    consumer::{ConsumerInfo, SequencePair},
    prefix::PrefixFit,
};

/// Number of entries from which settled ones in the middle are removed.
const CROWDED: usize = 64;

#[derive(Debug)]
pub(super) struct MessageLedger {
    /// Ordered by sequence. Settled entries may wait for earlier ones.
    entries: VecDeque<LedgerEntry>,
    /// Number of entries that are settled.
    settled: usize,
    /// Last sequence that was delivered, as far as known here.
    seen: u64,
    /// Number of the delivery that brought it.
    delivery: u64,
    /// True while the consumer has no other reader: missing deliveries were lost on the way.
    is_alone: bool,
    /// Sequences delivered while that was not so: only the server knows whether they are settled.
    unknown: Range<u64>,
}

#[derive(Debug)]
struct LedgerEntry {
    sequence: u64,
    state: MessageState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageState {
    Open,
    /// Given back to the server, which delivers it again.
    GivenBack,
    Settled,
}

impl MessageLedger {
    /// Creates a ledger that knows nothing of earlier deliveries.
    pub(super) fn new(floor: SequencePair, delivered: SequencePair) -> Self {
        Self {
            entries: VecDeque::new(),
            settled: 0,
            seen: delivered.sequence,
            delivery: delivered.delivery,
            is_alone: false,
            unknown: floor.sequence + 1..delivered.sequence + 1,
        }
    }

    /// Notes that the consumer has no other reader; it has delivered so much and left so many
    /// messages unsettled.
    pub(super) fn read_alone(&mut self, floor: SequencePair, delivered: SequencePair, pending: usize) {
        self.is_alone = true;
        self.seen = self.seen.max(delivered.sequence);
        self.delivery = delivered.delivery;
        self.unknown = if pending > self.open() { floor.sequence + 1..self.seen + 1 } else { 0..0 };
    }

    /// Notes that others may read the consumer too. Returns whether that is new.
    pub(super) fn share(&mut self) -> bool {
        std::mem::take(&mut self.is_alone)
    }

    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Number of deliveries up to this one that did not arrive.
    pub(super) fn missed(&self, delivery: u64) -> u64 {
        delivery.saturating_sub(self.delivery)
    }

    /// Returns whether others may read the consumer too: more was delivered beyond `seen` than is
    /// open, and what is lost on its way to us stays open. Sequences up to `seen` prove nothing: a
    /// server that was frozen delivers them again, unreceived, right before it reads our acks.
    pub(super) fn may_share(&self, info: &ConsumerInfo) -> bool {
        let beyond = info.delivered.sequence.saturating_sub(self.seen);
        self.missed(info.delivered.delivery).min(beyond) > info.num_ack_pending as u64
    }

    /// Returns whether the server has so many more open than we that acks must have been lost.
    pub(super) fn may_lack_acks(&self, info: &ConsumerInfo) -> bool {
        let missed = self.missed(info.delivered.delivery);
        self.is_alone && self.seen >= info.floor().sequence && info.num_ack_pending as u64 > self.open() as u64 + missed
    }

    pub(super) fn unknown(&self) -> Range<u64> {
        self.unknown.clone()
    }

    /// Drops sequences up to `floor` from the unknown ones: they are settled, or tracked here by
    /// now.
    pub(super) fn know(&mut self, floor: u64) {
        self.unknown.start = self.unknown.start.max(floor + 1);
        if self.unknown.is_empty() {
            self.unknown = 0..0;
        }
    }

    /// Number of messages that are not settled.
    fn open(&self) -> usize {
        self.entries.len() - self.settled
    }

    /// Sequences that are not settled here.
    pub(super) fn unsettled(&self) -> Vec<u64> {
        let unsettled = self.entries.iter().filter(|entry| entry.state != MessageState::Settled);
        unsettled.map(|entry| entry.sequence).collect()
    }

    /// Last sequence up to which everything is settled; `None` if others may have a part in it.
    pub(super) fn floor(&self) -> Option<u64> {
        let first = self.entries.front().map_or(self.seen + 1, |first| first.sequence);
        let first = if self.unknown.is_empty() { first } else { first.min(self.unknown.start) };
        self.is_alone.then(|| first.saturating_sub(1))
    }

    pub(super) fn fit(&self, sequence: u64, delivery: u64) -> PrefixFit {
        if sequence > self.seen {
            return if self.is_alone && delivery != self.delivery + 1 {
                PrefixFit::AfterHole(self.seen + 1)
            } else {
                PrefixFit::Next
            };
        }
        match self.find(sequence).map(|index| self.entries[index].state) {
            Ok(MessageState::Open) => PrefixFit::Open,
            Ok(MessageState::GivenBack) => PrefixFit::Next,
            // No other reader has it, so its ack was lost.
            Ok(MessageState::Settled) | Err(_) if self.is_alone && !self.unknown.contains(&sequence) => {
                PrefixFit::AckLost
            }
            Ok(MessageState::Settled) | Err(_) => PrefixFit::Next,
        }
    }

    /// Notes a message as open.
    pub(super) fn enter(&mut self, sequence: u64, delivery: u64) {
        if sequence > self.seen {
            (self.seen, self.delivery) = (sequence, delivery);
        } else {
            self.repeated(delivery);
        }
        self.put(sequence);
    }

    /// As [`Self::enter`] for a message whose delivery did not arrive.
    pub(super) fn enter_lost(&mut self, sequence: u64) {
        self.seen = self.seen.max(sequence);
        self.put(sequence);
    }

    fn put(&mut self, sequence: u64) {
        let entry = LedgerEntry { sequence, state: MessageState::Open };
        match self.find(sequence) {
            Ok(index) => {
                self.settled -= usize::from(self.entries[index].state == MessageState::Settled);
                self.entries[index] = entry;
            }
            Err(index) => self.entries.insert(index, entry),
        }
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

    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.find(sequence).is_ok_and(|index| self.entries[index].state == MessageState::Open)
    }

    pub(super) fn is_given_back(&self, sequence: u64) -> bool {
        self.find(sequence).is_ok_and(|index| self.entries[index].state == MessageState::GivenBack)
    }

    pub(super) fn give_back(&mut self, sequence: u64) {
        if let Ok(index) = self.find(sequence) {
            self.entries[index].state = MessageState::GivenBack;
        }
    }

    pub(super) fn settle(&mut self, sequence: u64) {
        let Ok(index) = self.find(sequence) else { return };
        self.entries[index].state = MessageState::Settled;
        self.settled += 1;
        while self.entries.pop_front_if(|first| first.state == MessageState::Settled).is_some() {
            self.settled -= 1;
        }
        if self.settled > self.entries.len() / 2 && self.entries.len() > CROWDED {
            self.entries.retain(|entry| entry.state != MessageState::Settled);
            self.settled = 0;
        }
    }

    fn find(&self, sequence: u64) -> Result<usize, usize> {
        match self.entries.back() {
            // The usual case.
            Some(last) if sequence > last.sequence => Err(self.entries.len()),
            _ => self.entries.binary_search_by_key(&sequence, |entry| entry.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u64) -> SequencePair {
        SequencePair { delivery: sequence, sequence }
    }

    /// A ledger without other readers from the beginning, with nothing delivered.
    fn alone() -> MessageLedger {
        let mut ledger = MessageLedger::new(at(0), at(0));
        ledger.read_alone(at(0), at(0), 0);
        ledger
    }

    #[test]
    fn a_gap_is_a_loss_only_where_nobody_else_reads() {
        let mut ledger = alone();
        ledger.enter(5, 1);
        assert_eq!(ledger.fit(9, 2), PrefixFit::Next, "the stream may have gaps");
        assert_eq!(ledger.fit(9, 3), PrefixFit::AfterHole(6));
        ledger.share();
        assert_eq!(ledger.fit(9, 3), PrefixFit::Next);
        assert_eq!(ledger.floor(), None);
    }

    /// Messages left by an earlier process are given back, and may be lost on the way more than
    /// once.
    #[test]
    fn redeliveries_that_are_lost_are_no_sign_of_others() {
        let mut ledger = MessageLedger::new(at(0), at(100));
        ledger.read_alone(at(0), at(100), 100);
        let may_share = |ledger: &MessageLedger, delivery, sequence, num_ack_pending| {
            ledger.may_share(&ConsumerInfo::double(SequencePair { delivery, sequence }, at(0), num_ack_pending))
        };
        assert!(!may_share(&ledger, 350, 110, 10));
        assert!(!may_share(&ledger, 104, 120, 4), "the stream may have gaps");
        assert!(may_share(&ledger, 104, 120, 3));
        assert!(!may_share(&ledger, 350, 100, 0));
    }

    #[test]
    fn deliveries_of_what_was_seen_are_no_sign_of_others() {
        let mut ledger = alone();
        (1..=50).for_each(|sequence| ledger.enter(sequence, sequence));
        let info = |delivered, sequence, num_ack_pending| {
            let (delivered, ack_floor) = (SequencePair { delivery: delivered, sequence }, at(0));
            ConsumerInfo::double(delivered, ack_floor, num_ack_pending)
        };
        assert!(!ledger.may_share(&info(110, 60, 10)), "50 again and 10 new, which are open");
        assert!(!ledger.may_share(&info(60, 100, 10)), "the stream may have gaps");
        assert!(ledger.may_share(&info(110, 60, 9)), "one of the new ones is settled");
    }

    #[test]
    fn what_comes_again_is_told_apart() {
        let mut ledger = alone();
        for sequence in 1..=4 {
            ledger.enter(sequence, sequence);
        }
        ledger.settle(1);
        ledger.give_back(2);
        ledger.settle(3);
        let fits: Vec<_> = (1..=4).map(|sequence| ledger.fit(sequence, 5)).collect();
        assert_eq!(fits, [PrefixFit::AckLost, PrefixFit::Next, PrefixFit::AckLost, PrefixFit::Open]);
        ledger.share();
        // Another reader may have given back what was never ours.
        assert_eq!(ledger.fit(1, 5), PrefixFit::Next);
    }

    #[test]
    fn what_an_earlier_process_left_is_never_taken_for_settled() {
        let mut ledger = MessageLedger::new(at(10), at(20));
        ledger.read_alone(at(10), at(20), 3);
        assert_eq!(
            (ledger.fit(11, 21), ledger.fit(10, 21), ledger.floor()),
            (PrefixFit::Next, PrefixFit::AckLost, Some(10))
        );
        ledger.enter(12, 21);
        ledger.settle(12);
        assert_eq!(
            (ledger.fit(11, 22), ledger.floor()),
            (PrefixFit::Next, Some(10)),
            "11 may have been lost on the way"
        );
        ledger.know(20);
        assert_eq!((ledger.fit(11, 22), ledger.floor()), (PrefixFit::AckLost, Some(20)));
    }

    proptest! {
        /// Against a model that remembers everything: whatever is taken, given back and settled, an
        /// unsettled message is never taken for settled or at or below the floor, and no more is
        /// kept than is of use.
        #[test]
        fn nothing_unsettled_is_forgotten(
            steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..400),
        ) {
            let mut ledger = alone();
            let mut model = BTreeMap::new();
            let (mut next, mut delivery) = (1, 1);
            for (step, index) in steps {
                let having = |state: MessageState, model: &BTreeMap<u64, MessageState>| -> Vec<u64> {
                    model.iter().filter(|(_, found)| **found == state).map(|(sequence, _)| *sequence).collect()
                };
                let (open, away) = (having(MessageState::Open, &model), having(MessageState::GivenBack, &model));
                match step {
                    1 if !open.is_empty() => {
                        let sequence = *index.get(&open);
                        ledger.settle(sequence);
                        model.insert(sequence, MessageState::Settled);
                    }
                    2 if !open.is_empty() => {
                        let sequence = *index.get(&open);
                        ledger.give_back(sequence);
                        model.insert(sequence, MessageState::GivenBack);
                    }
                    3 if !away.is_empty() => {
                        let sequence = *index.get(&away);
                        prop_assert_eq!(ledger.fit(sequence, delivery), PrefixFit::Next);
                        ledger.enter(sequence, delivery);
                        delivery += 1;
                        model.insert(sequence, MessageState::Open);
                    }
                    _ => {
                        prop_assert_eq!(ledger.fit(next, delivery), PrefixFit::Next);
                        ledger.enter(next, delivery);
                        model.insert(next, MessageState::Open);
                        (next, delivery) = (next + 1, delivery + 1);
                    }
                }
                let unsettled = model.iter().filter(|(_, state)| **state != MessageState::Settled);
                let unsettled: BTreeSet<u64> = unsettled.map(|(sequence, _)| *sequence).collect();
                prop_assert!(ledger.unsettled().into_iter().eq(unsettled.iter().copied()));
                prop_assert_eq!(ledger.floor(), Some(unsettled.first().map_or(next, |first| *first) - 1));
                for (sequence, state) in &model {
                    let expected = match state {
                        MessageState::Open => PrefixFit::Open,
                        MessageState::GivenBack => PrefixFit::Next,
                        MessageState::Settled => PrefixFit::AckLost,
                    };
                    prop_assert_eq!(ledger.fit(*sequence, delivery), expected);
                }
                prop_assert!(ledger.entries.len() <= CROWDED + 2 * unsettled.len() + 1);
            }
        }
    }
}
