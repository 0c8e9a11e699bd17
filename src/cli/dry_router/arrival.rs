//! The way from a message to an event, as the source takes it.

use std::{path::Path, sync::Arc};

use crate::{
    config::{EnvelopeFormat, SourceConfig, SourceKind, quoted, suggest},
    event::{Event, GIVEN_AT, Origin, Pattern},
    folder::ArrivingMessage,
    source::envelope::{self, MalformedMessage, SourceMessage},
};

/// Reason why a message does not arrive at a source, or a tick at a route.
#[derive(Debug)]
pub struct ArrivalError {
    pub message: String,
    pub hint: Option<String>,
    /// True if the source is there and does not read the message's subject.
    pub is_unread: bool,
}

impl ArrivalError {
    pub fn new(message: String) -> Self {
        Self { message, hint: None, is_unread: false }
    }

    fn hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// A source as far as messages are concerned.
pub struct SourceEntry {
    envelope: EnvelopeFormat,
    origin: Arc<Origin>,
    /// What it reads; none means all.
    subjects: Vec<Pattern>,
    /// Subject of a message that has none.
    subject: Option<String>,
    /// True if it reads text.
    is_text: bool,
}

impl SourceEntry {
    pub fn new(source: &SourceConfig, dir: &Path) -> Self {
        let shown = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let (stream, subjects) = match &source.kind {
            SourceKind::JetStream(settings) => (settings.stream.clone(), settings.subjects.clone()),
            SourceKind::Nats(settings) => ("nats".to_owned(), settings.subjects.clone()),
            SourceKind::Lines(settings) => {
                (settings.path.as_deref().map_or_else(|| "stdin".to_owned(), shown), Vec::new())
            }
            SourceKind::AvroFile(settings) => {
                (settings.paths.first().map(|path| shown(path)).unwrap_or_default(), Vec::new())
            }
            SourceKind::Bus(_) => ("bus".to_owned(), Vec::new()),
            SourceKind::Http(settings) => (format!("http://{}{}", settings.listen, settings.path), Vec::new()),
            SourceKind::Program(_) | SourceKind::Replay(_) | SourceKind::Letters(_) => {
                (source.name.clone(), Vec::new())
            }
        };
        let subject = match (&source.kind, &*subjects) {
            (SourceKind::JetStream(_) | SourceKind::Nats(_), [one]) if !one.has_wildcard() => Some(one.to_string()),
            (SourceKind::JetStream(_) | SourceKind::Nats(_), _) => None,
            (SourceKind::Http(settings), _) => settings.fixed_subject.clone().or_else(|| Some(source.name.clone())),
            _ => Some(source.name.clone()),
        };
        let origin = Arc::new(Origin { source: source.name.clone(), stream });
        let is_text = matches!(source.kind, SourceKind::Lines(_));
        Self { envelope: source.envelope.clone(), origin, subjects, subject, is_text }
    }

    /// Opens a message. The inner error is that of a message which becomes a dead letter.
    ///
    /// # Errors
    /// Says why the source would not get it.
    pub fn open(
        &self,
        message: &ArrivingMessage,
        number: u64,
    ) -> Result<Result<Event, MalformedMessage>, ArrivalError> {
        let name = &self.origin.source;
        let Some(subject) = message.subject.as_ref().or(self.subject.as_ref()) else {
            return Err(ArrivalError::new(format!(
                "messages of source `{name}` have a subject: say which with `subject`"
            )));
        };
        if !self.subjects.is_empty() && !self.subjects.iter().any(|pattern| pattern.matches(subject)) {
            let read = quoted(self.subjects.iter().map(Pattern::as_str), "and");
            let message = format!("source `{name}` does not read `{subject}`");
            return Err(ArrivalError { message, hint: Some(format!("it reads {read}")), is_unread: true });
        }
        if self.is_text && std::str::from_utf8(&message.payload).is_err() {
            let detail = "the line is not UTF-8".to_owned();
            return Ok(Err(MalformedMessage { reason: "not_utf8", detail }));
        }
        let time = message.time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
        let arrived = SourceMessage {
            subject: subject.as_str().into(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            observed_at: time.unwrap_or(GIVEN_AT),
            attempt: 1,
            origin: Arc::clone(&self.origin),
            sequence: message.sequence.unwrap_or(number),
            incarnation: time.unwrap_or_default(),
        };
        Ok(envelope::open(&self.envelope, arrived).map_err(|refused| refused.1))
    }
}

/// Finds the source that a message arrives at.
pub fn entry<'a>(entries: &'a [SourceEntry], message: &ArrivingMessage) -> Result<&'a SourceEntry, ArrivalError> {
    let names = || entries.iter().map(|entry| entry.origin.source.as_str());
    match (&message.source, entries) {
        (None, [one]) => Ok(one),
        (None, []) => Err(ArrivalError::new("the router has no source".to_owned())),
        (None, _) => {
            let hint = format!("say which with `source`: {}", quoted(names(), "or"));
            Err(ArrivalError::new("the router has several sources".to_owned()).hint(hint))
        }
        (Some(name), _) => entries.iter().find(|entry| entry.origin.source == *name).ok_or_else(|| {
            let hint = suggest(name, names(), "sources", "the router has none");
            ArrivalError::new(format!("there is no source `{name}`")).hint(hint)
        }),
    }
}
