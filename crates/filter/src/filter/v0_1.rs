//! Version 0.1 of the contract: its bindings, and the conversion to and from the router's own
//! types. The bindings are those of the latest 0.1.x, which only add to the earlier ones: the
//! linker accepts components of each of them. An incompatible version is a module beside this one;
//! the version of a component chooses the module when it is loaded.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use wasmtime::{
    Store,
    component::{HasSelf, InstancePre, Linker, ResourceAny},
};

use super::{
    Emission, EventFields, Failure, FailureKind, FilterHooks, FilterNeeds, Manifest, Params, Verdict,
    error::{Violation, cut_name, cut_reason},
    granted::GrantedResources,
    interest::{DeclaredInterest, DeclaredReads},
    outputs::OutputLimits,
    sandbox::Sandbox,
    state::StateRefusal,
};
use crate::{
    api::{ApiAnswer, ApiCall, CallRefusal},
    condition::{Comparison, Condition, ConditionLists},
    event::Event,
};
// The bindings' own module, not this crate.
use self::trommel::filter::{api, log, state, types};

mod batch;
mod lifecycle;

pub(super) use batch::BatchFunctions;
pub(super) use lifecycle::LinkedHooks;

wasmtime::component::bindgen!({
    path: "../../wit/v0.1.1",
    world: "filter-component",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: {
        "trommel:filter/api.call": async | trappable,
        "trommel:filter/state.get": async | trappable,
        "trommel:filter/state.set": async | trappable,
        "trommel:filter/state.delete": async | trappable,
        "trommel:filter/state.add": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

/// Links the imports that every guest is given.
pub(super) fn add_log(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)?;
    log::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)
}

/// Links the imports that a guest may be granted.
pub(super) fn add_imports(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    api::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)?;
    state::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)
}

/// A component that is linked and ready to be instantiated.
#[derive(Clone)]
pub(super) struct LinkedComponent {
    component: InstancePre<Sandbox>,
    filter: FilterComponentIndices,
    /// `None` without the export.
    batch: Option<batch::BatchIndices>,
}

impl LinkedComponent {
    pub(super) fn new(component: InstancePre<Sandbox>, has_batch: bool) -> wasmtime::Result<Self> {
        let filter = FilterComponentIndices::new(&component)?;
        let batch = has_batch.then(|| batch::BatchIndices::new(&component)).transpose()?;
        Ok(Self { component, filter, batch })
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<GuestFunctions> {
        let instance = self.component.instantiate_async(&mut *store).await?;
        let batch = self.batch.as_ref().map(|batch| batch.load(&mut *store, &instance)).transpose()?;
        Ok(GuestFunctions { filter: self.filter.load(store, &instance)?, batch })
    }
}

/// Functions of one instance.
pub(super) struct GuestFunctions {
    filter: FilterComponent,
    batch: Option<BatchFunctions>,
}

impl GuestFunctions {
    /// Functions of `filter-batch`.
    ///
    /// # Errors
    /// If the component does not export it.
    pub(super) fn batch(&self) -> wasmtime::Result<&BatchFunctions> {
        self.batch.as_ref().ok_or_else(|| wasmtime::Error::msg("it does not export `filter-batch`"))
    }

