//! What operators change while a router runs: the commands, the same over `[admin]`, and what is
//! written down of it.

use crate::flow;
use crate::nats;
use crate::patience::{blocking, until, until_ok};
use crate::router;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Output,
};

use flow::{outputs, outputs_until, publish, settings};
use nats::NatsServer;
use router::{Folder, component_bytes, get};
use serde_json::{Value, json};

/// Keys for two subjects.
fn keys(names: [&str; 2]) -> String {
    let key = |(number, name): (usize, &str)| {
        format!(
            "[[key]]\nkey = \"{name}\"\nsubject = \"in.{number}\"\n[[route]]\nkey = \"{name}\"\nsinks = [\"out\"]\n"
        )
    };
    names.into_iter().enumerate().map(key).collect()
}

fn on(subject: &str, outputs: &[(String, Value)]) -> usize {
    outputs.iter().filter(|(found, _)| found == subject).count()
}

/// A command on the folder that succeeds, with its output as JSON.
fn done(folder: &Folder, words: &[&str], more: &[&str]) -> Value {
    let output = folder.trommel(words).args(more).arg("--json").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command that is refused with exit code 2, with its error.
fn refused(folder: &Folder, words: &[&str], more: &[&str]) -> Value {
    let output = folder.trommel(words).args(more).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    serde_json::from_slice::<Value>(&output.stderr).unwrap()["error"].take()
}

/// A part as `trommel status` shows it.
fn part(folder: &Folder, kind: &str, name: &str) -> Option<Value> {
    let status = done(folder, &["status"], &[]);
    let parts = status["routers"][0]["health"].as_array().unwrap();
    parts.iter().find(|part| part["kind"] == kind && part["name"] == name).cloned()
}

/// What the audit log has, oldest first.
fn audit(folder: &Folder) -> Vec<Value> {
    let state = folder.file("state").read_dir().unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(state.join("audit.ndjson")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn a_reload_is_answered_when_it_is_in_force_or_with_every_problem() {
    let folder = Folder::new(router::TO_STDOUT).write("keys/a.toml", &keys(["one", "two"]));
    let (mut router, _stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    assert_eq!(done(&folder, &["reload"], &["--wait"])["generation"], Value::Null, "nothing has changed");
    folder.put("keys/a.toml", keys(["one", "three"]).as_bytes());
    let reloaded = done(&folder, &["reload"], &["--wait"]);
    let change = |name: &str, how: &str| json!({ "what": "key", "name": name, "how": how, "file": "keys/a.toml" });
    assert_eq!(reloaded["changes"], json!([change("three", "added"), change("two", "removed")]), "{reloaded}");
    let line = router.wait_for("reloaded");
    for named in ["added=\"key three\"", "removed=\"key two\"", "files=\"keys/a.toml\""] {
        assert!(line.contains(named), "{line}");
    }
    folder.put("keys/a.toml", keys(["one", "three"]).replace("sinks", "sink").as_bytes());
    folder.put("keys/b.toml", b"[[key]]\n");
    let output = folder.trommel(&["reload"]).arg("--wait").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for problem in ["keys/a.toml:4", "keys/a.toml:10", "keys/b.toml:1"] {
        assert!(text(&output).contains(problem), "{}", text(&output));
    }
    // A component that was refused is a problem until it is mended, though it is not tried again.
    fs::remove_file(folder.file("keys/b.toml")).unwrap();
    folder.put("plugins/select.wasm", &component_bytes("select"));
    let filtered = "[[key]]\nkey = \"one\"\nsubject = \">\"\nfilter = \"select\"\nparams = [{ name = \"where\", type = \"string\" }]\n";
    folder.put(
        "keys/a.toml",
        format!("{filtered}[[route]]\nkey = \"one\"\nparams = {{ where = \"/a\" }}\nsinks = [\"out\"]\n").as_bytes(),
    );
    let reloaded = done(&folder, &["reload"], &["--wait"]);
    assert!(reloaded["changes"].to_string().contains("\"select 1."), "{reloaded}");
    folder.put("plugins/select.wasm", b"\0asm no component");
    for _ in 0..2 {
        let output = folder.trommel(&["reload"]).arg("--wait").output().unwrap();
        assert!(output.status.code() == Some(2) && text(&output).contains("plugins/select.wasm"), "{output:?}");
    }
    assert_eq!(audit(&folder).last().unwrap()["result"], "refused");
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_key_waits_over_a_restart_and_the_others_go_on() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    // Of which the paused key must not fill more than its share.
    let settings = format!("{}\n[pipeline]\nin_flight = 40\n", settings(&server.url(), "", "message_id = false"));
    let folder = Folder::new(&settings).write("keys/all.toml", &keys(["waits", "goes"]));
    let router = folder.start();
    publish(&context, 0..2, 2).await;
    outputs_until(&context, "both go", |outputs| outputs.len() == 2).await;
    let paused = done(&folder, &["pause"], &["waits"]);
    assert_eq!((&paused["kind"], &paused["kept"]), (&"key".into(), &true.into()), "{paused}");
    assert_eq!(refused(&folder, &["pause"], &["waits"])["subtype"], "paused_already");
    assert_eq!(refused(&folder, &["pause"], &["wait"])["hint"], "did you mean `waits`?");
    publish(&context, 2..302, 2).await;
    outputs_until(&context, "the other key", |outputs| on("out.in.1", outputs) == 151).await;
    assert_eq!(on("out.in.0", &outputs(&context).await), 1);
    assert!(router.stop().status.success());

    let mut router = folder.start();
    let known = part(&folder, "key", "waits").unwrap();
    assert_eq!(
        (&known["level"], &known["paused"], &known["since"]),
        (&"degraded".into(), &true.into(), &paused["since"])
    );
    assert!(known["why"].as_str().unwrap().starts_with("paused by uid "), "{known}");
    publish(&context, 302..402, 2).await;
    outputs_until(&context, "the other key", |outputs| on("out.in.1", outputs) == 201).await;
    assert_eq!(on("out.in.0", &outputs(&context).await), 1);
    done(&folder, &["resume"], &["waits"]);
    let all = outputs_until(&context, "all of it", |outputs| on("out.in.0", outputs) == 201).await;
    let numbers: Vec<u64> = all.iter().filter(|(s, _)| s == "out.in.0").map(|(_, p)| flow::number(p)).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(part(&folder, "key", "waits"), None);
    assert_eq!(refused(&folder, &["resume"], &["waits"])["subtype"], "not_paused");
    router.wait_for("an operator's request");
    let noted: Vec<_> = audit(&folder).iter().map(|line| (line["action"].clone(), line["result"].clone())).collect();
    let expected =
        [("pause", "done"), ("pause", "refused"), ("pause", "refused"), ("resume", "done"), ("resume", "refused")];
    assert_eq!(noted, expected.map(|(action, result)| (action.into(), result.into())));
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_source_takes_nothing_and_a_paused_sink_gets_nothing() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&settings(&server.url(), "", "message_id = false"));
    let folder = folder.write("keys/all.toml", &keys(["one", "two"]));
    let router = folder.start();
    let received = || done(&folder, &["status"], &[])["routers"][0]["sources"][0]["received"].as_u64().unwrap();
    for (kind, name) in [("source", "in"), ("sink", "out")] {
        let before = (received(), outputs(&context).await.len());
        done(&folder, &["pause"], &[name]);
        publish(&context, before.1..before.1 + 100, 2).await;
        if kind == "sink" {
            until("the sink's outputs wait", async || received() == before.0 + 100).await;
        }
        let known = part(&folder, kind, name).unwrap();
        assert_eq!((&known["level"], &known["paused"]), (&"degraded".into(), &true.into()), "{known}");
        assert_eq!(outputs(&context).await.len(), before.1, "{kind}");
        if kind == "source" {
            // More than once, as a source that takes something needs a moment for it.
            assert!((0..20).all(|_| received() == before.0));
        }
        done(&folder, &["resume"], &[name]);
        outputs_until(&context, "all of it", |outputs| outputs.len() == before.1 + 100).await;
        until_ok("it is well", async || {
            let known = part(&folder, kind, name).unwrap();
            if known["level"] == "ok" && known.get("paused").is_none() { Ok(()) } else { Err(known) }
        })
        .await;
    }
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_filter_gets_its_events() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let grant = "[[filter]]\nname = \"mischief\"\ngrants = [\"state\"]\n";
    let folder = Folder::new(&format!("{}\n{grant}", settings(&server.url(), "", "message_id = false")));
    let key = "[[key]]\nkey = \"traps\"\nsubject = \"in.0\"\nfilter = \"mischief\"\nparams = [{ name = \"mode\", type = \"string\" }]\n";
    let route = "[[route]]\nkey = \"traps\"\nparams = { mode = \"trap-process\" }\nsinks = [\"out\"]\n";
    let folder = folder.write("keys/traps.toml", &format!("{key}{route}")).plugin("mischief", "misbehave");
    let mut router = folder.start();
    assert_eq!(refused(&folder, &["filter", "release"], &["mischief"])["subtype"], "not_quarantined");
    assert_eq!(refused(&folder, &["filter", "release"], &["mischef"])["hint"], "did you mean `mischief`?");
    publish(&context, 0..100, 1).await;
    router.wait_for("no earlier component");
    let released = done(&folder, &["filter", "release"], &["mischief"]);
    assert_eq!((&released["filter"], &released["generation"]), (&"mischief".into(), &2.into()), "{released}");
    // Its events go to it again, on which it breaks as before.
    router.wait_for("the filter broke");
    router.wait_for("no earlier component");
    assert!(router.stop().status.success());
}

#[test]
fn the_level_of_the_logs_is_changed_and_comes_back() {
    let folder = Folder::new(router::TO_STDOUT);
    let (mut router, _stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    let error = refused(&folder, &["log"], &["debgu"]);
    assert!(error["message"].as_str().unwrap().contains("there is no level `debgu`"), "{error}");
    let set = done(&folder, &["log"], &["off", "--for", "500ms"]);
    assert!(set["until"].is_string(), "{set}");
    done(&folder, &["reload"], &["--wait"]);
    router.wait_for("logging at the level of the start again");
    done(&folder, &["reload"], &[]);
    router.wait_for("an operator's request");
    let log = router.stop().log;
    let requests = log.iter().filter(|line| line.contains("\"action\":\"reload\"")).count();
    assert_eq!(requests, 1, "while the logs were off there was another one: {log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_told_until_the_router_has_ended() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&settings(&server.url(), "", "message_id = false"));
    let folder = folder.write("keys/all.toml", &keys(["one", "two"]));
    let mut router = folder.start();
    publish(&context, 0..500, 2).await;
    let drained = done(&folder, &["drain"], &[]);
    assert_eq!(drained, json!({ "drained": true, "given_back": 0 }));
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(refused(&folder, &["drain"], &[])["subtype"], "not_running");
    let router = folder.start();
    outputs_until(&context, "the rest", |outputs| outputs.len() == 500).await;
    assert!(router.stop().status.success());
}

/// Status and body of a `POST` to the admin listener.
fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}Content-Length: {length}");
    write!(stream, "{head}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default())
}

#[test]
fn the_admin_listener_does_the_same_for_those_with_its_token() {
    let settings = format!("{}[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n", router::TO_STDOUT);
    let folder =
        Folder::new(&settings).write("token", "s3cret-s3cret-s3cret\n").write("keys/a.toml", &keys(["one", "out"]));
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let admin = router.admin();
    router.wait_for("running");
    let token = Some("s3cret-s3cret-s3cret");
    for wrong in [None, Some("s3cret")] {
        assert_eq!(post(admin, "/control/pause", wrong, "{\"name\":\"one\"}").0, 401);
    }
    let (status, answer) = post(admin, "/control/pause", token, "{\"name\":\"out\"}");
    assert_eq!((status, &answer["error"]["subtype"]), (409, &"ambiguous_part".into()), "{answer}");
    let (status, answer) = post(admin, "/control/pause", token, "{\"name\":\"out\",\"kind\":\"sink\"}");
    assert_eq!((status, &answer["who"]), (200, &"token of `[admin]`".into()), "{answer}");
    writeln!(stdin, "{{}}").unwrap();
    assert_eq!(post(admin, "/control/resume", token, "{\"name\":\"out\"}").0, 200);
    assert_eq!(post(admin, "/control/resume", token, "{\"name\":\"no\"}").0, 404);
    assert_eq!(post(admin, "/control/log", token, "{\"level\":\"debug\",\"fro\":\"1m\"}").0, 400);
    assert_eq!(post(admin, "/control/reload", token, "").0, 200);
    folder.put("keys/a.toml", b"[[key]]\n");
    let (status, answer) = post(admin, "/control/reload", token, "{}");
    assert_eq!((status, &answer["problems"][0]["place"]), (422, &"keys/a.toml:1:1".into()), "{answer}");
    assert_eq!(post(admin, "/control/drain", token, "").0, 202);
    assert!(router.end().status.success());
    assert_eq!(audit(&folder)[0]["who"], "token of `[admin]`");
}

#[test]
fn without_a_token_the_admin_listener_only_reads() {
    let folder = Folder::new(&format!("{}[admin]\nlisten = \"127.0.0.1:0\"\n", router::TO_STDOUT));
    let (mut router, _stdin) = folder.spawn_with_stdin();
    let admin = router.admin();
    router.wait_for("running");
    let (status, answer) = post(admin, "/control/drain", None, "");
    assert_eq!(status, 403);
    assert!(answer["error"]["hint"].as_str().unwrap().contains("token_file"), "{answer}");
    assert_eq!(get(admin, "/ready").0, 200);
    assert!(router.stop().status.success());
}

#[test]
fn grants_and_limits_need_no_start() {
    let settings = |cpu: &str| {
        format!("{}[[filter]]\nname = \"select\"\nlimits = {{ process_cpu = \"{cpu}\" }}\n", router::TO_STDOUT)
    };
    let key = "[[key]]\nkey = \"k\"\nsubject = \">\"\nfilter = \"select\"\nparams = [{ name = \"where\", type = \"string\" }]\n";
    let route = "[[route]]\nkey = \"k\"\nparams = { where = \"/a\" }\nsinks = [\"out\"]\n";
    let folder = Folder::new(&settings("1s")).write("keys/k.toml", &format!("{key}{route}")).plugin("select", "select");
    let (mut router, _stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    folder.put("trommel.toml", settings("2s").as_bytes());
    let reloaded = done(&folder, &["reload"], &["--wait"]);
    let change = &reloaded["changes"][0];
    assert_eq!((&change["what"], &change["how"]), (&"component".into(), &"changed".into()), "{reloaded}");
    assert_eq!((reloaded.get("at_next_start"), &reloaded["generation"]), (None, &2.into()), "{reloaded}");
    assert!(router.stop().status.success());
}

#[test]
fn silence_and_changed_settings_are_told() {
    let settings = router::TO_STDOUT.replace("type = \"lines\"", "type = \"lines\"\nexpect_every = \"300ms\"");
    let folder = Folder::new(&settings).write("keys/a.toml", &keys(["one", "two"]));
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    router.wait_for("no event for");
    let silent = part(&folder, "source", "in").unwrap();
    assert!(silent["why"].as_str().unwrap().contains("no event for"), "{silent}");
    writeln!(stdin, "{{}}").unwrap();
    router.wait_for("events come again");
    folder.put("trommel.toml", format!("{settings}[[sink]]\nname = \"more\"\ntype = \"null\"\n").as_bytes());
    let reloaded = done(&folder, &["reload"], &["--wait"]);
    assert_eq!(reloaded["at_next_start"], json!(["new sink `more`"]));
    blocking::until_ok("it is seen", || {
        let known = part(&folder, "configuration", "").unwrap();
        if known["why"].as_str().is_some_and(|why| why.contains("new sink `more`")) { Ok(()) } else { Err(known) }
    });
    folder.put("trommel.toml", b"[[source]]\n");
    let output = folder.trommel(&["reload"]).arg("--wait").output().unwrap();
    assert!(output.status.code() == Some(2) && text(&output).contains("trommel.toml:1"), "{output:?}");
    router.wait_for("the next start would fail");
    assert!(router.stop().status.success());
}
