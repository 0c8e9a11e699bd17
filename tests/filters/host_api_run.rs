//! A router calls the API from its lanes, `check` as a start would, and neither starts with an
//! identity that can't be used.

use crate::router;
use crate::stand_in;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use insta::assert_snapshot;
use router::{Folder, trommel};
use stand_in::{StandIn, ok};

fn settings(base_url: &str) -> String {
    format!(
        r#"
[api]
base_url = "{base_url}"
token_file = "token"
headers = {{ X-Tenant = "h-5ecret" }}
allow_private = true

[[filter]]
name = "caller"
grants = ["api"]

[[source]]
name = "in"
type = "lines"
event_type = "/type"
path = "events.ndjson"

[[sink]]
name = "out"
type = "stdout"
"#
    )
}

const KEYS: &str = r#"
[[key]]
key = "users"
event_type = "user"
filter = "caller"
api = "GET /users/*"
params = [
    { name = "method", default = "GET" },
    { name = "path", default = "/users/me" },
    { name = "where" },
    { name = "answer" },
]

[[route]]
key = "users"
sinks = ["out"]

[[route]]
key = "users"
params = { path = "/mails" }
sinks = ["out"]
"#;

fn folder(base_url: &str) -> Folder {
    Folder::new(&settings(base_url))
        .write("keys/users.toml", KEYS)
        .write("token", "t-5ecret\n")
        .write("events.ndjson", "{\"type\":\"user\"}\n")
        .plugin("caller", "caller")
}

#[test]
fn lanes_call_and_nothing_secret_is_logged() {
    let api = StandIn::new(|_, _| ok("there"));
    let folder = folder(&format!("http://{}", api.address));
    let mut command = folder.command();
    let ended = command.args(["--log", "trace"]).output().unwrap();
    let (stdout, log) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{log}");
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_snapshot!(lines.join("\n"), @r#"
    "denied: `GET /mails` is not in the `api` of key `users`"
    "ok: there"
    "#);
    let [seen] = &api.seen()[..] else { panic!("one call is allowed") };
    assert_eq!(seen.line, "GET /users/me");
    assert_eq!(seen.header("authorization"), Some("Bearer t-5ecret"));
    assert!(!log.contains("5ecret"), "{log}");
}

#[test]
fn a_router_logs_in_and_nothing_secret_is_logged() {
    let api = StandIn::new(|_, seen| match &*seen.line {
        "GET /users/me" => ok("there"),
        _ => ok(r#"{"code":0,"msg":"ok","tenant_access_token":"t-t0ken","expire":7200}"#),
    });
    let base_url = format!("http://{}", api.address);
    let login = "[api.login]\ntype = \"lark\"\nid = \"cli_a\"\nsecret_file = \"token\"\n";
    let settings = settings(&base_url).replace("token_file = \"token\"", "");
    let folder = folder(&base_url);
    folder.put("trommel.toml", settings.replace("\n[[filter]]", &format!("\n{login}\n[[filter]]")).as_bytes());
    let ended = folder.command().args(["--log", "trace"]).output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && ended.stdout.starts_with(b"\"ok: there\"\n"), "{log}");
    let [login, call] = &api.seen()[..] else { panic!("a login and a call") };
    assert_eq!(login.body, r#"{"app_id":"cli_a","app_secret":"t-5ecret"}"#);
    assert_eq!((&*call.line, call.header("authorization")), ("GET /users/me", Some("Bearer t-t0ken")));
    assert!(log.contains("logged in to the API") && !log.contains("5ecret") && !log.contains("t0ken"), "{log}");
}

/// As a start would: params are normalised with the API.
#[test]
fn check_normalises_params() {
    let api = StandIn::new(|_, _| ok("me@example.com"));
    let folder = folder(&format!("http://{}", api.address));
    folder.put(
        "keys/users.toml",
        KEYS.replacen("sinks", "params = { where = \"normalize-params\" }\nsinks", 1).as_bytes(),
    );
    let ended = trommel().arg("check").arg(folder.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(api.seen()[0].header("authorization"), Some("Bearer t-5ecret"));
}

#[test]
fn an_identity_that_can_not_be_used_refuses_the_start() {
    let folder = folder("http://127.0.0.1:1");
    folder.put("token", b" \n");
    fs::set_permissions(folder.file("token"), Permissions::from_mode(0o600)).unwrap();
    let ended = folder.run();
    assert_eq!(ended.status.code(), Some(2));
    let dir = folder.path().display().to_string();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&dir, "DIR");
    assert_snapshot!(said(ended.stderr), @"trommel.toml:2:1: the API can't be called: could not use the token in `DIR/token`: it is empty");
    let ended = trommel().arg("check").arg(folder.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert_snapshot!(said(ended.stderr), @r"
    trommel.toml:2:1: the API can't be called: could not use the token in `DIR/token`: it is empty
    DIR: 1 error
    ");
}

/// L29: neither the name nor the type of what a filter adds is looked at.
#[test]
fn normalised_params_are_not_checked_again() {
    let api = StandIn::new(|_, _| ok("me@example.com"));
    let run = |keys: &str| {
        let folder = folder(&format!("http://{}", api.address));
        folder.put("keys/users.toml", keys.as_bytes());
        let ended = folder.run();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && ended.stdout.starts_with(b"\"ok: me@example.com\"\n"), "{log}");
    };
    let (first, _) = KEYS.rsplit_once("[[route]]").unwrap();
    let keys = first.replacen("sinks", "params = { where = \"normalize-params\" }\nsinks", 1);
    run(&keys.replace("    { name = \"answer\" },\n", ""));
    run(&keys.replace("\"answer\" }", "\"answer\", type = \"int\" }"));
}

/// L06, L98: at run time. Each call stays for a moment, so that one too many would be seen.
#[test]
fn workers_bound_what_is_processed_at_once() {
    for (workers, expected) in [(0, 1), (2, 2)] {
        let inside = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        let calls = Arc::clone(&inside);
        let api = StandIn::new(move |_, _| {
            let (count, changed) = &*calls;
            let mut held = count.lock().unwrap();
            held.0 += 1;
            held.1 = held.1.max(held.0);
            changed.notify_all();
            let too_few = |(_, most): &mut (i32, i32)| *most < expected;
            held = changed.wait_timeout_while(held, Duration::from_secs(4), too_few).unwrap().0;
            let not_too_many = |(_, most): &mut (i32, i32)| *most <= expected;
            held = changed.wait_timeout_while(held, Duration::from_millis(50), not_too_many).unwrap().0;
            held.0 -= 1;
            ok("there")
        });
        let folder = folder(&format!("http://{}", api.address));
        let (one, _) = KEYS.rsplit_once("[[route]]").unwrap();
        let more = format!("order_by = \"/n\"\nworkers = {workers}\nparams");
        folder.put("keys/users.toml", one.replacen("params", &more, 1).as_bytes());
        let events: String = (0..12).map(|n| format!("{{\"type\":\"user\",\"n\":{n}}}\n")).collect();
        folder.put("events.ndjson", events.as_bytes());
        let ended = folder.run();
        assert_eq!(ended.stdout, "\"ok: there\"\n".repeat(12).into_bytes(), "{ended:?}");
        assert_eq!(inside.0.lock().unwrap().1, expected, "workers = {workers}");
    }
}
