//! `trommel dlq retry`: dead letters go through the keys as they are now, and are gone only when
//! that is done with them.

use crate::flow;
use crate::nats;
use crate::printed::{json_lines, refusal};
use crate::router;

use std::process::Output;

use async_nats::jetstream::Context;
use flow::publish;
use insta::assert_snapshot;
use nats::NatsServer;
use router::{Folder, Router};
use serde_json::{Value, json};

/// A key whose only route has this mode of the filter `misbehave`.
fn keys(mode: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "all"
        subject = "in.*"
        filter = "misbehave"
        params = [{{ name = "mode" }}, {{ name = "n", type = "int", default = 2 }}]
        retry = {{ patience = "0s" }}

        [[route]]
        name = "only"
        key = "all"
        sinks = ["out"]
        params = {{ mode = "{mode}" }}
        "#
    )
    .replace("default = 2", "default = \"2\"")
}

const FILTER: &str = "\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n";

/// Lines into a file. Dead letters are a file, too.
fn lines(events: &str, mode: &str) -> Folder {
    let settings = r#"
        [[source]]
        name = "events"
        type = "lines"
        path = "events.ndjson"
        id = "/id"
        subject = "/to"

        [[sink]]
        name = "out"
        type = "file"
        path = "out.ndjson"
    "#;
    let folder = Folder::new(&format!("{settings}{FILTER}")).write("events.ndjson", events);
    folder.write("keys/all.toml", &keys(mode)).plugin("misbehave", "misbehave")
}

/// From stream `IN` into stream `OUT`.
fn streams(server: &NatsServer, mode: &str) -> Folder {
    let settings = flow::settings(&server.url(), "id = \"header:Nats-Msg-Id\"", "");
    let folder = Folder::new(&format!("{settings}{FILTER}"));
    folder.write("keys/all.toml", &keys(mode)).plugin("misbehave", "misbehave")
}

/// Runs the router until so many letters are there.
async fn die(folder: &Folder, context: &Context, letters: usize) {
    let router = folder.start();
    publish(context, 0..letters, 1).await;
    flow::dead_letters_until(context, letters).await;
    assert!(router.stop().status.success());
}

fn dlq(folder: &Folder, command: &str, words: &[&str]) -> Output {
    folder.trommel(&["dlq", command]).args(words).output().unwrap()
}

fn list(folder: &Folder) -> Vec<Value> {
    let output = dlq(folder, "list", &["--json", "--limit", "0"]);
    assert!(output.status.success(), "{output:?}");
    json_lines(&output.stdout)
}

/// Retries, and says which exit code that has, what is reported, and how it is summed up.
fn retry(folder: &Folder, words: &[&str]) -> (i32, Vec<Value>, String) {
    let output = dlq(folder, "retry", &[&["--json"], words].concat());
    let log = String::from_utf8(output.stderr).unwrap();
    let summary = log.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap_or_else(|| panic!("{log}")), json_lines(&output.stdout), summary)
}

/// What became of each.
fn results(reports: &[Value]) -> Vec<&str> {
    reports.iter().map(|report| report["result"].as_str().unwrap()).collect()
}

