//! What `trommel plugin` says to an author: what is printed where, and how it ends.

use crate::crafted;
use crate::printed::printed;
use crate::router;

use std::{fs, io::Write, path::Path, process::Command};

use insta::assert_snapshot;
use router::{Folder, Router, TO_STDOUT, trommel};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A plugin's folder with a component and one file of cases.
fn plugin(component: &str, cases: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    fs::write(folder.path().join(format!("{component}.wasm")), guest(component)).unwrap();
    fs::write(folder.path().join("tests/cases.ndjson"), cases).unwrap();
    folder
}

pub(crate) fn guest(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = ["plugins", "tests/guests"].map(|folder| root.join(folder).join(format!("{name}.wasm")));
    built.iter().find_map(|path| fs::read(path).ok()).unwrap()
}

/// What is printed, without what differs from run to run, and the exit code.
pub(crate) fn said(command: &mut Command, folder: &Path) -> String {
    let text = printed(command.env("TROMMEL_CACHE_DIR", folder.join("cache")), folder);
    let times = regex::Regex::new(r"\d+(\.\d+)? (µs|ms)|in \d+ ms").unwrap();
    times.replace_all(&text, "TIME").into_owned()
}

fn test(plugin: &TempDir, options: &[&str]) -> String {
    said(trommel().args(["plugin", "test"]).arg(plugin.path()).args(options), plugin.path())
}

const CASES: &str = r#"
{"name":"large orders pass","event":{"payload":{"id":1,"amount":700}},"params":{"where":"/amount >= 500","keep":"/id"},"expect":{"replaced":{"id":1}}}
{"name":"the kind alone will do","event":{"payload":{"id":1,"amount":700}},"params":{"keep":"/id"},"expect":"replaced"}
{"name":"small ones do not","event":{"payload":{"amount":7}},"params":{"where":"/amount >= 500"},"expect":"dropped"}
{"name":"no JSON","event":{"payload_text":"plain"},"params":{"keep":"/id"},"expect":"malformed"}
{"name":"no such param","params":{"were":""},"expect":"refused"}
"#;

