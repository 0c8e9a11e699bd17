//! `trommel test`: what cases say of a router, and what is said of them.

use crate::flow;
use crate::nats::NatsServer;
use crate::plugin_kit::said;
use crate::router;

use std::{fs, path::Path};

use insta::assert_snapshot;
use router::{Folder, Router, trommel};
use serde_json::Value;

const SETTINGS: &str = r#"
[nats]
url = "nats://127.0.0.1:1"

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
subjects = ["orders.>", "payments.>"]
durable = "test"

[[sink]]
name = "alerts"
type = "nats"
subject = "alerts.{event_type}"

[[sink]]
name = "archive"
type = "file"
path = "out/archive.ndjson"
"#;

const KEYS: &str = r#"
[[key]]
key = "orders.large"
subject = "orders.*.created"
filter = "select"
where = "/amount"
params = [{ name = "where" }, { name = "keep" }]

[[route]]
name = "large"
key = "orders.large"
params = { where = "/amount >= 500 || /vip", keep = "/amount" }
sinks = ["alerts"]

[[key]]
key = "orders.all"
subject = "orders.>"
decode = "json"

[[route]]
name = "all"
key = "orders.all"
sinks = ["archive"]

[[key]]
key = "payments"
subject = "payments.>"

[[route]]
name = "payments"
key = "payments"
sinks = ["archive"]
"#;

fn folder(cases: &str) -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    folder.write("tests/cases.toml", cases)
}

fn test(folder: &Folder, options: &[&str]) -> String {
    said(folder.trommel(&["test"]).args(options), folder.path())
}

const LARGE: &str = r#"
# Sales wants to know.
[[case]]
name = "a large order"
event = { subject = "orders.eu.created", headers = { tenant = "acme" }, payload = { amount = 700, note = "x" } }

[[case.expect]]
sink = "alerts" # in no other stream
subject = "alerts.orders.eu.created"
headers = { tenant = "acme", trace = [] }
payload = '{"amount": 700}'

[[case.expect]]
sink = "archive"
file = "out/archive.ndjson"
"#;

