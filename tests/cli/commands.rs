//! The commands as a user meets them: output, exit codes, signals, pipes.

use crate::nats;
use crate::printed::{json_lines, text};
use crate::router;

use std::{
    fs,
    io::{Read, Write},
    process::Stdio,
};

use insta::assert_snapshot;
use nats::NatsServer;
use router::{Folder, trommel};
use rustix::process::Signal;

const LINES_TO_STDOUT: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    path = "events.ndjson"

    [[sink]]
    name = "out"
    type = "stdout"
"#;

const STDIN_TO_STDOUT: &str = r#"
    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "out"
    type = "stdout"
"#;

const PASS: &str = r#"
    [[key]]
    key = "all"
    subject = ">"

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

/// The summary without its figures of time.
fn summary(stderr: &str) -> String {
    let last = stderr.lines().last().unwrap_or_default();
    let (events, rest) = last.split_once(" in ").unwrap();
    format!("{events}{}", &rest[rest.find(':').unwrap()..])
}

#[test]
fn run_prints_ndjson_on_stdout_and_ends_with_one_summary_line() {
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", PASS);
    let folder = folder.write("events.ndjson", "{\"n\":1}\n\n{\"n\":2}\n{\"n\":3}");
    let output = folder.run();
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
    assert_snapshot!(summary(&text(&output.stderr)), @"3 events: 3 emitted; 3 outputs written");
}

#[test]
fn the_summary_line_does_not_count_dead_letters_as_outputs() {
    let settings = LINES_TO_STDOUT.replace("path =", "id = \"/id\"\n    path =");
    let folder = Folder::new(&settings).write("keys/all.toml", PASS).write("events.ndjson", "not JSON\n");
    let output = folder.run();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(folder.read("dead-letters.ndjson").contains("not_json"));
    assert_snapshot!(summary(&text(&output.stderr)), @"1 event: 0 emitted, 1 dead-lettered; 0 outputs written");
}

#[test]
fn a_wrong_configuration_is_exit_code_2_and_says_where() {
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", &PASS.replace("\"out\"", "\"oot\""));
    let folder = folder.write("events.ndjson", "");
    let output = folder.run();
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("keys/all.toml:8:14") && stderr.contains("did you mean `out`"), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_component_that_is_none_is_exit_code_2_for_run_and_check() {
    let key = PASS.replace("subject = \">\"", "subject = \">\"\nfilter = \"broken\"");
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", &key).write("events.ndjson", "");
    let folder = folder.write("plugins/broken.wasm", "#!/bin/sh\n");
    let run = folder.run();
    let check = trommel().arg("check").arg(folder.path()).output().unwrap();
    for output in [run, check] {
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("broken.wasm") && stderr.contains("it is not WebAssembly"), "{stderr}");
    }
}

#[test]
fn check_starts_nothing_and_says_what_it_found() {
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", PASS).write("events.ndjson", "{}\n");
    let output = trommel().arg("check").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    assert!(stdout.contains("1 key") && stdout.contains("1 route"), "{stdout}");
    let json = trommel().arg("check").arg("--json").arg(folder.path()).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["ok"], true);
}

#[test]
fn version_names_the_filter_contracts() {
    let output = trommel().arg("version").output().unwrap();
    let expected = format!("trommel {} (filter contract 0.1.0, 0.1.1, 0.2.0)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn a_server_that_is_not_there_is_exit_code_4() {
    let folder = Folder::new(&format!("[nats]\nurl = \"nats://127.0.0.1:1\"\n{LINES_TO_STDOUT}"));
    let folder = folder.write("keys/all.toml", PASS).write("events.ndjson", "");
    let output = folder.trommel(&["run", "--connect-timeout", "200ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("127.0.0.1:1"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_exit_code_3() {
    let server = NatsServer::with_config("authorization { user: right, password: secret }").await;
    let nats = format!("[nats]\nurl = \"{}\"\nuser = \"right\"\npassword = \"wrong\"\n", server.url());
    let folder =
        Folder::new(&format!("{nats}{LINES_TO_STDOUT}")).write("keys/all.toml", PASS).write("events.ndjson", "");
    let output = folder.run();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stderr = text(&output.stderr).to_lowercase();
    assert!(stderr.contains("authorization") && !stderr.contains("wrong"), "{stderr}");
}

/// Also when the server accepts who we are and then does not let us do what a start does, whichever
/// part asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_exit_code_3() {
    // A stream that could not be made has no history, one that may not be looked at shows none.
    for (denied, history) in
        [("$JS.API.STREAM.CREATE.S", 2), ("$JS.API.STREAM.INFO.S", 3), ("$JS.API.CONSUMER.INFO.S.d", 0)]
    {
        let permissions = format!("permissions: {{ publish: {{ deny: {denied:?} }} }}");
        let user = format!("authorization {{ users: [{{ user: router, password: x, {permissions} }}] }}");
        let server = NatsServer::with_config(&user).await;
        let url = server.url().replace("//", "//router:x@");
        let source = "name = \"in\"\ntype = \"jetstream\"\nstream = \"S\"\ndurable = \"d\"";
        let folder = Folder::new(&format!(
            "[nats]\nurl = \"{url}\"\n[[stream]]\nname = \"S\"\nsubjects = \"s.>\"\n[[source]]\n{source}\n"
        ));
        let output = folder.run();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.lines().last().unwrap().contains(&format!("no permission to publish to `{denied}`")),
            "{stderr}"
        );
        let output = folder.trommel(&["history"]).output().unwrap();
        assert_eq!(output.status.code(), Some(history), "{denied}: {output:?}");
    }
}

#[test]
fn the_first_signal_drains_and_ends_well() {
    let folder = Folder::new(STDIN_TO_STDOUT).write("keys/all.toml", PASS);
    for signal in [Signal::TERM, Signal::INT] {
        let (mut router, mut stdin) = folder.spawn_with_stdin();
        router.wait_for("running");
        stdin.write_all(b"{\"n\":1}\n").unwrap();
        router.wait_for_output("{\"n\":1}");
        router.signal(signal);
        let ended = router.end();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.log.last().unwrap().contains("1 event "), "{ended:?}");
    }
}

