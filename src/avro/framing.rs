//! What stands in front of a message and says which schema it was written with.

use std::fmt;

use super::fault::Undecodable;

/// A kind of header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Avro's own: C3 01, and the schema's fingerprint in 8 bytes, the low ones first (H41).
    SingleObject,
    /// Confluent's: 0, and an id that its registry gave the schema in 4 bytes, the high ones first.
    Confluent,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    Fingerprint(u64),
    Id(u32),
}

impl Framing {
    /// By the first bytes. `None` when it is no such message, be it that it ends before it shows.
    pub fn of(message: &[u8]) -> Option<Self> {
        match message {
            [0xc3, 0x01, ..] => Some(Self::SingleObject),
            [0, ..] => Some(Self::Confluent),
            _ => None,
        }
    }
}

/// Returns the writer and where the body begins.
///
/// # Errors
/// `not_avro`, `avro_too_short`
pub(super) fn split(message: &[u8]) -> Result<(Writer, usize), Undecodable> {
    match message {
        [0xc3, 0x01, header @ ..] if let Some(print) = header.first_chunk() => {
            Ok((Writer::Fingerprint(u64::from_le_bytes(*print)), 10))
        }
        [0, header @ ..] if let Some(id) = header.first_chunk() => Ok((Writer::Id(u32::from_be_bytes(*id)), 5)),
        [] | [0xc3] | [0xc3, 0x01, ..] | [0, ..] => {
            let detail = format!("{} bytes are no header with a schema", message.len());
            Err(Undecodable::new("avro_too_short", detail))
        }
        _ => Err(Undecodable::new("not_avro", "it begins neither with C3 01 nor with 0")),
    }
}

impl Writer {
    pub fn header(self) -> Vec<u8> {
        match self {
            Self::Fingerprint(print) => [&[0xc3, 0x01][..], &print.to_le_bytes()].concat(),
            Self::Id(id) => [&[0][..], &id.to_be_bytes()].concat(),
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(print) => write!(f, "fingerprint {print:016x}"),
            Self::Id(id) => write!(f, "id {id}"),
        }
    }
}
