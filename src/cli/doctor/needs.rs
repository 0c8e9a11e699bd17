//! Subjects that a router publishes and subscribes to, from its folder.

use std::{collections::HashSet, fmt::Write as _};

use crate::{
    app::dead_letter_stream,
    config::{
        AckMode, AnswerPoint, Config, DeadLetterTarget, JetStreamSource, NatsConfig, SinkKind, SourceConfig,
        SourceKind, SourcePartitions, StateKeeping,
    },
    event::Pattern,
    fleet::BUCKET as FLEET,
    nats::USER_INFO,
    registry::TENURES,
    source::jetstream::{own_durable, own_subjects, partition_settings},
};

/// The subjects that replies come to.
pub(super) const INBOX: &str = "_INBOX.>";

/// What `trommel doctor` itself needs.
const OF_DOCTOR: &str = "to let `trommel doctor` see permissions, limits, and streams by their subjects";

/// A subject, or a pattern of subjects, that the router uses.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NeededSubject {
    pub(super) publish: bool,
    pub(super) subject: String,
    /// The server's own name for it, where a domain is in front: one of both has to be allowed.
    pub(super) alias: Option<String>,
    /// What it is for, as `to …`.
    pub(super) purpose: String,
    pub(super) weight: NeedWeight,
}

/// What becomes of a router without a permission.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NeedWeight {
    /// It can't do its work.
    Vital,
    /// It does its work, less well.
    Helpful,
    /// It needs the stream, which it would make.
    Makes(String),
    /// It needs the consumer, which it would make.
    MakesConsumer(Box<JetStreamSource>),
}

impl NeededSubject {
    /// Its subjects as patterns, one of which has to be allowed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = Pattern> {
        [Some(&self.subject), self.alias.as_ref()].into_iter().flatten().filter_map(|subject| subject.parse().ok())
    }

    /// Returns whether a message that can't be understood does no harm there.
    pub(super) fn is_request(&self) -> bool {
        let is_api = |subject: &str| subject.starts_with("$JS.") || subject.contains(".API.");
        self.publish && is_api(&self.subject)
    }
}

/// All subjects that a router uses, each once.
#[derive(Debug, Default)]
pub(super) struct RouterNeeds(Vec<NeededSubject>);

impl RouterNeeds {
    /// `holds_upstream` is true if some key holds a subscription, which replicas agree on.
    pub(super) fn of(config: &Config, holds_upstream: bool) -> Self {
        let Some(nats) = &config.nats else { return Self::default() };
        let mut needs = NeedList { nats, known: HashSet::new(), needs: Vec::new() };
        for source in &config.sources {
            match &source.kind {
                SourceKind::JetStream(settings) => needs.source(config, &source.name, settings),
                SourceKind::Nats(settings) => {
                    let purpose = format!("to hear source `{}`", source.name);
                    settings.subjects.iter().for_each(|subject| needs.subscribe(subject.as_str(), &purpose));
                }
                SourceKind::Http(http) => {
                    if let AnswerPoint::Stored(subject) = &http.answer {
                        let purpose = format!("to store what source `{}` takes", source.name);
                        needs.publish(subject.possible_subjects(), &purpose);
                    }
                }
                _ => {}
            }
        }
        for stream in config.streams.iter().chain(&dead_letter_stream(config)) {
            needs.stream(&stream.name);
        }
        needs.sinks(config);
        if let DeadLetterTarget::Stream { subject, .. } = &config.dead_letter {
            needs.publish(format!("{subject}.>").parse().ok(), "to store dead letters");
        }
        needs.buckets(config, holds_upstream);
        needs.fleet(config);
        needs.put(true, USER_INFO.to_owned(), None, OF_DOCTOR, NeedWeight::Helpful);
        needs.api("INFO", OF_DOCTOR, NeedWeight::Helpful);
        needs.api("STREAM.NAMES", OF_DOCTOR, NeedWeight::Helpful);
        needs.subscribe(INBOX, "to get answers");
        Self(needs.needs)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &NeededSubject> {
        self.0.iter()
    }

    /// Returns whether the router asks JetStream for anything.
    pub(super) fn has_jetstream(&self) -> bool {
        self.iter().any(|need| need.purpose != OF_DOCTOR && need.is_request())
    }

    /// The block of permissions for the configuration of `nats-server`.
    pub(super) fn block(&self) -> String {
        let mut block = String::from("permissions {\n");
        for (publish, word) in [(true, "publish"), (false, "subscribe")] {
            // Writing to a string can't fail.
            let _ = writeln!(block, "  {word} = [");
            let mut last = "";
            for need in self.iter().filter(|need| need.publish == publish) {
                if need.purpose != last {
                    last = &need.purpose;
                    let _ = writeln!(block, "    # {}", need.purpose);
                }
                for subject in [Some(&need.subject), need.alias.as_ref()].into_iter().flatten() {
                    let _ = writeln!(block, "    {}", serde_json::Value::from(subject.as_str()));
                }
            }
            block.push_str("  ]\n");
        }
        block.push('}');
        block
    }
}

/// Needs that are gathered.
struct NeedList<'a> {
    nats: &'a NatsConfig,
    known: HashSet<(bool, String)>,
    needs: Vec<NeededSubject>,
}

