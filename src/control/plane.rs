//! The control plane: carries out what operators ask of a running router, and notes it.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    audit::AuditLog,
    log_switch::LogSwitch,
    operation::{
        LogWish, Operation, OperationRefusal, OperationResult, PartName, PauseResult, RefusalCause, RegistryOrder,
        ReloadResult, ReloadWish, ResumeResult,
    },
    pauses::PauseFile,
};
use crate::{
    config::{self, Config, Problem, Problems, quoted, suggest},
    metrics::Metrics,
    pause::{PausableKind, PausedPart},
    registry::ReleaseError,
    stop::Stopper,
};

/// Longest wait for a reload: components may be compiled meanwhile.
pub(super) const RELOAD: Duration = Duration::from_mins(5);
/// Orders that wait for the registry's task.
pub const ORDERS: usize = 16;

/// The parts of a router that its control plane changes.
pub struct ControlPlane {
    metrics: Arc<Metrics>,
    stopper: Stopper,
    orders: mpsc::Sender<RegistryOrder>,
    sources: Vec<String>,
    sinks: Vec<String>,
    pauses: PauseFile,
    /// One pause at a time: each is a change of all of them.
    pausing: Mutex<()>,
    audit: AuditLog,
    log: Option<Arc<LogSwitch>>,
}

/// What the control plane works with.
pub struct PlaneParts {
    pub metrics: Arc<Metrics>,
    pub stopper: Stopper,
    /// To the task that keeps the registry.
    pub orders: mpsc::Sender<RegistryOrder>,
    /// `None` if the router's program has its own logs.
    pub log: Option<Arc<LogSwitch>>,
}

impl ControlPlane {
    /// Creates the control plane of a router, which keeps pauses and the audit log in `folder`.
    pub fn new(config: &Config, folder: &Path, parts: PlaneParts) -> Arc<Self> {
        let PlaneParts { metrics, stopper, orders, log } = parts;
        Arc::new(Self {
            metrics,
            stopper,
            orders,
            sources: config.sources.iter().map(|source| source.name.clone()).collect(),
            sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
            pauses: PauseFile::of(folder),
            pausing: Mutex::default(),
            audit: AuditLog::new(folder),
            log,
        })
    }

    /// Pauses again what was paused when the router ended, except keys, whose names are returned.
    ///
    /// # Errors
    /// Returns an error if it can't be read what was paused.
    pub fn restore(&self) -> anyhow::Result<Vec<String>> {
        let parts = self.pauses.read()?;
        for PausedPart { kind, name, who, since } in &parts {
            tracing::warn!(%kind, name, who, %since, "paused, as it was before: `trommel resume` lifts it");
        }
        parts.iter().for_each(|part| self.switch(part.kind, &part.name, true));
        let keys = parts.iter().filter(|part| part.kind == PausableKind::Key).map(|part| part.name.clone()).collect();
        self.metrics.paused.set(parts);
        Ok(keys)
    }

    /// Carries out an operation for `who`, and notes it in the audit log.
    ///
    /// # Errors
    /// Returns the reason why nothing was done.
    pub async fn operate(&self, operation: Operation, who: &str) -> Result<OperationResult, OperationRefusal> {
        let result = match operation.clone() {
            Operation::Reload(ReloadWish { wait }) => self.reload(wait).await.map(OperationResult::Reload),
            Operation::Pause(part) => self.pause(part, who).await.map(OperationResult::Pause),
            Operation::Resume(part) => self.resume(part).await.map(OperationResult::Resume),
            Operation::Release(name) => self.release(name.filter).await,
            Operation::Log(wish) => self.change_log(&wish),
            Operation::Drain(_) => Ok(OperationResult::Drain { in_flight: self.drain() }),
        };
        let (word, detail) = match &result {
            Ok(OperationResult::Reload(ReloadResult { problems, .. })) if !problems.is_empty() => {
                ("refused", problems.first().map(|first| format!("{}: {}", first.place, first.message)))
            }
            Ok(_) => ("done", None),
            Err(refusal) => ("refused", Some(refusal.message.clone())),
        };
        self.note(who, &operation, word, detail).await;
        result
    }

    /// Notes what somebody has done by other means.
    pub(super) async fn note(&self, who: &str, what: &impl Serialize, result: &'static str, detail: Option<String>) {
        self.audit.note(who, what, result, detail).await;
    }

