//! Engines that run the filters' code, each with the compiler that makes it.

use std::{io, num::NonZeroUsize, path::PathBuf, sync::Arc, thread};

use anyhow::Context as _;
use wasmtime::{
    Cache, Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy, component::Linker,
};

use super::{
    cache::CacheFolder,
    compiler::{ComponentCompiler, MemoryReservations},
    error::report,
    guest,
    sandbox::{Sandbox, TICK},
    still_clock::add_still_clock,
};

/// Most bytes of a guest's stack. Interpreters have guards of their own against deep recursion, for
/// stacks of about 1 MiB, and their frames take more here than they know of.
const MAX_STACK: usize = 2 << 20;
/// Bytes of stack for a call of a guest, with the host's part. A thread that calls
/// [`Matcher::matches`](super::Matcher::matches) needs so much, for a guest may use up its own
/// part.
pub const MATCHER_STACK: usize = MAX_STACK + (1 << 20);

/// Trade between the time that machine code takes to be made and to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodeQuality {
    #[default]
    Optimised,
    /// Made in a sixth of the time, by a compiler of one pass, for authors who wait for it. What
    /// that compiler can't do is optimised.
    Quick,
}

impl CodeQuality {
    /// The qualities to try, in this order.
    pub(super) fn choices(self) -> &'static [Self] {
        match self {
            // On other processors the quick compiler is not tested as well.
            Self::Quick if cfg!(target_arch = "x86_64") => &[Self::Quick, Self::Optimised],
            Self::Quick | Self::Optimised => &[Self::Optimised],
        }
    }

    fn strategy(self) -> Strategy {
        match self {
            Self::Optimised => Strategy::Cranelift,
            Self::Quick => Strategy::Winch,
        }
    }
}

/// Where compiled code is kept, and its quality.
#[derive(Clone, Debug, Default)]
pub struct CodeCache {
    /// Folder that is created if absent, for this user alone. Without one every start compiles
    /// anew.
    pub folder: Option<PathBuf>,
    pub quality: CodeQuality,
}

impl From<Option<PathBuf>> for CodeCache {
    fn from(folder: Option<PathBuf>) -> Self {
        Self { folder, quality: CodeQuality::default() }
    }
}

/// An engine with the imports that its code may be linked to.
pub(super) struct CodeEngine {
    pub(super) engine: Engine,
    /// Imports of match instances, which may call nothing.
    pub(super) pure: Linker<Sandbox>,
    /// Imports of process instances.
    pub(super) granted: Linker<Sandbox>,
    /// `None` if code is not kept.
    pub(super) compiler: Option<ComponentCompiler>,
}

impl CodeEngine {
    /// Creates an engine for so many instances.
    pub(super) fn new(quality: CodeQuality, instances: u32, folder: Option<&Arc<CacheFolder>>) -> anyhow::Result<Self> {
        let cache = folder.map(|folder| folder.cache()).transpose()?;
        let mut reservations = MemoryReservations::Large;
        let engine = match Engine::new(config(quality, cache.clone()).allocation_strategy(pool(instances))) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    error = %error,
                    "no address space for a pool of instances: they are made on demand, which is slower"
                );
                reservations = MemoryReservations::Small;
                Engine::new(small_reservations(&mut config(quality, cache))).map_err(report)?
            }
        };
        let mut pure = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut pure).map_err(report)?;
        guest::add_log(&mut pure).map_err(report)?;
        let mut granted = pure.clone();
        add_still_clock(&mut pure).map_err(report)?;
        guest::add_imports(&mut granted).map_err(report)?;
        start_ticker(&engine).context("could not start the thread that limits the filters' time")?;
        let compiler = |folder| ComponentCompiler::new(Arc::clone(folder), &engine, reservations, quality);
        Ok(Self { compiler: folder.map(compiler), engine, pure, granted })
    }
}

pub(super) fn config(quality: CodeQuality, cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .wasm_gc(false)
        .gc_support(false)
        .wasm_memory64(false)
        .max_wasm_stack(MAX_STACK)
        .async_stack_size(MATCHER_STACK)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        .strategy(quality.strategy())
        .cranelift_opt_level(OptLevel::Speed)
        .cache(cache);
    config
}

/// Sets small reservations, for machines short of address space: memories are moved when they grow.
pub(super) fn small_reservations(config: &mut Config) -> &mut Config {
    config.memory_reservation(0).memory_guard_size(64 << 10).memory_reservation_for_growth(1 << 20)
}

/// Pool of instances. A component consists of several core instances; an interpreter has more than
/// one memory and table.
fn pool(instances: u32) -> InstanceAllocationStrategy {
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(5 * instances)
        .total_memories(2 * instances)
        .total_tables(2 * instances)
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(16)
        .max_tables_per_component(64)
        .table_elements(64 << 10)
        // The filter's own limit applies.
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        // Warm slots stay resident after a reload.
        .max_unused_warm_slots(u32::try_from(2 * workers).unwrap_or(u32::MAX))
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Advances the engine's clock from a separate thread, so that a busy runtime can't delay it. Ends
/// with the engine.
fn start_ticker(engine: &Engine) -> io::Result<()> {
    let engine: EngineWeak = engine.weak();
    thread::Builder::new().name("filter-ticker".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::park_timeout(TICK);
        }
    })?;
    Ok(())
}
