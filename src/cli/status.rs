//! `trommel status` (L126).

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use jiff::{SignedDuration, Timestamp, fmt::friendly::SpanPrinter};
use serde::Serialize;

use crate::{
    cli::{
        columns::TableColumns,
        exit, keys,
        refusal::{CommandRefusal, RefusalKind},
        runtime,
    },
    control::{
        SocketPlace,
        client::{self, RouterLookup, find},
        protocol::{ConsumerStatus, RouterStatus},
    },
    health::{HealthTrouble, PartHealth},
    recent::{EndedEvent, RecentQuery},
};

/// Show the routers of this user, and the consumers attached to them
#[derive(Args, Debug)]
pub struct StatusCommand {
    /// Only the router of this folder
    dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Exit with 2 when a router runs whose control socket is gone
    #[arg(long)]
    fail_on_orphan: bool,
    /// Also show the events that ended last, the newest first
    #[arg(long)]
    events: bool,
    /// Only events of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE", requires = "events")]
    types: Vec<String>,
    /// At most this many events
    #[arg(long, value_name = "N", default_value_t = 50, requires = "events")]
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

/// State of one router.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum RouterReport {
    Running(RouterStatus),
    /// A router that runs but can't be reached: its control socket is gone.
    Orphan {
        router: String,
        pid: Option<u32>,
    },
    NotRunning {
        router: String,
    },
}

impl StatusCommand {
    pub fn execute(self) -> ExitCode {
        self.show().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn show(&self) -> Result<ExitCode, CommandRefusal> {
        let places = places(self.dir.as_ref())?;
        let events = self.events.then(|| RecentQuery { types: self.types.clone(), limit: self.limit });
        let runtime = runtime()?;
        let mut routers = Vec::new();
        runtime.block_on(async {
            // Queried concurrently: a router that hangs does not delay the others.
            let asked: Vec<_> = places.into_iter().map(|place| tokio::spawn(ask(place, events.clone()))).collect();
            for router in asked {
                routers.extend(router.await);
            }
        });
        if self.dir.is_none() {
            routers.retain(|router| !matches!(router, RouterReport::NotRunning { .. }));
        }
        let text = match self.json {
            true => keys::json(&serde_json::json!({ "routers": routers }))?,
            false if routers.is_empty() => "no router runs".to_owned(),
            false => routers.iter().map(RouterReport::text).collect::<Vec<_>>().join("\n\n"),
        };
        keys::print(&text)?;
        let orphans = routers.iter().any(|router| matches!(router, RouterReport::Orphan { .. }));
        Ok(if orphans && self.fail_on_orphan { ExitCode::from(exit::INVALID) } else { ExitCode::SUCCESS })
    }
}

/// Location of this folder's router, or of all routers that the user has run.
pub(super) fn places(dir: Option<&PathBuf>) -> Result<Vec<SocketPlace>, CommandRefusal> {
    let places = match dir {
        Some(dir) => SocketPlace::of(dir).map(|place| vec![place]),
        None => SocketPlace::all(),
    };
    places.map_err(|error| CommandRefusal::new(RefusalKind::Precondition, "state_folder", error.to_string()))
}

async fn ask(place: SocketPlace, events: Option<RecentQuery>) -> RouterReport {
    let router = place.router.display().to_string();
    let orphan = || RouterReport::Orphan { router: router.clone(), pid: client::pid(&place) };
    match find(&place).await {
        Ok(RouterLookup::Running(mut link)) => match client::status(&mut link, events).await {
            Ok(status) => RouterReport::Running(status),
            Err(_) => orphan(),
        },
        Ok(RouterLookup::NotRunning) => RouterReport::NotRunning { router },
        Ok(RouterLookup::Orphan(_)) | Err(_) => orphan(),
    }
}

/// Returns the line of a part that is not well.
fn trouble(part: &PartHealth) -> Option<String> {
    let PartHealth { kind, name, level, trouble, .. } = part;
    let HealthTrouble { since, why, remedy } = trouble.as_ref()?;
    let lasts = SignedDuration::from_secs(Timestamp::now().as_second() - since.as_second());
    let (kind, lasts) = (kind.word(), SpanPrinter::new().duration_to_string(&lasts));
    let space = if name.is_empty() { "" } else { " " };
    Some(format!("  {kind}{space}{name}: {level} for {lasts}: {why}\n    {remedy}"))
}

impl RouterReport {
    fn text(&self) -> String {
        let status = match self {
            Self::Running(status) => status,
            Self::Orphan { router, pid } => {
                let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                return format!(
                    "{router}: runs as process {pid}, but does not answer; `trommel stop --force {router}` ends it"
                );
            }
            Self::NotRunning { router } => return format!("{router}: no router runs"),
        };
        let uptime = SignedDuration::from_secs(status.uptime_sec.try_into().unwrap_or(i64::MAX));
        let uptime = SpanPrinter::new().duration_to_string(&uptime);
        let mut lines = vec![format!(
            "{}: runs as process {} for {uptime}, generation {}",
            status.router, status.pid, status.generation
        )];
        for source in &status.sources {
            lines.push(format!(
                "  source {}: {}, {} events, {} in flight",
                source.name, source.state, source.received, source.in_flight
            ));
        }
        lines.extend(status.health.iter().filter_map(trouble));
        match &status.consumers[..] {
            [] => lines.push("  no consumers attached".to_owned()),
            consumers => lines.extend(attached(consumers)),
        }
        match status.events.as_deref() {
            None => {}
            Some([]) => lines.push("  no event has ended".to_owned()),
            Some(events) => lines.extend(ended(events)),
        }
        lines.join("\n")
    }
}

fn attached(consumers: &[ConsumerStatus]) -> Vec<String> {
    let title = ["PROCESS", "KEY", "SUBSCRIPTION", "RECEIVED", "DROPPED"].map(str::to_owned);
    let row = |consumer: &ConsumerStatus| {
        [
            consumer.pid.map_or_else(|| "/tail".to_owned(), |pid| pid.to_string()),
            consumer.key.clone(),
            consumer.subscription_id.clone(),
            consumer.received.to_string(),
            consumer.dropped.to_string(),
        ]
    };
    table(title, consumers.iter().map(row))
}

fn ended(events: &[EndedEvent]) -> Vec<String> {
    let title = ["TIME", "SOURCE", "TYPE", "ID", "SUBJECT", "TENANT", "FATE"].map(str::to_owned);
    let row = |event: &EndedEvent| {
        let fate = event.fate.word().to_owned();
        [
            format!("{:.3}", event.time),
            event.source.clone(),
            event.event_type.clone(),
            event.id.clone(),
            event.subject.clone(),
            event.tenant.clone().unwrap_or_default(),
            event.reason.as_ref().map_or(fate.clone(), |reason| format!("{fate}: {reason}")),
        ]
    };
    table(title, events.iter().map(row))
}

/// Formats a table, one line per row.
fn table<const COLUMNS: usize>(title: [String; COLUMNS], rows: impl Iterator<Item = [String; COLUMNS]>) -> Vec<String> {
    let rows: Vec<_> = std::iter::once(title).chain(rows).collect();
    let columns = TableColumns::fit(&rows);
    rows.iter().map(|row| format!("  {}", columns.line(row))).collect()
}