#[test]
fn cases_tell_where_a_message_goes_and_what_no_case_reaches() {
    assert_snapshot!(test(&folder(LARGE), &[]), @r#"
    ok    a large order (TIME)
    1 passed, 0 failed
    reached: 2 of 3 keys, 2 of 3 routes, 0 of 3 conditions
      condition `/amount exists` of route `large` never fails
      condition `/amount >= "500"` of route `large` never fails
      condition `/vip exists` of route `large` is never asked
      key `payments` (keys/keys.toml:25:1) takes no event
    --- stderr
    --- exit code 0
    "#);
}

#[test]
fn what_differs_is_shown_end_by_end() {
    let cases = r#"
[[case]]
name = "other content, one end too many and one that is missing"
event = { subject = "orders.eu.created", payload = { amount = 700 } }
expect = [{ sink = "alerts", subject = "alerts.all", payload = { amount = 701 } }, { dead_letter = "malformed" }]

[[case]]
name = "dropped for another reason"
event = { subject = "orders.eu.created", payload = { amount = 5 } }
expect = [{ key = "orders.large", dropped = "process" }, { sink = "archive" }]

[[case]]
event = { subject = "orders.eu.created", payload_text = "it's no JSON" }

[[case]]
name = "nothing comes out, and need not say why"
event = { subject = "payments.eu", payload = {} }
expect = []
"#;
    assert_snapshot!(test(&folder(cases), &[]), @r#"
    FAIL  other content, one end too many and one that is missing (tests/cases.toml:2:1)
            sink = "alerts"
          - subject = "alerts.all"
          - payload = {"amount":701}
          + subject = "alerts.orders.eu.created"
          + payload = {"amount":700}
          
          - dead_letter = "malformed"
          
          + sink = "archive"
          + file = "out/archive.ndjson"
          + payload = {"amount":700}
    FAIL  dropped for another reason (tests/cases.toml:7:1)
            key = "orders.large"
          - dropped = "process"
          + dropped = "conditions"
    FAIL  line 12 (tests/cases.toml:12:1)
          nothing is expected, and it came out
          [[case.expect]]
          key = "orders.large"
          dead_letter = "not_json"
          
          [[case.expect]]
          key = "orders.all"
          dead_letter = "not_json"
    FAIL  nothing comes out, and need not say why (tests/cases.toml:15:1)
          + sink = "archive"
          + file = "out/archive.ndjson"
          + payload = {}
    0 passed, 4 failed
    reached: 3 of 3 keys, 3 of 3 routes, 1 of 3 conditions
      condition `/amount exists` of route `large` never fails
      condition `/vip exists` of route `large` never holds
    --- stderr
    --- exit code 1
    "#);
}

/// What is pasted passes, as does what is written; and comments stay.
#[test]
fn expectations_are_written_where_they_fail_and_nothing_else_changes() {
    let cases = format!(
        "{}{}",
        LARGE.replace("alerts.orders", "alerts.order").replace("700}'", "7}' # euros"),
        r#"
# A comment on the next one.
[[case]]
name = "new"
[case.event]
subject = "orders.eu.created"
payload = '{"amount":900,"a":"it''s"}' # a comment behind it

[[case]]
name = "dropped by all"
event = { subject = "payments.eu", payload = {} }
expect = [{ sink = "archive", payload = {} }]

[[case]]
name = "as it was"
event = { subject = "orders.eu.created", payload = { amount = 5 } }
expect = [{ sink = "archive" }]
"#
        .replace("it''s", "its")
    );
    let folder = folder(&cases);
    let said = test(&folder, &["--update"]);
    assert_snapshot!(said.split("reached").next().unwrap(), @r#"
    wrote a large order (tests/cases.toml:3:1)
            sink = "alerts"
          - subject = "alerts.order.eu.created"
          + subject = "alerts.orders.eu.created"
            headers = {"tenant":"acme","trace":[]}
          - payload = {"amount":7}
          + payload = {"amount":700}
    wrote new (tests/cases.toml:18:1)
          [[case.expect]]
          sink = "alerts"
          subject = "alerts.orders.eu.created"
          payload = '{"amount":900}'
          
          [[case.expect]]
          sink = "archive"
          file = "out/archive.ndjson"
          payload = '{"amount":900,"a":"its"}'
    ok    dropped by all (TIME)
    ok    as it was (TIME)
    4 passed, 0 failed, outcomes written
    "#);
    assert_snapshot!(folder.read("tests/cases.toml"), @r#"

    # Sales wants to know.
    [[case]]
    name = "a large order"
    event = { subject = "orders.eu.created", headers = { tenant = "acme" }, payload = { amount = 700, note = "x" } }

    [[case.expect]]
    sink = "alerts" # in no other stream
    subject = "alerts.orders.eu.created"
    headers = { tenant = "acme", trace = [] }
    payload = '{"amount":700}' # euros

    [[case.expect]]
    sink = "archive"
    file = "out/archive.ndjson"

    # A comment on the next one.
    [[case]]
    name = "new"
    [case.event]
    subject = "orders.eu.created"
    payload = '{"amount":900,"a":"its"}' # a comment behind it

    [[case.expect]]
    sink = "alerts"
    subject = "alerts.orders.eu.created"
    payload = '{"amount":900}'

    [[case.expect]]
    sink = "archive"
    file = "out/archive.ndjson"
    payload = '{"amount":900,"a":"its"}'

    [[case]]
    name = "dropped by all"
    event = { subject = "payments.eu", payload = {} }
    expect = [{ sink = "archive", payload = {} }]

    [[case]]
    name = "as it was"
    event = { subject = "orders.eu.created", payload = { amount = 5 } }
    expect = [{ sink = "archive" }]
    "#);
    assert!(test(&folder, &[]).contains("4 passed, 0 failed\n"));
    let before = folder.read("tests/cases.toml");
    test(&folder, &["--update"]);
    assert_eq!(folder.read("tests/cases.toml"), before);
}

#[test]
fn invalid_cases_are_refused_with_their_place_and_the_nearest_word() {
    let event = r#"event = { subject = "orders.x", payload = {} }"#;
    let refused = |case: &str| {
        let said = test(&folder(&format!("[[case]]\n{case}\n")), &[]);
        said.split_once("problems:\n").unwrap_or_else(|| panic!("{said}")).1.to_owned()
    };
    assert_snapshot!(refused(r#"event = { subjct = "a", payload = 'x', sequence = 0 }"#), @r"
    tests/cases.toml:2:11: unknown field `subjct`
      did you mean `subject`?
    tests/cases.toml:2:35: `payload` is not JSON: expected value at line 1 column 1
      a text that is no JSON is `payload_text`
    tests/cases.toml:2:51: `sequence` can't be `0`: it must be at least 1
    --- exit code 2
    ");
    assert_snapshot!(refused(&format!("{event}\nexpekt = []")), @r"
    tests/cases.toml:3:1: unknown field `expekt`
      did you mean `expect`?
    --- exit code 2
    ");
    assert_snapshot!(refused(&format!("{event}\nexpect = [{{ sink = \"alert\" }}, {{ dead_letter = \"malformd\" }}, {{ key = \"order.all\", dropped = \"were\" }}]")), @r"
    tests/cases.toml:3:92: `dropped` can't be `were`
      did you mean `where`?
    --- exit code 2
    ");
    assert_snapshot!(refused(&format!("{event}\nexpect = [{{ sink = \"alert\" }}, {{ dead_letter = \"malformd\" }}, {{ key = \"order.all\", dropped = \"where\" }}]")), @r"
    tests/cases.toml:3:11: there is no sink `alert`
      did you mean `alerts`?
    tests/cases.toml:3:31: there is no reason `malformd`
      did you mean `malformed`?
    tests/cases.toml:3:61: there is no key `order.all`
      did you mean `orders.all`?
    --- exit code 2
    ");
    assert_snapshot!(refused(&format!("{event}\nexpect = [{{ payload = {{}} }}]\n[[case.api]]\ncall = \"get /x\"")), @r"
    tests/cases.toml:3:11: an `expect` has one of `sink`, `dead_letter`, `dropped` and `held`
    tests/cases.toml:5:8: `call` can't be `get /x`: its method is not one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`
    --- exit code 2
    ");
    assert_snapshot!(refused("event = { subject = \"invoices.x\" }"), @r"
    tests/cases.toml:1:1: source `orders` does not read `invoices.x`
      it reads `orders.>` and `payments.>`
    --- exit code 2
    ");
    assert_snapshot!(refused("event = { payload = {} }"), @r"
    tests/cases.toml:1:1: messages of source `orders` have a subject: say which with `subject`
    --- exit code 2
    ");
    assert_snapshot!(refused("name = \"nothing arrives\""), @r#"
    tests/cases.toml:1:1: the case has no `event`
      say what arrives: `event = { subject = "orders.created", payload = '{"amount":5}' }`
    --- exit code 2
    "#);
    assert_snapshot!(refused("tick = { key = \"orders.all\" }"), @r"
    tests/cases.toml:1:1: the filter of key `orders.all` has no `tick`
    --- exit code 2
    ");
}

/// Calls are granted by the key and answered by the case; none leaves the machine.
#[test]
fn cases_answer_for_the_api() {
    let settings = format!(
        "{}\n[api]\nbase_url = \"https://api.example.com\"\n[[filter]]\nname = \"caller\"\ngrants = [\"api\"]\n",
        router::TO_STDOUT
    );
    let key = r#"
        [[key]]
        key = "users"
        subject = ">"
        filter = "caller"
        api = ["GET /users/*"]
        params = [{ name = "method" }, { name = "path" }]

        [[route]]
        key = "users"
        params = { method = "GET", path = "/users/1" }
        sinks = ["out"]
    "#;
    let cases = r#"
[[case]]
name = "answered"
event = {}
api = [{ call = "GET /users/1", body = '{"name":"Ada"}' }]
expect = [{ sink = "out", payload_text = 'ok: {"name":"Ada"}' }]

[[case]]
name = "by a text"
event = {}
api = [{ call = "GET /users/1", body_text = "<html>" }]
expect = [{ sink = "out", payload_text = "ok: <html>" }]

[[case]]
name = "not foreseen"
event = {}
expect = [{ sink = "out" }]
"#;
    let folder = Folder::new(&settings).write("keys/users.toml", key).plugin("caller", "caller");
    let folder = folder.write("tests/users.toml", cases);
    assert_snapshot!(test(&folder, &[]), @r#"
    FAIL  answered (tests/users.toml:2:1)
          - sink = "out"
          - payload_text = "ok: {\"name\":\"Ada\"}"
          
          + dead_letter = "not_json"
    FAIL  by a text (tests/users.toml:8:1)
          - sink = "out"
          - payload_text = "ok: <html>"
          
          + dead_letter = "not_json"
    FAIL  not foreseen (tests/users.toml:14:1)
          - sink = "out"
          
          + dead_letter = "not_json"
    0 passed, 3 failed
    reached: 0 of 1 keys, 0 of 1 routes, 0 of 0 conditions
      key `users` (keys/users.toml:2:9) takes no event
    --- stderr
    --- exit code 1
    "#);
}

#[test]
fn too_little_coverage_fails() {
    let folder = folder(LARGE);
    assert!(test(&folder, &["--min-coverage", "44"]).ends_with("--- exit code 0"));
    let short = test(&folder, &["--min-coverage", "80"]);
    assert!(short.ends_with("the cases reach 44 % of the parts, less than 80 %\n--- exit code 1"), "{short}");
}

#[test]
fn reports_for_machines_have_every_case() {
    let cases = format!("{LARGE}\n[[case]]\nname = \"wrong\"\nevent = {{ subject = \"payments.eu\" }}\nexpect = []\n");
    let folder = folder(&cases);
    let report = folder.file("junit.xml");
    let output = folder.trommel(&["test"]).args(["--json", "--junit"]).arg(&report).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let rows: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let [large, wrong, last] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&large["case"], &large["ok"]), (&"a large order".into(), &true.into()));
    assert_eq!(large["ends"][0]["payload"], serde_json::json!({ "amount": 700 }));
    assert_eq!((&wrong["ok"], &wrong["ends"][0]["sink"]), (&false.into(), &"archive".into()));
    assert_eq!((&last["passed"], &last["failed"], &last["coverage"]["keys"]["of"]), (&1.into(), &1.into(), &3.into()));
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains(r#"tests="2" failures="1""#) && report.contains(r#"name="wrong""#), "{report}");
}

#[test]
fn cases_run_again_when_a_key_changes() {
    let folder = folder(LARGE);
    let mut command = folder.trommel(&["test"]);
    command.arg("--watch");
    let mut watching = Router::spawn(command);
    watching.wait_for_output("1 passed, 0 failed");
    watching.wait_for("waiting for a change");
    folder.put("keys/keys.toml", KEYS.replace("\"/amount\" }", "\"/note\" }").as_bytes());
    watching.wait_for_output("FAIL  a large order");
    folder.put("keys/keys.toml", b"[[kye]]");
    watching.wait_for("unknown field `kye`");
    folder.put("keys/keys.toml", KEYS.as_bytes());
    watching.wait_for_output("1 passed, 0 failed");
    watching.kill();
}

/// What a case of lines expects is what came out when it was recorded.
#[test]
fn recorded_cases_pass_until_a_key_changes() {
    let lines = "{\"amount\":1}\n\nno JSON\n{\"amount\":600,\"s\":\"it's\"}\n\u{feff}{\"amount\":7}\n";
    let folder = Folder::new(router::TO_STDOUT).plugin("select", "select").write("lines.ndjson", lines);
    let folder = folder.write(
        "keys/keys.toml",
        &KEYS.replace("orders.*.created", "in").replace("\"alerts\"", "\"out\"").replace("archive", "out"),
    );
    let (lines, file) = (folder.file("lines.ndjson"), folder.file("tests/lines.toml"));
    let recorded = folder.trommel(&["test"]).arg("--record").arg(&file).arg("--lines").arg(&lines).output().unwrap();
    assert!(recorded.status.success(), "{recorded:?}");
    assert!(test(&folder, &[]).contains("4 passed, 0 failed\n"), "{}", test(&folder, &[]));
    let again = folder.trommel(&["test"]).arg("--record").arg(&file).arg("--lines").arg(&lines).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    folder.put("keys/keys.toml", folder.read("keys/keys.toml").replace(">= 500", ">= 700").as_bytes());
    assert!(test(&folder, &[]).contains("passed, 1 failed\n"), "{}", test(&folder, &[]));
}

/// Ids, subjects, headers and times are the stream's, so that what is made of them is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_of_a_stream_becomes_cases_that_need_no_server() {
    let server = NatsServer::start().await;
    let key = KEYS.replace("orders.*.created", "in.*").replace("alerts", "out").replace("archive", "out");
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).plugin("select", "select");
    let folder =
        folder.write("keys/keys.toml", &key.replace("/amount >= 500", "/n >= 3").replace("\"/amount\"", "\"/n\""));
    assert!(folder.start().stop().status.success());
    let context = flow::connect(&server.url()).await;
    flow::publish(&context, 0..9, 3).await;
    let file = folder.file("tests/stream.toml");
    let record = folder.trommel(&["test"]).arg("--record").arg(&file).args(["--from-seq", "3", "--to", "6"]).output();
    assert!(record.as_ref().unwrap().status.success(), "{record:?}");
    drop(server);
    let recorded: toml::Table = folder.read("tests/stream.toml").parse().unwrap();
    let [two, three, ..] = &recorded["case"].as_array().unwrap()[..] else { panic!("{recorded}") };
    let text = |case: &toml::Value, path: &[&str]| {
        path.iter().fold(case, |value, name| &value[*name]).as_str().unwrap().to_owned()
    };
    assert_eq!(text(two, &["name"]), "IN:3");
    assert_eq!(two["expect"][0]["dropped"].as_str(), Some("conditions"));
    assert_eq!(text(three, &["event", "subject"]), "in.0");
    assert_eq!(three["event"]["sequence"].as_integer(), Some(4));
    assert!(three["event"]["headers"]["Nats-Msg-Id"].is_str() && three["event"]["time"].is_str(), "{three}");
    assert_eq!(three["expect"][0]["subject"].as_str(), Some("out.in.0"));
    let said = test(&folder, &[]);
    assert!(said.contains("4 passed, 0 failed\n"), "{said}");
}

#[test]
fn the_cases_of_the_examples_pass_and_reach_everything() {
    for example in ["quickstart", "components", "components/window"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let output = trommel().arg("test").arg(folder).args(["--min-coverage", "80"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