#[test]
fn hang_up_reloads() {
    let folder = Folder::new(STDIN_TO_STDOUT).write("keys/all.toml", PASS);
    let (mut router, _stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    router.signal(Signal::HUP);
    router.wait_for("SIGHUP");
    assert!(router.stop().status.success());
}

/// L122: a reader that leaves is not a failure.
#[test]
fn a_closed_pipe_ends_the_run_in_good_order() {
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", PASS);
    let events: String = (0..200_000).map(|n| format!("{{\"n\":{n},\"padding\":\"{}\"}}\n", "x".repeat(50))).collect();
    let folder = folder.write("events.ndjson", &events);
    let mut child = folder.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("the reader has left"), "{stderr}");
}

#[test]
fn logs_can_be_json() {
    let folder = Folder::new(LINES_TO_STDOUT).write("keys/all.toml", PASS).write("events.ndjson", "{}\n");
    let output = folder.command().args(["--log-format", "json"]).output().unwrap();
    let logs = json_lines(&output.stderr);
    assert!(logs.iter().any(|log| log["message"] == "running" && log["level"] == "INFO"), "{logs:?}");
    let last = logs.last().unwrap();
    assert!(last["message"].as_str().unwrap().contains("1 event "), "{last}");
    assert_eq!((&last["level"], &last["details"]["emitted"]), (&"INFO".into(), &1.into()), "{last}");
}

/// Every line on standard error, each of which has to be JSON.
#[test]
fn errors_at_the_start_are_json_where_logs_are() {
    let broken = Folder::new("[[source]]\nname = \"in\"\n").write("keys/all.toml", PASS);
    let nowhere = Folder::new(&format!("[nats]\nurl = \"nats://127.0.0.1:1\"\n{LINES_TO_STDOUT}"));
    let nowhere = nowhere.write("keys/all.toml", PASS).write("events.ndjson", "{}\n");
    for (folder, code, expected) in [(broken, 2, "`type` is missing"), (nowhere, 4, "127.0.0.1:1")] {
        let output = folder
            .command()
            .args(["--log-format", "json", "--log", "off", "--connect-timeout", "100ms"])
            .output()
            .unwrap();
        let logs = json_lines(&output.stderr);
        let [last] = &logs[..] else { panic!("{logs:?}") };
        assert_eq!((output.status.code(), &last["level"]), (Some(code), &"ERROR".into()), "{last}");
        assert!(last["message"].as_str().unwrap().contains(expected), "{last}");
        assert_eq!(last["details"].is_array(), code == 2, "what is wrong with a folder is told one by one: {last}");
    }
}

/// Events go on, and the run ends, while a pipe that logs go into is full.
#[test]
fn a_standard_error_that_nobody_reads_holds_up_nothing() {
    let folder = Folder::new(LINES_TO_STDOUT)
        .write("keys/all.toml", &PASS.replace("subject = \">\"", "subject = \">\"\ndecode = \"json\""));
    let folder = folder.write("events.ndjson", &"no json\n{}\n".repeat(5000));
    let (unread, stderr) = std::io::pipe().unwrap();
    let output = folder.command().stderr(stderr).stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "{}\n".repeat(5000));
    assert_eq!(folder.read("dead-letters.ndjson").lines().count(), 5000);
    drop(unread);
}

#[test]
fn a_folder_that_is_none_says_what_one_looks_like() {
    let nowhere = tempfile::tempdir().unwrap();
    for command in ["run", "check"] {
        let output = trommel().arg(command).arg(nowhere.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("trommel.toml") && stderr.contains("examples/quickstart"), "{stderr}");
    }
    fs::remove_dir(nowhere.path()).unwrap();
}
