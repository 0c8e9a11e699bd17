//! What a filter holds upstream while anyone consumes: its hooks for the first consumer and the last. Each call has an
//! instance of its own, so that one that breaks takes nothing with it, and nothing that broke stands in its way (L49).

use std::time::Duration;

use wasmtime::Store;

use super::{
    CallError, Failure, Fault, Filter, Params,
    error::Violation,
    granted::Caller,
    instance::{self, within},
    sandbox::Sandbox,
};

/// What a cleanup may take, calls to the host included. Also when the router was told to stop meanwhile (L48).
const CLEANUP: Duration = Duration::from_secs(10);
/// Bytes of what a filter may have kept for its cleanup, which the ledger has to hold.
const MAX_TOKEN: usize = 64 << 10;

impl Filter {
    /// Whether the component has the hooks at all.
    pub fn has_lifecycle(&self) -> bool {
        self.hooks().is_some()
    }

    /// Tells the filter that a subscription has its first consumer. The token, if any, is for [`Self::cleanup`];
    /// without one there is nothing to clean up. The params must be normalised.
    ///
    /// When the future is dropped, what the guest did upstream is done and its token lost.
    ///
    /// # Errors
    /// The filter's own refusal, or its breaking. Takes no longer than the load limit.
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

    /// Tells the filter that a subscription's last consumer has left, whoever that was.
    ///
    /// When the future is dropped, the guest may have done any part of it.
    ///
    /// # Errors
    /// The filter's own refusal, or its breaking. Takes no longer than ten seconds.
    pub async fn cleanup(&self, caller: impl Into<Caller<'_>>, params: &Params, token: &str) -> Result<(), CallError> {
        let Some(hooks) = self.hooks() else { return Ok(()) };
        let caller = caller.into();
        let mut store = self.store(caller, CLEANUP);
        let answer = within(CLEANUP, hooks.cleanup(&mut store, caller.key, params, token)).await;
        self.answer("cleanup", &store, answer)
    }

    /// The data of a fresh instance, with the budgets of one call that is not about an event.
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
        sandbox.journal.end(&sandbox.granted.key);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(CallError::Hook(call, failure)),
            Err(error) => Err(Fault::into(self.blame(call, instance::failed(store, error)))),
        }
    }
}

type Token = Result<Option<String>, Failure>;

fn small_token(answer: Token) -> wasmtime::Result<Token> {
    match &answer {
        Ok(Some(token)) if token.len() > MAX_TOKEN => {
            let what = "the token".to_owned();
            Err(Violation::Output { what, size: token.len(), limit: MAX_TOKEN }.into())
        }
        _ => Ok(answer),
    }
}
