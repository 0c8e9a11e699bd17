//! Conversion of the client's messages to those that an envelope is opened on.

use std::sync::Arc;

use crate::{
    event::{Headers, Origin},
    nats::{RawMessage, ReplyFields, headers},
    source::envelope,
};

pub(super) fn received(
    message: async_nats::Message,
    delivered: ReplyFields,
    origin: &Arc<Origin>,
    observed_at: u64,
) -> envelope::SourceMessage {
    envelope::SourceMessage {
        subject: message.subject.into_string().into(),
        headers: message.headers.as_ref().map(headers).unwrap_or_default(),
        payload: message.payload,
        observed_at,
        attempt: delivered.position.attempt,
        origin: Arc::clone(origin),
        sequence: delivered.position.sequence,
        incarnation: delivered.stored_at.cast_unsigned(),
    }
}

pub(super) fn stored(
    message: &RawMessage,
    headers: Headers,
    attempt: u32,
    origin: &Arc<Origin>,
    observed_at: u64,
) -> envelope::SourceMessage {
    envelope::SourceMessage {
        subject: message.subject(),
        headers,
        payload: message.payload.clone(),
        observed_at,
        attempt,
        origin: Arc::clone(origin),
        sequence: message.sequence,
        incarnation: message.stored_at.cast_unsigned(),
    }
}