    /// Events that are not settled yet, of all sources.
    pub(super) fn in_flight(&self) -> i64 {
        self.metrics.sources().iter().map(|(_, source)| source.in_flight.get()).sum()
    }

    fn drain(&self) -> i64 {
        self.stopper.drain();
        self.in_flight()
    }

    async fn reload(&self, wait: bool) -> Result<ReloadResult, OperationRefusal> {
        let (answer, answered) = oneshot::channel();
        self.order(RegistryOrder::Reload(answer)).await?;
        if !wait {
            return Ok(ReloadResult::default());
        }
        match timeout(RELOAD, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(ending()),
            Err(_) => {
                let message = format!("not in force after {} s, still at work on it", RELOAD.as_secs());
                Err(OperationRefusal::new(RefusalCause::StillLoading, message)
                    .hint("`trommel status` shows how it ends"))
            }
        }
    }

    async fn pause(&self, part: PartName, who: &str) -> Result<PauseResult, OperationRefusal> {
        let _one = self.pausing.lock().await;
        let kind = self.find(&part)?;
        let mut parts = self.metrics.paused.all();
        if let Some(known) = parts.iter().find(|known| known.is(kind, &part.name)) {
            let message =
                format!("{kind} `{}` is paused already, by {} since {:.0}", part.name, known.who, known.since);
            return Err(OperationRefusal::new(RefusalCause::PausedAlready, message));
        }
        let paused = PausedPart { kind, name: part.name, who: who.to_owned(), since: Timestamp::now() };
        parts.push(paused.clone());
        let note = self.put_in_force(kind, &paused.name, parts).await?;
        Ok(PauseResult { part: paused, kept: note.is_none(), note })
    }

    async fn resume(&self, PartName { name, kind }: PartName) -> Result<ResumeResult, OperationRefusal> {
        let _one = self.pausing.lock().await;
        let mut parts = self.metrics.paused.all();
        let is_meant = |part: &PausedPart| part.name == name && kind.is_none_or(|kind| kind == part.kind);
        let kinds: Vec<_> = parts.iter().filter(|part| is_meant(part)).map(|part| part.kind).collect();
        let kind = match kinds[..] {
            [one] => one,
            [] => {
                // Names a part that there is not, rather than one that is not paused.
                let kind = self.find(&PartName { name: name.clone(), kind })?;
                let message = format!("{kind} `{name}` is not paused");
                return Err(OperationRefusal::new(RefusalCause::NotPaused, message));
            }
            _ => return Err(ambiguous(&name, &kinds)),
        };
        parts.retain(|part| !part.is(kind, &name));
        let note = self.put_in_force(kind, &name, parts).await?;
        Ok(ResumeResult { kind, name, kept: note.is_none(), note })
    }

    /// Makes these the paused parts, where the part of this kind and name is new or gone. Returns
    /// why that ends with the router, if it does.
    async fn put_in_force(
        &self,
        kind: PausableKind,
        name: &str,
        parts: Vec<PausedPart>,
    ) -> Result<Option<String>, OperationRefusal> {
        if kind == PausableKind::Key {
            let keys = parts.iter().filter(|part| part.kind == PausableKind::Key).map(|part| part.name.clone());
            let (answer, answered) = oneshot::channel();
            self.order(RegistryOrder::PauseKeys(keys.collect(), answer)).await?;
            answered.await.map_err(|_| ending())?.map_err(|problems| not_made(&problems))?;
        } else {
            self.switch(kind, name, parts.iter().any(|part| part.is(kind, name)));
        }
        self.metrics.paused.set(parts.clone());
        let file = self.pauses.clone();
        let written = spawn_blocking(move || file.write(&parts)).await.map_err(std::io::Error::other).flatten();
        Ok(written.err().map(|error| {
            let path = self.pauses.path().display();
            format!(
                "a restart forgets this: could not write `{path}`: {error}; make the folder writable, or name \
                     another one with `TROMMEL_STATE_DIR`"
            )
        }))
    }

