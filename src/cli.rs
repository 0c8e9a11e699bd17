//! The command line: one subcommand per file. Each checks its input before it has any effect.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use refusal::{CommandRefusal, RefusalKind};
use tokio::runtime::{Builder, Runtime};

use crate::filter::{CodeCache, CodeQuality, compile_apart};

mod cases;
pub mod check;
mod columns;
mod compile_component;
pub mod consume;
pub mod deliveries;
pub mod dev;
pub mod diff;
pub mod dlq;
pub mod doctor;
pub mod drain;
mod dry_router;
pub mod emit;
pub mod explain;
pub mod filter;
pub mod history;
pub mod keys;
pub mod log_level;
pub mod logs;
mod operate;
mod outcome;
mod past;
pub mod pause;
pub mod plugin;
pub mod refusal;
pub mod reload;
pub mod replay;
mod row;
pub mod run;
mod running;
pub mod schemas;
pub mod status;
pub mod stop;
pub mod streams;
mod stretch;
pub mod tail;
mod terminal;
pub mod test;
pub mod top;
pub mod verify;
pub mod webhooks;

/// Exit codes, for scripts (L123).
pub mod exit {
    /// The run, or what a command asked for, failed on the way.
    pub const FAILED: u8 = 1;
    /// The configuration, a component, a declared stream or the command line is invalid.
    pub const INVALID: u8 = 2;
    /// Credentials or permissions are missing or wrong.
    pub const DENIED: u8 = 3;
    /// The network failed, or a server or router did not answer.
    pub const UNREACHABLE: u8 = 4;
    /// trommel itself or the machine failed.
    pub const INTERNAL: u8 = 5;
}

/// Routes events from JetStream and other sources through WebAssembly components to sinks.
#[derive(Debug, Parser)]
#[command(name = "trommel", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a router until its input ends or it is told to stop
    Run(run::RunCommand),
    /// Check a router's folder without starting anything
    Check(check::CheckCommand),
    Doctor(doctor::DoctorCommand),
    /// Show the keys that a router's folder declares
    Keys(keys::KeysCommand),
    Consume(consume::ConsumeCommand),
    Status(status::StatusCommand),
    Top(top::TopCommand),
    Stop(stop::StopCommand),
    Drain(drain::DrainCommand),
    Reload(reload::ReloadCommand),
    Pause(pause::PauseCommand),
    Resume(pause::ResumeCommand),
    Filter(filter::FilterCommand),
    Log(log_level::LogCommand),
    History(history::HistoryCommand),
    Tail(tail::TailCommand),
    Emit(emit::EmitCommand),
    Replay(replay::ReplayCommand),
    Explain(explain::ExplainCommand),
    Test(Box<test::TestCommand>),
    Diff(diff::DiffCommand),
    Verify(verify::VerifyCommand),
    Dev(dev::DevCommand),
    Schemas(schemas::SchemasCommand),
    Streams(streams::StreamsCommand),
    Deliveries(deliveries::DeliveriesCommand),
    Webhooks(webhooks::WebhooksCommand),
    Dlq(dlq::DlqCommand),
    Plugin(plugin::PluginCommand),
    /// Run a consumer's jq program (internal: `trommel consume` starts it)
    #[command(hide = true)]
    JqWorker,
    #[command(hide = true)]
    CompileComponent(compile_component::CompileComponent),
    /// Print the version of the router and of the filter contracts that it serves
    Version,
}

impl Cli {
    pub fn execute(self) -> ExitCode {
        if let Err(error) = compile_apart() {
            return failed(&anyhow::Error::from(error).context("can't tell which program this is"));
        }
        let ended = match self.command {
            Command::Run(run) => return run.execute(),
            Command::Doctor(doctor) => return doctor.execute(),
            Command::Keys(keys) => return keys.execute(),
            Command::Consume(consume) => return consume.execute(),
            Command::Status(status) => return status.execute(),
            Command::Top(top) => return top.execute(),
            Command::Stop(stop) => return stop.execute(),
            Command::Drain(drain) => return drain.execute(),
            Command::Reload(reload) => return reload.execute(),
            Command::Pause(pause) => return pause.execute(),
            Command::Resume(resume) => return resume.execute(),
            Command::Filter(filter) => return filter.execute(),
            Command::Log(log) => return log.execute(),
            Command::History(history) => return history.execute(),
            Command::Tail(tail) => return tail.execute(),
            Command::Emit(emit) => return emit.execute(),
            Command::Replay(replay) => return replay.execute(),
            Command::Explain(explain) => return explain.execute(),
            Command::Test(test) => return test.execute(),
            Command::Diff(diff) => return diff.execute(),
            Command::Verify(verify) => return verify.execute(),
            Command::Dev(dev) => return dev.execute(),
            Command::Schemas(schemas) => return schemas.execute(),
            Command::Streams(streams) => return streams.execute(),
            Command::Deliveries(deliveries) => return deliveries.execute(),
            Command::Webhooks(webhooks) => return webhooks.execute(),
            Command::Dlq(dlq) => return dlq.execute(),
            Command::Plugin(plugin) => return plugin.execute(),
            Command::JqWorker => return consume::work_on_jq(),
            Command::Check(check) => check.execute(),
            Command::CompileComponent(component) => component.execute(),
            Command::Version => version(),
        };
        ended.unwrap_or_else(|error| failed(&error))
    }
}

/// Arguments that commands on a router's folder have in common.
#[derive(Args, Debug)]
struct FolderArgs {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Location of the cache of compiled components.
#[derive(Args, Clone, Debug, Default)]
pub struct CacheArgs {
    /// Folder to keep compiled components in between runs [default: `trommel` in the user's cache
    /// folder]
    #[arg(long, env = "TROMMEL_CACHE_DIR", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    /// Compile components quickly rather than well (internal: `trommel dev` asks for it)
    #[arg(long, hide = true)]
    quick_code: bool,
}

impl CacheArgs {
    fn code(&self) -> CodeCache {
        let quality = if self.quick_code { CodeQuality::Quick } else { CodeQuality::Optimised };
        CodeCache { folder: self.folder(), quality }
    }

    /// Returns the given folder, else `$XDG_CACHE_HOME/trommel`, else `~/.cache/trommel`. Without a
    /// folder, every start compiles.
    fn folder(&self) -> Option<PathBuf> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        self.cache_dir.clone().or_else(|| user().map(|user| user.join("trommel")))
    }
}

/// Creates the runtime for a command that uses the network or a control socket.
fn runtime() -> Result<Runtime, CommandRefusal> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CommandRefusal::new(RefusalKind::Internal, "runtime", error.to_string()))
}

fn version() -> anyhow::Result<ExitCode> {
    let contracts = crate::filter::CONTRACTS.join(", ");
    writeln!(terminal::stdout(), "trommel {} (filter contract {contracts})", env!("CARGO_PKG_VERSION"))?;
    Ok(ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A failed write to stderr can't be reported anywhere else.
    let _ = writeln!(terminal::stderr(), "error: {error:#}");
    ExitCode::from(exit::FAILED)
}
