//! The filter of ../README.md in Rust.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};
use trommel_filter::{
    Conditions, Edits, Emission, Event, Failure, Fields, FromParams, Matches, Normalize, Outcome, Params, Process,
    Result, api, export, field, log, state, telemetry,
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
    "edit",
    "outputs",
    "coded",
    "defer",
    "swap",
    "many",
    "measure",
];

/// What one route needs: its params, parsed.
struct Conformance {
    mode: String,
    threshold: Option<i64>,
    /// Fields that `process` reads beside the payload.
    reads: String,
}

impl FromParams for Conformance {
    type Params = BTreeMap<String, String>;

    fn from_params(_key: &str, params: Self::Params) -> Result<Self> {
        let mut parsed = Self { mode: "keep".to_owned(), threshold: None, reads: String::new() };
        for (name, value) in params {
            match name.as_str() {
                "mode" if !MODES.contains(&value.as_str()) => {
                    return Err(Failure::malformed(format!("`mode` is not known: `{value}`")));
                }
                "mode" => parsed.mode = value,
                "threshold" => {
                    let number = value.trim_matches(' ').parse();
                    let refused = |_| Failure::malformed(format!("`threshold` is no integer: `{value}`"));
                    parsed.threshold = Some(number.map_err(refused)?);
                }
                "reads" => parsed.reads = value,
                _ => return Err(Failure::malformed(format!("unknown param `{name}`"))),
            }
        }
        Ok(parsed)
    }
}

impl Normalize for Conformance {
    fn normalize(key: &str, params: Params) -> Result<Params> {
        let Self { mode, threshold, reads } = Self::from_params(key, params.into_iter().collect())?;
        let threshold = threshold.map(|threshold| ("threshold".to_owned(), threshold.to_string()));
        let reads = (!reads.is_empty()).then(|| ("reads".to_owned(), reads));
        Ok([("mode".to_owned(), mode)].into_iter().chain(threshold).chain(reads).collect())
    }
}

impl Conditions for Conformance {
    fn condition(&self) -> String {
        self.threshold.map_or_else(String::new, |threshold| {
            [field("/amount").at_least(threshold), field("header:force").exists()].join(" || ")
        })
    }
}

#[derive(Fields)]
struct Marks<'a> {
    event_type: &'a str,
    #[field("header:skip")]
    skip: Option<&'a str>,
}

impl Matches for Conformance {
    type Reads<'a> = Marks<'a>;

    fn matches(&self, marks: Marks) -> bool {
        marks.event_type != "skip" && marks.skip != Some("yes")
    }
}

impl Process for Conformance {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        ["payload"].into_iter().chain(self.reads.split_whitespace()).map(str::to_owned).collect()
    }

    fn sinks(&self) -> Vec<String> {
        vec!["a".to_owned()]
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        if ["echo", "fields", "trap"].contains(&self.mode.as_str()) {
            return self.execute(&self.mode, &Order::default(), event);
        }
        let payload = event.get::<Map<String, Value>>("payload");
        let payload = payload.map_err(|_| Failure::malformed("the payload is no JSON object"))?.unwrap_or_default();
        // A member of another type counts as absent.
        let text = |name| payload.get(name).and_then(Value::as_str);
        let order = Order {
            text: text("text").unwrap_or_default(),
            path: text("path").unwrap_or_default(),
            n: payload.get("n").and_then(Value::as_i64).unwrap_or_default(),
        };
        self.execute(text("do").unwrap_or(&self.mode), &order, event)
    }
}

/// What the payload asks for.
#[derive(Default)]
struct Order<'a> {
    text: &'a str,
    path: &'a str,
    n: i64,
}

