//! The README's first command prints what the example says it prints.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "common/router.rs"]
mod router;

use std::{fs, path::Path};

use router::trommel;

/// Events of different subjects may change places, so the lines are compared as a set.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_quickstart_prints_what_it_promises() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    let output = trommel().arg("run").arg(&example).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let expected = fs::read_to_string(example.join("expected.ndjson")).unwrap();
    assert_eq!(sorted(std::str::from_utf8(&output.stdout).unwrap()), sorted(&expected));
    assert!(stderr.lines().last().unwrap().starts_with("204 events in "), "{stderr}");
}

#[test]
fn the_examples_have_no_problems() {
    for example in ["quickstart", "jetstream"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let output = trommel().arg("check").arg(folder).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{example}: {output:?}");
    }
}
