//! What version 0.2 of the contract has about time and telemetry, as its params say.
//!
//! Each event is counted in the state and in the metrics. Params: `mode` is what `process` and `tick` do, `argument`
//! its details, and `sinks` the sinks that outputs may choose.

use exports::trommel::filter::filter::{
    Event, EventBatch, Failure, Guest, GuestSubscription, Interest, Outcome, Params,
};
use trommel::filter::{
    state, telemetry,
    types::{Cause, Emission, FailureKind, Fate},
};

wit_bindgen::generate!({ path: "../../../wit/v0.2.0", world: "filter-component" });

const MANIFEST: &str = r#"{
    "name": "ticker",
    "version": "1.0.0",
    "description": "Says at each tick how many there were",
    "hooks": ["matches", "process", "process-batch", "tick"],
    "interval": "100ms",
    "params": [{ "name": "mode" }, { "name": "argument" }, { "name": "sinks" }],
    "grants": [{ "name": "state", "reason": "counts" }],
    "metrics": [
        { "name": "seen", "kind": "counter", "description": "Events counted" },
        { "name": "level", "kind": "gauge", "description": "The last value" },
        { "name": "sizes", "kind": "histogram", "description": "The values" }
    ]
}"#;

struct Ticker;

impl Guest for Ticker {
    type Subscription = Subscription;

    fn describe() -> String {
        MANIFEST.to_owned()
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription(Params);

impl Subscription {
    fn param(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    fn decide(&self, event: &[Option<&[u8]>]) -> Result<Outcome, Failure> {
        let count = state::increment("events", 1, None).map_err(unavailable)?;
        telemetry::measure("seen", 1.0);
        telemetry::measure("level", count as f64);
        telemetry::measure("sizes", count as f64);
        telemetry::annotate("count", &count.to_string());
        let seen = text(event[0]).parse::<u64>().unwrap_or_default() / 1_000_000;
        Ok(match self.param("mode") {
            // A line each: `PAYLOAD MILLISECONDS SINK`, the time from when the event was seen, `-` for none.
            "later" => Outcome::Emit(self.param("argument").lines().map(|line| later(line, seen)).collect()),
            "keep" => Outcome::Keep,
            "measure" => {
                for line in self.param("argument").lines() {
                    let (name, value) = line.split_once(' ').unwrap_or((line, "1"));
                    telemetry::measure(name, value.parse().unwrap_or(f64::NAN));
                }
                Outcome::Keep
            }
            _ => Outcome::Drop,
        })
    }
}

fn later(line: &str, seen: u64) -> Emission {
    let mut words = line.split(' ').map(|word| (word != "-").then_some(word));
    let payload = words.next().flatten().unwrap_or_default();
    let wait = words.next().flatten().map(|wait| wait.parse::<i64>().unwrap_or(i64::MAX));
    let sink = words.next().flatten().map(str::to_owned);
    Emission { not_before: wait.map(|wait| seen.saturating_add_signed(wait)), sink, ..emission(payload) }
}

fn emission(payload: &str) -> Emission {
    let (payload, headers) = (payload.into(), Vec::new());
    Emission { payload, sink: None, id: None, not_before: None, subject: None, headers, fate: Fate::Send }
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn failure(kind: FailureKind, detail: &str) -> Failure {
    Failure { kind, cause: Cause { code: None, detail: detail.to_owned() } }
}

fn unavailable(error: state::StateError) -> Failure {
    failure(FailureKind::Failed, &format!("{error:?}"))
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Result<Self, Failure> {
        Ok(Self(params))
    }

    fn interest(&self) -> Interest {
        Interest {
            condition: String::new(),
            match_reads: Vec::new(),
            process_reads: vec!["observed-at".to_owned()],
            sinks: self.param("sinks").split_whitespace().map(str::to_owned).collect(),
        }
    }

    fn matches(&self, _event: Event) -> bool {
        if self.param("mode") == "match" {
            telemetry::measure("seen", 1.0);
            telemetry::annotate("asked", "yes");
        }
        true
    }

    fn matches_batch(&self, _events: EventBatch) -> Vec<u64> {
        unreachable!("it is not among the hooks")
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let event: Vec<_> = event.iter().map(Option::as_deref).collect();
        self.decide(&event)
    }

    fn process_batch(&self, EventBatch { arena, index }: EventBatch) -> Vec<Result<Outcome, Failure>> {
        let number = |at: usize| u32::from_le_bytes(index[at * 4..][..4].try_into().expect("four bytes")) as usize;
        assert_eq!((number(0), number(2)), (2, 1), "the layout, and one field");
        (0..number(1)).map(|event| self.decide(&[Some(&arena[number(3 + 2 * event)..][..number(4 + 2 * event)])])).collect()
    }

    fn tick(&self, now: u64) -> Result<Vec<Emission>, Failure> {
        let tick = state::increment("ticks", 1, None).map_err(unavailable)?;
        match self.param("mode") {
            // The first ticks fail.
            "failed" if tick <= 2 => return Err(failure(FailureKind::Failed, "not yet")),
            "broken" => return Err(failure(FailureKind::Broken, "can't go on")),
            "trap" => unreachable!("a tick"),
            "silent" | "later" | "keep" | "measure" | "match" => return Ok(Vec::new()),
            "text" => return Ok(vec![emission("no JSON")]),
            _ => {}
        }
        let events = state::increment("events", 0, None).map_err(unavailable)?;
        let id = (self.param("mode") == "named").then(|| format!("tick-{tick}"));
        Ok(vec![Emission { id, ..emission(&format!(r#"{{"tick":{tick},"events":{events},"now":{now}}}"#)) }])
    }
}

export!(Ticker);
