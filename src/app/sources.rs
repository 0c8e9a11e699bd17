//! Opens sources and starts them.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context;
use jiff::Timestamp;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    app::{RouterControls, isolated::IsolatedKeys, partitioned::PartitionedSource, patience::StartupPatience},
    config::{AnswerPoint, Config, MemoryPlan, RouterRole, SourceKind},
    fleet::{FleetMembership, FleetTerms},
    nats::{self, ConnectionLife},
    pipeline::{OwnConsumers, Pipeline, TickDriver},
    registry::{Snapshots, TickClaims},
    source::{
        Source,
        avro_file::AvroFileInput,
        bus::BusListener,
        core_nats::CoreNats,
        http::{HttpContext, HttpReceiver},
        jetstream::JetStream,
        letters,
        lines::LinesInput,
        replay::StreamReplay,
    },
};

/// Factor between the messages that a source may have open and those that the server may leave
/// unacknowledged: a message given back for later counts at the server until it is done, and must
/// not keep others from being delivered.
const OUTSTANDING: usize = 16;

/// Messages that the server may leave unacknowledged, for each source.
pub fn outstanding(config: &Config) -> usize {
    config.pipeline.in_flight.get().saturating_mul(OUTSTANDING)
}

/// Opens every source as soon as its input is available, and runs it. Each ends with its input, or
/// with the router's stop. The clock of the filters is one of them, which ends when it is notified
/// by `last`.
///
/// # Errors
/// Returns an error if one can't be opened.
pub(super) async fn start(
    config: &Config,
    controls: &RouterControls,
    (pipeline, plan): (&Pipeline, &MemoryPlan),
    snapshots: &Snapshots,
    patience: &mut StartupPatience,
    (claims, last, replicas): (Option<TickClaims>, Arc<Notify>, usize),
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut sources = JoinSet::new();
    let mut fleet: Option<FleetMembership> = None;
    for source in &config.sources {
        let at = || {
            let observes = if config.role == RouterRole::Observer {
                ", in a router that makes no streams: `trommel run` does"
            } else {
                ""
            };
            format!("could not open source `{}`{observes}", source.name)
        };
        let intake_metrics = controls.metrics.source(&source.name);
        let stop = controls.stop.clone();
        match &source.kind {
            SourceKind::Lines(settings) => {
                let progress = Arc::clone(&controls.progress);
                let lines = LinesInput::new(source, settings, progress).with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(lines.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::AvroFile(settings) => {
                let progress = Arc::clone(&controls.progress);
                let files = AvroFileInput::new(source, settings, progress).with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(files.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::Bus(settings) => {
                let bus = controls.program.bus_of(settings.bus.as_deref()).context("there is no bus")?;
                let listener = BusListener::open(bus, source, settings).with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(listener.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::Program(_) => {
                let start = controls.program.take_source(&source.name).context("the program gives none");
                let start = start.with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(start(pipeline, intake_metrics, stop));
            }
            SourceKind::Http(settings) => {
                let stream = match (&settings.answer, &config.nats) {
                    (AnswerPoint::Stored(_), Some(nats)) => {
                        let connect = || async {
                            nats::connect(nats, &source.name, ConnectionLife::Reconnecting).await.with_context(at)
                        };
                        Some(patience.until_done(connect).await?)
                    }
                    _ => None,
                };
                let surroundings = HttpContext {
                    pipeline: config.pipeline,
                    bodies: plan.bodies,
                    metrics: controls.metrics.requests(&source.name),
                    stream,
                    reserved: config.dead_letter.reserved(),
                    stop: stop.clone(),
                };
                let http = HttpReceiver::open(source, settings, surroundings).await.with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(http.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::Replay(settings) => {
                let nats = config.nats.as_ref().context("`[nats]` is missing in `trommel.toml`")?;
                let connection =
                    nats::connect(nats, &source.name, ConnectionLife::Reconnecting).await.with_context(at)?;
                let progress = Arc::clone(&controls.progress);
                let replay = StreamReplay::open(connection, source, settings, progress).await.with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(replay.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::Letters(settings) => {
                let journal = controls.journal.clone().context("there is no journal for the dead letters")?;
                let letters = letters::LetterRetry::open(source, settings, config.nats.as_ref(), journal).await;
                let letters = letters.with_context(at)?;
                intake_metrics.connected.set(1);
                sources.spawn(letters.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::Nats(settings) => {
                let nats = config.nats.as_ref().context("`[nats]` is missing in `trommel.toml`")?;
                let connect = || async {
                    let connection = nats::connect(nats, &source.name, ConnectionLife::Reconnecting).await?;
                    CoreNats::open(&connection, source, settings, plan.live).await
                };
                let core = patience.until_done(|| async { connect().await.with_context(at) }).await?;
                sources.spawn(core.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::JetStream(settings) => {
                let nats = config.nats.as_ref().context("`[nats]` is missing in `trommel.toml`")?;
                let in_flight = outstanding(config);
                let connect =
                    || async { nats::connect(nats, &source.name, ConnectionLife::Reconnecting).await.with_context(at) };
                let connection = patience.until_done(connect).await?;
                let open = || async {
                    JetStream::open(connection.clone(), source, settings, in_flight).await.with_context(at)
                };
                if let (Some(partitions), RouterRole::Router) = (settings.partitions, config.role) {
                    let membership = match &fleet {
                        Some(membership) => membership.clone(),
                        None => {
                            let terms = FleetTerms { lease: partitions.lease, replicas };
                            let join =
                                || async { FleetMembership::join(connection.clone(), terms).await.with_context(at) };
                            fleet.insert(patience.until_done(join).await?).clone()
                        }
                    };
                    intake_metrics.connected.set(1);
                    let partitioned = PartitionedSource {
                        connection,
                        source: source.clone(),
                        settings: settings.clone(),
                        partitions,
                        in_flight,
                        pipeline: pipeline.clone(),
                        metrics: Arc::clone(&controls.metrics),
                        stop,
                        membership,
                    };
                    sources.spawn(partitioned.run());
                    continue;
                }
                let jetstream = patience.until_done(open).await?;
                intake_metrics.connected.set(1);
                let mut isolated = IsolatedKeys {
                    nats: nats.clone(),
                    source: source.clone(),
                    settings: settings.clone(),
                    in_flight,
                    pipeline: pipeline.clone(),
                    metrics: Arc::clone(&controls.metrics),
                    snapshots: snapshots.clone(),
                    own: OwnConsumers::default(),
                    stop: stop.clone(),
                    running: HashMap::new(),
                    sources: JoinSet::new(),
                };
                if config.role == RouterRole::Router {
                    isolated.open_all(&connection, patience).await.with_context(at)?;
                    let intake = pipeline.intake(intake_metrics).leaving_to(isolated.own.clone());
                    sources.spawn(jetstream.run(intake, stop));
                    sources.spawn(isolated.run());
                } else {
                    sources.spawn(jetstream.run(pipeline.intake(intake_metrics), stop));
                }
            }
        }
    }
    if config.role != RouterRole::Replay {
        let clock = || u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let (metrics, ends) = (Arc::clone(&controls.metrics), (controls.stop.clone(), last));
        let ticks = TickDriver::run(pipeline.clone(), metrics, snapshots.clone(), Arc::new(clock), claims, ends);
        sources.spawn(async {
            ticks.await;
            Ok(())
        });
    }
    Ok(sources)
}
