//! Watermark of a source that is read in order: everything before it is settled.

use std::collections::VecDeque;

/// Number of an item among those taken, from 0.
pub(super) type ItemIndex = u64;

#[derive(Debug, Default)]
pub(super) struct Watermark {
    taken: VecDeque<ItemMark>,
    /// Index of the first item in `taken`.
    first: ItemIndex,
    reached: SettledPosition,
}

/// The last item of a settled prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct SettledPosition {
    pub(in crate::source) number: u64,
    /// Amount up to its end: bytes, or items.
    pub(in crate::source) amount: u64,
}

#[derive(Debug)]
struct ItemMark {
    position: SettledPosition,
    settled: bool,
}

impl Watermark {
    /// Adds the next item.
    pub(super) fn take(&mut self, position: SettledPosition) -> ItemIndex {
        self.taken.push_back(ItemMark { position, settled: false });
        self.first + self.taken.len() as u64 - 1
    }

    pub(super) fn settle(&mut self, index: ItemIndex) {
        let mark = index.checked_sub(self.first).and_then(|index| self.taken.get_mut(usize::try_from(index).ok()?));
        if let Some(mark) = mark {
            mark.settled = true;
        }
        while let Some(mark) = self.taken.pop_front_if(|mark| mark.settled) {
            self.reached = mark.position;
            self.first += 1;
        }
    }

    pub(super) fn reached(&self) -> SettledPosition {
        self.reached
    }

    /// Items between the watermark and the newest.
    pub(super) fn ahead(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_only_over_a_settled_prefix() {
        let mut watermark = Watermark::default();
        let at = |line| SettledPosition { number: line, amount: line * 10 };
        let indexes: Vec<_> = [1, 2, 5, 6].map(|line| watermark.take(at(line))).into();
        for (settled, reached, ahead) in [(2, 0, 4), (1, 0, 4), (0, 5, 1), (0, 5, 1), (3, 6, 0)] {
            watermark.settle(indexes[settled]);
            assert_eq!((watermark.reached(), watermark.ahead()), (at(reached), ahead));
        }
        let next = watermark.take(at(7));
        watermark.settle(next);
        assert_eq!(watermark.reached(), at(7));
    }
}
