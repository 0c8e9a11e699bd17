//! Consumers of single keys, beside the one of their source.

use serde_json::json;

use super::{
    JetStream,
    consumer::{ConsumerError, ConsumerStart},
    stream_state::StreamState,
};
use crate::{
    config,
    event::Pattern,
    nats::{ApiError, Connection},
};

/// Separator between the source's durable and the key's name; names of keys cannot contain it.
const PARTING: char = '=';

/// Durable of a key's consumer. The server does not allow dots in names.
pub fn own_durable(durable: &str, key: &str) -> String {
    format!("{durable}{PARTING}{}", key.replace('.', "="))
}

/// Subjects of a key's consumer: those of the source's that the key takes.
pub fn own_subjects(settings: &config::JetStreamSource, subject: &Pattern) -> Vec<Pattern> {
    match &settings.subjects[..] {
        [] => vec![subject.clone()],
        theirs => theirs.iter().filter_map(|theirs| theirs.intersection(subject)).collect(),
    }
}

/// Existing consumers of this source's keys.
///
/// # Errors
/// Returns an error if the server can't answer. Without the permission to ask, there is none.
pub async fn left_behind(connection: &Connection, settings: &config::JetStreamSource) -> Result<Vec<String>, ApiError> {
    let (stream, prefix) = (&settings.stream, format!("{}{PARTING}", settings.durable));
    let count = StreamState::read(connection, stream).await?.consumers();
    let mut names = Vec::new();
    let mut seen = 0;
    // Mostly the source's own consumer is the only one, and no request is needed.
    while count > 1 && seen < count {
        let page = match connection.api(&format!("CONSUMER.NAMES.{stream}"), &json!({ "offset": seen })).await {
            Err(ApiError::NoPermission(_)) => break,
            page => page?,
        };
        let page = page["consumers"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            break;
        }
        seen += page.len();
        let found = page.iter().filter_map(|name| name.as_str()).filter(|name| name.starts_with(&prefix));
        names.extend(found.map(str::to_owned));
    }
    Ok(names)
}

impl JetStream {
    /// As [`Self::open`] for one key alone, whose events on `subjects` come from a consumer of its
    /// own. A new one begins behind what the stream holds: that reaches the key through the
    /// source's consumer. Also returns the first sequence that it delivers.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_own(
        connection: Connection,
        source: &config::SourceConfig,
        settings: &config::JetStreamSource,
        in_flight: usize,
        (key, subjects): (&str, Vec<Pattern>),
    ) -> Result<(Self, u64), ConsumerError> {
        let durable = own_durable(&settings.durable, key);
        let own = config::JetStreamSource { durable, subjects, ..settings.clone() };
        let behind = |stream: &StreamState| ConsumerStart::At(stream.last_sequence() + 1);
        let opened = Self::open_at(connection, source, &own, in_flight, behind).await?;
        let first = opened.info.first_sequence();
        Ok((opened, first))
    }
}