impl Conformance {
    fn execute(&self, action: &str, order: &Order, event: Event) -> Result<Outcome> {
        let text = order.text.to_owned();
        let wait = Duration::from_millis(order.n.max(0).cast_unsigned());
        match action {
            "keep" => Ok(Outcome::Keep),
            "drop" => Ok(Outcome::Drop),
            "text" => Ok(Outcome::replace(text)),
            "emit" => Ok(Outcome::Emit((0..order.n).map(|index| emission(order.text, index)).collect())),
            "malformed" => Err(Failure::malformed(text)),
            "retry" => Err(Failure::retry(wait, text)),
            "failed" => Err(Failure::failed(text)),
            "broken" => Err(Failure::broken(text)),
            "coded" => Err(Failure::malformed(text).code("own_code")),
            "defer" => Err(Failure::defer(wait, text)),
            "log" => {
                log::info(order.text);
                Ok(Outcome::Keep)
            }
            "state" => remember(order).map(Outcome::Replace).map_err(|error| Failure::failed(state_error(error))),
            "swap" => swap(order).map(Outcome::Replace).map_err(|error| Failure::failed(state_error(error))),
            "many" => many(order).map(Outcome::Replace).map_err(|error| Failure::failed(state_error(error))),
            "api" => call(order).map(Outcome::Replace).map_err(|error| Failure::failed(api_error(error))),
            "echo" => Ok(Outcome::replace(event.payload()?)),
            "fields" => self.fields(event).map(Outcome::Replace),
            "edit" => edit(order),
            "outputs" => Ok(outputs(order)),
            "measure" => {
                telemetry::measure("calls", order.n as f64);
                telemetry::annotate("text", order.text);
                Ok(Outcome::Keep)
            }
            "trap" => std::process::abort(),
            _ => Err(Failure::failed(format!("no such action: `{action}`"))),
        }
    }

    fn fields(&self, event: Event) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for name in self.reads.split_whitespace() {
            lines.extend(name.bytes());
            if let Some(value) = event.bytes(name)? {
                lines.push(b'=');
                lines.extend(value);
            }
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

fn emission(text: &str, index: i64) -> Emission {
    let mut emission = Emission::new(text);
    if index % 2 == 1 {
        emission = emission.subject(format!("part.{index}"));
    }
    if index > 0 {
        emission = emission.header("part", index.to_string()).header("text", text);
    }
    emission
}

fn edit(order: &Order) -> Result<Outcome> {
    let edits = Edits::new().set("/text", order.text).set("/n", order.n).remove("/gone").rename("/old", "new");
    match order.path {
        "" => edits.into(),
        path => edits.subject(path).header("text", order.text).remove_header("gone").into(),
    }
}

fn outputs(order: &Order) -> Outcome {
    Outcome::Emit(vec![
        Emission::new(order.text).sink("a").id(order.path),
        Emission::new(order.text).remove_header("gone").header("text", order.text),
        Emission::new(order.text).bury("no_use", order.text),
    ])
}

/// Counts, and remembers the text until the next time.
fn remember(order: &Order) -> Result<Vec<u8>, state::Error> {
    let previous = state::get("last")?;
    let sum = state::increment("sum", order.n, Some(Duration::from_secs(60)))?;
    if order.text.is_empty() {
        state::delete("last")?;
    } else {
        state::set("last", order.text.as_bytes(), None)?;
    }
    Ok([sum.to_string().as_bytes(), b" ", or_none(&previous)].concat())
}

fn swap(order: &Order) -> Result<Vec<u8>, state::Error> {
    let old = (!order.path.is_empty()).then_some(order.path.as_bytes());
    state::swap("swapped", old, order.text.as_bytes(), None)?;
    let keys = state::keys("swap")?.join(",");
    let values = state::get_many(&["swapped".to_owned(), "other".to_owned()])?;
    Ok([keys.as_bytes(), b" ", or_none(&values[0]), b" ", or_none(&values[1])].concat())
}

fn many(order: &Order) -> Result<Vec<u8>, state::Error> {
    let [one, two, none] = ["many/1", "many/2", "many/3"].map(str::to_owned);
    let values = [(one.clone(), order.text.as_bytes().to_vec()), (two.clone(), order.path.as_bytes().to_vec())];
    state::set_many(&values, None)?;
    state::delete_many(&[two.clone(), none])?;
    let keys = state::keys("many")?.join(",");
    let values = state::get_many(&[one, two])?;
    Ok([keys.as_bytes(), b" ", or_none(&values[0]), b" ", or_none(&values[1])].concat())
}

fn or_none(value: &Option<Vec<u8>>) -> &[u8] {
    value.as_deref().unwrap_or(b"none")
}

fn call(order: &Order) -> Result<Vec<u8>, api::Error> {
    let mut request = api::Request::new("POST", order.path).header("x-text", "1");
    if !order.text.is_empty() {
        request = request.body(order.text);
    }
    Ok(request.send()?.success()?.body)
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

export!(
    Conformance,
    api = "posts what the payload says",
    state = "counts, and remembers the last text",
    manifest = r#"{"metrics": [{"name": "calls", "kind": "counter", "description": "what the payload says"}]}"#
);
