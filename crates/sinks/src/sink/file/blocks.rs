//! End of a container file that an earlier run wrote: blocks follow where the last whole one ends.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::Path,
};

use crate::avro::container::{ContainerFault, ContainerFormat, ContainerTail, ContainerWriter, sound_part};

/// What may follow in a container file.
pub(super) enum BlockTail {
    /// Blocks of this writer, behind these bytes.
    Open(u64, ContainerWriter),
    /// Nothing, for this reason.
    Closed(String),
}

/// Cuts off what a crash has left of a block: its outputs were not confirmed, and come again.
pub(super) fn continued(file: &File, path: &Path, format: &ContainerFormat) -> io::Result<BlockTail> {
    let tail = sound_part(file, format).map_err(|fault| match fault {
        ContainerFault::Io(error) => error,
        fault => io::Error::new(ErrorKind::InvalidInput, fault),
    })?;
    let (length, marker) = match tail {
        ContainerTail::Empty => (0, fastrand::u128(..).to_le_bytes()),
        ContainerTail::Whole { length, marker } => (length, marker),
        ContainerTail::Closed(why) => return Ok(BlockTail::Closed(why)),
    };
    if file.metadata()?.len() > length {
        tracing::warn!(path = %path.display(), offset = length, "last block is torn, cut off");
        file.set_len(length)?;
    }
    let writer = ContainerWriter::new(format, marker).map_err(io::Error::other)?;
    Ok(BlockTail::Open(length, writer))
}
