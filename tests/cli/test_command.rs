//! `trommel test`: what cases say of a router, and what is said of them.

use crate::plugin_kit::said;
use crate::router;

use insta::assert_snapshot;
use router::Folder;

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

pub(crate) const KEYS: &str = r#"
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

pub(crate) fn folder(cases: &str) -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    folder.write("tests/cases.toml", cases)
}

pub(crate) fn test(folder: &Folder, options: &[&str]) -> String {
    said(folder.trommel(&["test"]).args(options), folder.path())
}

pub(crate) const LARGE: &str = r#"
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
    assert_snapshot!(refused(&format!("{event}\napi = [{{ call = \"GET /x\", status = 1000 }}]")), @r"
    tests/cases.toml:3:36: `status` can't be `1000`: it must be at most 599
    --- exit code 2
    ");
    assert_snapshot!(refused(&format!("{event}\napi = [{{ call = \"crm: GET /x\" }}]")), @r"
    tests/cases.toml:3:17: there is no API `crm`
      there is no API at all
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

/// In the words of the router's dead letters, and of what it would wait for.
#[test]
fn each_failure_of_a_filter_is_an_end() {
    let modes = ["trap-process", "malformed", "retry", "failed", "broken", "unmatched", "drop"];
    let key = |mode: &str| {
        format!(
            "[[key]]\nkey = \"{mode}\"\nsubject = \"{mode}\"\nfilter = \"misbehave\"\nparams = [{{ name = \"mode\" }}]\n\
             [[route]]\nkey = \"{mode}\"\nsinks = [\"archive\"]\nparams = {{ mode = \"{mode}\" }}\n"
        )
    };
    let case = |mode: &str| format!("[[case]]\nname = \"{mode}\"\nevent = {{ subject = \"{mode}\" }}\n");
    let settings = SETTINGS.replace("\"orders.>\", \"payments.>\"", "\"*\"");
    let folder = Folder::new(&format!("{settings}\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n"));
    let folder = folder.plugin("misbehave", "misbehave").write("keys/keys.toml", &modes.map(key).concat());
    let folder = folder.write("tests/cases.toml", &modes.map(case).concat());
    let updated = test(&folder, &["--update"]);
    assert!(updated.contains("7 passed, 0 failed, outcomes written"), "{updated}");
    let written: toml::Table = folder.read("tests/cases.toml").parse().unwrap();
    let ends = written["case"].as_array().unwrap().iter().map(|case| {
        let end = &case["expect"][0];
        let kind = ["dead_letter", "held", "dropped"].into_iter().find(|kind| end.get(kind).is_some()).unwrap();
        (case["name"].as_str().unwrap(), kind, end[kind].as_str().unwrap())
    });
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [
            ("trap-process", "dead_letter", "trap"),
            ("malformed", "dead_letter", "malformed"),
            ("retry", "dead_letter", "failed"),
            ("failed", "dead_letter", "failed"),
            ("broken", "held", "quarantined"),
            ("unmatched", "dropped", "matches"),
            ("drop", "dropped", "process"),
        ]
    );
    assert!(test(&folder, &[]).contains("7 passed, 0 failed\n"));
}
