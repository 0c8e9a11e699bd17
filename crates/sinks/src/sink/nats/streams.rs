//! Streams behind a sink: whether they store outputs under way together in the order of their
//! arrival, and whether they take fast ingest.

use std::time::Duration;

use async_nats::Subject;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use super::{ingest::FastIngest, live::QueuedMessage};
use crate::{event::Pattern, nats::Connection, sink::Slot};

/// Time for which an answer counts: streams are changed while routers run.
const FRESH: Duration = Duration::from_secs(30);

/// Confirmations of one stream after which the clock is read.
const LOOK: u32 = 32;

/// Streams that have confirmed something.
#[derive(Default)]
pub(super) struct ConfirmedStreams {
    known: Vec<KnownStream>,
    /// Pending request for a stream's settings.
    asked: Option<(usize, oneshot::Receiver<Option<StreamTraits>>)>,
    /// Stream that confirmed last.
    last: usize,
    /// Confirmations of the last one since the clock was read.
    unlooked: u32,
}

pub(super) struct KnownStream {
    name: String,
    traits: StreamTraits,
    asked: Option<Instant>,
    pub(super) ingest: FastIngest<QueuedMessage>,
    /// Subject of the last message in a batch.
    pub(super) subject: Option<Subject>,
}

/// Settings of a stream that matter to its publishers.
#[derive(Default)]
struct StreamTraits {
    keeps_order: bool,
    fast: bool,
    subjects: Vec<Pattern>,
}

impl ConfirmedStreams {
    /// Notes that a stream has confirmed something, and asks for its settings unless they are
    /// known.
    pub(super) fn confirmed(&mut self, stream: &str, connection: &Connection) {
        let is_last = self.known.get(self.last).is_some_and(|last| last.name == stream);
        let found = if is_last { Some(self.last) } else { self.known.iter().position(|known| known.name == stream) };
        let index = found.unwrap_or(self.known.len());
        if found.is_none() {
            self.known.push(KnownStream::new(stream));
        }
        self.acked(index, connection);
    }

    /// As [`Self::confirmed`], for a stream that is known.
    pub(super) fn acked(&mut self, index: usize, connection: &Connection) {
        self.hear();
        let Some(stream) = self.known.get_mut(index) else { return };
        // Read for every confirmation, the clock would cost more than all else here.
        if self.unlooked < LOOK && self.last == index && stream.asked.is_some() {
            self.unlooked += 1;
            return;
        }
        (self.unlooked, self.last) = (0, index);
        if self.asked.is_some() || stream.asked.is_some_and(|asked| asked.elapsed() < FRESH) {
            return;
        }
        stream.asked = Some(Instant::now());
        let (answer, answered) = oneshot::channel();
        self.asked = Some((index, answered));
        let (connection, request) = (connection.clone(), format!("STREAM.INFO.{}", stream.name));
        tokio::spawn(async move {
            let info = connection.api(&request, &json!({})).await;
            let _ = answer.send(info.ok().map(|info| StreamTraits::of(&info)));
        });
    }

    /// Notes that a stream has refused one of several outputs.
    pub(super) fn refused(&mut self) {
        self.known.iter_mut().for_each(|known| known.traits.keeps_order = false);
    }

    /// Returns whether all known streams keep the order.
    pub(super) fn keep_order(&self) -> bool {
        !self.known.is_empty() && self.known.iter().all(|known| known.traits.keeps_order)
    }

    /// Returns the stream to which a message goes by fast ingest, if it does.
    pub(super) fn ingesting(&mut self, subject: &str) -> Option<&mut KnownStream> {
        self.known.iter_mut().find(|known| known.takes(subject))
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut KnownStream> {
        self.known.get_mut(index)
    }

    /// Returns the stream whose fast ingest has an output.
    pub(super) fn holding(&mut self, slot: Slot) -> Option<&mut KnownStream> {
        self.known.iter_mut().find(|known| known.ingest.holds(slot))
    }

    fn hear(&mut self) {
        let Some((stream, answered)) = &mut self.asked else { return };
        match answered.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return,
            heard => {
                if let Some(KnownStream { traits, .. }) = self.known.get_mut(*stream) {
                    // Without an answer, or without the permission to ask, nothing is taken for granted.
                    let unknown = StreamTraits { subjects: std::mem::take(&mut traits.subjects), ..Default::default() };
                    *traits = heard.ok().flatten().unwrap_or(unknown);
                }
            }
        }
        self.asked = None;
    }
}

impl KnownStream {
    fn new(name: &str) -> Self {
        let (traits, ingest) = (StreamTraits::default(), FastIngest::default());
        Self { name: name.to_owned(), traits, asked: None, ingest, subject: None }
    }

    /// Returns whether a message goes by fast ingest. None overtakes those that wait there.
    fn takes(&self, subject: &str) -> bool {
        (self.traits.fast || !self.ingest.is_idle()) && self.traits.subjects.iter().any(|own| own.matches(subject))
    }

    pub(super) fn is_fast(&self) -> bool {
        self.traits.fast
    }

    /// Publishes one by one until the settings are asked for again: a batch has failed.
    pub(super) fn slow_down(&mut self) {
        if std::mem::take(&mut self.traits.fast) {
            tracing::debug!(stream = self.name, "a batch was not taken whole, publishing without batches for a while");
        }
    }
}

impl StreamTraits {
    fn of(info: &Value) -> Self {
        let config = &info["config"];
        let subjects = config["subjects"].as_array().into_iter().flatten();
        Self {
            // With one replica it stores in the order of arrival, or the connection ends. With more,
            // a leader that fails takes along what it has not passed on, and a stream that refuses
            // new messages takes later ones once it is emptied.
            keeps_order: config["num_replicas"] == json!(1) && config["discard"] != json!("new"),
            fast: config["allow_batched"] == json!(true),
            subjects: subjects.filter_map(|subject| subject.as_str()?.parse().ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_and_refusals_break_the_order() {
        let info = |replicas: u32, discard: &str| json!({ "config": { "num_replicas": replicas, "discard": discard } });
        assert!(StreamTraits::of(&info(1, "old")).keeps_order);
        for other in [info(3, "old"), info(1, "new"), json!({}), json!({ "config": {} })] {
            assert!(!StreamTraits::of(&other).keeps_order, "{other}");
        }
    }

    #[test]
    fn fast_ingest_is_for_the_subjects_of_a_stream_that_allows_it() {
        let stream = |allowed: Value| {
            let config = json!({ "allow_batched": allowed, "subjects": ["out.>", "one"] });
            KnownStream { traits: StreamTraits::of(&json!({ "config": config })), ..KnownStream::new("OUT") }
        };
        for (subject, expected) in [("out.a.b", true), ("one", true), ("out", false), ("other.a", false)] {
            assert_eq!(stream(json!(true)).takes(subject), expected, "{subject}");
            assert!(!stream(json!(false)).takes(subject) && !stream(Value::Null).takes(subject), "{subject}");
        }
    }
}
