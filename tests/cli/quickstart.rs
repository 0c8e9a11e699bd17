//! The examples print what they say they print, among them the README's first command.

use crate::router;

use std::{fs, io::Write as _, path::Path};

use router::{Router, trommel};
use serde_json::Value;

/// Events of different subjects may change places, so the lines are compared as a set.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Runs an example to its end, which the summary tells of.
fn prints_what_it_promises(example: &str, summary: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
    let output = trommel().arg("run").arg(&example).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let expected = fs::read_to_string(example.join("expected.ndjson")).unwrap();
    assert_eq!(sorted(std::str::from_utf8(&output.stdout).unwrap()), sorted(&expected));
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with(summary.split('…').next().unwrap()), "{stderr}");
    assert!(last.ends_with(summary.split('…').next_back().unwrap()), "{stderr}");
}

#[test]
fn the_quickstart_prints_what_it_promises() {
    prints_what_it_promises("quickstart", "204 events in …; 63 outputs written");
}

#[test]
fn the_components_print_what_they_promise() {
    prints_what_it_promises("components", "11 events in …; 7 outputs written");
}

/// What it says does not depend on when the clock ticks, but for the time itself.
#[test]
fn the_window_tells_by_the_clock_what_came_in() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/components/window");
    let (reader, mut stdin) = std::io::pipe().unwrap();
    let mut command = trommel();
    command.arg("run").arg(&example).stdin(reader);
    let mut router = Router::spawn(command);
    stdin.write_all(&fs::read(example.join("events.ndjson")).unwrap()).unwrap();
    let mut told = vec![router.wait_for_output("count"), router.wait_for_output("count")];
    drop(stdin);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    told.extend(ended.stdout);
    let expected: Value = serde_json::from_str(&fs::read_to_string(example.join("expected.ndjson")).unwrap()).unwrap();
    for line in told {
        let mut line: Value = serde_json::from_str(&line).unwrap();
        let line = line.as_object_mut().unwrap();
        let [from, until] = ["from", "until"].map(|time| line.remove(time).and_then(|time| time.as_u64()).unwrap());
        assert_eq!((until - from, Value::from(line.clone())), (10_000, expected.clone()));
    }
}

#[test]
fn the_examples_have_no_problems() {
    for example in [
        "quickstart",
        "components",
        "components/window",
        "jetstream",
        "lark",
        "helix",
        "jb-mesh",
        "ctrlplane",
        "embedded",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let output = trommel().arg("check").arg(folder).output().unwrap();
        // What a checkout does not keep is the mode of the examples' secrets.
        let said = String::from_utf8_lossy(&output.stderr);
        let is_about_modes =
            |line: &str| line.contains("all users of this machine can read") || line.contains("chmod o-r");
        assert!(output.status.success() && said.lines().all(is_about_modes), "{example}: {output:?}");
    }
}
