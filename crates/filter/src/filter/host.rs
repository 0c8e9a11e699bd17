//! Host of all filters of a process: the engine, the imports, the cache of compiled code.

use std::{borrow::Cow, io, num::NonZeroUsize, path::PathBuf, pin::pin, sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use bytesize::ByteSize;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};
use wasmtime::{
    Cache, Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    component::{Component, Linker, types::ComponentItem},
};

use super::{
    CallFault, Filter, LoadError, Manifest,
    account::MemoryAccount,
    cache::CacheFolder,
    compiler::{self, CompilerLimits, ComponentCompiler, MemoryReservations},
    error::{Violation, report},
    guest::{self, LinkedComponent, LinkedHooks},
    inspect::{InspectedComponent, inspect},
    instance::{Blueprint, FailedCall, NO_MEMORY, at_once},
    loaded::{FilterIdentity, FilterParts},
    sandbox::{InstanceKind, Sandbox, TICK},
    state::StateStore,
    still_clock::add_still_clock,
};
use crate::{
    api::ApiClients,
    condition::PathSets,
    config::{ComponentMemory, FilterSettings, Grant, StateConfig},
    metrics::Metrics,
};

/// Most instances alive at once. Enough for every lane of a large machine to hold one of each of a
/// few dozen filters, twice over during a reload, besides those that process.
const MAX_INSTANCES: u32 = 4_000;
/// Most bytes of a guest's stack. Interpreters have guards of their own against deep recursion, for
/// stacks of about 1 MiB, and their frames take more here than they know of.
const MAX_STACK: usize = 2 << 20;
/// Bytes of stack for a call of a guest, with the host's part. A thread that calls
/// [`Matcher::matches`](super::Matcher::matches) needs so much, for a guest may use up its own part.
pub const MATCHER_STACK: usize = MAX_STACK + (1 << 20);
/// Compile time after which a message tells what is waited for.
const SILENT: Duration = Duration::from_secs(2);

/// Resources shared by all filters. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<HostInner>);

struct HostInner {
    engine: Engine,
    /// Imports of match instances, which may call nothing.
    pure: Linker<Sandbox>,
    /// Imports of process instances.
    granted: Linker<Sandbox>,
    /// `None` if code is not kept.
    compiler: Option<ComponentCompiler>,
    /// Permit to compile: this takes a core, and for an interpreter seconds, so one at a time
    /// leaves the other cores to the events.
    compiling: Semaphore,
    state: Arc<StateStore>,
    account: Arc<MemoryAccount>,
    api: ApiClients,
    pointers: Arc<PathSets>,
    metrics: Arc<Metrics>,
}

impl Host {
    /// The sets of paths that all conditions share, so that routes that ask for the same ones look
    /// them up once.
    pub fn paths(&self) -> &PathSets {
        &self.0.pointers
    }

    /// Creates a host whose components are limited one by one, not in total. Otherwise as
    /// [`Self::within`].
    ///
    /// # Errors
    /// As [`Self::within`].
    pub fn new(cache: Option<PathBuf>, api: impl Into<ApiClients>, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Self::within(ComponentMemory::UNLIMITED, cache, api.into(), StateStore::new(&StateConfig::default()), metrics)
    }

    /// Creates a host whose components share this much memory. Compiled code is kept in the folder
    /// `cache`, which is created if absent, for this user alone. Without one every start compiles
    /// anew. Without an API, filters that call it are denied.
    ///
    /// # Errors
    /// If the folder can't be used or the machine refuses what the engine needs.
    pub fn within(
        memory: ComponentMemory,
        cache: Option<PathBuf>,
        api: ApiClients,
        state: Arc<StateStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        Self::with_room((MAX_INSTANCES, memory), cache, api, state, metrics)
    }

