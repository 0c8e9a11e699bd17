//! A flood of everything at once under `[limits] memory`: the router answers, refuses with a word,
//! keeps within its memory, and does afterwards all that it has taken.

use crate::crafted;
use crate::flow;
use crate::http;
use crate::nats;
use crate::router;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{self, stream};
use axum::{Router as Receiver, body::Bytes, http::StatusCode};
use crafted::{Trick, filter};
use flow::unsettled;
use futures_util::future::join_all;
use http::{Client, request};
use nats::NatsServer;
use router::{Folder, PATIENCE, Router, get};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use trommel::control::ControlLink;

const MEMORY: u64 = 264 << 20;
/// Messages in the stream, and the bytes of each.
const BACKLOG: usize = 200;
const LARGE: usize = 900_000;
/// Clients that send large bodies, and how many each.
const CLIENTS: usize = 60;
const REQUESTS: usize = 10;
/// Keys of each component.
const KEYS: usize = 6;
/// How soon somebody who asks whether the router lives is to hear, nine times in ten: the machine
/// may be busy.
const ALIVE: Duration = Duration::from_secs(1);

/// Grows to 40 MiB, in use, and keeps them and its event.
const GROWS: &str = "(if (i32.lt_u (memory.size) (i32.const 640)) (then
    (if (i32.eq (memory.grow (i32.sub (i32.const 640) (memory.size))) (i32.const -1)) (then unreachable))
    (memory.fill (i32.const 4194304) (i32.const 1) (i32.const 37748736))))";

/// Lets out ten outputs of a megabyte each, for which it has one.
fn many() -> String {
    let output = |n| {
        let at = 8192 + 28 * n;
        format!(
            "(i32.store (i32.const {at}) (i32.const 1048576)) (i32.store (i32.const {}) (i32.const 1000000))",
            at + 4
        )
    };
    let outputs: String = (0..10).map(output).collect();
    format!(
        "(memory.fill (i32.const 1048576) (i32.const 120) (i32.const 1000000)) {outputs}
         (i32.store (i32.const 4100) (i32.const 3)) (i32.store (i32.const 4104) (i32.const 8192))
         (i32.store (i32.const 4108) (i32.const 10))"
    )
}

fn settings(url: &str) -> String {
    let filter = |name: &str, more: &str| {
        format!("[[filter]]\nname = \"{name}\"\non_quarantine = \"dead_letter\"\ngrants = [\"state\"]\n{more}\n")
    };
    let patient = "limits = { process_cpu = \"20s\", process_wall = \"30s\", load = \"20s\" }";
    format!(
        r#"
        [limits]
        memory = {MEMORY}
        state = "4KiB"

        [nats]
        url = "{url}"

        [admin]
        listen = "127.0.0.1:0"

        [[source]]
        name = "stream"
        type = "jetstream"
        stream = "IN"
        durable = "trommel"

        [[source]]
        name = "web"
        type = "http"
        listen = "127.0.0.1:0"
        answer = "accepted"
        id = "/id"
        timeout = "5s"

        [[sink]]
        name = "out"
        type = "stdout"

        [[sink]]
        name = "full"
        type = "nats"
        subject = "full.{{subject}}"

        [[sink]]
        name = "hooks"
        type = "webhook"

        {}{}{}{}{}
        "#,
        filter("huge", &patient.replace('}', ", output = \"64MiB\" }")),
        filter("hog", patient),
        filter("grows", patient),
        filter("many", patient),
        filter("state", patient),
    )
}

fn key(name: &str, filter: &str, params: &str, sinks: &str) -> String {
    let declared = if params.is_empty() { "" } else { "params = [{ name = \"mode\", type = \"string\" }]" };
    let filter = if filter.is_empty() { String::new() } else { format!("filter = \"{filter}\"") };
    format!(
        "[[key]]\nkey = \"{name}\"\nsubject = \"{name}.>\"\n{filter}\n{declared}\n\
         [[route]]\nkey = \"{name}\"\n{params}\nsinks = {sinks}\n"
    )
}

