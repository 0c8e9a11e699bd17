//! Preview of an output as a sink would write it.

use std::sync::Arc;

use anyhow::anyhow;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ack::Ticket,
    config::Config,
    event::Headers,
    registry::{Key, Route},
    sink::{
        Output, SinkRefusal,
        preview::{OutputPreview, PreviewDestination, preview},
    },
    walk::RouteOutput,
};

#[derive(Serialize)]
pub struct ExplainedOutput {
    pub sink: String,
    /// Time before which it does not leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(flatten)]
    pub written: WrittenPreview,
    /// Headers that the filter gave it; without them it has the event's.
    #[serde(skip)]
    pub headers: Option<Headers>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum WrittenPreview {
    As {
        to: ExplainedPlace,
        #[serde(flatten)]
        content: OutputContent,
    },
    /// The sink would reject it permanently; its `on_failure` decides what happens then.
    Refused { refused: &'static str, detail: String },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedPlace {
    Stdout,
    File(String),
    Subject(String),
    Webhooks(Vec<String>),
    /// A sink of the embedding program.
    Program,
    Command(Vec<String>),
    Nowhere,
}

/// Exact bytes of the output.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputContent {
    Text(String),
    Base64(String),
}

/// Previews an output of `route` as its sink would write it.
pub(super) fn explained_output(
    config: &Config,
    key: &Key,
    route: &Route,
    ticket: &Ticket,
    output: RouteOutput<'_>,
) -> ExplainedOutput {
    let RouteOutput { sink, index, payload, subject, headers, id, not_before } = output;
    let name = sink.queue.name().to_string();
    let output = Output {
        ticket: ticket.share(),
        key: Arc::clone(&key.name),
        route: Arc::clone(&route.name),
        index,
        payload,
        id,
        subject,
        headers,
        order: None,
        dead_letter: None,
        share: None,
        queued: None,
    };
    let previewed = match config.sinks.iter().find(|sink| sink.name == name) {
        Some(sink) => preview(config, sink, &output),
        // A route's sinks are all declared.
        None => Err(SinkRefusal::Closed),
    };
    let written = match previewed {
        Ok(OutputPreview { place, content }) => WrittenPreview::As { to: place.into(), content: content.into() },
        Err(refusal) => {
            let refused = if let SinkRefusal::Never(reason, _) = &refusal { reason } else { "sink_unavailable" };
            WrittenPreview::Refused { refused, detail: format!("{:#}", anyhow!(refusal)) }
        }
    };
    let not_before = not_before.and_then(|time| Timestamp::from_millisecond(i64::try_from(time).ok()?).ok());
    ExplainedOutput { sink: name, not_before, written, headers: output.headers }
}

impl From<PreviewDestination> for ExplainedPlace {
    fn from(destination: PreviewDestination) -> Self {
        match destination {
            PreviewDestination::Stdout => Self::Stdout,
            PreviewDestination::File(path) => Self::File(path.display().to_string()),
            PreviewDestination::Subject(subject) => Self::Subject(subject),
            PreviewDestination::Webhooks(names) => Self::Webhooks(names),
            PreviewDestination::Program => Self::Program,
            PreviewDestination::Command(command) => Self::Command(command),
            PreviewDestination::Nowhere => Self::Nowhere,
        }
    }
}

impl From<Vec<u8>> for OutputContent {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Base64(STANDARD.encode(error.as_bytes())), Self::Text)
    }
}
