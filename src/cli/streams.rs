//! `trommel streams`: the streams that a router's folder declares, compared with those on the
//! server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    app,
    cli::{
        Folder,
        keys::{json, print},
        refusal::{Kind, Refusal},
        runtime,
    },
    config::{self, Stream},
    nats::{self, ApiError, ConnectError, Connection, Converged, Difference, Life, StreamError, Trouble, code},
};

mod ensure;
mod info;
mod plan;

/// Make, compare or show the streams that a router's folder declares
#[derive(Args, Debug)]
pub struct Streams {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create what is absent and update what differs
    Ensure(ensure::Ensure),
    /// Show what `ensure` would do, and exit with 2 if there is anything to do
    Plan(plan::Plan),
    /// Show the streams on the server
    Info(info::Info),
}

impl Streams {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.command.folder().json))
    }

    fn run(&self) -> Result<ExitCode, Refusal> {
        let runtime = runtime()?;
        runtime.block_on(async {
            match &self.command {
                Command::Ensure(ensure) => ensure.run().await,
                Command::Plan(plan) => plan.run().await,
                Command::Info(info) => info.run().await,
            }
        })
    }
}

impl Command {
    fn folder(&self) -> &Folder {
        match self {
            Self::Ensure(ensure) => &ensure.folder,
            Self::Plan(plan) => &plan.folder,
            Self::Info(info) => &info.folder,
        }
    }
}

impl Folder {
    /// Returns the streams that a run would ensure, and a connection to the server.
    async fn open_streams(&self) -> Result<(Vec<Stream>, Connection), Refusal> {
        let config = config::load(&self.dir)?;
        let Some(settings) = &config.nats else {
            let refusal = Refusal::new(Kind::Precondition, "no_server", "the configuration names no server");
            return Err(refusal.hint("add `[nats]` with, say, `url = \"nats://127.0.0.1:4222\"`"));
        };
        let connection = nats::connect(settings, "streams", Life::Single).await.map_err(unconnected)?;
        Ok((app::declared_streams(&config, &connection).await, connection))
    }
}

/// Prints the reports of all streams, as text or as one JSON object.
fn print_reports(folder: &Folder, streams: &[Report<'_>]) -> Result<(), Refusal> {
    match folder.json {
        true => print(&json(&serde_json::json!({ "streams": streams }))?),
        false if streams.is_empty() => print(&format!("{} declares no streams", folder.dir.display())),
        false => print(&streams.iter().map(Report::text).collect::<Vec<_>>().join("\n")),
    }
}

/// Comparison of a declared stream with the server's.
#[derive(Serialize)]
struct Report<'a> {
    stream: &'a str,
    /// `as_declared`, or the action that was or would be taken.
    result: &'static str,
    differences: Vec<Difference>,
}

impl<'a> Report<'a> {
    /// Builds a report; `create` and `update` are the words for these results.
    fn new(stream: &'a Stream, converged: Converged, create: &'static str, update: &'static str) -> Self {
        let (result, differences) = match converged {
            Converged::Created(differences) => (create, differences),
            Converged::Updated(differences) => (update, differences),
            Converged::AsWanted => ("as_declared", Vec::new()),
        };
        Self { stream: &stream.name, result, differences }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{}: {}", self.stream, self.result.replace('_', " "))];
        for difference in &self.differences {
            let (found, wanted) = (difference.shown_found(), difference.shown_wanted());
            lines.push(match difference.found.is_null() {
                true => format!("  {}: {wanted}", difference.field),
                false => format!("  {}: {found} -> {wanted}", difference.field),
            });
        }
        lines.join("\n")
    }
}

fn unconnected(error: ConnectError) -> Refusal {
    let (kind, subtype) = match error.trouble {
        Trouble::Settings => (Kind::Validation, "nats_settings"),
        Trouble::Auth => (Kind::Auth, "nats_auth"),
        Trouble::Tls => (Kind::Network, "nats_tls"),
        Trouble::Network => (Kind::Network, "nats_unreachable"),
    };
    Refusal::new(kind, subtype, chain(error))
}

fn refused(error: StreamError) -> Refusal {
    let cause = match &error {
        StreamError::Read(_, cause) | StreamError::Create(_, cause) => Some(cause),
        StreamError::Change { source, .. } => Some(source),
        StreamError::LeftOut { .. } => None,
    };
    let (kind, subtype) = match cause {
        None => (Kind::Precondition, "old_server"),
        Some(ApiError::Refused { code: code::NO_JETSTREAM, .. }) => (Kind::Precondition, "no_jetstream"),
        Some(ApiError::Refused { .. }) => (Kind::Precondition, "stream_refused"),
        Some(ApiError::NoPermission(_)) => (Kind::Auth, "no_permission"),
        Some(ApiError::NoResponders(_)) => (Kind::Precondition, "no_jetstream"),
        Some(ApiError::TooLarge(..) | ApiError::Failed(..)) => (Kind::Network, "no_answer"),
    };
    let refusal = Refusal::new(kind, subtype, chain(error));
    if subtype == "old_server" { refusal.hint("use a newer server, or do not declare it") } else { refusal }
}

/// Formats an error with its causes on one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
