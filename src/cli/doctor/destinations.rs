//! Subjects that are published to: a stream takes them, and is fit for it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{finding::Finding, server::ServerView};
use crate::{
    config::{AnswerPoint, ConfigPlace, NatsSink, RetryPolicy, SinkKind, SourceKind},
    event::Pattern,
    nats::{ApiError, StreamInfo},
};

/// Subjects that are published to, for a stream to store.
struct StoredSubjects {
    publisher: String,
    /// The template as it is declared.
    shown: String,
    subjects: Pattern,
    /// How long a repeat may come after the first try; `None` if repeats are not dropped.
    repeats: Option<Duration>,
    place: ConfigPlace,
}

pub(super) async fn examine(view: &ServerView<'_>) -> Vec<Finding> {
    let stored = stored(view);
    join_all(stored.iter().map(|stored| destination(view, stored))).await.concat()
}

fn stored(view: &ServerView<'_>) -> Vec<StoredSubjects> {
    let mut all = Vec::new();
    for sink in &view.config.sinks {
        let SinkKind::Nats(NatsSink { subject, jetstream: true, message_id, .. }) = &sink.kind else { continue };
        let Some(subjects) = subject.possible_subjects() else { continue };
        let RetryPolicy { patience, .. } = sink.retry;
        all.push(StoredSubjects {
            publisher: format!("sink `{}`", sink.name),
            shown: subject.to_string(),
            subjects,
            repeats: message_id.then_some(patience),
            place: view.places.of("sink", Some(&sink.name)),
        });
    }
    for source in &view.config.sources {
        let SourceKind::Http(http) = &source.kind else { continue };
        let AnswerPoint::Stored(subject) = &http.answer else { continue };
        let Some(subjects) = subject.possible_subjects() else { continue };
        let publisher = format!("source `{}`", source.name);
        let (shown, place) = (subject.to_string(), http.place.clone());
        all.push(StoredSubjects { publisher, shown, subjects, repeats: None, place });
    }
    all
}

async fn destination(view: &ServerView<'_>, stored: &StoredSubjects) -> Vec<Finding> {
    let StoredSubjects { publisher, shown, subjects, place, .. } = stored;
    let declared = view.config.streams.iter().filter(|stream| {
        let mut theirs = stream.subjects.iter();
        theirs.any(|theirs| theirs.intersection(subjects).is_some())
    });
    let declared: Vec<_> = declared.map(|stream| stream.name.clone()).collect();
    let there = match view.connection.streams_of(subjects.as_str()).await {
        Ok(there) => there,
        Err(ApiError::NoPermission(denial)) => {
            let message = format!("whether a stream takes `{shown}` of {publisher} is not known: {denial}");
            return vec![Finding::warning("not_looked_at", message)];
        }
        Err(error) => return vec![Finding::error("no_answer", format!("streams can't be looked for: {error}"))],
    };
    if there.is_empty() && declared.is_empty() {
        let message = format!("no stream takes what {publisher} publishes to `{shown}`");
        let hint = "declare a `[[stream]]` with these subjects, or mend the subject";
        return vec![Finding::error("no_stream", message).hint(hint).at(place.clone())];
    }
    let mut findings = Vec::new();
    for name in &there {
        if let Ok(Some(info)) = view.connection.stream_info(name).await {
            findings.extend(fitness(view, stored, name, &info));
        }
    }
    if findings.is_empty() {
        let streams = if there.is_empty() { declared } else { there };
        let streams: Vec<_> = streams.iter().map(|name| format!("`{name}`")).collect();
        findings.push(Finding::ok(format!("{publisher} publishes to {}", streams.join(", "))));
    }
    findings
}

/// How well a stream serves its publisher.
fn fitness(view: &ServerView<'_>, stored: &StoredSubjects, name: &str, info: &StreamInfo) -> Vec<Finding> {
    let StoredSubjects { publisher, repeats, place, .. } = stored;
    let field = |field: &str| info.config.get(field).unwrap_or(&Value::Null);
    let mut findings = Vec::new();
    let window = Duration::from_nanos(field("duplicate_window").as_u64().unwrap_or_default());
    if let Some(repeats) = repeats.filter(|repeats| *repeats > window) {
        let message = format!(
            "stream `{name}` forgets ids after {window:?}, and {publisher} may repeat an output after {repeats:?}: it \
             is stored twice then"
        );
        let hint =
            format!("set `duplicate_window` of the stream to {repeats:?} or more, or give up sooner with `patience`");
        findings.push(Finding::warning("duplicate_window", message).hint(hint).at(place.clone()));
    }
    if *field("no_ack") == json!(true) || *field("sealed") == json!(true) {
        let message = format!("stream `{name}` confirms or takes nothing, so {publisher} waits for ever");
        let hint = "use another stream, or set `no_ack` to false; a sealed one can't be opened again";
        findings.push(Finding::error("stream_closed", message).hint(hint).at(place.clone()));
    }
    if view.connection.is_at_least((2, 14)) && *field("allow_batched") != json!(true) {
        let message = format!("{publisher} publishes to `{name}` one by one: `allow_batched` would make that faster");
        findings.push(Finding::ok(message));
    }
    findings
}
