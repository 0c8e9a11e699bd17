//! Headers of messages, which identify the writer's schema.

use std::fmt;

use super::fault::AvroDecodeError;

/// Kind of header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Avro's own: C3 01, and the schema's fingerprint in 8 bytes, little-endian (H41).
    SingleObject,
    /// Confluent's: 0, and the id that its registry gave the schema in 4 bytes, big-endian.
    Confluent,
    /// None: the schema is told apart from the data, as in a container file.
    Bare,
}

/// Writer's schema as the header identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriterSchema {
    Fingerprint(u64),
    Id(u32),
}

impl Framing {
    /// Recognises the framing by the first bytes. `None` if it is neither, or ends too early to
    /// tell.
    pub fn of(message: &[u8]) -> Option<Self> {
        match message {
            [0xc3, 0x01, ..] => Some(Self::SingleObject),
            [0, ..] => Some(Self::Confluent),
            _ => None,
        }
    }
}

/// Splits off the header: returns the writer and the offset of the body.
///
/// # Errors
/// `not_avro`, `avro_too_short`
pub(super) fn split(message: &[u8]) -> Result<(WriterSchema, usize), AvroDecodeError> {
    match message {
        [0xc3, 0x01, header @ ..] if let Some(print) = header.first_chunk() => {
            Ok((WriterSchema::Fingerprint(u64::from_le_bytes(*print)), 10))
        }
        [0, header @ ..] if let Some(id) = header.first_chunk() => Ok((WriterSchema::Id(u32::from_be_bytes(*id)), 5)),
        [] | [0xc3] | [0xc3, 0x01, ..] | [0, ..] => {
            let detail = format!("{} bytes are no header with a schema", message.len());
            Err(AvroDecodeError::new("avro_too_short", detail))
        }
        _ => Err(AvroDecodeError::new("not_avro", "it begins neither with C3 01 nor with 0")),
    }
}

impl WriterSchema {
    pub fn header(self) -> Vec<u8> {
        match self {
            Self::Fingerprint(print) => [&[0xc3, 0x01][..], &print.to_le_bytes()].concat(),
            Self::Id(id) => [&[0][..], &id.to_be_bytes()].concat(),
        }
    }
}

impl fmt::Display for WriterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(print) => write!(f, "fingerprint {print:016x}"),
            Self::Id(id) => write!(f, "id {id}"),
        }
    }
}