    pub(super) async fn describe(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<Manifest> {
        let manifest: Manifest = self.filter.trommel_filter_filter().call_describe(store).await?.into();
        let hooks = FilterHooks { matches_batch: self.batch.is_some() && manifest.hooks.matches, ..manifest.hooks };
        Ok(Manifest { hooks, ..manifest })
    }

    pub(super) async fn normalize_params(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<Params, Failure>> {
        let answer = self.filter.trommel_filter_filter().call_normalize_params(store, key, &borrow(params)).await?;
        Ok(answer.map_err(Failure::from))
    }

    pub(super) async fn subscribe(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<ResourceAny> {
        self.filter.trommel_filter_filter().subscription().call_constructor(store, key, &borrow(params)).await
    }

    pub(super) async fn interest(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        manifest: &Manifest,
    ) -> wasmtime::Result<DeclaredInterest> {
        let lists = if manifest.hooks.conditions {
            self.filter.trommel_filter_filter().subscription().call_conditions(store, subscription).await?
        } else {
            Vec::new()
        };
        let conditions: ConditionLists =
            lists.into_iter().map(|list| list.into_iter().map(from_guest).collect()).collect();
        Ok(DeclaredInterest {
            conditions: Ok(conditions),
            match_reads: DeclaredReads::Parts(manifest.match_reads),
            process_reads: DeclaredReads::Parts(manifest.process_reads),
            sinks: Vec::new(),
        })
    }

    /// Calls `matches` on a store that needs no fiber: cheaper than [`Self::matches_async`].
    pub(super) fn matches(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        event: &Event,
        reads: EventFields,
    ) -> wasmtime::Result<bool> {
        let headers = headers(event, reads);
        let event = project(event, reads, event.attempt, headers.as_deref());
        let filter = self.filter.trommel_filter_filter();
        Ok(filter.subscription().func_matches().call(store, (subscription, event))?.0)
    }

    pub(super) async fn matches_async(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        event: &Event,
        reads: EventFields,
    ) -> wasmtime::Result<bool> {
        let headers = headers(event, reads);
        let event = project(event, reads, event.attempt, headers.as_deref());
        self.filter.trommel_filter_filter().subscription().call_matches(store, subscription, event).await
    }

    /// Calls `process` on a store that needs no fiber: cheaper than [`Self::process`].
    pub(super) fn process_at_once(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        event: &Event,
        attempt: u32,
        reads: EventFields,
        limits: OutputLimits,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let headers = headers(event, reads);
        let event = project(event, reads, attempt, headers.as_deref());
        let filter = self.filter.trommel_filter_filter();
        Ok(match filter.subscription().func_process().call(store, (subscription, event))?.0 {
            Ok(outcome) => Ok(verdict(outcome, limits)?),
            Err(failure) => Err(failure.into()),
        })
    }

    pub(super) async fn process(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        event: &Event,
        attempt: u32,
        reads: EventFields,
        limits: OutputLimits,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let headers = headers(event, reads);
        let event = project(event, reads, attempt, headers.as_deref());
        let filter = self.filter.trommel_filter_filter();
        Ok(match filter.subscription().call_process(store, subscription, event).await? {
            Ok(outcome) => Ok(verdict(outcome, limits)?),
            Err(failure) => Err(failure.into()),
        })
    }
}

fn borrow(params: &Params) -> Vec<(&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn headers(event: &Event, reads: EventFields) -> Option<Vec<(&str, &str)>> {
    reads.headers.then(|| event.headers.iter().map(|(name, value)| (&**name, &**value)).collect())
}

/// Borrows the parts of the event that the filter reads.
fn project<'a>(
    event: &'a Event,
    reads: EventFields,
    attempt: u32,
    headers: Option<&'a [(&'a str, &'a str)]>,
) -> types::Event<'a> {
    types::Event {
        event_type: &event.event_type,
        id: reads.id.then_some(&*event.id),
        subject: reads.subject.then_some(&*event.subject),
        source_time: if reads.source_time { event.source_time.as_deref() } else { None },
        observed_at: event.observed_at,
        attempt,
        headers,
        payload: reads.payload.then_some(&*event.payload),
    }
}

fn verdict(outcome: types::Outcome, limits: OutputLimits) -> Result<Verdict, Violation> {
    match outcome {
        types::Outcome::Drop => Ok(Verdict::Drop),
        types::Outcome::Keep => Ok(Verdict::Keep),
        types::Outcome::Replace(payload) => {
            limits.check_payload(payload.len())?;
            Ok(Verdict::Replace(payload.into()))
        }
        types::Outcome::Emit(list) if list.is_empty() => Ok(Verdict::Drop),
        types::Outcome::Emit(list) => {
            limits.check_count(list.len())?;
            let emission = |(index, types::Emission { payload, subject, headers })| {
                let headers = headers.into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect();
                let emission = Emission { subject: subject.map(Into::into), headers, ..Emission::new(payload) };
                limits.check(index, &emission).map(|()| emission)
            };
            Ok(Verdict::Emit(list.into_iter().enumerate().map(emission).collect::<Result<_, _>>()?))
        }
    }
}

impl From<types::Manifest> for Manifest {
    fn from(manifest: types::Manifest) -> Self {
        let types::Manifest { name, version, description, hooks, match_reads, process_reads, capabilities } = manifest;
        Self {
            name: cut_name(name),
            version: cut_name(version),
            description: cut_reason(description),
            hooks: FilterHooks {
                normalize_params: hooks.contains(types::Hooks::NORMALIZE_PARAMS),
                conditions: hooks.contains(types::Hooks::CONDITIONS),
                matches: hooks.contains(types::Hooks::MATCHES),
                process: hooks.contains(types::Hooks::PROCESS),
                ..FilterHooks::default()
            },
            match_reads: match_reads.into(),
            process_reads: process_reads.into(),
            capabilities: capabilities.into_iter().map(cut_name).collect(),
            interval: None,
            metrics: Vec::new(),
            needs: FilterNeeds::default(),
        }
    }
}

impl From<types::Fields> for EventFields {
    fn from(fields: types::Fields) -> Self {
        Self {
            id: fields.contains(types::Fields::ID),
            subject: fields.contains(types::Fields::SUBJECT),
            source_time: fields.contains(types::Fields::SOURCE_TIME),
            headers: fields.contains(types::Fields::HEADERS),
            payload: fields.contains(types::Fields::PAYLOAD),
        }
    }
}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        let (kind, why) = match failure {
            types::Failure::Malformed(why) => (FailureKind::Malformed, why),
            types::Failure::Retry((after, why)) => (FailureKind::Retry(Duration::from_millis(after.into())), why),
            types::Failure::Failed(why) => (FailureKind::Failed, why),
            types::Failure::Broken(why) => (FailureKind::Broken, why),
        };
        Self::new(kind, cut_reason(why))
    }
}

fn from_guest(condition: types::Condition) -> Condition {
    let types::Condition { field, comparison, value } = condition;
    let comparison = match comparison {
        types::Comparison::Exists => {
            return Condition { field, elements: None, comparison: Comparison::Exists, values: Vec::new() };
        }
        types::Comparison::Equals => Comparison::Equals,
        types::Comparison::NotEquals => Comparison::NotEquals,
        types::Comparison::Less => Comparison::Less,
        types::Comparison::LessOrEqual => Comparison::LessOrEqual,
        types::Comparison::Greater => Comparison::Greater,
        types::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
        types::Comparison::StartsWith => Comparison::StartsWith,
        types::Comparison::Contains => Comparison::Contains,
    };
    Condition { field, elements: None, comparison, values: vec![value.into()] }
}

impl types::Host for Sandbox {}

impl log::Host for Sandbox {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => tracing::Level::TRACE,
            log::Level::Debug => tracing::Level::DEBUG,
            log::Level::Info => tracing::Level::INFO,
            log::Level::Warn => tracing::Level::WARN,
            log::Level::Error => tracing::Level::ERROR,
        };
        self.journal.write(level, message);
        Ok(())
    }
}

