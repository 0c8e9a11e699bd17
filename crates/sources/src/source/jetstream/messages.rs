//! Conversion of the client's messages to those that an envelope is opened on.

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName};
use bytestring::ByteString;

use crate::{
    event::{Headers, Origin},
    nats::{RawMessage, ReplyFields, headers},
    source::{
        envelope,
        jetstream::{partition::published, pin::PIN_HEADER},
    },
};

pub(super) fn received(
    message: async_nats::Message,
    delivered: ReplyFields,
    (origin, has_partitions): (&Arc<Origin>, bool),
    observed_at: u64,
) -> envelope::SourceMessage {
    let stored = ByteString::from(message.subject.into_string());
    envelope::SourceMessage {
        subject: if has_partitions { published(stored) } else { stored },
        headers: message.headers.as_ref().map(stored_headers).unwrap_or_default(),
        payload: message.payload,
        observed_at,
        attempt: delivered.position.attempt,
        origin: Arc::clone(origin),
        sequence: delivered.position.sequence,
        incarnation: delivered.stored_at.cast_unsigned(),
    }
}

/// Headers that a message was stored with: without its pin, which came with the delivery.
fn stored_headers(map: &HeaderMap) -> Headers {
    match map.get(HeaderName::from_static(PIN_HEADER)) {
        None => headers(map),
        Some(_) if map.len() == 1 => Headers::default(),
        Some(_) => headers(map).iter().filter(|(name, _)| *name != PIN_HEADER).cloned().collect(),
    }
}

pub(super) fn stored(
    message: &RawMessage,
    headers: Headers,
    attempt: u32,
    (origin, has_partitions): (&Arc<Origin>, bool),
    observed_at: u64,
) -> envelope::SourceMessage {
    let stored = message.subject();
    envelope::SourceMessage {
        subject: if has_partitions { published(stored) } else { stored },
        headers,
        payload: message.payload.clone(),
        observed_at,
        attempt,
        origin: Arc::clone(origin),
        sequence: message.sequence,
        incarnation: message.stored_at.cast_unsigned(),
    }
}