fn folder(url: &str, receiver: SocketAddr) -> Folder {
    let mode = |mode: &str| format!("params = {{ mode = \"{mode}\" }}");
    let mut keys = key("big", "", "", r#"["out", "full", "hooks"]"#) + &key("web", "", "", r#"["out"]"#);
    keys += &key("odd", "", "", r#"["out"]"#).replace("[[route]]", "decode = \"json\"\n[[route]]");
    for n in 0..KEYS {
        keys += &key(&format!("huge{n}"), "huge", &mode("huge-output"), r#"["out"]"#);
        keys += &key(&format!("hog{n}"), "hog", &mode("hog-process"), r#"["out"]"#);
        keys += &key(&format!("grows{n}"), "grows", "", r#"["out"]"#);
        keys += &key(&format!("many{n}"), "many", "", r#"["out"]"#);
        keys += &key(&format!("state{n}"), "state", &mode("fail-once-per-id"), r#"["out"]"#);
    }
    let webhook = |n| {
        format!(
            "[[webhook]]\nname = \"hook{n}\"\nurl = \"http://{receiver}/{n}\"\nallow_private = true\n\
             secret_file = \"secret\"\nconcurrency = 4\n"
        )
    };
    let folder = Folder::new(&settings(url))
        .write("keys/keys.toml", &keys)
        .write("keys/webhooks.toml", &(0..4).map(webhook).collect::<String>())
        .write("secret", "s-5ecret\n")
        .plugin("huge", "misbehave")
        .plugin("hog", "misbehave")
        .plugin("state", "misbehave");
    folder.put("plugins/grows.wasm", &filter(Trick { process: GROWS, ..Trick::default() }));
    folder.put("plugins/many.wasm", &filter(Trick { process: &many(), ..Trick::default() }));
    folder
}

/// The router, with a standard output that is a pipe which nobody reads yet.
fn start(folder: &Folder) -> (Router, File) {
    let pipe = folder.file("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let run = folder.command();
    let mut command = Command::new("sh");
    command.args(["-c", "pipe=$1; shift; exec \"$@\" > \"$pipe\"", "sh"]).arg(&pipe);
    command.arg(run.get_program()).args(run.get_args());
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(std::process::Stdio::null());
    (Router::spawn(command), reader)
}

fn address_in(line: &str) -> SocketAddr {
    line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap()
}

/// A receiver that answers nothing before it is told to.
async fn receiver(hangs: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async move |_: Bytes| {
        let _ = hangs.clone().wait_for(|hangs| !hangs).await;
        StatusCode::OK
    };
    let service = Receiver::new().fallback(|body: Bytes| async move { answer(body).await });
    tokio::spawn(axum::serve(listener, service).into_future());
    address
}

async fn backlog(context: &jetstream::Context) {
    for (name, subjects) in [("IN", vec!["big.>", "odd.>"]), ("FULL", vec!["full.>"])] {
        let full = name == "FULL";
        let config = stream::Config {
            name: name.to_owned(),
            subjects: subjects.into_iter().map(str::to_owned).collect(),
            max_messages: if full { 3 } else { -1 },
            discard: stream::DiscardPolicy::New,
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
    for n in 0..BACKLOG {
        let payload = json!({ "stream": n, "filler": "x".repeat(LARGE) }).to_string();
        context.publish(format!("big.{}", n % 10), payload.into()).await.unwrap().await.unwrap();
        // What becomes six times as large in a dead letter.
        if n % 4 == 0 {
            context.publish("odd.a", vec![1; LARGE].into()).await.unwrap().await.unwrap();
        }
    }
}

/// Sends a body until it is taken or there were so many tries. Says whether it was, and for what it
/// was refused.
async fn insist(
    address: SocketAddr,
    kind: (&str, &str),
    path: &str,
    body: &str,
    tries: usize,
) -> (bool, BTreeSet<String>) {
    let mut refusals = BTreeSet::new();
    for _ in 0..tries {
        let mut client = Client::connect(address).await;
        if client.write(&request("POST", path, &[kind], body)).await.is_err() {
            continue;
        }
        let Some(answer) = client.answer().await else { continue };
        if answer.status == 202 {
            return (true, refusals);
        }
        refusals.insert(answer.reason());
        sleep(Duration::from_millis(20)).await;
    }
    (false, refusals)
}

/// Large bodies from many clients at once. The numbers of those that were taken, and for what
/// others were refused.
async fn bodies(address: SocketAddr) -> (BTreeSet<u64>, BTreeSet<String>) {
    let client = async |client: usize| {
        let (mut taken, mut refusals) = (BTreeSet::new(), BTreeSet::new());
        for request in 0..REQUESTS {
            let number = (client * REQUESTS + request) as u64;
            let body = json!({ "web": number, "filler": "x".repeat(LARGE) }).to_string();
            let (was_taken, why) = insist(address, http::JSON, "/events/web/a", &body, 1).await;
            taken.extend(was_taken.then_some(number));
            refusals.extend(why);
        }
        (taken, refusals)
    };
    let all = join_all((0..CLIENTS).map(client)).await;
    let (taken, refusals): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    (taken.into_iter().flatten().collect(), refusals.into_iter().flatten().collect())
}

/// Events for the components of every kind, to each key of theirs.
async fn components(address: SocketAddr) {
    let send = async |n: usize| {
        for round in 0..3 {
            for name in ["huge", "hog", "grows", "many"] {
                let body = json!({ "id": format!("{name}{n}-{round}") }).to_string();
                insist(address, http::JSON, &format!("/events/{name}{n}/a"), &body, 20).await;
            }
        }
    };
    join_all((0..KEYS).map(send)).await;
}

/// More than all components may keep in `state`.
async fn fill_state(address: SocketAddr) {
    let event = |n| format!("{}\n", json!({ "id": format!("event-{n}") }));
    let events: String = (0..20).map(event).collect();
    join_all((0..KEYS).map(async |n| {
        let (was_taken, refusals) = insist(address, http::LINES, &format!("/events/state{n}/a"), &events, 100).await;
        assert!(was_taken, "{refusals:?}");
    }))
    .await;
}

/// Heads that never end.
async fn slow_heads(address: SocketAddr) -> Vec<TcpStream> {
    join_all((0..100).map(async |_| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /events/web HTTP/1.1\r\nHost: localhost\r\nX-Filler: {}", "x".repeat(10_000));
        let _ = stream.write_all(head.as_bytes()).await;
        stream
    }))
    .await
}

/// Consumers that attach and read nothing.
async fn consumers(folder: &Folder) -> Vec<ControlLink> {
    let place = folder.file("state").read_dir().unwrap().next().unwrap().unwrap().path();
    join_all((0..20).map(async |_| {
        let mut link = ControlLink::connect(&place.join("control.sock"), 1 << 20).await.unwrap();
        let hello = json!({ "type": "hello", "version": "v1", "pid": 1, "key": "web", "buffer": 1000 });
        link.writer.send(&hello).await.unwrap();
        link
    }))
    .await
}

/// Asks whether the router lives until it is told to stop. How long the answers took, the longest
/// last.
fn ask_for_life(admin: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    spawn_blocking(move || {
        let mut answers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let began = std::time::Instant::now();
            assert_eq!(get(admin, "/live").0, 200);
            answers.push(began.elapsed());
            std::thread::park_timeout(Duration::from_millis(50));
        }
        answers.sort();
        answers
    })
}

/// A number of the metrics of all sources.
fn metric(page: &str, name: &str) -> i64 {
    let lines = page.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with('{'));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_everything_stays_within_the_memory_and_is_survived() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    backlog(&context).await;
    let (hangs, hanging) = watch::channel(true);
    let folder = folder(&server.url(), receiver(hanging).await);
    let (mut router, pipe) = start(&folder);
    let admin = address_in(&router.wait_for("listening for admin requests"));
    let web = address_in(&router.wait_for("listening for events"));
    router.wait_for("running");

    let stop = Arc::new(AtomicBool::new(false));
    let alive = ask_for_life(admin, Arc::clone(&stop));
    let began = Instant::now();
    let attached = consumers(&folder).await;
    let heads = slow_heads(web).await;
    fill_state(web).await;
    let flood = async { tokio::join!(bodies(web), components(web)) };
    let ((taken, refusals), ()) = timeout(3 * PATIENCE, flood).await.unwrap();
    let flooded = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let answers = alive.await.unwrap();
    let (usual, longest) = (answers[answers.len() * 9 / 10], answers[answers.len() - 1]);
    let peak = router.peak_memory() as u64;
    let page = get(admin, "/metrics").1;
    println!(
        "{} MiB of {} MiB after {flooded:?}; nine in ten answers of /live within {usual:?}, all within {longest:?}; {} of {} bodies taken, refused for \
         {refusals:?}; received {}, given back {}, dead {}",
        peak >> 20,
        MEMORY >> 20,
        taken.len(),
        CLIENTS * REQUESTS,
        metric(&page, "trommel_source_events_received_total"),
        metric(&page, "trommel_source_events_failed_total"),
        metric(&page, "trommel_source_events_dead_lettered_total"),
    );
    assert!(usual < ALIVE && longest < 5 * ALIVE, "{usual:?}, {longest:?}");
    assert!(taken.len() < CLIENTS * REQUESTS && !refusals.is_empty());

    // The flood goes down: who did not read reads, who did not answer answers, what was full has room.
    drop((heads, attached));
    hangs.send_replace(false);
    let mut full = context.get_stream("FULL").await.unwrap();
    let config = stream::Config { max_messages: -1, ..full.info().await.unwrap().config.clone() };
    context.update_stream(config).await.unwrap();
    let outputs = spawn_blocking(move || read(pipe));
    let done = async {
        while unsettled(&context).await > 0 || metric(&get(admin, "/metrics").1, "trommel_source_events_in_flight") > 0
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(3 * PATIENCE, done).await.is_err() {
        panic!("not all is done:\n{}", get(admin, "/metrics").1);
    }
    let whole_peak = router.peak_memory() as u64;
    println!("{} MiB in the end, after {:?}", whole_peak >> 20, began.elapsed());
    let ended = router.stop();
    assert!(ended.status.success(), "{}", ended.log.join("\n"));
    // Told by the pipe's own end, which we hold as well.
    std::fs::write(folder.file("pipe"), "end\n").unwrap();
    let (streamed, posted) = outputs.await.unwrap();
    assert_eq!(streamed, (0..BACKLOG as u64).collect());
    assert_eq!(taken.difference(&posted).count(), 0, "what was accepted was lost");
    assert!(whole_peak <= MEMORY, "{} MiB", whole_peak >> 20);
    // All of it has been there.
    let log = ended.log.join("\n");
    for trace in [
        "reason=\"not_json\"",
        "reason=\"memory\"",
        "reason=\"output_too_large\"",
        "StateError::TooLarge",
        "consumer left",
        "refused for now",
    ] {
        assert!(log.contains(trace), "{trace} is missing:\n{log}");
    }
}

/// The numbers of what came out of the stream, and of the bodies, up to the end.
fn read(pipe: File) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut streamed, mut posted) = (BTreeSet::new(), BTreeSet::new());
    for line in BufReader::new(pipe).split(b'\n') {
        let line = line.unwrap();
        if line == b"end" {
            break;
        }
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let payload = event.get("payload").unwrap_or(&event);
        streamed.extend(payload["stream"].as_u64());
        posted.extend(payload["web"].as_u64());
    }
    (streamed, posted)
}
