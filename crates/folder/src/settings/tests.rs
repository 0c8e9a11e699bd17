//! The memory plan of a folder, from what its file says.

use std::fs;

use trommel_config::config::{Config, MemoryPlan, Problems, TooLittle};

use crate::load;

const MIB: u64 = 1 << 20;
const SETTINGS: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\n";

fn loaded(settings: &str) -> Result<Config, Problems> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("trommel.toml"), settings).unwrap();
    load(dir.path())
}

/// The least memory that a folder needs.
fn least(config: &Config) -> u64 {
    MemoryPlan::new(&Config { memory: Some(1), ..config.clone() }).unwrap_err().least
}

#[test]
fn too_little_is_refused_with_its_line_and_what_would_do() {
    let with = |memory: u64| loaded(&format!("{SETTINGS}[limits]\nmemory = {memory}\n"));
    let problems = with(64 * MIB).unwrap_err().to_string();
    let (message, hint) = problems.split_once('\n').unwrap();
    assert_eq!(
        message,
        "trommel.toml:8:10: `memory` is 64.0 MiB, and what this folder declares needs 233.0 MiB at least"
    );
    assert_eq!(hint.trim(), TooLittle::HINT);
    let least = least(&loaded(SETTINGS).unwrap());
    assert!(with(least - 1).is_err());
    assert_eq!(MemoryPlan::new(&with(least).unwrap()).unwrap().total, least);
    // Smaller instances need less.
    assert!(loaded(&format!("{SETTINGS}[limits]\nmemory = \"160MiB\"\ninstance_memory = \"16MiB\"\n")).is_ok());
    let large = "[[filter]]\nname = \"a\"\nlimits = { memory = \"1GiB\" }\n";
    assert!(loaded(&format!("{SETTINGS}[limits]\nmemory = \"1GiB\"\n{large}")).is_err());
}

#[test]
fn left_out_it_is_as_much_as_the_folder_needs_at_least() {
    let config = loaded(SETTINGS).unwrap();
    assert_eq!(config.memory, None);
    assert!(MemoryPlan::new(&config).unwrap().total >= least(&config));
}

#[test]
fn bounds_of_the_folder_are_lowered_and_never_raised() {
    let settings = format!("{SETTINGS}[limits]\nmemory = \"256MiB\"\n[pipeline]\nin_flight = 1_000_000\n");
    let config = loaded(&settings).unwrap();
    let plan = MemoryPlan::new(&config).unwrap();
    let lowered = plan.apply(config.clone()).pipeline;
    // An event counts with 6 KiB at least.
    assert_eq!((lowered.in_flight_bytes, lowered.in_flight.get() as u64), (plan.source, plan.source / (6 << 10)));
    let roomy = MemoryPlan::new(&Config { memory: Some(1 << 40), ..config.clone() }).unwrap();
    assert_eq!(roomy.apply(config.clone()).pipeline, config.pipeline);
}
