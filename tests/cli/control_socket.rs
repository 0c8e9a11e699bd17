//! The control socket itself: many at once, strangers, and what a dead router leaves behind.

use crate::router;

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
};

use futures_util::future::join_all;
use router::{Folder, PATIENCE};
use serde_json::{Value, json};
use trommel::control::ControlLink;

const SETTINGS: &str = "[[source]]\nname = \"events\"\ntype = \"lines\"\n";
const KEY: &str = "[[key]]\nkey = \"all\"\nsubject = \">\"\n";

fn folder() -> Folder {
    Folder::new(SETTINGS).write("keys/all.toml", KEY)
}

/// The state folder of the only router.
fn place(folder: &Folder) -> PathBuf {
    folder.file("state").read_dir().unwrap().next().unwrap().unwrap().path()
}

async fn link(folder: &Folder) -> ControlLink {
    ControlLink::connect(&place(folder).join("control.sock"), 1 << 20).await.unwrap()
}

async fn ask(link: &mut ControlLink, request: Value) -> Value {
    link.writer.send(&request).await.unwrap();
    answer(link).await
}

async fn answer(link: &mut ControlLink) -> Value {
    serde_json::from_slice(&link.reader.next_within(PATIENCE).await.unwrap()).unwrap()
}

fn hello() -> Value {
    json!({ "type": "hello", "version": "v1", "pid": 1, "key": "all", "buffer": 100 })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_attach_and_leave_at_once() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    for round in 0..3 {
        let consumers = (0..200).map(async |_| {
            let mut link = link(&folder).await;
            let ack = ask(&mut link, hello()).await;
            assert_eq!(ack["type"], "hello_ack", "{ack}");
            link
        });
        let mut consumers = join_all(consumers).await;
        writeln!(events, "{{\"round\":{round}}}").unwrap();
        for link in &mut consumers {
            let event = answer(link).await;
            assert_eq!((&event["seq"], &event["payload"]["round"]), (&1.into(), &round.into()), "{event}");
        }
    }
    // All of them have just left, without a word.
    let gone = async {
        while !ask(&mut link(&folder).await, json!({ "type": "status_query" })).await["consumers"]
            .as_array()
            .unwrap()
            .is_empty()
        {}
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    drop(events);
    assert!(router.end().status.success());
}

/// L89, L90, L99
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_or_cut_off() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    for nonsense in ["nonsense", "[]", "{\"type\":\"news\"}", "{\"type\":\"hello\"}"] {
        let mut link = link(&folder).await;
        link.writer.send_line(format!("{nonsense}\n").as_bytes()).await.unwrap();
        assert_eq!(link.reader.next().await.unwrap(), None, "{nonsense}");
    }
    let mut other = hello();
    other["version"] = "v9".into();
    let refused = ask(&mut link(&folder).await, other).await;
    assert_eq!((&refused["type"], &refused["subtype"]), (&"rejected".into(), &"version".into()));
    assert!(refused["hint"].as_str().unwrap().contains("trommel stop"), "{refused}");
    // On an open connection what is unknown is left out.
    let mut open = link(&folder).await;
    ask(&mut open, hello()).await;
    open.writer.send_line(b"{\"type\":\"news\"}\n").await.unwrap();
    let status = ask(&mut link(&folder).await, json!({ "type": "status_query" })).await;
    assert_eq!(status["consumers"].as_array().unwrap().len(), 1, "{status}");
}

/// L81, L83, L87
#[test]
fn only_the_user_gets_in_and_what_a_dead_router_left_is_in_nobodys_way() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let place = place(&folder);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(place.clone()), mode(place.join("control.sock"))), (0o700, 0o600));
    let pid = fs::read_to_string(place.join("router.pid")).unwrap();
    let (pid, started) = pid.trim().split_once('\n').unwrap();
    assert_eq!(pid, router.pid().as_raw_nonzero().to_string());
    assert!(started.ends_with('Z'), "{started}");
    // A second router from the same folder goes without.
    let (mut second, mut second_events) = folder.spawn_with_stdin();
    second.wait_for("another router runs from this folder");
    second.wait_for("running");
    writeln!(second_events, "{{}}").unwrap();
    drop(second_events);
    let ended = second.end();
    assert!(ended.status.success() && ended.log.last().unwrap().contains("1 event in "), "{ended:?}");
    router.kill();
    assert!(place.join("control.sock").exists() && place.join("router.pid").exists());
    let (mut router, events) = folder.spawn_with_stdin();
    router.wait_for("running");
    drop(events);
    assert!(router.end().status.success());
    assert!(!place.join("control.sock").exists() && !place.join("router.pid").exists());
}

/// Connections that can't be accepted end nothing: they wait until others leave.
#[test]
fn a_router_outlives_more_connections_than_it_may_have_files() {
    let folder = folder();
    let command = folder.command();
    let mut few = std::process::Command::new("sh");
    few.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        few.env(name, value);
    }
    let (stdin, events) = std::io::pipe().unwrap();
    few.stdin(stdin);
    let mut router = router::Router::spawn(few);
    router.wait_for("running");
    let socket = place(&folder).join("control.sock");
    let held: Vec<_> = (0..100).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    // Those that were accepted say nothing for too long and leave their places to the next.
    let status = || folder.trommel(&["status"]).output().unwrap();
    drop(held);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !status().status.success() {
        assert!(std::time::Instant::now() < deadline, "{:?}", status());
    }
    drop(events);
    assert!(router.end().status.success());
}

/// L126
#[test]
fn a_router_without_its_socket_is_an_orphan() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let socket = place(&folder).join("control.sock");
    fs::remove_file(&socket).unwrap();
    let status = folder.trommel(&["status", "--fail-on-orphan"]).output().unwrap();
    assert_eq!(status.status.code(), Some(2), "{status:?}");
    let consume = folder.trommel(&["consume"]).arg("all").output().unwrap();
    let stderr = String::from_utf8(consume.stderr).unwrap();
    assert!(consume.status.code() == Some(2) && stderr.contains("trommel stop --force"), "{stderr}");
    // A socket that nobody listens to is none.
    drop(UnixListener::bind(&socket).unwrap());
    let stop = folder.trommel(&["stop"]).output().unwrap();
    assert_eq!(stop.status.code(), Some(2), "{stop:?}");
    let stop = folder.trommel(&["stop", "--force"]).output().unwrap();
    assert!(stop.status.success(), "{stop:?}");
    assert!(String::from_utf8(stop.stdout).unwrap().contains("killed"));
    assert!(!router.end().status.success());
}
