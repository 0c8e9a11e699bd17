//! What a guest of version 0.2 may call.

use std::{sync::Arc, time::Duration};

use super::{Sandbox, api, log, state, telemetry, types};
use crate::{
    api::{ApiAnswer, ApiCall, CallRefusal},
    filter::{
        error::{cut_name, cut_reason},
        granted::GrantedResources,
        sandbox::CallTelemetry,
        state::StateRefusal,
    },
};

/// Most attributes that one call adds to its span.
const MOST_ANNOTATIONS: usize = 32;

impl types::Host for Sandbox {}

fn level(level: log::Level) -> tracing::Level {
    match level {
        log::Level::Trace => tracing::Level::TRACE,
        log::Level::Debug => tracing::Level::DEBUG,
        log::Level::Info => tracing::Level::INFO,
        log::Level::Warn => tracing::Level::WARN,
        log::Level::Error => tracing::Level::ERROR,
    }
}

impl log::Host for Sandbox {
    fn enabled(&mut self, wanted: log::Level) -> wasmtime::Result<bool> {
        Ok(self.journal.is_heard(level(wanted)))
    }

    fn write(&mut self, at: log::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let mut line = message;
        for (name, value) in fields {
            line.push_str(&format!(" {name}={value:?}"));
        }
        self.journal.write(level(at), line);
        Ok(())
    }
}

impl telemetry::Host for Sandbox {
    fn measure(&mut self, metric: String, value: f64) -> wasmtime::Result<()> {
        match self.granted.measures.find(&metric) {
            Some(measure) => measure.record(value),
            // A call that is for no key, as the constructor is, counts nowhere.
            None if self.granted.key.is_empty() => {}
            None => self.telemetry.undeclared.report(self.journal.filter(), metric),
        }
        Ok(())
    }

    fn annotate(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        let CallTelemetry { is_traced, annotations, .. } = &mut self.telemetry;
        if *is_traced && annotations.len() < MOST_ANNOTATIONS {
            annotations.push((cut_name(name), cut_reason(value)));
        }
        Ok(())
    }
}

impl api::Host for Sandbox {
    async fn call(&mut self, request: api::Request) -> wasmtime::Result<Result<api::Response, api::ApiError>> {
        if !self.host_call()? {
            return Ok(Err(api::ApiError::Budget));
        }
        let GrantedResources { key, api, endpoints, .. } = &*Arc::clone(&self.granted);
        let clients = api.clone().unwrap_or_default();
        let client = match clients.get(request.api.as_deref()) {
            Ok(client) => client,
            Err(why) => return Ok(Err(api::ApiError::Denied(why))),
        };
        let api::Request { api: _, method, path, headers, body } = request;
        let call = ApiCall { method, path, headers, body: body.map(Into::into) };
        Ok(match client.call(key, endpoints, call, self.until).await {
            Ok(answer) | Err(CallRefusal::Status(answer)) => {
                let ApiAnswer { status, headers, body } = answer;
                Ok(api::Response { status, headers, body: body.into() })
            }
            Err(CallRefusal::Denied(why)) => Err(api::ApiError::Denied(why)),
            Err(CallRefusal::Timeout) => Err(api::ApiError::Timeout),
            Err(CallRefusal::Failed(why)) => Err(api::ApiError::Failed(why)),
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

    async fn get_many(&mut self, keys: Vec<String>) -> StateAnswer<Vec<Option<Vec<u8>>>> {
        self.state_call(|scope| async move {
            Ok(scope.get_many(&keys).await?.into_iter().map(|value| value.map(Into::into)).collect())
        })
        .await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.set(key, value, ttl_ms.map(Duration::from_millis)).await }).await
    }

    async fn set_many(&mut self, values: Vec<(String, Vec<u8>)>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.set_many(values, ttl_ms.map(Duration::from_millis)).await }).await
    }

    async fn delete(&mut self, key: String) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.delete(&key).await }).await
    }

    async fn delete_many(&mut self, keys: Vec<String>) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.delete_many(&keys).await }).await
    }

    async fn keys(&mut self, prefix: String) -> StateAnswer<Vec<String>> {
        self.state_call(|scope| async move { scope.keys(&prefix).await }).await
    }

    async fn increment(&mut self, key: String, delta: i64, ttl_ms: Option<u64>) -> StateAnswer<i64> {
        self.state_call(|scope| async move { scope.add(key, delta, ttl_ms.map(Duration::from_millis)).await }).await
    }

    async fn swap(&mut self, key: String, old: Option<Vec<u8>>, new: Vec<u8>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.state_call(|scope| async move { scope.swap(key, old, new, ttl_ms.map(Duration::from_millis)).await }).await
    }
}
