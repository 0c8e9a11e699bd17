//! Lifecycle hooks: a filter holds something upstream from its first consumer until its last. Each
//! call has an instance of its own, so that a broken call affects no other (L49).

use std::time::Duration;

use wasmtime::Store;

use super::{
    CallError, CallFault, Failure, Filter, Params,
    error::Violation,
    granted::Caller,
    instance::{self, within},
    sandbox::Sandbox,
};

/// Time limit of a cleanup, calls to the host included. It applies also after the router was told
/// to stop (L48).
const CLEANUP: Duration = Duration::from_secs(10);
/// Most bytes of a token for the cleanup, which the ledger has to hold.
const MAX_TOKEN: usize = 64 << 10;

impl Filter {
    /// Returns whether the component has the hooks.
    pub fn has_lifecycle(&self) -> bool {
        self.hooks().is_some()
    }

    /// Calls the filter's hook for the first consumer of a subscription. The token, if any, is for
    /// [`Self::cleanup`]; without one there is nothing to clean up. The params must be normalised.
    ///
    /// When the future is dropped, the guest's work upstream is not undone, and its token is lost.
    ///
    /// # Errors
    /// If the filter refuses or breaks. Takes no longer than the load limit.
    pub async fn pre_consume(
        &self,
        caller: impl Into<Caller<'_>>,
        params: &Params,
    ) -> Result<Option<String>, CallError> {
        let Some(hooks) = self.hooks() else { return Ok(None) };
        let (caller, limit) = (caller.into(), self.processing().limits.load);
        let mut store = self.store(caller, limit);
        let answer = within(limit, hooks.pre_consume(&mut store, caller.key, params)).await;
        self.answer("pre-consume", &store, answer.and_then(small_token))
    }

    /// Calls the filter's hook after the last consumer of a subscription has left.
    ///
    /// When the future is dropped, the guest may have done any part of it.
    ///
    /// # Errors
    /// If the filter refuses or breaks. Takes no longer than ten seconds.
    pub async fn cleanup(&self, caller: impl Into<Caller<'_>>, params: &Params, token: &str) -> Result<(), CallError> {
        let Some(hooks) = self.hooks() else { return Ok(()) };
        let caller = caller.into();
        let mut store = self.store(caller, CLEANUP);
        let answer = within(CLEANUP, hooks.cleanup(&mut store, caller.key, params, token)).await;
        self.answer("cleanup", &store, answer)
    }

    /// Creates the store of a fresh instance, with the budgets of one call that is not about an
    /// event.
    fn store(&self, caller: Caller<'_>, wall: Duration) -> Store<Sandbox> {
        let mut store = self.processing().store();
        store.data_mut().grant(&self.grant(caller), wall);
        store
    }

    fn answer<T>(
        &self,
        call: &'static str,
        store: &Store<Sandbox>,
        answer: wasmtime::Result<Result<T, Failure>>,
    ) -> Result<T, CallError> {
        let sandbox = store.data();
        sandbox.journal.end(&sandbox.granted.key, None, answer.is_err());
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(CallError::Hook(call, failure)),
            Err(error) => Err(CallFault::into(self.blame(call, instance::failed(store, error)))),
        }
    }
}

type HookToken = Result<Option<String>, Failure>;

fn small_token(answer: HookToken) -> wasmtime::Result<HookToken> {
    match &answer {
        Ok(Some(token)) if token.len() > MAX_TOKEN => {
            let what = "the token".to_owned();
            Err(Violation::Output { what, size: token.len(), limit: MAX_TOKEN }.into())
        }
        _ => Ok(answer),
    }
}