impl From<CallRefusal> for api::ApiError {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::Denied(why) => Self::Denied(why),
            CallRefusal::Timeout => Self::Timeout,
            CallRefusal::Status(ApiAnswer { status, body, .. }) => {
                // The limit may have cut a character.
                let end = match str::from_utf8(&body) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => body.len(),
                };
                Self::Status((status, String::from_utf8_lossy(&body[..end]).into_owned()))
            }
            CallRefusal::Failed(why) => Self::Failed(why),
        }
    }
}

impl api::Host for Sandbox {
    async fn call(
        &mut self,
        method: String,
        path: String,
        body: Option<String>,
    ) -> wasmtime::Result<Result<String, api::ApiError>> {
        if !self.host_call()? {
            return Ok(Err(api::ApiError::Budget));
        }
        let GrantedResources { key, api, endpoints, .. } = &*Arc::clone(&self.granted);
        let clients = api.clone().unwrap_or_default();
        let client = match clients.get(None) {
            Ok(client) => client,
            Err(why) => return Ok(Err(api::ApiError::Denied(why))),
        };
        let shown = format!("`{method} {}`", path.split('?').next().unwrap_or_default());
        let call = ApiCall { method, path, headers: Vec::new(), body: body.map(Bytes::from) };
        Ok(match client.call(key, endpoints, call, self.until).await {
            Ok(answer) => String::from_utf8(answer.body.into())
                .map_err(|_| api::ApiError::Failed(format!("{shown}: the answer is not UTF-8"))),
            Err(refusal) => Err(refusal.into()),
        })
    }
}

impl From<StateRefusal> for state::StateError {
    fn from(refused: StateRefusal) -> Self {
        match refused {
            StateRefusal::Denied => Self::Denied,
            StateRefusal::Budget => Self::Unavailable("the event has used up its calls to the host".to_owned()),
            StateRefusal::TooLarge | StateRefusal::Full(_) => Self::TooLarge,
            StateRefusal::Conflict => Self::Conflict,
            StateRefusal::Away(why) => Self::Unavailable(why),
        }
    }
}

type StateAnswer<T> = wasmtime::Result<Result<T, state::StateError>>;

impl state::Host for Sandbox {
    async fn get(&mut self, key: String) -> StateAnswer<Option<Vec<u8>>> {
        self.state_call(|scope| async move { Ok(scope.get(&key).await?.map(Into::into)) }).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.set(key, value, ttl_ms.map(Duration::from_millis)).await }).await
    }

    async fn delete(&mut self, key: String) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.delete(&key).await }).await
    }

    async fn add(&mut self, key: String, delta: i64, ttl_ms: Option<u64>) -> StateAnswer<i64> {
        self.state_call(|scope| async move { scope.add(key, delta, ttl_ms.map(Duration::from_millis)).await }).await
    }
}
