//! Previews of what a sink would write of an output, and where, without writing it.

use std::path::PathBuf;

use crate::{
    config::{Config, SinkConfig, SinkKind},
    json::line,
    sink::{Output, SinkRefusal, bus, file, folder, nats, webhook},
};

/// Content that a sink would write of an output, and its destination.
#[derive(Debug, PartialEq, Eq)]
pub struct OutputPreview {
    pub place: PreviewDestination,
    pub content: Vec<u8>,
}

/// Destination of an output.
#[derive(Debug, PartialEq, Eq)]
pub enum PreviewDestination {
    Stdout,
    File(PathBuf),
    Subject(String),
    /// Names of the webhooks that want it.
    Webhooks(Vec<String>),
    /// A sink of the embedding program.
    Program,
    /// Command of the program that gets it.
    Command(Vec<String>),
    Nowhere,
}

/// Returns what `sink` would do with `output`. Existing files and limits are not considered.
///
/// # Errors
/// Returns an error if the sink would never take it.
pub fn preview(config: &Config, sink: &SinkConfig, output: &Output) -> Result<OutputPreview, SinkRefusal> {
    let (place, content) = match &sink.kind {
        SinkKind::Stdout => {
            let mut lines = Vec::new();
            line::append(&mut lines, &output.payload);
            (PreviewDestination::Stdout, lines)
        }
        SinkKind::File(path, settings) => {
            (PreviewDestination::File(path.clone()), file::line(settings, &output.payload))
        }
        SinkKind::Files(path, settings) => {
            (PreviewDestination::File(file::partition(path, output)), file::line(settings, &output.payload))
        }
        SinkKind::Folder(settings) => {
            let (path, content) = folder::preview(settings, output)?;
            (PreviewDestination::File(path), content.into())
        }
        SinkKind::Nats(settings) => {
            let subject = nats::subject(settings, config.dead_letter.reserved(), output)?;
            (PreviewDestination::Subject(subject.into_string()), output.payload.to_vec())
        }
        SinkKind::Webhook(_) => (
            PreviewDestination::Webhooks(webhook::wanted_by(&config.registry.webhooks, output)),
            output.payload.to_vec(),
        ),
        SinkKind::Bus(settings) => {
            (PreviewDestination::Subject(bus::subject(settings, output)?), output.payload.to_vec())
        }
        // What the program's sink does with it, only the program knows.
        SinkKind::Program(_) => (PreviewDestination::Program, output.payload.to_vec()),
        SinkKind::Exec(settings) => {
            let mut line = Vec::new();
            line::append(&mut line, &output.payload);
            let program = settings.program.display().to_string();
            let command = [program].into_iter().chain(settings.arguments.iter().cloned());
            (PreviewDestination::Command(command.collect()), line)
        }
        SinkKind::Null => (PreviewDestination::Nowhere, Vec::new()),
    };
    Ok(OutputPreview { place, content })
}
