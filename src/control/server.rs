//! The router's side of the control socket: which router may listen, and the handling of each
//! connection.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    process,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::{
    net::{UnixListener, UnixStream, unix::UCred},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ControlPlane, SocketPlace,
    attach::{AttachedConsumer, ConsumerDesk},
    consumer, drain, feed,
    link::{ControlLink, LinkWriter},
    protocol::{ControlRequest, MAX_REQUEST, PluginStatus, RouterAnswer, RouterStatus, SourceState, SourceStatus},
};
use crate::{
    event::GivenEvent,
    feed::LiveFeed,
    metrics::{CallDurations, Metrics},
    open_files::{self, AcceptBackoff},
    poison::ignore_poison,
    recent::RecentQuery,
    registry::Snapshots,
    stop::{Stop, Stopper},
};

/// Time for which a router that is ending may still hold the lock (L83).
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Time in which a connection has to send its request (L90).
const HELLO: Duration = Duration::from_secs(5);
/// Longest wait for a sample event: less than a client's patience.
const SAMPLE: Duration = Duration::from_secs(2);
/// Time that consumers have to read the remaining outputs when the router ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Most connections at a time. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;

/// The bound control socket. Removes the socket and the file with the process id on drop.
pub struct ControlSocket {
    listener: UnixListener,
    place: SocketPlace,
    /// Held as long as this value exists.
    _lock: File,
}

/// The router as connections see and control it.
pub struct ControlView {
    pub metrics: Arc<Metrics>,
    pub stopper: Stopper,
    pub stop: Stop,
    pub desk: Arc<ConsumerDesk>,
    pub plane: Arc<ControlPlane>,
    pub feed: Arc<LiveFeed>,
    /// Number of attached consumers.
    pub attached: watch::Sender<usize>,
}

/// State that all connections share.
pub(super) struct ControlState {
    pub(super) view: ControlView,
    /// Weak, and gone once the router ends: it would keep routes alive, and consumers end only with
    /// their routes.
    snapshots: Weak<Snapshots>,
    began: Instant,
    place: SocketPlace,
    consumers: Mutex<BTreeMap<u64, AttachedConsumer>>,
}

impl ControlSocket {
    /// Binds the socket. `None` if another router has it; that router's process id is logged.
    ///
    /// # Errors
    /// Returns an error if the state folder can't be used.
    pub async fn open(place: SocketPlace) -> anyhow::Result<Option<Self>> {
        let at = || format!("could not open the control socket `{}`", place.socket().display());
        place.make().with_context(at)?;
        let Some(lock) = lock(&place).await.with_context(at)? else {
            let pid = fs::read_to_string(place.pid()).unwrap_or_default();
            let pid = pid.lines().next().unwrap_or("unknown").to_owned();
            tracing::warn!(
                pid,
                "another router runs from this folder and has the control socket: this one goes without"
            );
            return Ok(None);
        };
        // The lock is ours, so the socket's router is gone and nothing listens on it.
        match fs::remove_file(place.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(at),
            _ => {}
        }
        let listener = UnixListener::bind(place.socket()).with_context(at)?;
        fs::set_permissions(place.socket(), Permissions::from_mode(0o600)).with_context(at)?;
        place.remember().with_context(at)?;
        write_pid(&place).with_context(at)?;
        Ok(Some(Self { listener, place, _lock: lock }))
    }

    /// Serves connections until no more changes of the registry are taken, then lets consumers read
    /// the remaining outputs.
    pub async fn serve(self, view: ControlView, snapshots: Snapshots) {
        let snapshots = Arc::new(snapshots);
        let desk = Arc::clone(&view.desk);
        let shared = Arc::new(ControlState {
            view,
            snapshots: Arc::downgrade(&snapshots),
            began: Instant::now(),
            place: self.place.clone(),
            consumers: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        let (most, mut trouble) = (open_files::share(MAX_CONNECTIONS), AcceptBackoff::default());
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < most => {
                    match accepted {
                        Ok((stream, _)) => drop(connections.spawn(converse(stream, Arc::clone(&shared)))),
                        Err(error) => trouble.pass("control socket", error).await,
                    }
                }
                // Removes finished connections from the count that limits new ones.
                Some(_) = connections.join_next() => {}
                () = desk.closed() => break,
            }
        }
        drop(snapshots);
        // Consumers that have not read everything by then are cut off.
        let _ = timeout(LAST_WORDS, async { while connections.join_next().await.is_some() {} }).await;
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Leftovers are harmless: the lock is free, so the next router recognises them as such.
        let _ = fs::remove_file(self.place.socket());
        let _ = fs::remove_file(self.place.pid());
    }
}

async fn lock(place: &SocketPlace) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(place.lock())?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => sleep(LOCK_PAUSE).await,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Writes the process id and the start time (L87).
fn write_pid(place: &SocketPlace) -> io::Result<()> {
    let temporary = place.pid().with_extension("tmp");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}\n{:.0}", process::id(), Timestamp::now())?;
    fs::rename(temporary, place.pid())
}

async fn converse(stream: UnixStream, shared: Arc<ControlState>) {
    if let Err(error) = answer(stream, &shared).await {
        tracing::debug!(error = format!("{error:#}"), "a control connection ended badly");
    }
}

