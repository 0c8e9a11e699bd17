//! Detection of routers that feed themselves.

use crate::{
    config::{
        BusSink, EnvelopeFormat, EventField, NatsSink, OutputField, Problem, SinkConfig, SinkKind, SourceConfig,
        SourceKind, StreamConfig, SubjectForm, SubjectPlaceholder, TemplatePart,
    },
    event::Pattern,
    table::{PlacedValue, TomlTable},
};

/// Warns of sinks that publish to a subject that a source of this router reads. That may be
/// intended, if filters end the loop.
pub(crate) fn warn(
    table: &TomlTable<'_>,
    streams: &[StreamConfig],
    sources: &[PlacedValue<SourceConfig>],
    sinks: &[PlacedValue<SinkConfig>],
) {
    for PlacedValue { value: sink, place } in sinks {
        let feeds = |source: &SourceConfig| match &sink.kind {
            SinkKind::Nats(nats) => feeds_stream(nats, source, streams),
            SinkKind::Bus(bus) => feeds_bus(bus, source),
            _ => false,
        };
        if let Some(PlacedValue { value: source, .. }) = sources.iter().find(|source| feeds(&source.value)) {
            let message = format!("sink `{}` publishes what source `{}` reads", sink.name, source.name);
            let hint = "events may go round for ever, unless every key turns the router's own outputs away";
            table.report(Problem::warning(place.clone(), message).hint(hint));
        }
    }
}

fn feeds_stream(sink: &NatsSink, source: &SourceConfig, streams: &[StreamConfig]) -> bool {
    if let [
        TemplatePart::Value(SubjectPlaceholder {
            field: OutputField::Event(EventField::Subject),
            form: SubjectForm::Tokens,
        }),
    ] = sink.subject.0.as_slice()
    {
        // The event leaves under the subject it came in with, unless the filter or the envelope
        // names another subject.
        return matches!(source.kind, SourceKind::JetStream(_) | SourceKind::Nats(_))
            && !matches!(source.envelope, EnvelopeFormat::Plain { subject: Some(_), .. } | EnvelopeFormat::Flowcraft);
    }
    // One that begins with a placeholder may become anything, and is mostly meant to be something
    // else.
    let begins_fixed = |subjects: &Pattern| !subjects.as_str().starts_with(['*', '>']);
    sink.subject.possible_subjects().filter(begins_fixed).is_some_and(|subjects| reads(source, streams, &subjects))
}

/// Returns whether `source` subscribes to the same bus and to a subject that the sink may fill in.
fn feeds_bus(sink: &BusSink, source: &SourceConfig) -> bool {
    let SourceKind::Bus(bus) = &source.kind else { return false };
    bus.bus == sink.bus
        && sink.subject.possible_subjects().is_some_and(|subjects| subjects.intersection(&bus.pattern).is_some())
}

/// Returns whether `source` is known to read some of `subjects`: by its own subjects, or by those of
/// its stream if that is declared.
fn reads(source: &SourceConfig, streams: &[StreamConfig], subjects: &Pattern) -> bool {
    let are_among = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.intersection(subjects).is_some());
    let jetstream = match &source.kind {
        SourceKind::JetStream(jetstream) => jetstream,
        SourceKind::Nats(nats) => return are_among(&nats.subjects),
        _ => return false,
    };
    let stream = streams.iter().find(|stream| stream.name == jetstream.stream);
    let in_stream = stream.is_none_or(|stream| are_among(&stream.subjects));
    let filters = &jetstream.subjects;
    if filters.is_empty() { stream.is_some() && in_stream } else { in_stream && are_among(filters) }
}
