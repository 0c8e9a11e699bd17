//! Compiles components in a separate process with limited memory and computing time: the cost of
//! compiling is up to the component, and a fault of the compiler must not become one of the router.
//!
//! The process is this program once more, with an empty environment. It leaves the code in the
//! folder of compiled components, where the router finds it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use bytesize::ByteSize;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, setrlimit};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};
use wasmtime::{Engine, component::Component};

use super::{
    LoadError,
    cache::CacheFolder,
    engine::{self, CodeQuality},
    error::report,
    functions::FunctionStore,
    host,
};

/// Subcommand that makes the program compile one component and exit.
pub const SUBCOMMAND: &str = "compile-component";
/// Ratio of the wall-clock limit to the limit of computing time: the machine has other work, too.
const PATIENCE: u32 = 5;

/// Program to run as the compiler. Programs other than `trommel` lack the subcommand; their
/// components are compiled in place.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Makes this process compile components in another one: itself, by the subcommand
/// `compile-component`.
///
/// # Errors
/// If the system can't tell the path of this program.
pub fn compile_apart() -> io::Result<()> {
    // The link leads to the program as it was started, even when its file has been replaced since.
    let link = PathBuf::from("/proc/self/exe");
    let program = if link.exists() { link } else { std::env::current_exe()? };
    PROGRAM.get_or_init(|| program);
    Ok(())
}

/// Returns whether [`compile_apart`] was called.
pub(super) fn is_apart() -> bool {
    PROGRAM.get().is_some()
}

/// Limits of the compiler process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompilerLimits {
    /// Bytes of address space.
    pub memory: usize,
    /// Computing time.
    pub cpu: Duration,
}

/// Memory reservations of the engine that the code is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryReservations {
    Large,
    /// See `engine::small_reservations`.
    Small,
}

/// Compiles components into a folder, in a separate process.
pub(super) struct ComponentCompiler {
    folder: Arc<CacheFolder>,
    reservations: MemoryReservations,
    quality: CodeQuality,
    /// Hash that changes with the compiler or its settings.
    version: u64,
}

impl ComponentCompiler {
    /// Creates a compiler for an engine that takes its code from the folder.
    pub(super) fn new(
        folder: Arc<CacheFolder>,
        engine: &Engine,
        reservations: MemoryReservations,
        quality: CodeQuality,
    ) -> Self {
        Self { folder, reservations, quality, version: version(engine) }
    }

    /// Makes sure that the code of a component is in the folder. A component that was compiled
    /// within bounds once is not compiled in a separate process again. When the future is dropped,
    /// the process is killed. Returns whether it was there.
    ///
    /// # Errors
    /// If the component is invalid or costs too much, or if the compiler can't be run.
    pub(super) async fn compile(&self, component: &[u8], bounds: CompilerLimits) -> Result<bool, LoadError> {
        let Some(program) = PROGRAM.get() else { return Ok(false) };
        let known = self.folder.path().join("bounded");
        let mark = known.join(format!("{}-{:016x}", host::digest(component), self.version));
        if mark.exists() {
            return Ok(true);
        }
        self.run(program, component, bounds).await?;
        if let Err(error) = fs::create_dir_all(known).and_then(|()| fs::write(mark, "")) {
            tracing::debug!(%error, "could not note that a component was compiled");
        }
        Ok(false)
    }

    async fn run(&self, program: &Path, component: &[u8], bounds: CompilerLimits) -> Result<(), LoadError> {
        let failed =
            |error: io::Error| LoadError::Host(anyhow::Error::from(error).context("could not run the compiler"));
        let mut command = Command::new(program);
        command.arg0("trommel").arg(SUBCOMMAND).arg("--folder").arg(self.folder.path());
        command.arg("--memory").arg(bounds.memory.to_string()).arg("--cpu").arg(seconds(bounds.cpu).to_string());
        if self.reservations == MemoryReservations::Small {
            command.arg("--small-reservations");
        }
        if self.quality == CodeQuality::Quick {
            command.arg("--quick");
        }
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let mut input = child.stdin.take();
        let feed = async {
            if let Some(mut input) = input.take() {
                // It may exit before it has read everything: its exit status tells why.
                let _ = input.write_all(component).await;
            }
        };
        let run = async { tokio::join!(feed, child.wait_with_output()).1 };
        let Ok(ended) = timeout(bounds.cpu.saturating_mul(PATIENCE), run).await else {
            return Err(LoadError::CompileTime { limit: bounds.cpu });
        };
        let output = ended.map_err(failed)?;
        judge(output.status, String::from_utf8_lossy(&output.stderr).trim(), bounds)
    }
}

fn judge(status: ExitStatus, said: &str, bounds: CompilerLimits) -> Result<(), LoadError> {
    if status.success() {
        return Ok(());
    }
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return Err(LoadError::CompileTime { limit: bounds.cpu });
    }
    // Rust's message when it aborts, the system's message, or the system has killed a process that
    // takes too much memory.
    if is(Signal::KILL) || said.contains("memory allocation of") || said.contains("Cannot allocate memory") {
        return Err(LoadError::CompileMemory { limit: ByteSize::b(bounds.memory as u64) });
    }
    let how = if said.is_empty() { status.to_string() } else { said.trim_start_matches("error: ").to_owned() };
    Err(LoadError::Compile(anyhow::Error::msg(super::error::cut_reason(how))))
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Entry point of the compiler process: limits itself, reads a component from standard input and
/// leaves its code in the folder.
///
/// # Errors
/// If the component can't be compiled, or the limits can't be set.
pub fn compile_here(
    folder: &Path,
    reservations: MemoryReservations,
    quality: CodeQuality,
    CompilerLimits { memory, cpu }: CompilerLimits,
) -> anyhow::Result<()> {
    limit(Resource::As, memory as u64)?;
    limit(Resource::Cpu, seconds(cpu))?;
    limit(Resource::Core, 0)?;
    // Events have priority over compiling.
    nice(10).context("could not give others precedence")?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).context("could not read the component")?;
    let mut config = engine::config(quality, Some(CacheFolder::open(folder)?.cache()?));
    if reservations == MemoryReservations::Small {
        engine::small_reservations(&mut config);
    }
    let version = version(&Engine::new(&config).map_err(report)?);
    let functions = match quality {
        CodeQuality::Optimised => FunctionStore::open(folder, &component, version).map(Arc::new),
        CodeQuality::Quick => None,
    };
    if let Some(functions) = functions.clone() {
        config.enable_incremental_compilation(functions).map_err(report)?;
    }
    let engine = Engine::new(&config).map_err(report)?;
    Component::new(&engine, component).map_err(report)?;
    // Without it the next compilation takes longer, and no more.
    let _ = functions.map(|functions| functions.save());
    Ok(())
}

/// Returns a hash that changes with the compiler or its settings.
fn version(engine: &Engine) -> u64 {
    let mut version = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut version);
    version.finish()
}

fn limit(resource: Resource, most: u64) -> anyhow::Result<()> {
    // Never wider than existing limits. The hard limit is one above the soft one, so that exceeding
    // the soft limit raises its own signal first.
    let within = |most: u64| Some(getrlimit(resource).maximum.map_or(most, |given| given.min(most)));
    let limit = Rlimit { current: within(most), maximum: within(most.saturating_add(1)) };
    setrlimit(resource, limit).with_context(|| format!("could not limit {resource:?} to {most}"))
}
