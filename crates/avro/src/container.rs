//! Object container files, `.avro`: a header with the schema and blocks of records, each compressed
//! and followed by the file's marker.
//!
//! Codecs are those of the crate `apache-avro`, and so are the blocks that are written. Files of
//! others are read here: its reader takes the end of a block for empty values, and nests as deeply
//! as the data says.

use std::io;

use apache_avro::{Bzip2Settings, Codec, DeflateSettings, XzSettings, ZstandardSettings};

mod header;
mod input;
mod reader;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{ContainerReader, ContainerRecord, RecordFault};
pub use tail::{ContainerTail, sound_part};
pub use writer::ContainerWriter;

use super::AvroSchema;

/// Largest block, compressed and not. Writers make blocks of some KiB, or a few MiB.
pub const LARGEST_BLOCK: usize = 16 << 20;
/// Largest record that is written: a block holds it with others, and compressed it may grow.
pub const LARGEST_RECORD: usize = 15 << 20;
/// Bytes that a container file begins with.
pub const MAGIC: [u8; 4] = *b"Obj\x01";
/// Level of xz: its higher ones take up to 700 MB of memory, and are no better for small blocks.
const XZ_LEVEL: u8 = 2;

/// Marker behind the header and behind each block.
pub type SyncMarker = [u8; 16];

/// Compression of a file's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerCodec {
    #[default]
    Null,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
    Xz,
}

/// Kind of file that a writer makes: of one schema and one codec.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerFormat {
    pub schema: AvroSchema,
    pub codec: ContainerCodec,
}

/// Error that ends the reading of a container file.
#[derive(Debug, thiserror::Error)]
pub enum ContainerFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no Avro container file: it does not begin with `Obj` and 1")]
    NoContainer,
    /// The header is sound up to here, and the file ends.
    #[error("it ends within its header: it was cut, or is still being written")]
    CutHeader,
    #[error("its header can't be read: {0}")]
    Header(String),
    #[error("{0}")]
    Unresolvable(String),
    #[error("record {record}, in the block at byte {offset}: {why}; all records before it were read")]
    Damaged {
        /// Number of the record, from 1.
        record: u64,
        /// Offset of its block.
        offset: u64,
        why: String,
    },
}

impl ContainerCodec {
    pub const ALL: [(&'static str, Self); 6] = [
        ("null", Self::Null),
        ("deflate", Self::Deflate),
        ("snappy", Self::Snappy),
        ("zstandard", Self::Zstandard),
        ("bzip2", Self::Bzip2),
        ("xz", Self::Xz),
    ];

    /// Returns the name that the header has.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, codec)| *codec == self).map_or("null", |(name, _)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, codec)| *codec)
    }

    fn codec(self) -> Codec {
        match self {
            Self::Null => Codec::Null,
            Self::Deflate => Codec::Deflate(DeflateSettings::default()),
            Self::Snappy => Codec::Snappy,
            Self::Zstandard => Codec::Zstandard(ZstandardSettings::default()),
            Self::Bzip2 => Codec::Bzip2(Bzip2Settings::default()),
            Self::Xz => Codec::Xz(XzSettings::new(XZ_LEVEL)),
        }
    }

    /// Restores a block in place, up to [`LARGEST_BLOCK`].
    fn decompress(self, block: &mut Vec<u8>) -> Result<(), String> {
        // Set once for the process, before anything is allocated by what a file says.
        let limit = apache_avro::util::max_allocation_bytes(LARGEST_BLOCK);
        let restored = self.codec().decompress(block).map_err(|error| format!("it can't be decompressed: {error}"));
        restored.and_then(|()| match block.len() <= limit.min(LARGEST_BLOCK) {
            true => Ok(()),
            false => Err(format!("it becomes more than {LARGEST_BLOCK} bytes")),
        })
    }
}
