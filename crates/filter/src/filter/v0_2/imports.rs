//! What a guest of version 0.2 may call.

use std::{sync::Arc, time::Duration};

use super::{Sandbox, api, log, state, telemetry, types};
use crate::{
    api::{ApiAnswer, ApiCall, CallRefusal},
    filter::{
        granted::GrantedResources,
        state::{StateRefusal, StateScope},
    },
};

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
    fn measure(&mut self, _metric: String, _value: f64) -> wasmtime::Result<()> {
        Ok(())
    }

    fn annotate(&mut self, _name: String, _value: String) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl api::Host for Sandbox {
    async fn call(&mut self, request: api::Request) -> wasmtime::Result<Result<api::Response, api::ApiError>> {
        if !self.host_call()? {
            return Ok(Err(api::ApiError::Budget));
        }
        let GrantedResources { key, api, endpoints, .. } = &*Arc::clone(&self.granted);
        let Some(client) = api else {
            return Ok(Err(api::ApiError::Denied("there is no API to call".to_owned())));
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
            StateRefusal::TooLarge => Self::TooLarge,
            StateRefusal::Conflict => Self::Conflict,
        }
    }
}

type StateAnswer<T> = wasmtime::Result<Result<T, state::StateError>>;

impl Sandbox {
    /// Runs one call of `state` if the budget and the grants allow it.
    fn with_scope<T>(&mut self, call: impl FnOnce(&StateScope) -> Result<T, StateRefusal>) -> StateAnswer<T> {
        if !self.host_call()? {
            return Ok(Err(state::StateError::Unavailable("the event has used up its calls to the host".to_owned())));
        }
        Ok(match &self.granted.state {
            Some(scope) => call(scope).map_err(Into::into),
            None => Err(state::StateError::Denied),
        })
    }
}

impl state::Host for Sandbox {
    fn get(&mut self, key: String) -> StateAnswer<Option<Vec<u8>>> {
        self.with_scope(|scope| Ok(scope.get(&key)))
    }

    fn get_many(&mut self, keys: Vec<String>) -> StateAnswer<Vec<Option<Vec<u8>>>> {
        self.with_scope(|scope| Ok(keys.iter().map(|key| scope.get(key)).collect()))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.with_scope(|scope| scope.set(key, value, ttl_ms.map(Duration::from_millis)))
    }

    fn delete(&mut self, key: String) -> StateAnswer<()> {
        self.with_scope(|scope| {
            scope.delete(&key);
            Ok(())
        })
    }

    fn keys(&mut self, prefix: String) -> StateAnswer<Vec<String>> {
        self.with_scope(|scope| Ok(scope.keys(&prefix)))
    }

    fn increment(&mut self, key: String, delta: i64, ttl_ms: Option<u64>) -> StateAnswer<i64> {
        self.with_scope(|scope| scope.add(key, delta, ttl_ms.map(Duration::from_millis)))
    }

    fn swap(&mut self, key: String, old: Option<Vec<u8>>, new: Vec<u8>, ttl_ms: Option<u64>) -> StateAnswer<()> {
        self.with_scope(|scope| scope.swap(key, old.as_deref(), new, ttl_ms.map(Duration::from_millis)))
    }
}
