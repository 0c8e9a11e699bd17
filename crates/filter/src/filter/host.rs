//! Host of all filters of a process, which loads them.

use std::{
    borrow::Cow,
    mem,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};
use wasmtime::component::{Component, Linker, types::ComponentItem};

use super::{
    CallFault, Filter, LoadError, Manifest,
    account::MemoryAccount,
    cache::CacheFolder,
    compiler::{self, CompilerLimits},
    engine::{CodeCache, CodeEngine},
    error::{Violation, report},
    guest::{LinkedComponent, LinkedHooks},
    inspect::{InspectedComponent, inspect},
    instance::{Blueprint, FailedCall, NO_MEMORY, at_once},
    loaded::{FilterIdentity, FilterParts},
    sandbox::{InstanceKind, Sandbox},
    state::StateStore,
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
/// Compile time after which a message tells what is waited for.
const SILENT: Duration = Duration::from_secs(2);

/// Resources shared by all filters. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<HostInner>);

struct HostInner {
    /// In the order in which they are tried. The last one compiles whatever can be compiled.
    engines: Box<[Arc<CodeEngine>]>,
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
    pub fn new(cache: impl Into<CodeCache>, api: impl Into<ApiClients>, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Self::within(ComponentMemory::UNLIMITED, cache, api.into(), StateStore::new(&StateConfig::default()), metrics)
    }

    /// Creates a host whose components share this much memory. Without an API, filters that call it
    /// are denied.
    ///
    /// # Errors
    /// If the folder can't be used or the machine refuses what the engine needs.
    pub fn within(
        memory: ComponentMemory,
        cache: impl Into<CodeCache>,
        api: ApiClients,
        state: Arc<StateStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        Self::with_room((MAX_INSTANCES, memory), cache.into(), api, state, metrics)
    }

    pub(super) fn with_room(
        (instances, memory): (u32, ComponentMemory),
        cache: CodeCache,
        api: ApiClients,
        state: Arc<StateStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let CodeCache { folder, quality } = cache;
        let folder = match &folder {
            Some(folder) => Some(CacheFolder::open(folder)?),
            None => compiler::is_apart().then(CacheFolder::temporary).transpose()?,
        };
        let folder = folder.map(Arc::new);
        let engines = quality.choices().iter().map(|quality| CodeEngine::new(*quality, instances, folder.as_ref()));
        Ok(Self(Arc::new(HostInner {
            engines: engines.map(|engine| engine.map(Arc::new)).collect::<Result<_, _>>()?,
            compiling: Semaphore::new(1),
            state,
            account: MemoryAccount::new(memory),
            api,
            pointers: Arc::default(),
            metrics,
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
        let began = Instant::now();
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
        let mut inspected = inspected.await?;
        let component = Arc::new(mem::take(&mut inspected.component).into_owned());
        let bounds = CompilerLimits { memory: limits.compile_memory, cpu: limits.compile_cpu };
        let (engine, LoadedCode { compiled, is_cached }) = self.compile(component, bounds).await?;
        let (shared, settings) = (Arc::clone(&self.0), settings.clone());
        let filter = blocking(move || shared.load(identity, &engine, &compiled, inspected, &settings)).await?;
        let metrics = self.0.metrics.filter(filter.name());
        metrics.load_time.observe(began.elapsed());
        metrics.cached.inc_by(is_cached.into());
        Ok(filter)
    }

    /// Compiles a component for the first engine whose compiler can do it.
    async fn compile(
        &self,
        component: Arc<Vec<u8>>,
        bounds: CompilerLimits,
    ) -> Result<(Arc<CodeEngine>, LoadedCode), LoadError> {
        let mut refused = LoadError::Host(anyhow::anyhow!("there is no engine"));
        for engine in &self.0.engines {
            match compiled(engine, &component, bounds).await {
                Ok(compiled) => return Ok((Arc::clone(engine), compiled)),
                Err(LoadError::Compile(why)) => refused = LoadError::Compile(why),
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}

/// Machine code of a component.
struct LoadedCode {
    compiled: Component,
    /// True if the folder of compiled components had it.
    is_cached: bool,
}

/// Takes the code from the cache, or compiles it here if it is not there: in a process that embeds
/// the router, or if the compiler process could not keep what it had compiled within its bounds.
async fn compiled(
    engine: &CodeEngine,
    component: &Arc<Vec<u8>>,
    bounds: CompilerLimits,
) -> Result<LoadedCode, LoadError> {
    let is_cached = match &engine.compiler {
        Some(compiler) => compiler.compile(component, bounds).await?,
        None => false,
    };
    let (engine, component) = (engine.engine.clone(), Arc::clone(component));
    let compile = move || Component::new(&engine, &*component).map_err(|error| LoadError::Compile(report(error)));
    Ok(LoadedCode { compiled: blocking(compile).await?, is_cached })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Host(error.into()))?
}

impl HostInner {
    /// Links the code of a component, and has it describe itself.
    fn load(
        &self,
        identity: FilterIdentity,
        code_engine: &CodeEngine,
        component: &Component,
        inspected: InspectedComponent<'_>,
        settings: &FilterSettings,
    ) -> Result<Filter, LoadError> {
        let InspectedComponent { series, imports, has_batch, has_lifecycle, manifest: section, .. } = inspected;
        let CodeEngine { engine, pure, granted, .. } = code_engine;
        let range = component.image_range();
        let code = self.account.hold((range.end as usize).saturating_sub(range.start as usize));
        let code = Arc::new(code.ok_or_else(|| LoadError::Host(anyhow::anyhow!(NO_MEMORY)))?);
        let (log_rate, undeclared) = (Arc::default(), Arc::default());
        let blueprint = |kind, linker: &Linker<Sandbox>| -> wasmtime::Result<Blueprint> {
            Ok(Blueprint {
                engine: engine.clone(),
                filter: Arc::clone(&identity.name),
                kind,
                linked: LinkedComponent::new(series, linker.instantiate_pre(component)?, has_batch)?,
                has_wasi: imports.wasi,
                only_computes: !(imports.wasi || imports.state || imports.api),
                pace: Arc::default(),
                limits: settings.limits,
                log_rate: Arc::clone(&log_rate),
                has_metrics: false,
                undeclared: Arc::clone(&undeclared),
                account: Arc::clone(&self.account),
            })
        };
        let link_error = |error: wasmtime::Error| LoadError::Link(report(error));
        let pure = forbid_imports(pure, component).map_err(link_error)?;
        let mut matching = blueprint(InstanceKind::Match, &pure).map_err(link_error)?;
        let mut processing = blueprint(InstanceKind::Process, granted).map_err(link_error)?;
        let hooks = || LinkedHooks::new(series, granted.instantiate_pre(component)?);
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::filter::CodeQuality;

    #[tokio::test]
    async fn what_the_quick_compiler_does_not_know_is_optimised() {
        let cache = CodeCache { folder: None, quality: CodeQuality::Quick };
        let host = Host::new(cache, None, Arc::default()).unwrap();
        let bounds = CompilerLimits { memory: usize::MAX, cpu: Duration::MAX };
        for (body, expected) in [("nop", 0), ("return_call 0", 1)] {
            let component = wat::parse_str(format!("(component (core module (func {body})))")).unwrap();
            let (engine, _) = host.compile(Arc::new(component), bounds).await.unwrap();
            assert!(Arc::ptr_eq(&engine, &host.0.engines[expected]), "{body}");
        }
        let refused = host.compile(Arc::new(b"nothing".to_vec()), bounds).await;
        assert!(matches!(refused, Err(LoadError::Compile(_))));
    }
}