#[test]
fn cases_that_hold_are_passed() {
    assert_snapshot!(test(&plugin("select", CASES), &[]), @r"
    ok    large orders pass (TIME)
    ok    the kind alone will do (TIME)
    ok    small ones do not (TIME)
    ok    no JSON (TIME)
    ok    no such param (TIME)
    5 passed, 0 failed
    --- stderr
    --- exit code 0
    ");
}

#[test]
fn what_does_not_hold_is_shown_beside_what_came_out() {
    let cases = r#"
{"name":"kept","event":{"payload":{"a":{"b":1},"c":2}},"params":{"keep":"/a"},"expect":{"replaced":{"a":{"b":2}}}}
{"event":{"payload":{"a":1}},"params":{"keep":"/a"}}
"#;
    assert_snapshot!(test(&plugin("select", cases), &[]), @r#"
    FAIL  kept (DIR/tests/cases.ndjson:2)
            {
              "replaced": {
                "a": {
          -       "b": 2
          +       "b": 1
                }
              }
            }
    FAIL  line 3 (DIR/tests/cases.ndjson:3)
          nothing is expected, and it came out
          {
            "replaced": {
              "a": 1
            }
          }
    0 passed, 2 failed
    --- stderr
    --- exit code 1
    "#);
}

#[test]
fn outcomes_are_written_where_they_differ() {
    let cases = r#"
{"name":"as before","event":{"payload":{"a":1,"b":2}},"params":{"keep":"/a"},"expect":"replaced"}
{"name":"new","event":{"payload":{"a":1.0,"b":2}},"params":{"keep":"/a"}}
{"name":"wrong","event":{"payload":{"a":1}},"params":{"where":"/a == 2"},"expect":"kept"}
"#;
    let plugin = plugin("select", cases);
    assert_snapshot!(test(&plugin, &["--update"]), @r#"
    ok    as before (TIME)
    wrote new (DIR/tests/cases.ndjson:3)
          {
            "replaced": {
              "a": 1.0
            }
          }
    wrote wrong (DIR/tests/cases.ndjson:4)
          - "kept"
          + "dropped"
    3 passed, 0 failed, outcomes written
    --- stderr
    --- exit code 0
    "#);
    assert_snapshot!(fs::read_to_string(plugin.path().join("tests/cases.ndjson")).unwrap(), @r#"
    {"name":"as before","event":{"payload":{"a":1,"b":2}},"params":{"keep":"/a"},"expect":"replaced"}
    {"name":"new","event":{"payload":{"a":1.0,"b":2}},"params":{"keep":"/a"},"expect":{"replaced":{"a":1.0}}}
    {"name":"wrong","event":{"payload":{"a":1}},"params":{"where":"/a == 2"},"expect":"dropped"}
    "#);
    assert!(test(&plugin, &[]).contains("3 passed, 0 failed\n"));
}

#[test]
fn malformed_cases_are_refused_with_their_place() {
    let refused = |case: &str| test(&plugin("select", &format!("{{\"expect\":\"kept\"}}\n{case}\n")), &[]);
    assert_snapshot!(refused(r#"{"event":{"payload":1,"subjct":"a"}}"#), @r#"
    --- stderr
    error: DIR/tests/cases.ndjson:2:30: unknown field `subjct`, expected one of `id`, `event_type`, `subject`, `source_time`, `observed_at`, `attempt`, `headers`, `payload`, `payload_text`, `payload_base64`
      a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README
    --- exit code 2
    "#);
    assert_snapshot!(refused(r#"{"event":{"payload":1},"expect":"keept"}"#), @r#"
    --- stderr
    error: DIR/tests/cases.ndjson:2:1: `expect` has no kind `keept`: did you mean `kept`?
      a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README
    --- exit code 2
    "#);
    assert_snapshot!(refused(r#"{"event":{"payload":1,"payload_text":"1"}}"#), @r#"
    --- stderr
    error: DIR/tests/cases.ndjson:2:1: give one of `payload`, `payload_text` and `payload_base64`
      a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README
    --- exit code 2
    "#);
    assert_snapshot!(refused(r#"{"event":{"subject":"a..b"}}"#), @r#"
    --- stderr
    error: DIR/tests/cases.ndjson:2:1: `subject` is `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
      a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README
    --- exit code 2
    "#);
    assert_snapshot!(refused(r#"{"event":"#), @r#"
    --- stderr
    error: DIR/tests/cases.ndjson:2:9: EOF while parsing a value
      a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README
    --- exit code 2
    "#);
    assert_snapshot!(test(&plugin("select", "\n"), &[]), @r#"
    --- stderr
    error: `DIR/tests/cases.ndjson` holds no cases
      one a line, such as {"event":{"payload":{"n":1}},"expect":"kept"}
    --- exit code 2
    "#);
}

#[test]
fn cases_answer_for_the_api() {
    let cases = r#"
{"name":"answered","params":{"method":"GET","path":"/users/1?full=1"},"api":[{"call":"GET /users/1?full=1","body":{"name":"Ada"}}],"expect":{"replaced_text":"ok: {\"name\":\"Ada\"}"}}
{"name":"not there","params":{"method":"GET","path":"/users/2"},"api":[{"call":"GET /users/2","status":404,"body":"none"}],"expect":"replaced_text"}
{"name":"not foreseen","params":{"method":"GET","path":"/users/3?full=1"},"api":[{"call":"GET /users/3"}],"expect":"replaced_text"}
"#;
    assert_snapshot!(test(&plugin("caller", cases), &[]), @r#"
    ok    answered (TIME)
    ok    not there (TIME)
    FAIL  not foreseen (DIR/tests/cases.ndjson:4)
          the filter called `GET /users/3?full=1`, which `api` of the case does not answer
    2 passed, 1 failed
    --- stderr
    --- exit code 1
    "#);
}

/// As the router has it in the dead letter.
#[test]
fn a_break_is_shown_with_its_reason_and_the_last_lines() {
    let cases = r#"
{"name":"breaks","params":{"mode":"trap-process"},"expect":"kept"}
{"name":"logs","params":{"mode":"log"},"expect":"dropped"}
{"name":"logs and is right","params":{"mode":"log"},"expect":"kept"}
"#;
    let plugin = plugin("misbehave", cases);
    let said = test(&plugin, &[]);
    let frames = regex::Regex::new(", in .*").unwrap();
    assert_snapshot!(frames.replace_all(&said, ", in FRAMES"), @r#"
    FAIL  breaks (DIR/tests/cases.ndjson:2)
          - "kept"
          + {
          +   "broke": "trap"
          + }
          `process` of filter `misbehave` broke (trap): wasm trap: wasm `unreachable` instruction executed, in FRAMES
          its last lines:
          about to trap
    FAIL  logs (DIR/tests/cases.ndjson:3)
          - "dropped"
          + "kept"
          log:
            INFO  attempt 1
    ok    logs and is right (TIME)
    1 passed, 2 failed
    --- stderr
    --- exit code 1
    "#);
    assert!(
        test(&plugin, &["--verbose"]).contains("ok    logs and is right (TIME)\n      log:\n        INFO  attempt 1\n")
    );
}

/// A scaffold is a router's folder: what a route of its key would get is what a case gets.
#[test]
fn the_key_file_counts_for_cases() {
    let cases = r#"
{"name":"the default","event":{"payload":{"a":1,"b":2}},"expect":{"replaced":{"a":1}}}
{"name":"no such param","params":{"kep":"/a"},"expect":{"refused":"key `parts` has no param `kep`"}}
{"name":"not that kind","params":{"some":"x"},"expect":"refused"}
"#;
    let plugin = plugin("select", cases);
    fs::write(plugin.path().join("trommel.toml"), format!("[folders]\nplugins = \".\"\n{TO_STDOUT}")).unwrap();
    fs::create_dir(plugin.path().join("keys")).unwrap();
    let key = r#"
        [[key]]
        key = "parts"
        subject = "parts"
        filter = "select"
        params = [{ name = "keep", type = "string", default = "/a" }, { name = "some", type = "int" }]

        [[route]]
        key = "parts"
        sinks = ["out"]
    "#;
    fs::write(plugin.path().join("keys/parts.toml"), key).unwrap();
    let said = test(&plugin, &[]);
    assert!(said.contains("3 passed, 0 failed"), "{said}");
}

#[test]
fn ci_gets_a_report() {
    let plugin =
        plugin("select", "{\"name\":\"a < b\",\"expect\":\"dropped\"}\n{\"name\":\"b\",\"expect\":\"kept\"}\n");
    let report = plugin.path().join("report.xml");
    test(&plugin, &["--junit", report.to_str().unwrap()]);
    let report = fs::read_to_string(report).unwrap().replace(&plugin.path().display().to_string(), "DIR");
    let times = regex::Regex::new(r#"time="[0-9.]+""#).unwrap();
    assert_snapshot!(times.replace_all(&report, "time=\"T\""), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuite name="select" tests="2" failures="1" errors="0" skipped="0" time="T">
      <testcase name="a &lt; b" classname="select" file="DIR/tests/cases.ndjson:1" time="T"><failure message="not as expected">- &quot;dropped&quot;
    + &quot;kept&quot;</failure></testcase>
      <testcase name="b" classname="select" file="DIR/tests/cases.ndjson:2" time="T"/>
    </testsuite>
    "#);
}

#[test]
fn cases_run_again_whenever_they_change() {
    let plugin = plugin("select", "{\"expect\":\"dropped\"}\n");
    let mut command = trommel();
    command.args(["plugin", "test", "--watch"]).arg(plugin.path());
    let mut watching = Router::spawn(command);
    let put = |cases: &str| fs::write(plugin.path().join("tests/cases.ndjson"), cases).unwrap();
    watching.wait_for_output("0 passed, 1 failed");
    watching.wait_for("waiting for a change");
    put("{\"params\":{\"where\":\"/a == 1\"},\"event\":{\"payload\":{\"a\":1}},\"expect\":\"kept\"}\n");
    watching.wait_for_output("1 passed, 0 failed");
    watching.wait_for("waiting for a change");
    put("{\"expected\":\"kept\"}\n");
    watching.wait_for("unknown field `expected`");
    watching.wait_for("waiting for a change");
    fs::remove_file(plugin.path().join("select.wasm")).unwrap();
    watching.wait_for("there is no component");
    watching.wait_for("waiting for a change");
    put("{\"expect\":\"malformed\"}\n{\"expect\":\"dropped\"}\n");
    fs::write(plugin.path().join("stamp-v1.wasm"), guest("stamp-v1")).unwrap();
    watching.wait_for_output("0 passed, 2 failed");
    // SIGINT is ignored where a shell without job control has started all of this in the background.
    watching.signal(Signal::TERM);
    assert!(!watching.end().status.success());
}

#[test]
fn a_plugin_that_is_not_built_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    assert_snapshot!(test(&folder, &[]), @r"
    --- stderr
    error: there is no component in `DIR`
      build it first: `DIR/build`
    --- exit code 2
    ");
}

/// Of a filter of version 0.1; later ones name what they read for each route.
#[test]
fn every_field_has_its_price() {
    let plugin = plugin("select", CASES);
    let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/0.1.0/select.wasm");
    fs::copy(frozen, plugin.path().join("select.wasm")).unwrap();
    let output = trommel().args(["plugin", "bench", "--json"]).arg(plugin.path()).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["events"], 3, "{said}");
    let process = &said["hooks"][0];
    assert_eq!((&process["hook"], &process["reads"]), (&json!("process"), &json!(["payload"])));
    let widened: Vec<_> = process["ns_widened"].as_object().unwrap().keys().collect();
    assert_eq!(widened, ["headers", "id", "source-time", "subject"]);
    assert!(process["ns"].as_f64().unwrap() > 0.0 && said["memory"].as_u64().unwrap() > 0, "{said}");
}

/// Only hooks that there are are called, and the API answers as the cases say.
#[test]
fn a_bench_runs_what_there_is() {
    let bench = |plugin: &TempDir| {
        let output = trommel().args(["plugin", "bench", "--json"]).arg(plugin.path()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let unasked = plugin("select", "{}\n");
    let component = crafted::filter(crafted::Trick { is_unasked: true, ..Default::default() });
    fs::write(unasked.path().join("select.wasm"), component).unwrap();
    let said: Value = serde_json::from_str(&bench(&unasked)).unwrap();
    assert_eq!((&said["events"], &said["hooks"][0]["hook"]), (&json!(1), &json!("process")), "{said}");

    // Without an answer it would want to be asked again.
    let cases = r#"{"params":{"method":"GET","path":"/a","patient":""},"api":[{"call":"GET /a","body":1}]}"#;
    let said: Value = serde_json::from_str(&bench(&plugin("caller", cases))).unwrap();
    assert_eq!((&said["events"], &said["hooks"][1]["hook"]), (&json!(1), &json!("process")), "{said}");

    let said = bench(&plugin("select", r#"{"params":{"were":""}}"#));
    assert!(
        said.contains("no case gets through, the first of them is `line 1`: the filter refused the params: "),
        "{said}"
    );
}

const KEYS: &str = r#"
    [[key]]
    key = "orders.large"
    subject = "orders.*.created"
    filter = "select"

    [[route]]
    key = "orders.large"
    sinks = ["out"]
"#;

#[test]
fn a_running_router_says_what_it_has_loaded() {
    let folder = Folder::new(TO_STDOUT).write("keys/keys.toml", KEYS).plugin("select", "select");
    let list = |options: &[&str]| folder.trommel(&["plugin", "ls"]).args(options).output().unwrap();
    let none = list(&[]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8(none.stderr).unwrap().contains("no router runs from"));

    let (mut router, mut input) = folder.spawn_with_stdin();
    writeln!(input, r#"{{"subject":"orders.eu.created","amount":700,"currency":"EUR"}}"#).unwrap();
    router.wait_for_output("700");
    let said: Value = serde_json::from_slice(&list(&["--json"]).stdout).unwrap();
    let plugin = &said["plugins"][0];
    assert_eq!((&plugin["name"], &plugin["keys"]), (&json!("select"), &json!(["orders.large"])));
    assert_eq!((&plugin["processes"], &plugin["breaks"]), (&json!(1), &json!(0)));
    assert!(plugin["process_ns"].as_u64().unwrap() > 0, "{plugin}");
    let text = String::from_utf8(list(&[]).stdout).unwrap();
    assert!(text.contains("in service"), "{text}");
    router.stop();
}
