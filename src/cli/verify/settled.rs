//! Range of events that a router has settled, for each source.

use serde_json::{Value, json};

use super::VerifyBound;
use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{JetStreamSource, RangeBegin, StreamRange},
    nats::{ApiError, Connection, HistoryError, code},
};

/// Part of a source's stream that is verified.
pub(super) struct SettledRange {
    pub(super) source: String,
    pub(super) range: StreamRange,
    /// Number of messages that are not settled yet, and are left out.
    pub(super) unsettled: u64,
}

impl SettledRange {
    /// Restricts the stretch to the bounds that are given.
    pub(super) fn narrow(&mut self, from: Option<VerifyBound>, to: Option<VerifyBound>) {
        self.range.begin = match from {
            None => RangeBegin::First,
            Some(VerifyBound::Sequence(sequence)) => RangeBegin::Sequence(sequence.max(1)),
            Some(VerifyBound::Time(time)) => RangeBegin::Time(time),
        };
        match to {
            None => {}
            Some(VerifyBound::Sequence(sequence)) => self.range.to = self.range.to.map(|settled| settled.min(sequence)),
            Some(VerifyBound::Time(time)) => self.range.until = Some(time),
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
) -> Result<SettledRange, CommandRefusal> {
    let JetStreamSource { stream, durable, subjects, .. } = settings;
    let unreadable = |error: ApiError| CommandRefusal::from(HistoryError::Api(stream.clone(), error));
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
            return Err(CommandRefusal::new(RefusalKind::Precondition, "no_consumer", message).hint(hint));
        }
        answer => answer.map_err(unreadable)?,
    };
    let count = |name: &str| consumer[name].as_u64().unwrap_or_default();
    let unsettled = count("num_pending") + count("num_ack_pending");
    let floor = consumer["ack_floor"].get("stream_seq").and_then(Value::as_u64).unwrap_or_default();
    let to = Some(if unsettled == 0 { last } else { floor });
    let subjects = subjects.iter().map(|subject| subject.as_str().to_owned()).collect();
    let range =
        StreamRange { stream: stream.clone(), subjects, begin: RangeBegin::First, until: None, to, limit: None };
    Ok(SettledRange { source: source.to_owned(), range, unsettled })
}
