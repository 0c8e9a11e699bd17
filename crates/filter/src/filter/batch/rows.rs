//! The reading side of the layout of version 0.1.1, as guests of that version have it. Nothing is
//! copied; what is not of that layout panics.

const LAYOUT: u32 = 1;
/// Where the first row begins.
const ROWS: usize = 4;
const ABSENT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    arena: &'a [u8],
    index: Numbers<'a>,
}

/// Numbers as the contract writes them.
#[derive(Clone, Copy, Debug)]
struct Numbers<'a>(&'a [[u8; 4]]);

/// One event of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: Columns<'a>,
    numbers: Numbers<'a>,
}

impl<'a> Numbers<'a> {
    fn get(self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at])
    }

    fn from(self, at: usize) -> Self {
        Self(&self.0[at..])
    }
}

impl<'a> Columns<'a> {
    pub fn new(arena: &'a [u8], index: &'a [u8]) -> Self {
        let index = Numbers(index.as_chunks().0);
        assert_eq!(index.get(0), LAYOUT, "a batch of another layout");
        Self { arena, index }
    }

    pub fn len(&self) -> usize {
        self.index.get(1) as usize
    }

    pub fn row(self, event: usize) -> Row<'a> {
        let stride = self.index.get(2) as usize;
        Row { columns: self, numbers: self.index.from(ROWS + event * stride) }
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
        u64::from(self.numbers.get(10)) | u64::from(self.numbers.get(11)) << 32
    }

    pub fn attempt(&self) -> u32 {
        self.numbers.get(12)
    }

    /// Name and value of every header.
    pub fn headers(self) -> Option<impl Iterator<Item = (&'a [u8], &'a [u8])>> {
        let headers = match self.numbers.get(13) {
            ABSENT => return None,
            first => first..first + self.numbers.get(14),
        };
        let table = self.columns.index.from(self.columns.index.get(3) as usize);
        Some(headers.map(move |header| {
            let text = |at| self.columns.bytes([table.get(at), table.get(at + 1)]);
            (text(4 * header as usize), text(4 * header as usize + 2))
        }))
    }

    fn part(&self, at: usize) -> Option<&'a [u8]> {
        let part = [self.numbers.get(at), self.numbers.get(at + 1)];
        (part[0] != ABSENT).then(|| self.columns.bytes(part))
    }
}