impl NeedList<'_> {
    fn put(&mut self, publish: bool, subject: String, alias: Option<String>, purpose: &str, weight: NeedWeight) {
        if self.known.insert((publish, subject.clone())) {
            self.needs.push(NeededSubject { publish, subject, alias, purpose: purpose.to_owned(), weight });
        }
    }

    fn publish(&mut self, subjects: Option<Pattern>, purpose: &str) {
        if let Some(subjects) = subjects {
            self.put(true, subjects.as_str().to_owned(), None, purpose, NeedWeight::Vital);
        }
    }

    fn subscribe(&mut self, subject: &str, purpose: &str) {
        self.put(false, subject.to_owned(), None, purpose, NeedWeight::Vital);
    }

    /// A request of the JetStream API.
    fn api(&mut self, operation: &str, purpose: &str, weight: NeedWeight) {
        let prefix = &self.nats.api_prefix;
        let has_domain = prefix.starts_with("$JS.") && prefix != "$JS.API";
        let alias = has_domain.then(|| format!("$JS.API.{operation}"));
        self.put(true, format!("{prefix}.{operation}"), alias, purpose, weight);
    }

    fn source(&mut self, config: &Config, name: &str, settings: &JetStreamSource) {
        let stream = &settings.stream;
        self.api(&format!("STREAM.INFO.{stream}"), &format!("to read source `{name}`"), NeedWeight::Vital);
        match settings.partitions {
            None => self.consumer(&format!("source `{name}`"), settings),
            Some(SourcePartitions { count, .. }) => {
                for partition in 0..count {
                    let reader = format!("partition {partition} of source `{name}`");
                    self.consumer(&reader, &partition_settings(settings, partition));
                }
            }
        }
        // Messages that a cut connection has lost, retries where one ack settles many, and those
        // that the client can't read.
        let purpose = format!("to read single messages of source `{name}` again");
        self.api(&format!("STREAM.MSG.GET.{stream}"), &purpose, NeedWeight::Vital);
        let isolated: Vec<_> = config.registry.keys.iter().filter(|key| key.is_isolated).collect();
        for key in &isolated {
            let Some(subject) = &key.subject else { continue };
            let (durable, subjects) = (own_durable(&settings.durable, &key.name), own_subjects(settings, subject));
            self.consumer(
                &format!("isolated key `{}`", key.name),
                &JetStreamSource { durable, subjects, ..settings.clone() },
            );
        }
        if !isolated.is_empty() {
            let purpose = "to find the consumers of keys that were isolated";
            self.api(&format!("CONSUMER.NAMES.{stream}"), purpose, NeedWeight::Helpful);
        }
    }

    fn consumer(&mut self, reader: &str, settings: &JetStreamSource) {
        let JetStreamSource { stream, durable, .. } = settings;
        let read = format!("to read {reader}");
        self.api(&format!("CONSUMER.INFO.{stream}.{durable}"), &read, NeedWeight::Vital);
        self.api(&format!("CONSUMER.MSG.NEXT.{stream}.{durable}"), &read, NeedWeight::Vital);
        let settle = format!("to settle events of {reader}");
        self.put(true, format!("$JS.ACK.{stream}.{durable}.>"), None, &settle, NeedWeight::Vital);
        let settle = format!("{settle}, where the server puts domain and account in front");
        self.put(true, format!("$JS.ACK.*.*.{stream}.{durable}.>"), None, &settle, NeedWeight::Helpful);
        let make = format!("to create or change the consumer of {reader}");
        let filter = match &settings.subjects[..] {
            [subject] => format!(".{subject}"),
            _ => String::new(),
        };
        let makes = NeedWeight::MakesConsumer(Box::new(settings.clone()));
        self.api(&format!("CONSUMER.CREATE.{stream}.{durable}{filter}"), &make, makes);
        // A source that ends sends itself what it has asked for and not got.
        let purpose = "to stop at once, not after 2 s";
        self.put(true, INBOX.to_owned(), None, purpose, NeedWeight::Helpful);
        if settings.ack == AckMode::Auto {
            let purpose = format!("to hand {reader} over at the end, without 5 s for the next router");
            self.api(&format!("CONSUMER.UNPIN.{stream}.{durable}"), &purpose, NeedWeight::Helpful);
        }
    }

    /// A stream that the router makes.
    fn stream(&mut self, name: &str) {
        let purpose = format!("to create or change stream `{name}`");
        self.api(&format!("STREAM.INFO.{name}"), &purpose, NeedWeight::Vital);
        for operation in ["CREATE", "UPDATE"] {
            self.api(&format!("STREAM.{operation}.{name}"), &purpose, NeedWeight::Makes(name.to_owned()));
        }
    }

    fn sinks(&mut self, config: &Config) {
        for sink in &config.sinks {
            let SinkKind::Nats(nats) = &sink.kind else { continue };
            let subjects = nats.subject.possible_subjects();
            let is_declared = |subjects: &Pattern| {
                let declared = config.streams.iter().flat_map(|stream| &stream.subjects);
                declared.into_iter().any(|declared| declared.covers(subjects))
            };
            if nats.jetstream && !subjects.as_ref().is_some_and(is_declared) {
                let purpose = format!("to publish in order and in batches to the streams of sink `{}`", sink.name);
                self.api("STREAM.INFO.*", &purpose, NeedWeight::Helpful);
            }
            self.publish(subjects, &format!("to publish outputs of sink `{}`", sink.name));
        }
    }

    fn buckets(&mut self, config: &Config, holds_upstream: bool) {
        let state = match &config.state.keeping {
            StateKeeping::Nats(bucket) => Some(&*bucket.name),
            StateKeeping::Memory => None,
        };
        if let Some(name) = state {
            let purpose = "to keep the state of filters";
            self.bucket(name, purpose);
            let prefix = format!("KV_{name}");
            self.api(&format!("STREAM.PURGE.{prefix}"), purpose, NeedWeight::Vital);
            // Counts what is kept, at the start.
            for operation in ["CONSUMER.CREATE", "CONSUMER.MSG.NEXT", "CONSUMER.INFO"] {
                self.api(&format!("{operation}.{prefix}.>"), purpose, NeedWeight::Vital);
            }
        }
        // Ticks of a shared state are claimed there, too.
        if state.is_some() || holds_upstream {
            self.bucket(TENURES, "to agree with other routers on what is held upstream");
        }
    }

    fn fleet(&mut self, config: &Config) {
        let has_partitions = |source: &SourceConfig| match &source.kind {
            SourceKind::JetStream(settings) => settings.partitions.is_some(),
            _ => false,
        };
        if config.sources.iter().any(has_partitions) {
            let purpose = "to share partitions out among routers";
            self.bucket(FLEET, purpose);
            self.api(&format!("DIRECT.GET.KV_{FLEET}"), purpose, NeedWeight::Vital);
        }
    }

    fn bucket(&mut self, name: &str, purpose: &str) {
        let stream = format!("KV_{name}");
        self.stream(&stream);
        self.api(&format!("STREAM.MSG.GET.{stream}"), purpose, NeedWeight::Vital);
        self.publish(format!("$KV.{name}.>").parse().ok(), purpose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder;

    #[test]
    fn the_block_has_all_that_the_folder_uses() {
        let text = r#"
            [nats]
            url = "nats://127.0.0.1:4222"
            domain = "hub"
            [[source]]
            name = "in"
            type = "jetstream"
            stream = "IN"
            durable = "d"
            subjects = ["in.>"]
            [[sink]]
            name = "out"
            type = "nats"
            subject = "out.{event_type}"
            [dead_letter]
            file = "dead.ndjson"
        "#;
        let config = folder::parse(&std::env::temp_dir(), [("trommel.toml", text)]).unwrap();
        insta::assert_snapshot!(RouterNeeds::of(&config, false).block(), @r#"
        permissions {
          publish = [
            # to read source `in`
            "$JS.hub.API.STREAM.INFO.IN"
            "$JS.API.STREAM.INFO.IN"
            "$JS.hub.API.CONSUMER.INFO.IN.d"
            "$JS.API.CONSUMER.INFO.IN.d"
            "$JS.hub.API.CONSUMER.MSG.NEXT.IN.d"
            "$JS.API.CONSUMER.MSG.NEXT.IN.d"
            # to settle events of source `in`
            "$JS.ACK.IN.d.>"
            # to settle events of source `in`, where the server puts domain and account in front
            "$JS.ACK.*.*.IN.d.>"
            # to create or change the consumer of source `in`
            "$JS.hub.API.CONSUMER.CREATE.IN.d.in.>"
            "$JS.API.CONSUMER.CREATE.IN.d.in.>"
            # to stop at once, not after 2 s
            "_INBOX.>"
            # to read single messages of source `in` again
            "$JS.hub.API.STREAM.MSG.GET.IN"
            "$JS.API.STREAM.MSG.GET.IN"
            # to publish in order and in batches to the streams of sink `out`
            "$JS.hub.API.STREAM.INFO.*"
            "$JS.API.STREAM.INFO.*"
            # to publish outputs of sink `out`
            "out.>"
            # to let `trommel doctor` see permissions, limits, and streams by their subjects
            "$SYS.REQ.USER.INFO"
            "$JS.hub.API.INFO"
            "$JS.API.INFO"
            "$JS.hub.API.STREAM.NAMES"
            "$JS.API.STREAM.NAMES"
          ]
          subscribe = [
            # to get answers
            "_INBOX.>"
          ]
        }
        "#);
        let held = RouterNeeds::of(&config, true).block();
        assert!(held.contains("$KV.trommel_tenures.>"), "{held}");
    }
}