    pub(super) fn with_room(
        (instances, memory): (u32, ComponentMemory),
        cache: Option<PathBuf>,
        api: ApiClients,
        state: Arc<StateStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let folder = match &cache {
            Some(folder) => Some(CacheFolder::open(folder)?),
            None => compiler::is_apart().then(CacheFolder::temporary).transpose()?,
        };
        let cache = folder.as_ref().map(CacheFolder::cache).transpose()?;
        let mut reservations = MemoryReservations::Large;
        let engine = match Engine::new(config(cache.clone()).allocation_strategy(pool(instances))) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    error = %error,
                    "no address space for a pool of instances: they are made on demand, which is slower"
                );
                reservations = MemoryReservations::Small;
                Engine::new(small_reservations(&mut config(cache))).map_err(report)?
            }
        };
        let mut pure = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut pure).map_err(report)?;
        guest::add_log(&mut pure).map_err(report)?;
        let mut granted = pure.clone();
        add_still_clock(&mut pure).map_err(report)?;
        guest::add_imports(&mut granted).map_err(report)?;
        start_ticker(&engine).context("could not start the thread that limits the filters' time")?;
        Ok(Self(Arc::new(HostInner {
            pure,
            granted,
            compiler: folder.map(|folder| ComponentCompiler::new(folder, &engine, reservations)),
            compiling: Semaphore::new(1),
            state,
            account: MemoryAccount::new(memory),
            api,
            pointers: Arc::default(),
            metrics,
            engine,
        })))
    }

    /// Drops the `state` of filters for removed keys: `is_there` is called with filter and key.
    pub fn retain_state(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.0.state.retain(is_there);
    }

    /// Checks, compiles and describes a component, off the runtime's workers, one at a time. `name`
    /// is the file's name without `.wasm`, `file` its content. When the future is dropped,
    /// compiling ends.
    ///
    /// # Errors
    /// If the file is refused; the message tells the reason and the way out. Filters in service are
    /// not affected.
    pub async fn load(&self, name: &str, file: Vec<u8>, settings: &FilterSettings) -> Result<Filter, LoadError> {
        let _turn = self.0.compiling.acquire().await.map_err(|closed| LoadError::Host(closed.into()))?;
        let mut loading = pin!(self.load_in_turn(name, file, settings));
        let loaded = match timeout(SILENT, &mut loading).await {
            Ok(loaded) => loaded,
            Err(_) => {
                tracing::info!(component = name, "compiling, which takes its time where the cache has nothing of it");
                loading.await
            }
        };
        loaded.map_err(LoadError::in_words)
    }

    async fn load_in_turn(&self, name: &str, file: Vec<u8>, settings: &FilterSettings) -> Result<Filter, LoadError> {
        let identity = FilterIdentity { name: name.into(), digest: digest(&file).into() };
        if let Some(pinned) = settings.digest.as_ref().filter(|pinned| **pinned != *identity.digest) {
            return Err(LoadError::Digest { found: identity.digest.to_string(), pinned: pinned.clone() });
        }
        let limits = settings.limits;
        let inspected = blocking(move || {
            let inspected = inspect(&file, limits.component)?;
            let InspectedComponent { series, imports, has_batch, has_lifecycle, .. } = inspected;
            let (component, manifest) = (inspected.component, inspected.manifest);
            let component = match component {
                Cow::Borrowed(_) => file,
                Cow::Owned(component) => component,
            };
            let component = Cow::Owned(component);
            Ok(InspectedComponent { component, series, imports, has_batch, has_lifecycle, manifest })
        });
        let inspected = inspected.await?;
        if let Some(compiler) = &self.0.compiler {
            let bounds = CompilerLimits { memory: limits.compile_memory, cpu: limits.compile_cpu };
            compiler.compile(&inspected.component, bounds).await?;
        }
        let (shared, settings) = (Arc::clone(&self.0), settings.clone());
        blocking(move || shared.load(identity, inspected, &settings)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Host(error.into()))?
}

