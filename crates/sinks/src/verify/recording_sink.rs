//! Sink that writes nothing, and notes how each output would be recognised at its destination.

use std::sync::Arc;

use super::{OutputDigest, OutputPlace, OutputRecording, digest::DigestWriter};
use crate::{
    config::{FolderSink, OutputField, SinkKind, Webhook},
    dead_letters::DeadLetter,
    event::identity,
    nats::SubjectTemplate,
    sink::{
        Confirmation, Output, Sink, SinkRefusal, Slot,
        file::RecordWriter,
        folder,
        nats::{message_id, placeholder},
    },
};

/// Recording sink in the place of one of the router's sinks.
pub struct RecordingSink {
    name: Arc<str>,
    recognition: Recognition,
    recording: Arc<OutputRecording>,
    last: Slot,
}

/// Way in which an output is recognised at its destination.
enum Recognition {
    MessageId,
    Message(SubjectTemplate<OutputField>),
    Line(RecordWriter, Vec<u8>),
    /// A record of a container file, as it is encoded.
    Record,
    File(FolderSink),
    Deliveries(Vec<Arc<Webhook>>),
    /// Not recognisable, for this reason.
    Never(&'static str),
}

impl RecordingSink {
    pub fn new(name: &str, kind: &SinkKind, webhooks: &[Arc<Webhook>], recording: Arc<OutputRecording>) -> Self {
        let recognition = match kind {
            SinkKind::Nats(settings) if !settings.jetstream => Recognition::Never("core NATS keeps nothing"),
            SinkKind::Nats(settings) if settings.message_id => Recognition::MessageId,
            SinkKind::Nats(settings) => Recognition::Message(SubjectTemplate::new(settings.subject.clone())),
            SinkKind::File(_, settings) | SinkKind::Files(_, settings) if settings.container.is_some() => {
                Recognition::Record
            }
            SinkKind::File(_, settings) | SinkKind::Files(_, settings) => {
                Recognition::Line(RecordWriter::new(&settings.record), Vec::new())
            }
            SinkKind::Folder(settings) => Recognition::File(settings.clone()),
            SinkKind::Webhook(_) => Recognition::Deliveries(webhooks.to_vec()),
            SinkKind::Stdout => Recognition::Never("standard output can't be read again"),
            SinkKind::Bus(_) => Recognition::Never("a bus keeps nothing"),
            SinkKind::Null => Recognition::Never("a sink of type `null` keeps nothing"),
            // Such as programs: unless a sink says more here, nothing is known to be stored.
            _ => Recognition::Never("what it has taken can't be read again"),
        };
        Self { name: name.into(), recognition, recording, last: 0 }
    }

    fn record(&mut self, output: &Output) {
        let event = output.ticket.event();
        let place = OutputPlace {
            source: event.origin.source.clone(),
            key: Arc::clone(&output.key),
            route: Arc::clone(&output.route),
            sink: Arc::clone(&self.name),
            webhook: String::new(),
            has_id: true,
        };
        if let Some(reason) = output.dead_letter {
            // The record inside identifies the letter more precisely.
            let letter = DeadLetter::parse(&output.payload).ok();
            let [route, sink] = letter.map_or_else(Default::default, |letter| [letter.route, letter.sink]);
            let place = OutputPlace { route: route.into(), sink: sink.into(), ..place };
            return self.recording.letter(place, event, reason);
        }
        let (index, id) = (output.index, || output.id().to_string());
        match &mut self.recognition {
            Recognition::MessageId => {
                let digest = OutputDigest::message_id(&message_id(output, &self.name));
                self.recording.output(place, event, index, digest, 0);
            }
            Recognition::Message(template) => {
                let digest = match template.fill(|field| placeholder(field, output)) {
                    Ok(subject) => OutputDigest::message(&subject, &output.payload),
                    // The sink refuses such an output: it is in the dead letters, or nowhere.
                    Err(_) => OutputDigest::message_id(&message_id(output, &self.name)),
                };
                self.recording.output(OutputPlace { has_id: false, ..place }, event, index, digest, 0);
            }
            Recognition::Line(writer, line) => {
                line.clear();
                writer.append(line, &output.payload);
                let mut digest = DigestWriter::line(&self.name);
                digest.update(line.strip_suffix(b"\n").unwrap_or(line));
                self.recording.output(OutputPlace { has_id: false, ..place }, event, index, digest.finish(), 0);
            }
            Recognition::Record => {
                let mut digest = DigestWriter::line(&self.name);
                digest.update(&output.payload);
                self.recording.output(OutputPlace { has_id: false, ..place }, event, index, digest.finish(), 0);
            }
            Recognition::File(settings) => {
                let found = folder::copies(settings, output);
                let digest = OutputDigest::file(&id(), &self.name);
                self.recording.output(place, event, index, digest, found);
            }
            Recognition::Deliveries(webhooks) => {
                let tenant = output.headers().get(identity::TENANT).filter(|tenant| !tenant.is_empty());
                let tenant = tenant.map(|tenant| &**tenant);
                for webhook in
                    webhooks.iter().filter(|webhook| webhook.wants(tenant, &event.event_type, output.subject()))
                {
                    let digest = OutputDigest::delivery(&id(), &webhook.name);
                    let place = OutputPlace { webhook: webhook.name.clone(), ..place.clone() };
                    self.recording.output(place, event, index, digest, 0);
                }
            }
            Recognition::Never(why) => self.recording.unverifiable(format!("sink `{}`: {why}", self.name)),
        }
    }
}

impl Sink for RecordingSink {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        self.record(output);
        self.last = slot;
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        Confirmation::Through(self.last)
    }
}
