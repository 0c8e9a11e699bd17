//! Reads a batch where it stands: the two flat buffers of the contract's `event-batch`. Another
//! layout panics, which ends the call.

const LAYOUT: u32 = 2;
/// Where the first row begins.
const ROWS: usize = 3;
const ABSENT: u32 = u32::MAX;

/// The events of one call.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    arena: &'a [u8],
    index: &'a [[u8; 4]],
}

/// The values of one event.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    arena: &'a [u8],
    numbers: &'a [[u8; 4]],
}

impl<'a> Columns<'a> {
    pub fn new(arena: &'a [u8], index: &'a [u8]) -> Self {
        let index = index.as_chunks().0;
        assert_eq!(number(index, 0), LAYOUT, "a batch of another layout");
        Self { arena, index }
    }

    pub fn len(&self) -> usize {
        number(self.index, 1) as usize
    }

    pub fn rows(self) -> impl Iterator<Item = Row<'a>> {
        let width = 2 * number(self.index, 2) as usize;
        (0..self.len())
            .map(move |event| Row { arena: self.arena, numbers: &self.index[ROWS + event * width..][..width] })
    }
}

impl<'a> Row<'a> {
    /// The value of the field at `position`, `None` if the event has no such field.
    pub fn value(&self, position: usize) -> Option<&'a [u8]> {
        let (offset, length) = (number(self.numbers, 2 * position), number(self.numbers, 2 * position + 1));
        (offset != ABSENT).then(|| &self.arena[offset as usize..][..length as usize])
    }
}

fn number(numbers: &[[u8; 4]], at: usize) -> u32 {
    u32::from_le_bytes(numbers[at])
}