impl HostInner {
    /// Takes the code from the cache, or compiles it here if it is not there: in a process that
    /// embeds the router, or if the compiler process could not keep what it had compiled within its
    /// bounds.
    fn load(
        &self,
        identity: FilterIdentity,
        inspected: InspectedComponent<'_>,
        settings: &FilterSettings,
    ) -> Result<Filter, LoadError> {
        let InspectedComponent { component, series, imports, has_batch, has_lifecycle, manifest: section } = inspected;
        let component = Component::new(&self.engine, component).map_err(|error| LoadError::Compile(report(error)))?;
        let range = component.image_range();
        let code = self.account.hold((range.end as usize).saturating_sub(range.start as usize));
        let code = Arc::new(code.ok_or_else(|| LoadError::Host(anyhow::anyhow!(NO_MEMORY)))?);
        let (log_rate, undeclared) = (Arc::default(), Arc::default());
        let blueprint = |kind, linker: &Linker<Sandbox>| -> wasmtime::Result<Blueprint> {
            Ok(Blueprint {
                engine: self.engine.clone(),
                filter: Arc::clone(&identity.name),
                kind,
                linked: LinkedComponent::new(series, linker.instantiate_pre(&component)?, has_batch)?,
                has_wasi: imports.wasi,
                limits: settings.limits,
                log_rate: Arc::clone(&log_rate),
                has_metrics: false,
                undeclared: Arc::clone(&undeclared),
                account: Arc::clone(&self.account),
            })
        };
        let link_error = |error: wasmtime::Error| LoadError::Link(report(error));
        let pure = forbid_imports(&self.pure, &component).map_err(link_error)?;
        let mut matching = blueprint(InstanceKind::Match, &pure).map_err(link_error)?;
        let mut processing = blueprint(InstanceKind::Process, &self.granted).map_err(link_error)?;
        let hooks = || LinkedHooks::new(series, self.granted.instantiate_pre(&component)?);
        let hooks = has_lifecycle.then(hooks).transpose().map_err(link_error)?;
        let (manifest, memory) = describe(&matching, &identity)?;
        matching.has_metrics = !manifest.metrics.is_empty();
        processing.has_metrics = matching.has_metrics;
        check_section(section, &manifest)?;
        check_capabilities(&manifest, &settings.grants)?;
        if let Some(needed) = manifest.needs.memory.filter(|needed| *needed > settings.limits.memory) {
            let [needed, limit] = [needed, settings.limits.memory].map(|bytes| ByteSize::b(bytes as u64));
            return Err(LoadError::NeedsMemory { needed, limit });
        }
        let is_granted = |grant| settings.grants.contains(&grant);
        let state =
            (imports.state && is_granted(Grant::State)).then(|| (Arc::clone(&self.state), settings.limits.state));
        let api = (imports.api && is_granted(Grant::Api) && !self.api.is_empty()).then(|| self.api.clone());
        let (metrics, pointers) = (self.metrics.filter(&identity.name), Arc::clone(&self.pointers));
        let instances = settings.instances;
        Ok(Filter::new(
            FilterParts {
                identity,
                memory,
                code,
                imports,
                matching,
                processing,
                hooks,
                instances,
                metrics,
                state,
                api,
                pointers,
            },
            manifest,
        ))
    }
}

/// Digest of a component's content: SHA-256, in hex.
pub fn digest(file: &[u8]) -> String {
    format!("{:x}", Sha256::digest(file))
}

/// Asks a match instance for its manifest. Also returns the memory that it then has, in bytes.
fn describe(matching: &Blueprint, identity: &FilterIdentity) -> Result<(Manifest, usize), CallFault> {
    let blame = |call, failed: FailedCall| identity.blame(call, failed);
    let mut instance = at_once(matching.instantiate()).map_err(|failed| blame("instantiate", failed))?;
    let manifest = at_once(instance.describe()).map_err(|error| blame("describe", instance.failed(error)))?;
    Ok((manifest, instance.memory()))
}

/// Checks that a section with the manifest says the same as `describe`.
fn check_section(section: Option<String>, manifest: &Manifest) -> Result<(), LoadError> {
    match section.map(|text| Manifest::parse(&text)) {
        None => Ok(()),
        Some(Ok(told)) if told == *manifest => Ok(()),
        Some(Ok(_)) => {
            Err(LoadError::ManifestSection("differs from what `describe` says: make both of one text".into()))
        }
        Some(Err(why)) => Err(LoadError::ManifestSection(format!("can't be read: {why}"))),
    }
}

/// Checks that what the manifest wishes for is granted. An import that was not granted and that it
/// does not wish for answers that it is denied: toolchains import more than their programs use.
fn check_capabilities(manifest: &Manifest, grants: &[Grant]) -> Result<(), LoadError> {
    for capability in &manifest.capabilities {
        let grant = match capability.as_str() {
            "state" => Grant::State,
            "api" => Grant::Api,
            "identity" => Grant::Identity,
            _ => return Err(LoadError::UnknownCapability { capability: capability.clone() }),
        };
        if !grants.contains(&grant) {
            return Err(LoadError::NotGranted(grant));
        }
    }
    Ok(())
}

/// Links every import of the contract but `log` and `telemetry` to a function that ends the guest's
/// call.
fn forbid_imports(linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<Linker<Sandbox>> {
    let mut linker = linker.clone();
    let engine = linker.engine().clone();
    for (interface, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(import) = import.ty else { continue };
        let is_allowed = ["trommel:filter/log@", "trommel:filter/telemetry@"];
        if !interface.starts_with("trommel:") || is_allowed.iter().any(|allowed| interface.starts_with(allowed)) {
            continue;
        }
        let mut functions = linker.instance(interface)?;
        for (function, export) in import.exports(&engine) {
            if let ComponentItem::ComponentFunc(_) = export.ty {
                let name = format!("{interface}.{function}");
                functions.func_new(function, move |_, _, _, _| Err(Violation::Import(name.clone()).into()))?;
            }
        }
    }
    Ok(linker)
}

pub(super) fn config(cache: Option<Cache>) -> Config {
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
