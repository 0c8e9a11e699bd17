//! A filter that holds something upstream. It keeps a list of the calls of its hooks, logs each as it keeps it, and
//! gives the list as the payload of every event; an event with the payload `trap` breaks it instead. The param `mode`
//! says what the hooks do beyond that.

use std::hint::black_box;

use exports::trommel::filter::{
    filter::{self, Condition, Event, Failure, GuestSubscription, Manifest, Outcome, Params},
    lifecycle,
};
use trommel::filter::{
    log::{self, Level},
    state,
    types::{Fields, Hooks},
};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-lifecycle" });

struct Lifecycle;

impl filter::Guest for Lifecycle {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "lifecycle".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Lists the calls of its hooks".to_owned(),
            hooks: Hooks::PROCESS,
            match_reads: Fields::empty(),
            process_reads: Fields::PAYLOAD,
            capabilities: vec!["state".to_owned()],
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

impl lifecycle::Guest for Lifecycle {
    fn pre_consume(key: String, params: Params) -> Result<Option<String>, Failure> {
        let call = format!("pre-consume {key}{}", shown(&params));
        match mode(&params) {
            "refuse" => return Err(Failure::Failed("the quota is used up".to_owned())),
            "refuse-once" if add("refused")? == 1 => return Err(Failure::Retry((50, "not now".to_owned()))),
            "trap" => panic!("as the mode says"),
            "loop" => endless(),
            "none" => {
                record(&format!("{call} -> none"))?;
                return Ok(None);
            }
            "slow" => work(),
            _ => {}
        }
        let token = format!("token-{}", add("tokens")?);
        record(&format!("{call} -> {token}"))?;
        Ok(Some(token))
    }

    fn cleanup(key: String, params: Params, token: String) -> Result<(), Failure> {
        match mode(&params) {
            "slow" => work(),
            "loop-cleanup" => endless(),
            _ => {}
        }
        record(&format!("cleanup {key}{} {token}", shown(&params)))?;
        match mode(&params) {
            "refuse-cleanup" => Err(Failure::Failed("the upstream side is away".to_owned())),
            "trap-cleanup" => panic!("as the mode says"),
            _ => Ok(()),
        }
    }
}

struct Subscription;

impl GuestSubscription for Subscription {
    fn new(_key: String, _params: Params) -> Self {
        Self
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        assert!(event.payload.as_deref() != Some(b"trap"), "as the payload says");
        let calls = state::add("calls", 0, None).map_err(unavailable)?;
        let calls = (1..=calls).map(|number| state::get(&format!("call-{number}")).map_err(unavailable));
        let calls: Vec<Vec<u8>> = calls.map(|call| call.map(Option::unwrap_or_default)).collect::<Result<_, _>>()?;
        Ok(Outcome::Replace(calls.join(&b'\n')))
    }
}

/// Puts a line on the list.
fn record(line: &str) -> Result<(), Failure> {
    log::write(Level::Info, line);
    state::set(&format!("call-{}", add("calls")?), line.as_bytes(), None).map_err(unavailable)
}

fn add(counter: &str) -> Result<i64, Failure> {
    state::add(counter, 1, None).map_err(unavailable)
}

fn mode(params: &Params) -> &str {
    params.iter().find(|(name, _)| name == "mode").map_or("", |(_, value)| value)
}

/// The params but for the mode.
fn shown(params: &Params) -> String {
    let params = params.iter().filter(|(name, _)| name != "mode");
    params.map(|(name, value)| format!(" {name}={value}")).collect()
}

fn unavailable(error: state::StateError) -> Failure {
    Failure::Broken(format!("state: {error:?}"))
}

fn endless() -> ! {
    let mut step = 0_u64;
    loop {
        step = black_box(step.wrapping_add(1));
    }
}

/// Computes for some hundredths of a second.
fn work() {
    let mut sum = 0_u64;
    for step in 0..20_000_000 {
        sum = black_box(sum.wrapping_add(step));
    }
}

export!(Lifecycle);
