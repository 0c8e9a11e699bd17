//! `trommel streams` as a user meets it, on a real server.

use crate::nats;
use crate::router;

use std::time::Duration;

use async_nats::jetstream;
use futures_util::{FutureExt, StreamExt};
use insta::assert_snapshot;
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};
use trommel::{app, folder, stop::stop};

/// H01 and H02
const FIVE: [&str; 5] = ["NODES", "SESSIONS", "SCHEDULER", "HEALTH", "ALERTS"];

fn five(max_age: &str) -> String {
    let stream = |name: &str| {
        let subjects = format!("helix.{}.>", name.to_lowercase());
        format!(
            "[[stream]]\nname = \"HELIX_{name}\"\nsubjects = \"{subjects}\"\nmax_age = \"{max_age}\"\nreplicas = 1\n"
        )
    };
    FIVE.map(stream).concat()
}

/// A router that reads lines and keeps its dead letters in a file, with these streams.
fn folder(url: &str, streams: &str) -> Folder {
    Folder::new(&format!(
        r#"
        [nats]
        url = "{url}"
        connect_timeout = "2s"

        [dead_letter]
        file = "dead.ndjson"

        [[source]]
        name = "events"
        type = "lines"

        {streams}
        "#
    ))
}

/// `trommel streams COMMAND DIR ARGUMENTS...`: exit code, stdout, stderr, with the folder written
/// as `DIR`.
fn streams(folder: &Folder, command: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = folder.trommel(&["streams", command]).args(arguments).output().unwrap();
    let dir = folder.path().display().to_string();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap().replace(&dir, "DIR"));
    (output.status.code().unwrap(), stdout, stderr)
}

