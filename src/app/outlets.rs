//! Opens sinks and starts the outlets that drive them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    app::{
        RouterControls,
        deliveries::{self, DeliveryParts},
        letter_key::own_letter_signer,
        watched::JournaledSink,
    },
    config::{
        self, Config, DEAD_FILE, DeadLetterTarget, EventField, FileSink, FileUpkeep, Fsync, MemoryPlan, NatsSink,
        OnFailure, RetryPolicy, SinkKind, SourceKind, StreamConfig, SubjectPlaceholder, TemplatePart, TextTemplate,
        Webhook,
    },
    metrics::DEAD_LETTERS,
    signature::LetterSigner,
    sink::{
        self, Sink,
        dead_letter::LastResort,
        outlet::{Outlet, OutletCapacity, OutletEnd, OutletPolicy, RefusedDestination, SinkQueue},
    },
    verify::RecordingSink,
    webhook::dispatch::Dispatcher,
};

/// Outputs that may wait before one sink, and that it may have under way unless its settings
/// differ.
const QUEUE: usize = 1024;
/// Dead letters may be as large as their events, so fewer of them wait.
const DEAD_LETTER_QUEUE: usize = 64;

/// Tells the dispatcher of webhooks for which something has changed.
pub(super) type DispatcherRecall = mpsc::WeakSender<BTreeSet<String>>;

pub(super) struct OutletStarter<'a> {
    config: &'a Config,
    plan: &'a MemoryPlan,
    controls: &'a RouterControls,
    webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    tasks: JoinSet<anyhow::Result<OutletEnd>>,
    dead_letters: Option<SinkQueue>,
    dispatcher: Option<(Dispatcher, DispatcherRecall)>,
}

impl<'a> OutletStarter<'a> {
    pub(super) fn new(
        config: &'a Config,
        plan: &'a MemoryPlan,
        controls: &'a RouterControls,
        webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    ) -> Self {
        Self { config, plan, controls, webhooks, tasks: JoinSet::new(), dead_letters: None, dispatcher: None }
    }

    /// Opens the outlet of the dead letters. It comes first: every other outlet sends its refused
    /// outputs there.
    pub(super) fn open_dead_letters(&mut self) -> anyhow::Result<SinkQueue> {
        let kind = match &self.config.dead_letter {
            DeadLetterTarget::Discard => SinkKind::Null,
            DeadLetterTarget::File(path) => SinkKind::File(path.clone(), dead_letter_file()),
            DeadLetterTarget::Stream { subject, .. } => SinkKind::Nats(dead_letter_sink(subject)),
        };
        let retry = RetryPolicy {
            min: Duration::from_millis(100),
            max: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        };
        let sink = config::SinkConfig {
            name: DEAD_LETTERS.to_owned(),
            on_failure: OnFailure::Retry,
            retry,
            encode: None,
            kind,
        };
        let queue = self.open(&sink, DEAD_LETTER_QUEUE)?;
        self.dead_letters = Some(queue.clone());
        Ok(queue)
    }

    pub(super) fn open_sinks(&mut self) -> anyhow::Result<HashMap<String, SinkQueue>> {
        let mut queues = HashMap::new();
        for sink in &self.config.sinks {
            let capacity = if let SinkKind::Nats(nats) = &sink.kind { nats.window } else { QUEUE };
            queues.insert(sink.name.clone(), self.open(sink, capacity)?);
        }
        Ok(queues)
    }

    fn last_resort(&self) -> LastResort {
        let streams = self.config.sources.iter().filter(|source| matches!(source.kind, SourceKind::JetStream(_)));
        let path = match &self.config.dead_letter {
            DeadLetterTarget::File(path) => path.clone(),
            DeadLetterTarget::Stream { .. } | DeadLetterTarget::Discard => self.config.dir.join(DEAD_FILE),
        };
        LastResort::new(streams.map(|source| source.name.clone()).collect(), path, sink::file::append, self.signer())
    }

    /// The signer of dead letters. Without a key, letters are stored unsigned.
    fn signer(&self) -> LetterSigner {
        if self.config.dead_letter == DeadLetterTarget::Discard {
            return LetterSigner::default();
        }
        own_letter_signer(self.config, self.controls.place.as_deref()).unwrap_or_else(|error| {
            let hint = "name one with `secret_file` in `[dead_letter]`, or set `TROMMEL_STATE_DIR`";
            tracing::warn!(
                error = format!("{error:#}"),
                hint,
                "dead letters carry no proof that this router wrote them, and `trommel dlq retry` takes none without"
            );
            LetterSigner::default()
        })
    }

    /// Returns the running outlets, each of which ends once its queues are gone, and the dispatcher
    /// for the deliveries that one of them stores.
    pub(super) fn into_tasks(self) -> (JoinSet<anyhow::Result<OutletEnd>>, Option<(Dispatcher, DispatcherRecall)>) {
        (self.tasks, self.dispatcher)
    }

