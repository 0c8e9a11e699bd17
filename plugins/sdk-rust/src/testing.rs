//! Doubles of the router, for a filter's own tests, which need no Wasm: `cargo test`. Every thread, and so every test,
//! has its own.

use std::{cell::RefCell, collections::BTreeMap};

use serde::de::DeserializeOwned;

use crate::{Result, api, log::Level, params};

type Api = Box<dyn FnMut(&str, &str, Option<&str>) -> Result<String, api::Error>>;

thread_local! {
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static STATE: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    static API: RefCell<Option<Api>> = const { RefCell::new(None) };
}

/// A filter made of these params, as the router makes it for a route.
///
/// # Errors
/// What is wrong with the params.
pub fn filter<F: DeserializeOwned>(params: &[(&str, &str)]) -> Result<F> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    params::read(&params.iter().map(owned).collect::<Vec<_>>())
}

/// The lines that were logged since this was last asked.
pub fn logged() -> Vec<(Level, String)> {
    LOG.take()
}

/// Lets `answer`, given method, path and body, stand in for the API.
pub fn answer_api(answer: impl FnMut(&str, &str, Option<&str>) -> Result<String, api::Error> + 'static) {
    API.set(Some(Box::new(answer)));
}

pub(crate) fn write(level: Level, message: String) {
    LOG.with_borrow_mut(|log| log.push((level, message)));
}

pub(crate) fn call(method: &str, path: &str, body: Option<&str>) -> Result<String, api::Error> {
    API.with_borrow_mut(|api| match api {
        Some(answer) => answer(method, path, body),
        None => Err(api::Error::Denied("there is no API in this test: set one with `answer_api`".to_owned())),
    })
}

pub(crate) fn state<T>(with: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
    STATE.with_borrow_mut(with)
}
