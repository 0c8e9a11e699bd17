//! Faults of messages that can't be decoded, and of JSON that can't be encoded.

use std::{borrow::Cow, fmt};

/// Error: a message can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct AvroDecodeError {
    /// Reason code of the fault: `not_avro`, `unknown_schema`, or one that begins with `avro_`.
    pub reason: &'static str,
    pub detail: String,
}

impl AvroDecodeError {
    pub(super) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Error: JSON can't be encoded. The value itself is not repeated: it may be large, or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvroEncodeError {
    pub(super) schema: String,
    /// JSON pointer to the value, empty for the whole document.
    pub(super) pointer: String,
    pub(super) why: Cow<'static, str>,
}

impl fmt::Display for AvroEncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema, pointer, why } = self;
        write!(f, "does not fit the schema `{schema}`")?;
        if !pointer.is_empty() {
            write!(f, " at `{pointer}`")?;
        }
        write!(f, ": {why}")
    }
}

impl std::error::Error for AvroEncodeError {}