async fn answer(stream: UnixStream, shared: &Arc<ControlState>) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?;
    let ControlLink { mut reader, mut writer } = ControlLink::new(stream, MAX_REQUEST);
    let first = reader.next_within(HELLO).await?;
    match serde_json::from_slice(&first)? {
        ControlRequest::Hello(hello) => consumer::serve(hello, reader, writer, shared).await,
        ControlRequest::StatusQuery { events } => {
            Ok(writer.send(&RouterAnswer::StatusResponse(shared.status(events.as_ref()))).await?)
        }
        ControlRequest::PluginsQuery => {
            Ok(writer.send(&RouterAnswer::PluginsResponse { plugins: shared.plugins() }).await?)
        }
        ControlRequest::SampleQuery => {
            Ok(writer.send(&RouterAnswer::SampleResponse { event: shared.sample().await }).await?)
        }
        ControlRequest::Operate { operation } => {
            let answer = match shared.view.plane.operate(operation, &user(&peer)).await {
                Ok(result) => RouterAnswer::Operated { result },
                Err(refusal) => RouterAnswer::Refused(refusal),
            };
            Ok(writer.send(&answer).await?)
        }
        ControlRequest::FeedQuery => feed::serve(reader, writer, shared).await,
        ControlRequest::Drain => drain::tell(&shared.view, &user(&peer), &mut writer).await,
        ControlRequest::Shutdown { force } => shared.shut_down(force, &user(&peer), &mut writer).await,
        ControlRequest::Bye => Ok(()),
        ControlRequest::Unknown => bail!("the first line has an unknown type"),
    }
}

/// The user at the other end, as the audit log names it.
fn user(peer: &UCred) -> String {
    format!("uid {}", peer.uid())
}

impl ControlState {
    fn status(&self, events: Option<&RecentQuery>) -> RouterStatus {
        let metrics = &self.view.metrics;
        let source = |(name, counts): (String, Arc<crate::metrics::SourceMetrics>)| SourceStatus {
            name,
            state: SourceState::of(&counts),
            received: counts.received.get(),
            in_flight: counts.in_flight.get(),
        };
        let mut consumers: Vec<_> = self.consumers().values().map(AttachedConsumer::status).collect();
        consumers.extend(self.view.desk.followers());
        let quarantined = metrics.filters().into_iter().filter(|(_, filter)| filter.quarantined.get() > 0);
        RouterStatus {
            pid: process::id(),
            router: self.place.router.display().to_string(),
            uptime_sec: self.began.elapsed().as_secs(),
            generation: metrics.generation.get().cast_unsigned(),
            consumers,
            sources: metrics.sources().into_iter().map(source).collect(),
            quarantined: quarantined.map(|(name, _)| name).collect(),
            health: metrics.health(),
            events: events.map(|asked| metrics.recent(asked)),
        }
    }

    /// Components of the snapshot in force.
    fn plugins(&self) -> Vec<PluginStatus> {
        let Some(snapshots) = self.snapshots.upgrade() else { return Vec::new() };
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut plugins = BTreeMap::<&str, PluginStatus>::new();
        let nanos = |times: CallDurations| times.mean().and_then(|mean| u64::try_from(mean.as_nanos()).ok());
        for (key, filter) in snapshot.keys().filter_map(|key| Some((key, key.filter.as_ref()?))) {
            let plugin = plugins.entry(filter.name()).or_insert_with(|| {
                let metrics = self.view.metrics.filter(filter.name());
                PluginStatus {
                    name: filter.name().to_owned(),
                    version: filter.manifest().version.clone(),
                    digest: filter.digest().to_owned(),
                    keys: Vec::new(),
                    quarantined: filter.is_quarantined(),
                    matches: metrics.matches.get(),
                    match_ns: nanos(metrics.match_time.durations()),
                    processes: metrics.processes.get(),
                    process_ns: nanos(metrics.process_time.durations()),
                    breaks: metrics.breaks.get(),
                    reloads: metrics.reloads.get(),
                }
            });
            plugin.keys.push(key.name.to_string());
        }
        plugins.into_values().collect()
    }

    /// The next event that comes in, if it comes soon.
    async fn sample(&self) -> Option<GivenEvent> {
        let (sender, mut next) = mpsc::channel(1);
        for (_, source) in self.view.metrics.sources() {
            source.tap.ask(sender.clone());
        }
        drop(sender);
        let mut stop = self.view.stop.clone();
        tokio::select! {
            event = next.recv() => event.as_ref().map(GivenEvent::from),
            () = sleep(SAMPLE) => None,
            () = stop.draining() => None,
        }
    }

    /// Stops the router, but not while consumers are attached, unless forced (L127).
    async fn shut_down(&self, force: bool, who: &str, writer: &mut LinkWriter) -> anyhow::Result<()> {
        let consumers: Vec<_> = self.consumers().values().filter_map(|consumer| consumer.pid).collect();
        let stopping = force || consumers.is_empty();
        if stopping {
            tracing::info!(force, "stopping, as asked over the control socket");
            self.view.stopper.drain();
        }
        let (result, why) = match stopping {
            true => ("done", None),
            false => ("refused", Some("consumers are attached".to_owned())),
        };
        self.view.plane.note(who, &serde_json::json!({ "action": "stop", "force": force }), result, why).await;
        Ok(writer.send(&RouterAnswer::ShutdownAck { pid: process::id(), stopping, consumers }).await?)
    }

    /// Lists a consumer until it is removed. Returns whether it is the only one with its
    /// subscription.
    pub(super) fn add(&self, number: u64, consumer: AttachedConsumer) -> bool {
        let mut consumers = self.consumers();
        let is_first = consumers.values().all(|other| other.subscription_id != consumer.subscription_id);
        consumers.insert(number, consumer);
        self.view.attached.send_replace(consumers.len());
        is_first
    }

    pub(super) fn remove(&self, number: u64) {
        let mut consumers = self.consumers();
        consumers.remove(&number);
        self.view.attached.send_replace(consumers.len());
    }

    fn consumers(&self) -> MutexGuard<'_, BTreeMap<u64, AttachedConsumer>> {
        ignore_poison(self.consumers.lock())
    }
}
