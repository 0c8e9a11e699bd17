//! A filter that burns its CPU budget stalls neither other lanes nor the admin listener.

use crate::router;

use std::io::Write;

use router::{Folder, get};

const SETTINGS: &str = r#"
    [admin]
    listen = "127.0.0.1:0"

    [pipeline]
    lanes = 16

    [[source]]
    name = "events"
    type = "lines"
    subject = "/subject"

    [[sink]]
    name = "out"
    type = "stdout"

    [[filter]]
    name = "misbehave"
    grants = ["state"]
"#;

/// About 80 ms of computing an event, which is within the limit of 100 ms.
const KEYS: &str = r#"
    [[key]]
    key = "burns"
    subject = "burns.*"
    filter = "misbehave"
    workers = 16
    limits = { process_cpu = "10s", process_wall = "60s" }
    params = [{ name = "mode" }, { name = "n", type = "int" }]

    [[route]]
    key = "burns"
    params = { mode = "slow", n = 80 }
    sinks = ["out"]

    [[key]]
    key = "passes"
    subject = "passes.*"

    [[route]]
    key = "passes"
    sinks = ["out"]
"#;

/// More than there are lanes, and more lanes than there are cores.
const BURNING: usize = 24;

#[test]
fn a_filter_that_burns_its_budget_stalls_nobody_else() {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("misbehave", "misbehave");
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    router.wait_for("running");
    for n in 0..BURNING {
        writeln!(stdin, r#"{{"subject":"burns.{}","n":{n}}}"#, n % 6).unwrap();
    }
    for n in 0..20 {
        writeln!(stdin, r#"{{"subject":"passes.{n}","n":{n}}}"#).unwrap();
    }
    // An answer that had to wait for an event would come once for an event, or less often.
    let (mut answers, mut burnt) = (0, 0);
    while burnt < BURNING {
        let (status, page) = get(address, "/metrics");
        assert_eq!(status, 200);
        answers += 1;
        let outputs = page.lines().find_map(|line| line.strip_prefix("trommel_key_outputs_total{name=\"burns\"} "));
        burnt = outputs.map_or(0, |outputs| outputs.parse().unwrap());
    }
    assert!(answers > 3 * BURNING, "the admin listener answered {answers} times while {BURNING} events were computed");
    drop(stdin);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    let burnt = |line: &&String| line.contains("burns");
    assert_eq!(ended.stdout.iter().filter(burnt).count(), BURNING, "{:?}", ended.stdout);
    // Those that share no lane with the burning ones.
    let overtook = ended.stdout.iter().take_while(|line| !burnt(line)).count();
    let early = ended.stdout.iter().take(16).filter(|line| line.contains("passes")).count();
    assert!(early >= 8, "{overtook} passed before the first that computed, {early} among the first 16 outputs");
}
