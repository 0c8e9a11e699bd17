//! Doubles of the router, for a filter's own tests, which need no Wasm: `cargo test`. Every thread,
//! and so every test, has its own.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use crate::{
    Emission, Event, Failure, Interest, Outcome, Result,
    api::{self, Request, Response},
    export::Exported,
    log::Level,
};

mod event;

pub use event::TestEvent;

type Api = Box<dyn FnMut(&Request) -> Result<Response, api::Error>>;

thread_local! {
    static LOG: RefCell<Vec<LogLine>> = const { RefCell::new(Vec::new()) };
    static MEASURED: RefCell<Vec<(String, f64)>> = const { RefCell::new(Vec::new()) };
    static ANNOTATED: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
    static STATE: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    static API: RefCell<Option<Api>> = const { RefCell::new(None) };
}

/// A line of the log: its level, its message and its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub level: Level,
    pub message: String,
    pub fields: Vec<(String, String)>,
}

/// A route of the key `key`, as the router makes it: `TestRoute::<Large>::new(&[("min", "5")])`.
pub struct TestRoute<F> {
    filter: F,
    interest: Interest,
}

impl<F: Exported> TestRoute<F> {
    /// # Errors
    /// What is wrong with the params, or with the manifest.
    pub fn new(params: &[(&str, &str)]) -> Result<Self> {
        serde_json::from_slice::<serde_json::Value>(F::manifest())
            .map_err(|error| Failure::broken(format!("the manifest is not JSON: {error}")))?;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let params = F::normalize("key", params.iter().map(owned).collect())?;
        let filter = F::create("key", &params)?;
        let interest = filter.interest();
        Ok(Self { filter, interest })
    }

    pub fn filter(&self) -> &F {
        &self.filter
    }

    /// The condition, the fields that are read and the sinks that are chosen by name.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// What `matches` says of an event, whatever the condition. An event that the router would not
    /// ask about is not wanted: its payload is not JSON and parts of it are read.
    pub fn matches(&self, event: &TestEvent) -> bool {
        let values = event.values(&self.interest.match_reads);
        values.is_ok_and(|values| self.filter.matches(&Event::new(&self.interest.match_reads, &values)))
    }

    /// # Errors
    /// What `process` fails with.
    pub fn process(&self, event: &TestEvent) -> Result<Outcome> {
        let values = event.values(&self.interest.process_reads)?;
        self.filter.process(&Event::new(&self.interest.process_reads, &values))
    }

    /// # Errors
    /// What `tick` fails with.
    pub fn tick(&self, now: u64) -> Result<Vec<Emission>> {
        self.filter.tick(now)
    }
}

impl<F> fmt::Debug for TestRoute<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRoute").field("interest", &self.interest).finish_non_exhaustive()
    }
}

/// The lines that were logged since this was last asked.
pub fn logged() -> Vec<LogLine> {
    LOG.take()
}

/// The measures that were taken since this was last asked.
pub fn measured() -> Vec<(String, f64)> {
    MEASURED.take()
}

/// The attributes that were added to spans since this was last asked.
pub fn annotated() -> Vec<(String, String)> {
    ANNOTATED.take()
}

/// Lets `answer` stand in for the API.
pub fn answer_api(answer: impl FnMut(&Request) -> Result<Response, api::Error> + 'static) {
    API.set(Some(Box::new(answer)));
}

/// An answer of the API.
pub fn response(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, headers: Vec::new(), body: body.into() }
}

pub(crate) fn write(level: Level, message: &str, fields: Vec<(String, String)>) {
    LOG.with_borrow_mut(|log| log.push(LogLine { level, message: message.to_owned(), fields }));
}

pub(crate) fn measure(metric: &str, value: f64) {
    MEASURED.with_borrow_mut(|measured| measured.push((metric.to_owned(), value)));
}

pub(crate) fn annotate(name: &str, value: &str) {
    ANNOTATED.with_borrow_mut(|annotated| annotated.push((name.to_owned(), value.to_owned())));
}

pub(crate) fn call(request: &Request) -> Result<Response, api::Error> {
    API.with_borrow_mut(|api| match api {
        Some(answer) => answer(request),
        None => Err(api::Error::Denied("there is no API in this test: set one with `answer_api`".to_owned())),
    })
}

pub(crate) fn state<T>(with: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
    STATE.with_borrow_mut(with)
}
