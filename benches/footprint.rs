//! What the real router takes: the time to start with 20 components whose compiled code is in the
//! cache, and the memory that it holds with 1,000 live subscriptions of one filter after events
//! have been through all of them. `cargo bench --bench footprint`; figures are medians.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, reason = "sleeps between two looks at a router, outside every runtime")]

use std::{
    fmt::Write as _,
    fs,
    io::{Write as _, pipe},
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use router::{Folder, PATIENCE, Router, component_bytes, get, trommel};

#[path = "../tests/common/router.rs"]
mod router;

const ROUNDS: usize = 9;
const COMPONENTS: u8 = 20;
const SUBSCRIPTIONS: usize = 1000;
const EVENTS: usize = 100_000;

const SETTINGS: &str = "
    [[source]]
    name = \"in\"
    type = \"lines\"
    subject = \"/subject\"
    event_type = \"/type\"
    [[sink]]
    name = \"out\"
    type = \"null\"
    [admin]
    listen = \"127.0.0.1:0\"
";

fn main() {
    start();
    memory();
}

/// From the start of the process to the moment at which it says that it runs.
fn start() {
    let folder = Folder::new(SETTINGS);
    let mut keys = String::new();
    for number in 0..COMPONENTS {
        let mut component = component_bytes("redact");
        // A custom section that holds a name: makes every component another one.
        component.extend([0, 2, 1, b'a' + number]);
        folder.put(&format!("plugins/redact{number}.wasm"), &component);
        writeln!(
            keys,
            "[[key]]\nkey = \"k{number}\"\nsubject = \"s.{number}\"\nfilter = \"redact{number}\"\n[[route]]\nkey = \"k{number}\"\nsinks = [\"out\"]"
        )
        .unwrap();
    }
    let folder = folder.write("keys/all.toml", &keys);
    let cache = tempfile::tempdir().unwrap();
    let begin = || {
        let mut command = trommel();
        command.env("TROMMEL_CACHE_DIR", cache.path()).arg("run").arg(folder.path()).stdin(Stdio::null());
        let start = Instant::now();
        let mut router = Router::spawn(command);
        router.wait_for("running");
        let took = start.elapsed();
        router.end();
        took.as_secs_f64() * 1e3
    };
    let cold = begin();
    let mut warm: Vec<f64> = (0..ROUNDS).map(|_| begin()).collect();
    warm.sort_by(f64::total_cmp);
    println!("start with {COMPONENTS} components of {} KB", component_bytes("redact").len() / 1000);
    println!("  {:<40} {cold:>8.0} ms", "cold");
    println!("  {:<40} {:>8.0} ms, {:.0} to {:.0}", "warm cache", warm[ROUNDS / 2], warm[0], warm[ROUNDS - 1]);
}

fn memory() {
    println!("resident memory");
    for subscriptions in [1, SUBSCRIPTIONS] {
        let mut keys = String::new();
        for key in 0..subscriptions {
            writeln!(
                keys,
                "[[key]]\nkey = \"k{key}\"\nsubject = \"s.{key}\"\nfilter = \"relay-json\"\n[[key.params]]\nname = \"field\"\n[[route]]\nkey = \"k{key}\"\nparams = {{ field = \"/wanted{key}\" }}\nsinks = [\"out\"]"
            )
            .unwrap();
        }
        let folder = Folder::new(SETTINGS).write("keys/all.toml", &keys).plugin("relay-json", "relay-json");
        let (stdin, mut events) = pipe().unwrap();
        let mut command = folder.command();
        command.stdin(stdin);
        let mut router = Router::spawn(command);
        let address = router.admin();
        for number in 0..EVENTS {
            let key = number % subscriptions;
            writeln!(events, r#"{{"subject":"s.{key}","type":"t","wanted{key}":1}}"#).unwrap();
        }
        let passed = format!("trommel_sink_outputs_written_total{{name=\"out\"}} {EVENTS}");
        let deadline = Instant::now() + PATIENCE;
        while !get(address, "/metrics").1.lines().any(|line| line == passed) {
            assert!(Instant::now() < deadline, "not every event came out");
            sleep(Duration::from_millis(50));
        }
        let status = fs::read_to_string(format!("/proc/{}/status", router.pid().as_raw_nonzero())).unwrap();
        let kib = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
        };
        let (now, most) = (kib("VmRSS:") / 1024.0, kib("VmHWM:") / 1024.0);
        println!(
            "  {:<40} {now:>8.0} MiB, at most {most:.0}",
            format!("{subscriptions} subscriptions, {EVENTS} events")
        );
        router.kill();
    }
}