    fn open(&mut self, settings: &config::SinkConfig, capacity: usize) -> anyhow::Result<SinkQueue> {
        if let Some(recording) = &self.controls.recording {
            let webhooks = &self.config.registry.webhooks;
            let sink = RecordingSink::new(&settings.name, &settings.kind, webhooks, Arc::clone(recording));
            return Ok(self.start(settings, capacity, sink));
        }
        let at = || format!("could not open sink `{}`", settings.name);
        Ok(match &settings.kind {
            SinkKind::Stdout => self.start(settings, capacity, sink::stdout::open().with_context(at)?),
            SinkKind::File(path, file) => {
                self.start(settings, capacity, sink::file::open(path.clone(), file).with_context(at)?)
            }
            SinkKind::Files(path, file) => {
                self.start(settings, capacity, sink::file::open_partitions(path.clone(), file).with_context(at)?)
            }
            SinkKind::Folder(folder) => self.start(settings, capacity, sink::folder::open(folder).with_context(at)?),
            SinkKind::Nats(nats) => {
                let servers = self.config.nats.as_ref().context("`[nats]` is missing in `trommel.toml`")?;
                // The first sink that is opened is that of the dead letters.
                let reserved = self.dead_letters.as_ref().and_then(|_| self.config.dead_letter.reserved());
                let sink = sink::nats::NatsPublisher::new(&settings.name, servers, nats).reserving(reserved);
                self.start(settings, capacity, sink)
            }
            SinkKind::Webhook(webhook) => {
                let opened = deliveries::open(webhook, (self.config, self.plan), self.controls, &self.webhooks);
                let DeliveryParts { sink, dispatcher, recall } = opened.with_context(at)?;
                self.dispatcher = Some((dispatcher, recall));
                self.start(settings, capacity, sink)
            }
            SinkKind::Bus(bus) => {
                let given =
                    self.controls.program.bus_of(bus.bus.as_deref()).context("there is no bus").with_context(at)?;
                self.start(settings, capacity, sink::bus::BusPublisher::new(&settings.name, given, bus))
            }
            SinkKind::Program(_) => {
                let start = self.controls.program.take_sink(&settings.name).context("the program gives none");
                start.with_context(at)?(self, settings, capacity)
            }
            SinkKind::Exec(exec) => {
                let sink = sink::exec::ExecSink::new(&settings.name, exec, settings.retry, capacity);
                self.start(settings, capacity, sink)
            }
            SinkKind::Null => self.start(settings, capacity, sink::null::NullSink::default()),
        })
    }

    pub(super) fn start(&mut self, settings: &config::SinkConfig, capacity: usize, sink: impl Sink) -> SinkQueue {
        match &self.controls.journal {
            Some(journal) => {
                let watched = JournaledSink::new(sink, &settings.name, Arc::clone(journal));
                self.spawn(settings, capacity, watched)
            }
            None => self.spawn(settings, capacity, sink),
        }
    }

    fn spawn(&mut self, settings: &config::SinkConfig, capacity: usize, sink: impl Sink) -> SinkQueue {
        let refused = match &self.dead_letters {
            Some(queue) => RefusedDestination::DeadLetters(queue.clone()),
            None => RefusedDestination::LastResort(self.last_resort()),
        };
        let policy = OutletPolicy { on_failure: settings.on_failure, retry: settings.retry, refused };
        let metrics = self.controls.metrics.sink(&settings.name);
        let capacity = OutletCapacity { outputs: capacity.min(self.plan.outputs()), bytes: self.plan.sink };
        let (queue, outlet) = Outlet::new(sink, &settings.name, capacity, policy, metrics);
        self.tasks.spawn(outlet.run(self.controls.stop.clone()));
        queue
    }
}

fn dead_letter_file() -> FileSink {
    FileSink { upkeep: FileUpkeep { fsync: Fsync::Batch, ..FileUpkeep::default() }, ..FileSink::default() }
}

/// The sink for dead letters, which publishes to `SUBJECT.REASON`: a dead letter's own subject is
/// its reason code.
fn dead_letter_sink(subject: &str) -> NatsSink {
    let reason = SubjectPlaceholder::plain(EventField::Subject.into());
    NatsSink {
        subject: TextTemplate(vec![TemplatePart::Literal(format!("{subject}.")), TemplatePart::Value(reason)]),
        jetstream: true,
        message_id: true,
        window: DEAD_LETTER_QUEUE,
        ack_timeout: Duration::from_secs(5),
    }
}

/// The stream for dead letters, if they go to a stream that is not declared.
pub fn dead_letter_stream(config: &Config) -> Option<StreamConfig> {
    let DeadLetterTarget::Stream { stream, subject } = &config.dead_letter else { return None };
    if config.streams.iter().any(|declared| declared.name == *stream) {
        return None;
    }
    // Checked as a subject when the configuration was read.
    let subjects = format!("{subject}.>").parse().into_iter().collect();
    Some(StreamConfig { name: stream.clone(), subjects, ..StreamConfig::default() })
}
