//! `trommel doctor`: everything that will go wrong with a router's folder on this machine and at
//! this server. Changes nothing.

use std::{future::Future, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use finding::{AreaReport, DoctorArea, Finding, FindingLevel};
use needs::RouterNeeds;
use serde_json::json;
use server::ServerView;
use tokio::time::timeout;

use crate::{
    app,
    cli::{CacheArgs, check::counted, exit, keys, refusal::CommandRefusal, runtime, streams::no_server},
    config::Config,
    folder::DeclaredPlaces,
};

mod account;
mod consumers;
mod credentials;
mod destinations;
mod endpoints;
mod finding;
mod folder;
mod folders;
mod limits;
mod needs;
mod permissions;
mod ports;
mod server;
mod streams;

/// Longest time for one area, whatever hangs in it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Find everything that will go wrong with a router's folder on this machine and at its server
///
/// Changes nothing, and needs no running router. Exits with 2 if there is an error.
#[derive(Args, Debug)]
pub struct DoctorCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Exit with 2 for warnings, too
    #[arg(long)]
    deny_warnings: bool,
    /// Print only the permissions that the router needs, as a block for the server's configuration
    #[arg(long, conflicts_with_all = ["json", "deny_warnings"])]
    permissions: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

impl DoctorCommand {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let runtime = runtime()?;
        if self.permissions {
            return runtime.block_on(self.print_permissions());
        }
        let reports = runtime.block_on(self.examine());
        let count = |level| {
            let findings = reports.iter().flat_map(|report| &report.findings);
            findings.filter(|finding| finding.level == level).count()
        };
        let (errors, warnings) = (count(FindingLevel::Error), count(FindingLevel::Warning));
        let is_good = errors == 0 && (warnings == 0 || !self.deny_warnings);
        if self.json {
            let findings: Vec<_> = reports.iter().flat_map(AreaReport::rows).collect();
            keys::print(&keys::json(&json!({ "ok": is_good, "findings": findings }))?)?;
        } else {
            let mut lines: Vec<_> = reports.iter().map(AreaReport::to_string).collect();
            let tally = [(errors, "error"), (warnings, "warning")].map(|(number, noun)| counted(number, noun));
            lines.push(format!("{}: {}", self.dir.display(), tally.join(", ")));
            keys::print(&lines.join("\n"))?;
        }
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
    }

    async fn print_permissions(&self) -> Result<ExitCode, CommandRefusal> {
        let config = app::load(&self.dir).await?;
        config.nats.as_ref().ok_or_else(no_server)?;
        let loader = app::rehearse(&config, self.cache.code()).await?;
        keys::print(&RouterNeeds::of(&config, loader.holds_upstream()).block())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Looks at all areas. Those behind the folder are looked at together, and none waits for
    /// another one that fails.
    async fn examine(&self) -> Vec<AreaReport> {
        let config = match app::load(&self.dir).await {
            Ok(config) => config,
            Err(problems) => {
                let findings = problems.iter().map(Finding::from);
                let rest = Finding::warning("not_looked_at", "nothing else can be looked at before the folder is good");
                return vec![AreaReport { area: DoctorArea::Folder, findings: findings.chain([rest]).collect() }];
            }
        };
        // Before the rest, as it computes: what others measure meanwhile would be wrong.
        let rehearsed = app::rehearse(&config, self.cache.code()).await;
        let holds_upstream = rehearsed.as_ref().is_ok_and(|loader| loader.holds_upstream());
        let place = folder::RunningPlace::of(&self.dir).await;
        let folder = folder::examine(&config, rehearsed.as_ref().err(), &place);
        let places = DeclaredPlaces::read(&config);
        let needs = RouterNeeds::of(&config, holds_upstream);
        let (machine, endpoints, credentials, server) = tokio::join!(
            examined(DoctorArea::Machine, machine(&config, &places, &place, self.cache.folder())),
            examined(DoctorArea::Endpoints, endpoints::examine(&config, &places)),
            examined(DoctorArea::Credentials, async { credentials::examine(&config, &places) }),
            examine_server(&config, &places, &needs),
        );
        let mut reports = vec![AreaReport { area: DoctorArea::Folder, findings: folder }];
        reports.extend([machine, endpoints, credentials].into_iter().chain(server));
        reports.retain(|report| !report.findings.is_empty());
        reports
    }
}

async fn machine(
    config: &Config,
    places: &DeclaredPlaces,
    place: &folder::RunningPlace,
    cache: Option<PathBuf>,
) -> Vec<Finding> {
    let mut findings = ports::examine(config, places, place).await;
    findings.extend(folders::examine(config, cache, place));
    findings.extend(limits::examine(config, places));
    findings
}

/// Looks at the server, and with a connection to it at everything that is there.
async fn examine_server(config: &Config, places: &DeclaredPlaces, needs: &RouterNeeds) -> Vec<AreaReport> {
    let Some(settings) = &config.nats else { return Vec::new() };
    let connecting = async { server::connect(settings, places).await };
    let (findings, connection) = match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected,
        Err(_) => (vec![late()], None),
    };
    let mut server = AreaReport { area: DoctorArea::Server, findings };
    let Some(connection) = connection else { return vec![server] };
    let view = ServerView::new(connection, config, places).await;
    server.findings.extend(account::examine(&view, needs));
    if !view.has_jetstream() {
        return vec![server, examined(DoctorArea::Permissions, permissions::examine(&view, needs)).await];
    }
    let (permissions, streams, consumers, sinks) = tokio::join!(
        examined(DoctorArea::Permissions, permissions::examine(&view, needs)),
        examined(DoctorArea::Streams, streams::examine(&view)),
        examined(DoctorArea::Consumers, consumers::examine(&view)),
        examined(DoctorArea::Sinks, destinations::examine(&view)),
    );
    vec![server, permissions, streams, consumers, sinks]
}

/// Looks at one area, for no longer than [`PATIENCE`].
async fn examined(area: DoctorArea, looking: impl Future<Output = Vec<Finding>>) -> AreaReport {
    let findings = timeout(PATIENCE, looking).await.unwrap_or_else(|_| vec![late()]);
    AreaReport { area, findings }
}

fn late() -> Finding {
    Finding::error("no_answer", format!("no answer within {} s", PATIENCE.as_secs()))
}
