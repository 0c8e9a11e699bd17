//! `trommel streams`: the streams that a router's folder declares, compared with those on the
//! server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    app,
    cli::{
        FolderArgs,
        keys::{json, print},
        refusal::{CommandRefusal, RefusalKind},
        runtime,
    },
    config::StreamConfig,
    folder,
    nats::{
        self, ApiError, ConnectError, ConnectTrouble, Connection, ConnectionLife, FieldDifference, StreamChange,
        StreamComparison, StreamError, code,
    },
};

mod ensure;
mod info;
mod plan;

/// Make, compare or show the streams that a router's folder declares
#[derive(Args, Debug)]
pub struct StreamsCommand {
    #[command(subcommand)]
    command: StreamsSubcommand,
}

#[derive(Debug, Subcommand)]
enum StreamsSubcommand {
    /// Create what is absent and update what differs
    Ensure(ensure::EnsureStreams),
    /// Show what `ensure` would do, and exit with 2 if there is anything to do
    Plan(plan::PlanStreams),
    /// Show the streams on the server
    Info(info::ShowStreams),
}

impl StreamsCommand {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.command.folder().json))
    }

    fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let runtime = runtime()?;
        runtime.block_on(async {
            match &self.command {
                StreamsSubcommand::Ensure(ensure) => ensure.run().await,
                StreamsSubcommand::Plan(plan) => plan.run().await,
                StreamsSubcommand::Info(info) => info.run().await,
            }
        })
    }
}

impl StreamsSubcommand {
    fn folder(&self) -> &FolderArgs {
        match self {
            Self::Ensure(ensure) => &ensure.folder,
            Self::Plan(plan) => &plan.folder,
            Self::Info(info) => &info.folder,
        }
    }
}

impl FolderArgs {
    /// Returns the streams that a run would ensure, and a connection to the server.
    async fn open_streams(&self) -> Result<(Vec<StreamConfig>, Connection), CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let settings = config.nats.as_ref().ok_or_else(no_server)?;
        let connection = nats::connect(settings, "streams", ConnectionLife::Single).await.map_err(unconnected)?;
        Ok((app::declared_streams(&config, &connection).await, connection))
    }
}

/// Prints the reports of all streams, as text or as one JSON object.
fn print_reports(folder: &FolderArgs, streams: &[StreamReport<'_>]) -> Result<(), CommandRefusal> {
    match folder.json {
        true => print(&json(&serde_json::json!({ "streams": streams }))?),
        false if streams.is_empty() => print(&format!("{} declares no streams", folder.dir.display())),
        false => print(&streams.iter().map(StreamReport::text).collect::<Vec<_>>().join("\n")),
    }
}

/// Comparison of a declared stream with the server's.
#[derive(Serialize)]
struct StreamReport<'a> {
    stream: &'a str,
    /// `as_declared`, or the action that was or would be taken.
    result: &'static str,
    differences: Vec<FieldDifference>,
    /// Fields that differ and that the server does not change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixed: Vec<String>,
    /// Subjects that are not declared, and stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_subjects: Vec<String>,
}

impl<'a> StreamReport<'a> {
    /// Builds a report; `create` and `update` are the words for these results.
    fn new(stream: &'a StreamConfig, compared: StreamComparison, create: &'static str, update: &'static str) -> Self {
        let StreamComparison { change, kept_subjects } = compared;
        let mut fixed = Vec::new();
        let (result, differences) = match change {
            StreamChange::Created(differences) => (create, differences),
            StreamChange::Updated(differences) => {
                let found = differences.iter().filter(|difference| difference.is_fixed_in_stream());
                fixed.extend(found.map(|difference| difference.field.clone()));
                (update, differences)
            }
            StreamChange::AsWanted => ("as_declared", Vec::new()),
        };
        Self { stream: &stream.name, result, differences, fixed, kept_subjects }
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
        if !self.fixed.is_empty() {
            lines.push(format!(
                "  can't be changed: {}; declare what it has, or recreate it, which deletes its messages",
                self.fixed.join(", ")
            ));
        }
        if !self.kept_subjects.is_empty() {
            lines.push(format!("  keeps subjects that are not declared: {}", serde_json::json!(self.kept_subjects)));
        }
        lines.join("\n")
    }
}

/// Refusal for a folder without a server.
pub(super) fn no_server() -> CommandRefusal {
    let refusal = CommandRefusal::new(RefusalKind::Precondition, "no_server", "the configuration names no server");
    refusal.hint("add `[nats]` with, say, `url = \"nats://127.0.0.1:4222\"`")
}

fn unconnected(error: ConnectError) -> CommandRefusal {
    let (kind, subtype) = match error.trouble {
        ConnectTrouble::Settings => (RefusalKind::Validation, "nats_settings"),
        ConnectTrouble::Auth => (RefusalKind::Auth, "nats_auth"),
        ConnectTrouble::Tls => (RefusalKind::Network, "nats_tls"),
        ConnectTrouble::Network => (RefusalKind::Network, "nats_unreachable"),
    };
    CommandRefusal::new(kind, subtype, chain(error))
}

fn refused(error: StreamError) -> CommandRefusal {
    let cause = match &error {
        StreamError::Read(_, cause) | StreamError::Create(_, cause) => Some(cause),
        StreamError::Change { source, .. } => Some(source),
        StreamError::LeftOut { .. } => None,
    };
    let (kind, subtype) = match cause {
        None => (RefusalKind::Precondition, "old_server"),
        Some(ApiError::Refused { code: code::NO_JETSTREAM, .. }) => (RefusalKind::Precondition, "no_jetstream"),
        Some(ApiError::Refused { .. }) => (RefusalKind::Precondition, "stream_refused"),
        Some(ApiError::NoPermission(_)) => (RefusalKind::Auth, "no_permission"),
        Some(ApiError::NoResponders(_)) => (RefusalKind::Precondition, "no_jetstream"),
        Some(ApiError::TooLarge(..) | ApiError::Failed(..)) => (RefusalKind::Network, "no_answer"),
    };
    let refusal = CommandRefusal::new(kind, subtype, chain(error));
    if subtype == "old_server" { refusal.hint("use a newer server, or do not declare it") } else { refusal }
}

/// Formats an error with its causes on one line.
pub(super) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
