//! Reader of a container file. Trusts nothing in it.

use std::{io::Read, sync::Arc};

use super::{
    ContainerFault, LARGEST_BLOCK,
    header::ContainerHeader,
    input::{CountedInput, InputFault},
};
use crate::{AvroDecodeError, AvroSchema, AvroSchemas, TimeForm, plan::ReadPlan, types::may_be_empty};

/// Most records in a block that may take no byte each.
const MOST_EMPTY: u64 = 1 << 20;

/// Container file that is read record by record.
pub struct ContainerReader<R> {
    input: CountedInput<R>,
    header: ContainerHeader,
    schema: AvroSchema,
    /// Plan for reading as the reader has it.
    plan: Arc<ReadPlan>,
    /// Plan for reading as it was written.
    own: Arc<ReadPlan>,
    /// The block that is being read, decompressed.
    block: Vec<u8>,
    /// Offset of that block in the file.
    offset: u64,
    /// Bytes of it that are read.
    at: usize,
    /// Records of it that are not read yet.
    left: u64,
    /// Records read so far.
    records: u64,
}

/// A record of a container file.
#[derive(Debug)]
pub struct ContainerRecord<'r> {
    /// Number in the file, from 1.
    pub number: u64,
    /// Bytes of the file up to the end of its block.
    pub end: u64,
    /// The record as it was written.
    pub datum: &'r [u8],
    /// The record as JSON.
    pub json: Result<Vec<u8>, RecordFault>,
}

/// Error of a record that is sound, and can't become what the reader wants.
#[derive(Debug)]
pub struct RecordFault {
    pub error: AvroDecodeError,
    /// The record as JSON by the writer's schema.
    pub written: Vec<u8>,
}

impl<R: Read> ContainerReader<R> {
    /// Reads the header. Records are converted to the reader's schema, by default to that of the
    /// file.
    ///
    /// # Errors
    /// Returns an error if it is no container file, its schema or codec is none, or the reader
    /// can't read anything of it.
    pub fn open(input: R, reader: Option<&AvroSchema>) -> Result<Self, ContainerFault> {
        let mut input = CountedInput::new(input);
        let header = ContainerHeader::read(&mut input)?;
        let schema = parsed(&header.schema)?;
        let plan = schema.read_as(reader, TimeForm::Integer).map_err(ContainerFault::Unresolvable)?;
        let own = schema.0.plan.clone();
        let offset = input.offset;
        Ok(Self { input, header, schema, plan, own, block: Vec::new(), offset, at: 0, left: 0, records: 0 })
    }

    /// Returns the schema of the file.
    pub fn schema(&self) -> &AvroSchema {
        &self.schema
    }

    /// Reads the next record. `None` at the end of the file.
    ///
    /// # Errors
    /// Returns an error if the file is damaged here. Nothing that follows can be read.
    pub fn next_record(&mut self) -> Result<Option<ContainerRecord<'_>>, ContainerFault> {
        while self.left == 0 {
            if self.at < self.block.len() {
                return Err(self.damaged(format!("{} bytes follow its last record", self.block.len() - self.at)));
            }
            self.offset = self.input.offset;
            match self.next_block() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(InputFault::Io(error)) => return Err(error.into()),
                Err(InputFault::End) => {
                    return Err(self.damaged("the file ends in it: it was cut, or is still being written".to_owned()));
                }
                Err(InputFault::Wrong(why)) => return Err(self.damaged(why.to_owned())),
            }
            self.header.codec.decompress(&mut self.block).map_err(|why| self.damaged(why))?;
            let most = if may_be_empty(&self.schema.0.types, self.schema.0.root) { MOST_EMPTY } else { 0 };
            if self.left > most.max(self.block.len() as u64) {
                let (left, bytes) = (std::mem::take(&mut self.left), self.block.len());
                return Err(self.damaged(format!("it counts {left} records in {bytes} bytes")));
            }
        }
        let begin = self.at;
        let json = match self.plan.decode_at(&self.block, begin) {
            Ok((json, end)) => {
                self.at = end;
                Ok(json)
            }
            Err(error) => match self.own.decode_at(&self.block, begin) {
                Ok((written, end)) => {
                    self.at = end;
                    Err(RecordFault { error, written })
                }
                Err(AvroDecodeError { detail, .. }) => return Err(self.damaged(detail)),
            },
        };
        self.left -= 1;
        self.records += 1;
        let datum = &self.block[begin..self.at];
        Ok(Some(ContainerRecord { number: self.records, end: self.input.offset, datum, json }))
    }

    /// Reads the next block as it is stored. Returns false at the end of the file.
    fn next_block(&mut self) -> Result<bool, InputFault> {
        (self.at, self.left) = (0, 0);
        self.block.clear();
        let Some(count) = self.input.next_long()? else { return Ok(false) };
        let count = u64::try_from(count).map_err(|_| InputFault::Wrong("it counts less than no records"))?;
        let length = self.input.length(LARGEST_BLOCK, "its size is more than 16 MiB")?;
        self.input.take(length, &mut self.block)?;
        if self.input.marker()? != self.header.marker {
            return Err(InputFault::Wrong("another marker than the file's stands behind it"));
        }
        self.left = count;
        Ok(true)
    }

    fn damaged(&self, why: String) -> ContainerFault {
        ContainerFault::Damaged { record: self.records + 1, offset: self.offset, why }
    }
}

/// Parses the schema of a header.
pub(super) fn parsed(json: &str) -> Result<AvroSchema, ContainerFault> {
    const NAME: &str = "the file's schema";
    let wrong = |why: String| ContainerFault::Header(format!("its schema: {why}"));
    let schemas = AvroSchemas::parse(&[(NAME, json)]).map_err(|problems| {
        let why: Vec<_> = problems.into_iter().map(|problem| problem.why).collect();
        wrong(why.join(", "))
    })?;
    schemas.get(NAME).ok_or_else(|| wrong("there is none".to_owned()))
}
