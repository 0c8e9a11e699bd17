//! End of a container file that an earlier run wrote: where its last whole block ends.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
};

use serde_json::Value;

use super::{
    ContainerFault, ContainerFormat, LARGEST_BLOCK, SyncMarker,
    header::ContainerHeader,
    input::{CountedInput, InputFault},
};

/// Part of a file behind which more may be written.
#[derive(Debug, PartialEq, Eq)]
pub enum ContainerTail {
    /// There is no whole header.
    Empty,
    /// Header and whole blocks of this length. What follows was being written.
    Whole { length: u64, marker: SyncMarker },
    /// Nothing may follow, for this reason.
    Closed(String),
}

/// Finds the part of a file behind which records of this format may follow. Blocks are passed over
/// unread.
///
/// # Errors
/// Returns an error if the file can't be read, or is no container file.
pub fn sound_part(mut file: &File, format: &ContainerFormat) -> Result<ContainerTail, ContainerFault> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut input = CountedInput::new(BufReader::with_capacity(64 << 10, file));
    let header = match ContainerHeader::read(&mut input) {
        Ok(header) => header,
        Err(ContainerFault::CutHeader) => return Ok(ContainerTail::Empty),
        Err(ContainerFault::Header(why)) => {
            return Ok(ContainerTail::Closed(format!("its header can't be read: {why}")));
        }
        Err(fault) => return Err(fault),
    };
    let schema: Option<Value> = serde_json::from_str(&header.schema).ok();
    if schema.as_ref() != Some(format.schema.json()) {
        return Ok(ContainerTail::Closed("it has another schema".to_owned()));
    }
    if header.codec != format.codec {
        return Ok(ContainerTail::Closed(format!("it has the codec `{}`", header.codec.name())));
    }
    let marker = header.marker;
    let mut length = input.offset;
    loop {
        match pass_block(&mut input, size, marker) {
            Ok(true) => length = input.offset,
            Ok(false) | Err(InputFault::End) => return Ok(ContainerTail::Whole { length, marker }),
            Err(InputFault::Io(error)) => return Err(error.into()),
            Err(InputFault::Wrong(why)) => {
                return Ok(ContainerTail::Closed(format!("the block at byte {length} is damaged: {why}")));
            }
        }
    }
}

/// Passes over a block. Returns false at the end of the file.
fn pass_block(input: &mut CountedInput<BufReader<&File>>, size: u64, marker: SyncMarker) -> Result<bool, InputFault> {
    let Some(_count) = input.next_long()? else { return Ok(false) };
    let length = input.length(LARGEST_BLOCK, "its size is more than 16 MiB")?;
    if input.offset + length as u64 > size {
        return Err(InputFault::End);
    }
    input.skip(length)?;
    if input.marker()? == marker {
        Ok(true)
    } else {
        Err(InputFault::Wrong("another marker than the file's stands behind it"))
    }
}
