//! Range of events that a router has settled, for each source.

use serde_json::{Value, json};

use super::Bound;
use crate::{
    cli::refusal::{Kind, Refusal},
    config::{Begin, JetStreamSource, Range},
    nats::{ApiError, Connection, HistoryError, code},
};

/// Part of a source's stream that is verified.
pub(super) struct Stretch {
    pub(super) source: String,
    pub(super) range: Range,
    /// Number of messages that are not settled yet, and are left out.
    pub(super) unsettled: u64,
}

impl Stretch {
    /// Restricts the stretch to the bounds that are given.
    pub(super) fn narrow(&mut self, from: Option<Bound>, to: Option<Bound>) {
        self.range.begin = match from {
            None => Begin::First,
            Some(Bound::Sequence(sequence)) => Begin::Sequence(sequence.max(1)),
            Some(Bound::Time(time)) => Begin::Time(time),
        };
        match to {
            None => {}
            Some(Bound::Sequence(sequence)) => self.range.to = self.range.to.map(|settled| settled.min(sequence)),
            Some(Bound::Time(time)) => self.range.until = Some(time),
        }
    }
}

/// Returns the part of a source's stream that its consumer has acknowledged.
///
/// # Errors
/// Returns an error if the stream or the consumer can't be read.
pub(super) async fn settled_stretch(
    connection: &Connection,
    source: &str,
    settings: &JetStreamSource,
) -> Result<Stretch, Refusal> {
    let JetStreamSource { stream, durable, subjects, .. } = settings;
    let unreadable = |error: ApiError| Refusal::from(HistoryError::Api(stream.clone(), error));
    // Queried before the consumer, so that a message that arrives in between can't count as
    // settled.
    let info = connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await.map_err(unreadable)?;
    let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
    let consumer = match connection.api(&format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await {
        Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => {
            let message = format!(
                "source `{source}`: stream `{stream}` has no consumer `{durable}`, so nothing says what was settled"
            );
            let hint = "the router makes it when it starts; did it read this stream?";
            return Err(Refusal::new(Kind::Precondition, "no_consumer", message).hint(hint));
        }
        answer => answer.map_err(unreadable)?,
    };
    let count = |name: &str| consumer[name].as_u64().unwrap_or_default();
    let unsettled = count("num_pending") + count("num_ack_pending");
    let floor = consumer["ack_floor"].get("stream_seq").and_then(Value::as_u64).unwrap_or_default();
    let to = Some(if unsettled == 0 { last } else { floor });
    let subjects = subjects.iter().map(|subject| subject.as_str().to_owned()).collect();
    let range = Range { stream: stream.clone(), subjects, begin: Begin::First, until: None, to, limit: None };
    Ok(Stretch { source: source.to_owned(), range, unsettled })
}