/// What a command that succeeds prints.
fn good(folder: &Folder, command: &str, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = streams(folder, command, arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Counts what the server does to streams.
struct Actions(async_nats::Client, async_nats::Subscriber);

impl Actions {
    async fn of(server: &NatsServer) -> Self {
        let client = async_nats::connect(server.url()).await.unwrap();
        let actions = client.subscribe("$JS.EVENT.ADVISORY.STREAM.*.*").await.unwrap();
        client.flush().await.unwrap();
        Self(client, actions)
    }

    /// Creations and updates since the last call.
    async fn count(&mut self) -> (usize, usize) {
        // What the server has said before it answers is here when the answer is.
        self.0.publish("$JS.EVENT.ADVISORY.STREAM.END.x", "".into()).await.unwrap();
        let mut counts = (0, 0);
        loop {
            let action = tokio::time::timeout(Duration::from_secs(10), self.1.next()).await.unwrap().unwrap();
            match action.subject.split('.').nth(4).unwrap() {
                "CREATED" => counts.0 += 1,
                "UPDATED" => counts.1 += 1,
                "END" => return counts,
                other => panic!("{other}"),
            }
        }
    }
}

/// H03 and H04
#[tokio::test(flavor = "multi_thread")]
async fn five_streams_are_made_once() {
    let server = NatsServer::start().await;
    let mut actions = Actions::of(&server).await;
    let folder = folder(&server.url(), &five("24h"));
    let first = good(&folder, "ensure", &[]);
    assert!(first.starts_with("HELIX_NODES: created\n  subjects: [\"helix.nodes.>\"]\n"), "{first}");
    assert_eq!(actions.count().await, (5, 0));
    assert_snapshot!(good(&folder, "ensure", &[]), @r"
    HELIX_NODES: as declared
    HELIX_SESSIONS: as declared
    HELIX_SCHEDULER: as declared
    HELIX_HEALTH: as declared
    HELIX_ALERTS: as declared
    ");
    assert_eq!(actions.count().await, (0, 0));
}

/// H04: those that are there are updated, the others created.
#[tokio::test(flavor = "multi_thread")]
async fn three_are_there_and_two_are_not() {
    let server = NatsServer::start().await;
    let mut actions = Actions::of(&server).await;
    let before = five("1h").split_inclusive("replicas = 1\n").take(3).collect::<String>();
    good(&folder(&server.url(), &before), "ensure", &[]);
    assert_eq!(actions.count().await, (3, 0));
    let all = json_of(&good(&folder(&server.url(), &five("24h")), "ensure", &["--json"]));
    let result = |stream: usize| &all["streams"][stream]["result"];
    let results: Vec<_> = (0..5).map(result).collect();
    assert_eq!(results, ["updated", "updated", "updated", "created", "created"]);
    let hour = 3600 * 1_000_000_000_u64;
    let difference = json!([{ "field": "max_age", "found": hour, "wanted": 24 * hour }]);
    assert_eq!(
        all["streams"][2],
        json!({ "stream": "HELIX_SCHEDULER", "result": "updated", "differences": difference })
    );
    assert_eq!(actions.count().await, (2, 3));
}

/// H04: cancelled beforehand, nothing is asked. A run that was told to stop makes no stream, and a
/// dropped future none.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_beforehand_nothing_is_made() {
    let server = NatsServer::start().await;
    let mut actions = Actions::of(&server).await;
    let folder = folder(&server.url(), &five("24h"));
    let config = folder::load(folder.path()).unwrap();
    let settings = config.nats.clone().unwrap();
    let connection = trommel::nats::connect(&settings, "test", trommel::nats::ConnectionLife::Single).await.unwrap();
    drop(connection.ensure_stream(&config.streams[0]));
    let (stopper, stop) = stop();
    stopper.drain();
    let controls = app::RouterControls { stopper, stop, ..app::RouterControls::default() };
    app::run(config, controls).now_or_never().unwrap().unwrap();
    assert_eq!(actions.count().await, (0, 0));
}

/// H06 and X7: the field is named, and what was done before stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_to_change_is_named() {
    let server = NatsServer::start().await;
    let declared = |storage: &str, age: &str| {
        format!(
            "[[stream]]\nname = \"A\"\nsubjects = \"a\"\nmax_age = \"{age}\"\n\
             [[stream]]\nname = \"B\"\nsubjects = \"b\"\nstorage = \"{storage}\"\n"
        )
    };
    good(&folder(&server.url(), &declared("file", "1h")), "ensure", &[]);
    let changed = folder(&server.url(), &declared("memory", "2h"));
    let (code, stdout, stderr) = streams(&changed, "ensure", &[]);
    assert_eq!(code, 2);
    assert_snapshot!(format!("{stdout}--- stderr\n{stderr}"), @r#"
    A: updated
      max_age: 3600s -> 7200s
    --- stderr
    error: stream `B` can't be changed (`storage` is "file", wanted "memory"): declare what it has, or recreate it, which deletes its messages: the server says: stream configuration update can not change storage type (error code 10052)
    "#);
    let (_, planned, _) = streams(&changed, "plan", &[]);
    assert!(planned.contains("\n  can't be changed: storage; declare what it has, or recreate it"), "{planned}");
    let (_, planned, _) = streams(&changed, "plan", &["--json"]);
    assert_eq!(json_of(&planned)["streams"][1]["fixed"], json!(["storage"]));
    let (code, _, stderr) = streams(&changed, "ensure", &["--json"]);
    let error = json_of(&stderr);
    assert_eq!((code, &error["error"]["subtype"]), (2, &json!("stream_refused")));
    assert_snapshot!(good(&changed, "info", &["A"]).lines().find(|line| line.contains("max_age")).unwrap(), @"  max_age               7200s");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_says_what_ensure_would_do_and_does_nothing() {
    let server = NatsServer::start().await;
    let mut actions = Actions::of(&server).await;
    let one = "[[stream]]\nname = \"ONE\"\nsubjects = \"one\"\nmax_bytes = \"1MiB\"\nduplicate_window = \"30s\"\n";
    let absent = folder(&server.url(), one);
    let (code, stdout, stderr) = streams(&absent, "plan", &[]);
    assert_eq!((code, stderr.as_str()), (2, ""));
    assert_snapshot!(stdout, @r#"
    ONE: to create
      subjects: ["one"]
      max_bytes: 1048576
      duplicate_window: 30s
    "#);
    assert_eq!(actions.count().await, (0, 0));
    good(&absent, "ensure", &[]);
    assert_eq!(good(&absent, "plan", &[]), "ONE: as declared\n");

    let other = one.replace("\"1MiB\"", "\"unlimited\"").replace("\"one\"", "[\"one\", \"two\"]").replace("30s", "90s");
    let other = folder(&server.url(), &other);
    let (code, stdout, _) = streams(&other, "plan", &[]);
    assert_eq!(code, 2);
    assert_snapshot!(stdout, @r#"
    ONE: to update
      subjects: ["one"] -> ["one","two"]
      max_bytes: 1048576 -> unlimited
      duplicate_window: 30s -> 90s
    "#);
    let (code, stdout, _) = streams(&other, "plan", &["--json"]);
    let planned = json_of(&stdout);
    assert_eq!((code, &planned["streams"][0]["result"]), (2, &json!("to_update")));
    assert_eq!(actions.count().await, (1, 0));
    good(&other, "ensure", &[]);
    assert_eq!(good(&other, "plan", &[]), "ONE: as declared\n");
}

const EVERYTHING: &str = r#"
    [[stream]]
    name = "ALL"
    subjects = ["all.>", "more.*"]
    description = "everything that can be said"
    retention = "interest"
    storage = "file"
    replicas = 1
    max_age = "24h"
    max_msgs = 1000
    max_bytes = "64MiB"
    max_msg_size = "1MiB"
    max_msgs_per_subject = 10
    max_consumers = 5
    discard = "new"
    duplicate_window = "1m"
    compression = "s2"
    allow_direct = true
    deny_delete = true
    deny_purge = true
    republish = { src = "all.>", dest = "seen.all.>", headers_only = true }
    placement = { tags = ["b", "a"] }

    [[stream]]
    name = "NONE"
    subjects = "none"
    max_age = "unlimited"
    max_msgs = "unlimited"
    max_bytes = "unlimited"
    max_msg_size = "unlimited"
    max_msgs_per_subject = "unlimited"
    max_consumers = "unlimited"
    compression = "none"
    allow_direct = false
    deny_delete = false
    republish = { dest = "seen.>", headers_only = false }

    [[stream]]
    name = "COPY"
    mirror = { name = "ALL", filter_subject = "all.x", start_time = 2026-01-02T03:04:05.120+02:00 }
    storage = "memory"

    [[stream]]
    name = "SUM"
    sources = [
        { name = "ALL", filter_subject = "all.y", start_seq = 3 },
        { name = "NONE", start_time = "2026-01-02T03:04:05Z" },
        { name = "ALL", filter_subject = "all.z" },
    ]
    retention = "limits"
    discard = "old"
"#;

/// Whatever the server fills in, or spells in its own way, is no difference.
#[tokio::test(flavor = "multi_thread")]
async fn every_option_comes_back_as_it_was_declared() {
    let server = NatsServer::start().await;
    let whole = folder(&server.url(), EVERYTHING);
    let created = json_of(&good(&whole, "ensure", &["--json"]));
    let fields = |stream: usize| created["streams"][stream]["differences"].as_array().unwrap().len();
    // All that is declared is sent, unless it is off anyway.
    assert_eq!([fields(0), fields(1), fields(2), fields(3)], [19, 8, 2, 3]);
    assert_eq!(good(&whole, "plan", &[]), "ALL: as declared\nNONE: as declared\nCOPY: as declared\nSUM: as declared\n");
    let info = json_of(&good(&whole, "info", &["--json"]));
    let config = |stream: usize| &info["streams"][stream]["config"];
    assert_eq!(config(0)["republish"], json!({ "src": "all.>", "dest": "seen.all.>", "headers_only": true }));
    assert_eq!(config(0)["max_msg_size"], 1 << 20);
    let limits = ["max_msgs", "max_bytes", "max_msg_size", "max_msgs_per_subject", "max_consumers"];
    assert_eq!(limits.map(|limit| &config(1)[limit]), [-1; 5]);
    assert_eq!(config(1)["max_age"], 0);
    assert_eq!(config(2)["mirror"]["name"], "ALL");
    assert_eq!(config(3)["sources"][0]["opt_start_seq"], 3);
    // The order of sources and tags means nothing.
    let turned = EVERYTHING.replace(r#"["b", "a"]"#, r#"["a", "b"]"#).replace("all.>\", \"more.*", "more.*\", \"all.>");
    good(&folder(&server.url(), &turned), "plan", &[]);

    let other = EVERYTHING.replace("seen.all.>", "heard.all.>").replace("all.z", "all.w");
    let other = folder(&server.url(), &other);
    let (code, stdout, _) = streams(&other, "plan", &[]);
    assert_eq!(code, 2);
    assert_snapshot!(stdout, @r#"
    ALL: to update
      republish.dest: "seen.all.>" -> "heard.all.>"
    NONE: as declared
    COPY: as declared
    SUM: to update
      sources: [{"filter_subject":"all.y","name":"ALL","opt_start_seq":3},{"name":"NONE","opt_start_time":"2026-01-02T03:04:05Z"},{"filter_subject":"all.z","name":"ALL"}] -> [{"filter_subject":"all.y","name":"ALL","opt_start_seq":3},{"name":"NONE","opt_start_time":"2026-01-02T03:04:05Z"},{"filter_subject":"all.w","name":"ALL"}]
    "#);
    good(&other, "ensure", &[]);
    good(&other, "plan", &[]);
}

/// H15: the broker is asked.
#[tokio::test(flavor = "multi_thread")]
async fn info_is_what_the_server_has() {
    let server = NatsServer::start().await;
    let folder = folder(&server.url(), "[[stream]]\nname = \"IN\"\nsubjects = \"in.>\"\nmax_age = \"24h\"\n");
    let (code, stdout, stderr) = streams(&folder, "info", &[]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_snapshot!(stderr, @r"
    error: the server has no stream `IN`
      `trommel streams ensure DIR` creates it
    ");
    good(&folder, "ensure", &[]);
    let before = json_of(&good(&folder, "info", &["--json"]));
    let row = &before["streams"][0];
    assert_eq!(
        (&row["stream"], &row["messages"], &row["first"], &row["last"]),
        (&json!("IN"), &json!(0), &Value::Null, &Value::Null)
    );

    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    for n in 0..3 {
        context.publish(format!("in.{n}"), "event".into()).await.unwrap().await.unwrap();
    }
    let stream = context.get_stream("IN").await.unwrap();
    stream.delete_message(1).await.unwrap();
    let durable = jetstream::consumer::pull::Config { durable_name: Some("d".to_owned()), ..Default::default() };
    stream.create_consumer(durable).await.unwrap();
    let after = json_of(&good(&folder, "info", &["--json"]));
    let row = &after["streams"][0];
    assert_eq!((&row["messages"], &row["consumers"]), (&json!(2), &json!(1)));
    assert_eq!((&row["first"]["sequence"], &row["last"]["sequence"]), (&json!(2), &json!(3)));
    assert_eq!(row["config"]["subjects"], json!(["in.>"]));
    assert_eq!(row["cluster"], Value::Null);

    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"20\d\d-\S+Z", "TIME");
    settings.bind(|| {
        assert_snapshot!(good(&folder, "info", &[]), @r#"
    IN
      created               TIME
      messages              2
      bytes                 78
      first                 2 at TIME
      last                  3 at TIME
      consumers             1
      allow_batched         true
      compression           "none"
      discard               "old"
      duplicate_window      120s
      max_age               86400s
      max_bytes             unlimited
      max_consumers         unlimited
      max_msg_size          unlimited
      max_msgs              unlimited
      max_msgs_per_subject  unlimited
      num_replicas          1
      retention             "limits"
      storage               "file"
      subjects              ["in.>"]
    "#)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn info_may_be_asked_for_streams_of_others() {
    let server = NatsServer::start().await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.create_stream(jetstream::stream::Config { name: "THEIRS".to_owned(), ..Default::default() }).await.unwrap();
    let folder = folder(&server.url(), "");
    assert!(good(&folder, "info", &["THEIRS"]).starts_with("THEIRS\n  created "));
    assert_eq!(good(&folder, "info", &[]), "DIR declares no streams\n");
    assert_eq!(good(&folder, "ensure", &[]), "DIR declares no streams\n");
    let (code, stdout, stderr) = streams(&folder, "info", &["THEIRS", "OURS", "--json"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_snapshot!(stderr, @r#"
    {"ok":false,"error":{"type":"precondition","subtype":"no_stream","param":"NAME","message":"the server has no stream `OURS`","hint":"it is not declared either"}}
    "#);
    let (code, _, stderr) = streams(&folder, "info", &["A.B"]);
    assert!(code == 2 && stderr.contains("the server wants"), "{stderr}");
}

/// What a run would make for its dead letters is among them, unless it is declared.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_dead_letters_is_one_of_them() {
    let server = NatsServer::start().await;
    let url = server.url();
    let settings = |more: &str| {
        Folder::new(&format!("[nats]\nurl = \"{url}\"\n[[source]]\nname = \"in\"\ntype = \"lines\"\n{more}"))
    };
    let plain = settings("");
    assert_eq!(good(&plain, "ensure", &[]), "TROMMEL_DEAD: created\n  subjects: [\"trommel.dead.>\"]\n");
    let declared = settings("[[stream]]\nname = \"TROMMEL_DEAD\"\nsubjects = \"trommel.>\"\nmax_age = \"unlimited\"\n");
    let (code, stdout, _) = streams(&declared, "plan", &[]);
    assert_eq!(code, 2);
    assert_snapshot!(stdout, @r#"
    TROMMEL_DEAD: to update
      subjects: ["trommel.dead.>"] -> ["trommel.>"]
    "#);
    good(&declared, "ensure", &[]);
    assert_eq!(good(&declared, "plan", &[]), "TROMMEL_DEAD: as declared\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_who_has_to_act() {
    let config = r#"
        accounts {
          ON { jetstream: enabled, users: [
            { user: all, password: x },
            { user: few, password: x, permissions: { publish: { deny: "$JS.API.STREAM.CREATE.>" } } },
          ] }
          OFF { users: [{ user: none, password: x }] }
        }
    "#;
    let server = NatsServer::with_config(config).await;
    let at = |user: &str| format!("nats://{user}:x@{}", server.address());
    let nowhere = "nats://127.0.0.1:1".to_owned();
    for (url, code, subtype) in [
        (at("nobody"), 3, "nats_auth"),
        (at("few"), 3, "no_permission"),
        (at("none"), 2, "no_jetstream"),
        (nowhere, 4, "nats_unreachable"),
    ] {
        let folder = folder(&url, "[[stream]]\nname = \"A\"\nsubjects = \"a\"\n");
        let (found, stdout, stderr) = streams(&folder, "ensure", &["--json"]);
        assert_eq!((found, stdout.as_str()), (code, ""), "{stderr}");
        assert_eq!(json_of(&stderr)["error"]["subtype"], subtype);
        assert!(!stderr.contains("nobody"), "{stderr}");
    }
    let wrong = folder(&at("all"), "[[stream]]\nname = \"A\"\n");
    let (code, _, stderr) = streams(&wrong, "plan", &[]);
    assert!(code == 2 && stderr.contains("`subjects` is missing"), "{stderr}");
    let alone = Folder::new("[[source]]\nname = \"in\"\ntype = \"lines\"\n");
    for command in ["ensure", "plan", "info"] {
        let (code, _, stderr) = streams(&alone, command, &[]);
        assert!(code == 2 && stderr.contains("names no server"), "{stderr}");
    }
}

/// An old server takes what it does not know and forgets it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_server_leaves_out_is_named() {
    // One without JetStream, where somebody else answers as nats-server 2.9 did.
    let server = NatsServer::with_config("jetstream: disabled").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut requests = client.subscribe("$JS.API.STREAM.>").await.unwrap();
    client.flush().await.unwrap();
    let old = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let answer = if request.subject.contains(".INFO.") {
                json!({ "error": { "code": 404, "err_code": 10059, "description": "stream not found" } })
            } else {
                let mut config: Value = serde_json::from_slice(&request.payload).unwrap();
                config.as_object_mut().unwrap().remove("compression");
                json!({ "config": config })
            };
            client.publish(request.reply.unwrap(), answer.to_string().into()).await.unwrap();
        }
    });
    let stream = "[[stream]]\nname = \"A\"\nsubjects = \"a\"\ncompression = \"COMPRESSION\"\n";
    let (code, stdout, stderr) = streams(&folder(&server.url(), &stream.replace("COMPRESSION", "s2")), "ensure", &[]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"nats-server \d+\.\d+\.\d+", "nats-server VERSION");
    settings.bind(|| assert_snapshot!(stderr, @r#"
    error: nats-server VERSION took stream `A` and left out what it does not know (`compression` is not set, wanted "s2"): it is too old for that
      use a newer server, or do not declare it
    "#));
    // It does none, without a word for it.
    good(&folder(&server.url(), &stream.replace("COMPRESSION", "none")), "ensure", &[]);
    old.abort();
}

/// Components are loaded before anything is changed upstream.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_makes_no_stream_for_a_folder_that_is_not_sound() {
    let server = NatsServer::start().await;
    let mut actions = Actions::of(&server).await;
    let folder = folder(&server.url(), &five("24h"));
    folder.put("plugins/garbage.wasm", b"not a component");
    let key = "[[key]]\nkey = \"a\"\nsubject = \"a\"\nfilter = \"garbage\"\n";
    folder.put("keys/garbage.toml", key.as_bytes());
    let ran = folder.run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert_eq!(actions.count().await, (0, 0));
}