    /// Sets the switch of a source or a sink that there is.
    fn switch(&self, kind: PausableKind, name: &str, is_paused: bool) {
        match kind {
            PausableKind::Key => {}
            PausableKind::Source if self.sources.iter().any(|known| known == name) => {
                self.metrics.source(name);
                // With the sources of its isolated keys.
                let is_its =
                    |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                for (_, source) in self.metrics.sources().iter().filter(|(other, _)| is_its(other)) {
                    if is_paused { source.switch.pause() } else { source.switch.resume() }
                }
            }
            PausableKind::Sink if self.sinks.iter().any(|known| known == name) => {
                let sink = self.metrics.sink(name);
                if is_paused { sink.switch.pause() } else { sink.switch.resume() }
            }
            PausableKind::Source | PausableKind::Sink => {}
        }
    }

    /// Finds the kind of the part that is meant.
    fn find(&self, PartName { name, kind }: &PartName) -> Result<PausableKind, OperationRefusal> {
        let keys: Vec<_> = self.metrics.keys().into_iter().map(|(name, _)| name).collect();
        let all =
            [(PausableKind::Key, &keys), (PausableKind::Source, &self.sources), (PausableKind::Sink, &self.sinks)];
        let meant = || all.iter().filter(|(known, _)| kind.is_none_or(|kind| kind == *known));
        let kinds: Vec<_> = meant().filter(|(_, names)| names.contains(name)).map(|(kind, _)| *kind).collect();
        match kinds[..] {
            [one] => Ok(one),
            [] => {
                let what = kind.map_or_else(|| "key, source or sink".to_owned(), |kind| kind.to_string());
                let known = meant().flat_map(|(_, names)| names.iter().map(String::as_str));
                let hint = suggest(name, known, "there are", "the router has none");
                let message = format!("there is no {what} `{name}`");
                Err(OperationRefusal::new(RefusalCause::UnknownPart, message).hint(hint))
            }
            _ => Err(ambiguous(name, &kinds)),
        }
    }

    async fn release(&self, filter: String) -> Result<OperationResult, OperationRefusal> {
        let (answer, answered) = oneshot::channel();
        self.order(RegistryOrder::Release(filter.clone(), answer)).await?;
        match answered.await.map_err(|_| ending())? {
            Ok(generation) => Ok(OperationResult::Release { filter, generation }),
            Err((ReleaseError::NotQuarantined, _)) => {
                let message = format!("filter `{filter}` is not quarantined");
                Err(OperationRefusal::new(RefusalCause::NotQuarantined, message))
            }
            Err((ReleaseError::Unknown, known)) => {
                let hint = suggest(&filter, known.iter().map(String::as_str), "in service are", "no key names one");
                let message = format!("no filter `{filter}` is in service");
                Err(OperationRefusal::new(RefusalCause::UnknownFilter, message).hint(hint))
            }
        }
    }

    fn change_log(&self, LogWish { level, lasts }: &LogWish) -> Result<OperationResult, OperationRefusal> {
        let bad = |message: String| OperationRefusal::new(RefusalCause::BadRequest, message);
        let Some(log) = &self.log else {
            let message = "the logs of this router are those of the program that it is part of";
            return Err(OperationRefusal::new(RefusalCause::NoLog, message));
        };
        let lasts = lasts.as_deref().map(config::duration).transpose();
        let lasts = lasts.map_err(|problem| bad(format!("`for`: {problem}")))?;
        log.change(level.as_deref(), lasts).map_err(bad)?;
        let until = lasts.and_then(|lasts| Timestamp::now().checked_add(SignedDuration::try_from(lasts).ok()?).ok());
        Ok(OperationResult::Log { level: level.clone(), until })
    }

    async fn order(&self, order: RegistryOrder) -> Result<(), OperationRefusal> {
        self.orders.send(order).await.map_err(|_| ending())
    }
}

fn ambiguous(name: &str, kinds: &[PausableKind]) -> OperationRefusal {
    let kinds: Vec<_> = kinds.iter().map(PausableKind::to_string).collect();
    let kinds = quoted(kinds.iter().map(String::as_str), "and");
    let message = format!("`{name}` is the name of several parts: {kinds}");
    OperationRefusal::new(RefusalCause::AmbiguousPart, message).hint("say which one with `--kind`, in JSON `kind`")
}

fn ending() -> OperationRefusal {
    OperationRefusal::new(RefusalCause::Ending, "the router ends, or reads nothing again: it replays")
}

fn not_made(problems: &[Problem]) -> OperationRefusal {
    let message = format!("the key can't be made anew:\n{}", Problems::new(problems.to_vec()));
    OperationRefusal::new(RefusalCause::NotMade, message).hint("mend the folder, then `trommel reload --wait`")
}
