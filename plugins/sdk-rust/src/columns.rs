//! Reading the two flat buffers of a batch, whose layout stands with `event-batch` in the contract. Nothing is copied;
//! what is not of that layout panics, which ends the call.

use std::ops::Range;

const LAYOUT: u32 = 1;
/// Where the first row begins.
const ROWS: usize = 4;
const ABSENT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    arena: &'a [u8],
    index: &'a [u32],
}

/// One event of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: Columns<'a>,
    numbers: &'a [u32],
}

impl<'a> Columns<'a> {
    pub fn new(arena: &'a [u8], index: &'a [u32]) -> Self {
        assert_eq!(index[0], LAYOUT, "a batch of another layout");
        Self { arena, index }
    }

    pub fn len(&self) -> usize {
        self.index[1] as usize
    }

    pub fn row(self, event: usize) -> Row<'a> {
        let stride = self.index[2] as usize;
        Row { columns: self, numbers: &self.index[ROWS + event * stride..][..stride] }
    }

    fn bytes(&self, [offset, length]: [u32; 2]) -> &'a [u8] {
        &self.arena[offset as usize..][..length as usize]
    }
}

impl<'a> Row<'a> {
    pub fn id(&self) -> Option<&'a [u8]> {
        self.part(0)
    }

    pub fn event_type(&self) -> &'a [u8] {
        self.part(2).unwrap_or_default()
    }

    pub fn subject(&self) -> Option<&'a [u8]> {
        self.part(4)
    }

    pub fn source_time(&self) -> Option<&'a [u8]> {
        self.part(6)
    }

    pub fn payload(&self) -> Option<&'a [u8]> {
        self.part(8)
    }

    /// Unix nanoseconds.
    pub fn observed_at(&self) -> u64 {
        u64::from(self.numbers[10]) | u64::from(self.numbers[11]) << 32
    }

    pub fn attempt(&self) -> u32 {
        self.numbers[12]
    }

    /// Name and value of every header.
    pub fn headers(self) -> Option<impl Iterator<Item = (&'a [u8], &'a [u8])>> {
        let Range { start, end } = match self.numbers[13] {
            ABSENT => return None,
            first => first..first + self.numbers[14],
        };
        let table = &self.columns.index[self.columns.index[3] as usize..];
        let headers = table[start as usize * 4..end as usize * 4].chunks_exact(4);
        Some(headers.map(move |at| (self.columns.bytes([at[0], at[1]]), self.columns.bytes([at[2], at[3]]))))
    }

    fn part(&self, at: usize) -> Option<&'a [u8]> {
        let part = [self.numbers[at], self.numbers[at + 1]];
        (part[0] != ABSENT).then(|| self.columns.bytes(part))
    }
}
