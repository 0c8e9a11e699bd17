//! The conformance cases of version 0.1 of the contract, over the component in C as it was when 0.2
//! came.

use std::{fs, path::Path, sync::Arc, time::Duration};

use crate::{
    filter::{self as rig, settings},
    stand_in,
};
use cases::{Answers, Case, ran};
use trommel::{
    config::{FilterSettings, Grant, GuestLimits},
    filter::Host,
};

#[path = "../languages/cases.rs"]
mod cases;

/// What a loaded machine may take, and the other limits of a router.
const LIMITS: GuestLimits = GuestLimits {
    match_cpu: Duration::from_secs(10),
    process_cpu: Duration::from_secs(10),
    process_wall: Duration::from_secs(60),
    load: Duration::from_secs(60),
    memory: 64 << 20,
    output: 1 << 20,
    emissions: 1000,
    host_calls: 16,
    log_lines: 64,
    component: 64 << 20,
    compile_memory: 512 << 20,
    compile_cpu: Duration::from_secs(60),
    state: 256 << 20,
};

#[tokio::test(flavor = "current_thread")]
async fn every_case_of_0_1_comes_out_as_then() {
    let answers = Answers::new();
    let host = Host::new(None, Some(answers.client()), Arc::default()).unwrap();
    let settings = FilterSettings { grants: vec![Grant::Api, Grant::State], ..settings("c", LIMITS) };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/0.1.1/conformance.wasm");
    let filter = host.load("c", fs::read(path).unwrap(), &settings).await.unwrap();
    for case in Case::all().into_iter().filter(|case| case.is_of("0.1")) {
        assert_eq!(ran(&filter, &case, &answers).await, case.expect, "{}", case.name);
    }
}