/// The other component in the place of the one that failed.
#[test]
fn after_a_filter_was_mended_its_letters_go_through() {
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n{\"id\":\"b\",\"to\":\"in.1\"}\n", "trap-process");
    assert!(folder.run().status.success());
    assert_eq!(list(&folder).len(), 2);
    let folder = folder.plugin("misbehave", "stamp-v1");
    let output = dlq(&folder, "retry", &["--all", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let reports = String::from_utf8(output.stdout).unwrap();
    let first = reports.lines().find(|line| line.contains("\"a\"")).unwrap();
    assert_snapshot!(first, @r#"{"letter":0,"event":"a","result":"emitted","outputs":{"out":1},"dead":[]}"#);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.ends_with("2 dead letters retried: 2 emitted; 2 dropped\n"), "{log}");
    assert_eq!(folder.read("out.ndjson"), "{\"id\":\"a\",\"stamp\":\"v1\"}\n{\"id\":\"b\",\"stamp\":\"v1\"}\n");
    assert!(list(&folder).is_empty());
    assert_eq!(retry(&folder, &["--all"]), (0, vec![], "no such dead letters".to_owned()));
}

/// A letter that the server would take for too large leaves the payload where it is.
#[tokio::test]
async fn a_payload_too_large_for_its_letter_is_read_from_its_stream() {
    let server = NatsServer::with_config("max_payload: 65536").await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "malformed");
    let router = folder.start();
    let payload = vec![0xff; 60_000];
    context.publish("in.1", payload.clone().into()).await.unwrap().await.unwrap();
    let deadline = std::time::Instant::now() + router::PATIENCE;
    while list(&folder).is_empty() {
        assert!(std::time::Instant::now() < deadline, "no letter");
    }
    assert!(router.stop().status.success());

    let [letter] = &list(&folder)[..] else { panic!("one letter") };
    assert_eq!((&letter["payload_bytes"], &letter["payload_base64"]), (&json!(60_000), &Value::Null));
    let shown = dlq(&folder, "show", &[&letter["letter"].to_string()]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("60000 bytes, too large for a letter"), "{shown:?}");

    let folder = folder.write("keys/all.toml", &keys("ok"));
    let (code, reports, summary) = retry(&folder, &["--all"]);
    assert_eq!((code, results(&reports)), (0, vec!["emitted"]), "{summary}");
    assert_eq!(context.get_stream("OUT").await.unwrap().get_raw_message(1).await.unwrap().payload, payload);
    assert!(list(&folder).is_empty());
}

#[test]
fn what_dies_again_keeps_its_letter_and_gets_no_other() {
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n{\"id\":\"b\",\"to\":\"in.1\"}\n", "trap-process");
    assert!(folder.run().status.success());
    let before = folder.read("dead-letters.ndjson");
    let folder = folder.write("keys/all.toml", &keys("malformed"));
    let (code, reports, summary) = retry(&folder, &["--reason", "trap"]);
    assert_eq!((code, &*summary), (1, "2 dead letters retried: 2 dead again; 0 dropped"));
    let first = reports.iter().find(|report| report["event"] == "a").unwrap();
    assert_snapshot!(first["dead"], @r#"[{"detail":"never to be processed","key":"all","reason":"malformed","route":"only"}]"#);
    assert_eq!(folder.read("dead-letters.ndjson"), before);

    let text = dlq(&folder.write("keys/all.toml", &keys("drop")), "retry", &["0"]);
    assert!(text.status.success(), "{text:?}");
    assert_eq!(String::from_utf8(text.stdout).unwrap(), "         0  a  filtered\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_stream_are_retried_beside_the_router() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "malformed");
    die(&folder, &context, 20).await;
    let folder = folder.write("keys/all.toml", &keys("ok"));
    let router = folder.start();
    let third = list(&folder)[2]["letter"].to_string();
    let (code, reports, summary) = retry(&folder, &[&third]);
    assert_eq!((code, &*summary), (0, "1 dead letter retried: 1 emitted; 1 dropped"));
    assert_eq!(
        reports,
        [json!({ "letter": 3, "event": "e2", "result": "emitted", "outputs": { "out": 1 }, "dead": [] })]
    );
    let (code, reports, _) = retry(&folder, &["--key", "all"]);
    assert_eq!((code, results(&reports)), (0, vec!["emitted"; 19]));
    flow::assert_each_once(&flow::outputs(&context).await, 20);
    assert!(list(&folder).is_empty());
    assert!(router.stop().status.success());
}

#[test]
fn a_dry_run_changes_nothing() {
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n", "malformed");
    assert!(folder.run().status.success());
    let before = folder.read("dead-letters.ndjson");
    let folder = folder.write("keys/all.toml", &keys("emit"));
    let (code, reports, summary) = retry(&folder, &["--all", "--dry-run"]);
    assert_eq!((code, &reports[0]["outputs"]), (0, &json!({ "out": 2 })));
    assert_eq!(summary, "1 dead letter retried: 1 emitted; nothing was written or dropped");
    assert_eq!((folder.read("dead-letters.ndjson"), folder.read("out.ndjson")), (before, String::new()));
}

/// Outputs have the ids that they had: what the first try has brought to the stream is a repeat
/// there, what it has not is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_emitted_before_is_not_doubled() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "ok");
    let refusing = "\n[[sink]]\nname = \"more\"\ntype = \"nats\"\nsubject = \"out.more.{header:Region}\"\n";
    let settings = folder.read("trommel.toml");
    let route = keys("ok").replace("[\"out\"]", "[\"out\", \"more\"]");
    let folder = folder.write("trommel.toml", &format!("{settings}{refusing}")).write("keys/all.toml", &route);
    die(&folder, &context, 3).await;
    assert_eq!(flow::outputs(&context).await.len(), 3);
    let (code, reports, _) = retry(&folder, &["--all"]);
    assert_eq!((code, results(&reports)), (1, vec!["dead"; 3]));
    assert_eq!(
        (&reports[0]["dead"][0]["reason"], &reports[0]["dead"][0]["sink"]),
        (&json!("bad_subject"), &json!("more"))
    );

    let mended = refusing.replace("{header:Region}", "all");
    let folder = folder.write("trommel.toml", &format!("{settings}{mended}"));
    let (code, reports, _) = retry(&folder, &["--all"]);
    assert_eq!((code, &reports[0]["outputs"]), (0, &json!({ "more": 1, "out": 1 })));
    let mut outputs = flow::outputs(&context).await;
    outputs.sort_by(|(one, a), (other, b)| (one, a["n"].as_u64()).cmp(&(other, b["n"].as_u64())));
    let subjects: Vec<_> = outputs.iter().map(|(subject, _)| &**subject).collect();
    assert_eq!(subjects, ["out.in.0", "out.in.0", "out.in.0", "out.more.all", "out.more.all", "out.more.all"]);
}

/// The other routes and keys have had the event.
#[test]
fn a_letter_goes_where_it_died() {
    let route = |name: &str, sink: &str, mode: &str| {
        format!("[[route]]\nname = \"{name}\"\nkey = \"all\"\nsinks = [\"{sink}\"]\nparams = {{ mode = \"{mode}\" }}\n")
    };
    let (key, _) = keys("ok").split_once("[[route]]").map(|(key, route)| (key.to_owned(), route.to_owned())).unwrap();
    let other = "[[key]]\nkey = \"other\"\nsubject = \"in.*\"\n[[route]]\nkey = \"other\"\nsinks = [\"rest\"]\n";
    let registry =
        |mode: &str, name: &str| format!("{key}\n{}{}{other}", route("one", "rest", "ok"), route(name, "out", mode));
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n", "ok").write("keys/all.toml", &registry("malformed", "two"));
    let settings = folder.read("trommel.toml");
    let folder = folder.write(
        "trommel.toml",
        &format!("{settings}\n[[sink]]\nname = \"rest\"\ntype = \"file\"\npath = \"rest.ndjson\"\n"),
    );
    assert!(folder.run().status.success());
    assert_eq!(folder.read("rest.ndjson").lines().count(), 2);
    let letter = folder.read("dead-letters.ndjson");

    let folder = folder.write("keys/all.toml", &registry("ok", "two"));
    assert_eq!(retry(&folder, &["--all"]).1[0]["outputs"], json!({ "out": 1 }));
    assert_eq!(folder.read("rest.ndjson").lines().count(), 2);

    // A route that is not there any more may go by another name.
    let folder = folder.write("dead-letters.ndjson", &letter).write("keys/all.toml", &registry("ok", "renamed"));
    assert_eq!(retry(&folder, &["--all"]).1[0]["outputs"], json!({ "out": 1, "rest": 1 }));

    // A key that is not there any more is nobody's word that the event is done with.
    let folder = folder.write("dead-letters.ndjson", &letter).write("keys/all.toml", other);
    let (code, reports, _) = retry(&folder, &["--all"]);
    assert_snapshot!(reports[0]["dead"], @r#"[{"detail":"there is no key `all` with a route any more","reason":"no_key"}]"#);
    assert_eq!((code, list(&folder).len()), (1, 1));
}

/// X4: what no envelope could open is opened again, by its source as it is now.
#[test]
fn what_died_at_its_source_is_opened_again() {
    let long = "x".repeat((8 << 20) + 1);
    let folder = lines(&format!("not json\n{{\"id\":\"b\",\"to\":\"in.*\"}}\n{long}\n"), "ok");
    assert!(folder.run().status.success());
    let reasons: Vec<_> = list(&folder).iter().map(|letter| letter["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons, ["not_json", "bad_subject", "too_large"]);
    let settings = folder.read("trommel.toml");
    let folder = folder.write("trommel.toml", &settings.replace("name = \"events\"", "name = \"others\""));
    let (code, reports, _) = retry(&folder, &["--reason", "not_json"]);
    assert_eq!((code, &reports[0]["dead"][0]["reason"]), (1, &json!("no_source")));

    // Without pointers, a line may be anything; its subject is the source's name.
    let mended = settings.replace("id = \"/id\"", "").replace("subject = \"/to\"", "");
    let taking = keys("ok").replace("\"in.*\"", "\"events\"");
    let folder = folder.write("trommel.toml", &mended).write("keys/all.toml", &taking);
    let (code, reports, _) = retry(&folder, &["--all"]);
    let mut outcomes: Vec<_> = reports.iter().map(|report| (report["letter"].as_u64(), &report["result"])).collect();
    outcomes.sort_by_key(|(letter, _)| *letter);
    let outcomes: Vec<_> = outcomes.into_iter().map(|(_, result)| result).collect();
    assert_eq!((code, outcomes), (1, vec![&json!("emitted"), &json!("dead"), &json!("dead")]));
    assert_eq!(folder.read("out.ndjson"), "\"not json\"\n");
    assert!(reports.iter().any(|report| report["event"].as_str().unwrap().ends_with("events.ndjson:1")), "{reports:?}");
}

/// Killed in the middle: every letter is either still there or its output has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_killed_loses_nothing() {
    const LETTERS: usize = 2000;
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "malformed");
    die(&folder, &context, LETTERS).await;
    let folder = folder.write("keys/all.toml", &keys("ok"));
    let spawn = || {
        let mut command = folder.trommel(&["dlq", "retry"]);
        command.arg("--all");
        Router::spawn(command)
    };
    // Nothing arrives, so nothing is dropped.
    context.delete_stream("OUT").await.unwrap();
    let mut killed = spawn();
    killed.wait_for("refused for now");
    killed.kill();
    assert_eq!(list(&folder).len(), LETTERS);
    assert!(folder.start().stop().status.success());
    for _ in 0..3 {
        let mut killed = spawn();
        killed.wait_for_output("emitted");
        killed.kill();
        let arrived = flow::counts(&flow::outputs(&context).await);
        let left = list(&folder).into_iter().map(|letter| letter["payload"]["n"].as_u64().unwrap());
        let mut known: Vec<_> = left.chain(arrived.into_keys()).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known, (0..LETTERS as u64).collect::<Vec<_>>());
    }
    let left = list(&folder).len();
    assert!(0 < left && left < LETTERS, "{left} letters left: it was not killed in the middle");
    let (code, reports, _) = retry(&folder, &["--all"]);
    assert_eq!((code, reports.len(), list(&folder).len()), (0, left, 0));
    flow::assert_each_once(&flow::outputs(&context).await, LETTERS);
}

/// Files have one writer at a time.
#[test]
fn files_that_the_router_writes_are_left_to_it() {
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n", "malformed");
    assert!(folder.run().status.success());
    let settings = folder.read("trommel.toml");
    let folder = folder.write("trommel.toml", &settings.replace("path = \"events.ndjson\"", ""));
    let (mut router, input) = folder.spawn_with_stdin();
    router.wait_for("running");
    assert_snapshot!(refusal(folder.trommel(&["dlq", "retry"]).arg("--all"), folder.path()), @r"
    2: error: the router runs, and what sinks write to files has one writer at a time: `out`
      `trommel stop DIR` first, and start it again afterwards; or only look, with `--dry-run`
    ");
    assert_eq!(retry(&folder, &["--all", "--dry-run"]).0, 1);
    drop(input);
    assert!(router.end().status.success());
    assert_eq!(retry(&folder, &["--all"]).0, 1);
}

#[test]
fn outputs_on_stdout_are_apart_from_the_report() {
    let folder = lines("{\"id\":\"a\",\"to\":\"in.1\"}\n", "malformed");
    assert!(folder.run().status.success());
    let settings = folder.read("trommel.toml").replace("\"file\"", "\"stdout\"").replace("path = \"out.ndjson\"", "");
    let folder = folder.write("trommel.toml", &settings).write("keys/all.toml", &keys("ok"));
    let output = dlq(&folder, "retry", &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"{\"id\":\"a\",\"to\":\"in.1\"}\n");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("\n         0  a  emitted: 1 to `out`\n"), "{log}");
}

/// What is not a letter stays where it is, and is not passed over in silence.
#[test]
fn what_is_no_letter_is_not_retried() {
    let folder = lines("", "ok").write("dead-letters.ndjson", "hello\n");
    let (code, reports, summary) = retry(&folder, &["--all"]);
    assert_eq!((code, &*summary), (1, "1 dead letter retried: 1 dead again; 0 dropped"));
    assert_eq!(reports[0]["dead"][0]["reason"], "no_letter");
    assert_eq!(folder.read("dead-letters.ndjson"), "hello\n");
}

/// Letters are not dropped, so nothing is retried twice unseen: the run ends and says why.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_drop_is_told_so() {
    let server = NatsServer::with_reader().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "malformed");
    die(&folder, &context, 2).await;
    let settings = NatsServer::as_reader(&folder.read("trommel.toml"));
    let folder = folder.write("trommel.toml", &settings).write("keys/all.toml", &keys("ok"));
    let (code, _, said) = retry(&folder, &["--all"]);
    assert_eq!((code, list(&folder).len()), (3, 2));
    assert!(said.contains("no permission to publish to `$JS.API.STREAM.MSG.DELETE.TROMMEL_DEAD`"), "{said}");
}

/// Letters that somebody has published, by plain NATS, to where the router's are, and those that
/// were altered.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_router_wrote_is_retried() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "malformed");
    die(&folder, &context, 2).await;
    let folder = folder.write("keys/all.toml", &keys("ok"));
    let stream = context.get_stream("TROMMEL_DEAD").await.unwrap();
    let own = String::from_utf8(stream.get_raw_message(1).await.unwrap().payload.to_vec()).unwrap();
    let altered = own.replace("{\"n\":0}", "{\"n\":7}");
    let (forged, _) = own.split_once(",\"proof\"").unwrap();
    let forged = format!("{}}}", forged.replace("{\"n\":0}", "{\"n\":8}"));
    assert!(altered != own && forged.contains("\"n\":8"), "{own}");
    for letter in [altered, forged] {
        context.publish("trommel.dead.malformed", letter.into()).await.unwrap().await.unwrap();
    }
    // The client ends over this one, and with it nothing else.
    nats::publish_raw(&server, "trommel.dead.x", b"NATS/1.0\r\nNote: a\rb\r\n\r\n", "{}").await;
    let odd = list(&folder).pop().unwrap();
    assert_eq!((&odd["letter"], odd["no_letter"].is_string()), (&json!(5), true));
    assert!(dlq(&folder, "drop", &["5"]).status.success());
    let proven: Vec<_> = list(&folder).iter().map(|letter| letter["proven"].as_bool().unwrap()).collect();
    assert_eq!(proven, [true, true, false, false]);
    let table = String::from_utf8(dlq(&folder, "list", &[]).stdout).unwrap();
    assert!(table.ends_with("4 dead letters: 4 malformed; 2 unproven\n") && table.contains("  unproven: "), "{table}");
    for (id, expected) in [
        ("1", "proof        this router wrote it\n"),
        ("3", "proof        unproven: its proof was made with another secret"),
        ("4", "proof        unproven: it has no proof that this router wrote it"),
    ] {
        let shown = String::from_utf8(dlq(&folder, "show", &[id]).stdout).unwrap();
        assert!(shown.contains(expected), "{shown}");
    }

    let (code, reports, summary) = retry(&folder, &["--all"]);
    assert_eq!((code, &*summary), (1, "4 dead letters retried: 2 emitted, 2 dead again; 2 dropped"));
    let unproven = reports.iter().filter(|report| report["dead"][0]["reason"] == "unproven");
    assert_eq!(unproven.map(|report| report["letter"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 4]);
    flow::assert_each_once(&flow::outputs(&context).await, 2);
    assert_eq!(list(&folder).len(), 2);

    // Whoever has looked at them may say so.
    let (code, reports, _) = retry(&folder, &["3", "--accept-unproven"]);
    assert_eq!((code, results(&reports)), (0, vec!["emitted"]));
    assert_eq!(list(&folder).len(), 1);
}

/// A folder elsewhere proves letters by what it is given, and by nothing else.
#[test]
fn replicas_with_one_secret_believe_each_other() {
    const EVENTS: &str = "{\"id\":\"a\",\"to\":\"in.1\"}\n";
    let with = |mode: &str, secret: &str| {
        let folder = lines(EVENTS, mode).write("secret", secret);
        let settings = folder.read("trommel.toml");
        let settings = format!("{settings}\n[dead_letter]\nfile = \"dead-letters.ndjson\"\nsecret_file = \"secret\"\n");
        folder.write("trommel.toml", &settings)
    };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let writer = with("malformed", secret);
    assert!(writer.run().status.success());
    let letter = writer.read("dead-letters.ndjson");
    let line = letter.replace("in.1", "in.2");
    for (folder, letter, expected) in [
        (with("ok", secret), &letter, 0),
        (with("ok", secret), &line, 1),
        (with("ok", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), &letter, 1),
        (lines(EVENTS, "ok"), &letter, 1),
    ] {
        let folder = folder.write("dead-letters.ndjson", letter);
        let (code, reports, _) = retry(&folder, &["--all"]);
        assert_eq!(code, expected, "{reports:?}");
        let is_emitted = reports[0]["result"] == "emitted";
        assert_eq!((is_emitted, reports[0]["dead"][0]["reason"] == "unproven"), (code == 0, code == 1), "{reports:?}");
        assert_eq!(folder.read("dead-letters.ndjson").trim().is_empty(), is_emitted);
    }
}
