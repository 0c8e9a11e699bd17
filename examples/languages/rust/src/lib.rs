//! The filter of ../README.md in Rust.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};
use trommel_filter::{
    Condition, Conditions, Emission, Event, Failure, Fields, Matches, Normalize, Outcome, Params, Process, Result, api,
    export, field, log, state,
};

const MODES: &[&str] = &[
    "keep",
    "drop",
    "text",
    "emit",
    "malformed",
    "retry",
    "failed",
    "broken",
    "log",
    "state",
    "api",
    "echo",
    "fields",
    "trap",
];

/// What one route needs: its params, parsed.
#[derive(Deserialize)]
#[serde(try_from = "Written")]
struct Conformance {
    mode: String,
    threshold: Option<i64>,
}

/// The params as they are written.
type Written = BTreeMap<String, String>;

impl TryFrom<Written> for Conformance {
    type Error = String;

    fn try_from(params: Written) -> Result<Self, String> {
        let mut parsed = Self { mode: "keep".to_owned(), threshold: None };
        for (name, value) in params {
            match name.as_str() {
                "mode" if !MODES.contains(&value.as_str()) => return Err(format!("`mode` is not known: `{value}`")),
                "mode" => parsed.mode = value,
                "threshold" => {
                    let number = value.trim_matches(' ').parse();
                    parsed.threshold = Some(number.map_err(|_| format!("`threshold` is no integer: `{value}`"))?);
                }
                _ => return Err(format!("unknown param `{name}`")),
            }
        }
        Ok(parsed)
    }
}

impl Normalize for Conformance {
    fn normalize(_key: &str, params: Params) -> Result<Params> {
        let Self { mode, threshold } = Written::from_iter(params).try_into().map_err(Failure::Malformed)?;
        let threshold = threshold.map(|threshold| ("threshold".to_owned(), threshold.to_string()));
        Ok([("mode".to_owned(), mode)].into_iter().chain(threshold).collect())
    }
}

impl Conditions for Conformance {
    fn conditions(&self) -> Vec<Vec<Condition>> {
        match self.threshold {
            Some(threshold) => vec![vec![field("/amount").at_least(threshold)], vec![field("header:force").exists()]],
            None => Vec::new(),
        }
    }
}

impl Matches for Conformance {
    const READS: Fields = Fields::HEADERS;

    fn matches(&self, event: &Event) -> bool {
        match event.event_type() {
            "skip" => false,
            "projection" => {
                let texts = [event.id(), event.subject(), event.source_time()];
                texts == [None; 3] && event.payload().is_none()
            }
            _ => !event.headers().unwrap_or_default().contains(&("skip", "yes")),
        }
    }
}

impl Process for Conformance {
    const READS: Fields = Fields::all();

    fn process(&self, event: &Event) -> Result<Outcome> {
        if ["echo", "fields", "trap"].contains(&self.mode.as_str()) {
            return execute(&self.mode, &Order::default(), event);
        }
        let payload: Map<String, Value> =
            event.json().map_err(|_| Failure::Malformed("the payload is no JSON object".to_owned()))?;
        // A member of another type counts as absent.
        let text = |name| payload.get(name).and_then(Value::as_str);
        let order = Order {
            text: text("text").unwrap_or_default(),
            path: text("path").unwrap_or_default(),
            n: payload.get("n").and_then(Value::as_i64).unwrap_or_default(),
        };
        execute(text("do").unwrap_or(&self.mode), &order, event)
    }
}

/// What the payload asks for.
#[derive(Default)]
struct Order<'a> {
    text: &'a str,
    path: &'a str,
    n: i64,
}

fn execute(action: &str, order: &Order, event: &Event) -> Result<Outcome> {
    let text = order.text.to_owned();
    match action {
        "keep" => Ok(Outcome::Keep),
        "drop" => Ok(Outcome::Drop),
        "text" => Ok(Outcome::replace(text)),
        "emit" => Ok(Outcome::Emit((0..order.n).map(|index| emission(order.text, index)).collect())),
        "malformed" => Err(Failure::Malformed(text)),
        "retry" => Err(Failure::Retry(Duration::from_millis(order.n.max(0).cast_unsigned()), text)),
        "failed" => Err(Failure::Failed(text)),
        "broken" => Err(Failure::Broken(text)),
        "log" => {
            log::info(order.text);
            Ok(Outcome::Keep)
        }
        "state" => remember(order).map(Outcome::Replace).map_err(|error| Failure::Failed(state_error(error))),
        "api" => {
            let body = (!order.text.is_empty()).then_some(order.text);
            api::call("POST", order.path, body).map(Outcome::replace).map_err(|error| Failure::Failed(api_error(error)))
        }
        "echo" => Ok(Outcome::replace(event.payload().unwrap_or_default())),
        "fields" => Ok(Outcome::replace(fields(event))),
        "trap" => std::process::abort(),
        _ => Err(Failure::Failed(format!("no such action: `{action}`"))),
    }
}

fn emission(text: &str, index: i64) -> Emission {
    let mut emission = Emission::new(text);
    if index % 2 == 1 {
        emission = emission.with_subject(format!("part.{index}"));
    }
    if index > 0 {
        emission = emission.with_header("part", index.to_string()).with_header("text", text);
    }
    emission
}

/// Counts, and remembers the text until the next time.
fn remember(order: &Order) -> Result<Vec<u8>, state::Error> {
    let previous = state::get("last")?;
    let sum = state::add("sum", order.n, Some(Duration::from_secs(60)))?;
    if order.text.is_empty() {
        state::delete("last")?;
    } else {
        state::set("last", order.text.as_bytes(), None)?;
    }
    let mut answer = format!("{sum} ").into_bytes();
    answer.extend(previous.as_deref().unwrap_or(b"none"));
    Ok(answer)
}

fn state_error(error: state::Error) -> String {
    match error {
        state::Error::Denied => "state: denied".to_owned(),
        state::Error::TooLarge => "state: too-large".to_owned(),
        state::Error::Conflict => "state: conflict".to_owned(),
        state::Error::Unavailable(why) => format!("state: unavailable: {why}"),
    }
}

fn api_error(error: api::Error) -> String {
    match error {
        api::Error::Denied(why) => format!("api: denied: {why}"),
        api::Error::Budget => "api: budget".to_owned(),
        api::Error::Timeout => "api: timeout".to_owned(),
        api::Error::Status(status, body) => format!("api: status {status}: {body}"),
        api::Error::Failed(why) => format!("api: failed: {why}"),
    }
}

fn fields(event: &Event) -> String {
    let headers = event.headers().unwrap_or_default();
    let headers: String = headers.iter().map(|(name, value)| format!("header {name}={value}\n")).collect();
    format!(
        "type={}\nid={}\nsubject={}\ntime={}\nobserved={}\nattempt={}\n{headers}payload={} bytes\n",
        event.event_type(),
        event.id().unwrap_or_default(),
        event.subject().unwrap_or_default(),
        event.source_time().unwrap_or_default(),
        event.observed_at() / 1_000_000,
        event.attempt(),
        event.payload().unwrap_or_default().len(),
    )
}

export!(Conformance, api, state);
