use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    config::{ExecConfirm, ExecSink as Settings},
    sink::double::output,
};

const RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(10), max: Duration::from_millis(50), patience: Duration::from_secs(60) };
const PATIENCE: Duration = Duration::from_secs(30);

/// A sink whose program is this script of a shell.
fn sink(folder: &TempDir, confirm: ExecConfirm, script: &str) -> ExecSink {
    let settings = Settings {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        directory: folder.path().to_owned(),
        environment: vec![("SAID".to_owned(), "explicitly".to_owned())],
        pass_env: vec!["CARGO_PKG_NAME".to_owned()],
        confirm,
        stop_timeout: Duration::from_millis(500),
    };
    ExecSink::new("bot", &settings, RETRY, 64)
}

fn on(route: &str, payload: &str) -> Output {
    Output { route: route.into(), ..output("t", payload, payload.to_owned()) }
}

async fn report(sink: &mut ExecSink) -> String {
    match timeout(PATIENCE, sink.confirm()).await.unwrap() {
        Confirmation::One(slot) => format!("took {slot}"),
        Confirmation::Refused(slot, SinkRefusal::Never(reason, why)) => format!("never {slot} {reason}: {why}"),
        Confirmation::Refused(slot, SinkRefusal::Apart(why)) => format!("later {slot}: {why}"),
        other => panic!("{other:?}"),
    }
}

/// Writes an output again until a process takes it.
async fn insist(sink: &mut ExecSink, slot: Slot, output: &Output) {
    let written = async {
        while sink.write(slot, output).await.is_err() {
            sleep(RETRY.min).await;
        }
    };
    timeout(PATIENCE, written).await.unwrap();
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let seen = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_output_is_taken_when_the_program_says_ok() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"echo "Bot 1.0 ok"; while read -r line; do echo "$line" >> got; echo " ok "; done"#;
    let mut sink = sink(&folder, ExecConfirm::Line, script);
    for (slot, payload) in [(1, "{\"n\":\n1}"), (2, "text"), (3, "{\"n\": 3}")] {
        sink.write(slot, &on("a", payload)).await.unwrap();
    }
    for slot in 1..=3 {
        assert_eq!(report(&mut sink).await, format!("took {slot}"));
    }
    assert_eq!(lines(&folder.path().join("got")), ["{\"n\":1}", "\"text\"", "{\"n\": 3}"]);
}

#[tokio::test]
async fn a_line_that_is_no_answer_confirms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(&folder, ExecConfirm::Line, "read -r line; echo got it, ok; echo okay; exit 3");
    sink.write(1, &on("a", "1")).await.unwrap();
    assert_eq!(report(&mut sink).await, "later 1: the program ended before it took the output: exit status: 3");
}

#[tokio::test]
async fn a_program_refuses_an_output_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        r#"while read -r line; do case $line in 1) echo ok;; *) printf 'error no \033 such chat\n';; esac; done"#;
    let mut sink = sink(&folder, ExecConfirm::Line, script);
    for slot in [1, 2] {
        sink.write(slot, &on("a", &slot.to_string())).await.unwrap();
    }
    assert_eq!(report(&mut sink).await, "took 1");
    assert_eq!(report(&mut sink).await, r"never 2 refused_by_program: the program says: no \u001b such chat");
}

#[tokio::test]
async fn what_was_not_confirmed_goes_to_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    // The first process takes one output, reads another, and dies with it.
    let script = r#"read -r line; echo "$line" >> got; echo ok; [ -e second ] || { read -r line; touch second; exit 3; }
        while read -r line; do echo "$line" >> got; echo ok; done"#;
    let mut sink = sink(&folder, ExecConfirm::Line, script);
    let outputs: Vec<_> = (1..=3).map(|n| on("a", &n.to_string())).collect();
    for (slot, output) in (1..).zip(&outputs) {
        sink.write(slot, output).await.unwrap();
    }
    assert_eq!(report(&mut sink).await, "took 1");
    for slot in [2, 3] {
        let expected = format!("later {slot}: the program ended before it took the output: exit status: 3");
        assert_eq!(report(&mut sink).await, expected);
    }
    for slot in [2, 3] {
        insist(&mut sink, slot, &outputs[usize::try_from(slot).unwrap() - 1]).await;
        assert_eq!(report(&mut sink).await, format!("took {slot}"));
    }
    assert_eq!(lines(&folder.path().join("got")), ["1", "2", "3"]);
}

/// A program that dies at once is not started in a storm.
#[tokio::test]
async fn a_program_that_confirms_nothing_rests_between_its_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(&folder, ExecConfirm::Line, "echo >> starts; exit 1");
    sink.backoff = Backoff::new(PATIENCE, PATIENCE);
    sink.write(1, &on("a", "1")).await.unwrap();
    assert!(report(&mut sink).await.starts_with("later 1"));
    let refusal = sink.write(2, &on("a", "2")).await.unwrap_err();
    let SinkRefusal::Apart(why) = refusal else { panic!("{refusal:?}") };
    assert!(why.to_string().contains("its next start is in"), "{why}");
    assert_eq!(lines(&folder.path().join("starts")).len(), 1);
    // Other routes go on.
    sink.write(3, &on("b", "3")).await.unwrap();
}

#[tokio::test]
async fn every_route_has_a_process_with_an_environment_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let script = "env > env-$TROMMEL_ROUTE; while read -r line; do echo ok; done";
    let mut sink = sink(&folder, ExecConfirm::Line, script);
    for (slot, route) in [(1, "a"), (2, "b"), (3, "a")] {
        sink.write(slot, &on(route, "1")).await.unwrap();
    }
    let mut reports = [report(&mut sink).await, report(&mut sink).await, report(&mut sink).await];
    reports.sort();
    assert_eq!(reports, ["took 1", "took 2", "took 3"]);
    let mut names: Vec<_> = lines(&folder.path().join("env-a"))
        .into_iter()
        .filter(|line| !line.starts_with("PATH=") && !line.starts_with("PWD=") && !line.starts_with("_="))
        .collect();
    names.sort();
    // Whatever else the router has, such as secrets, stays with it.
    let own = ["SAID=explicitly", "TROMMEL_KEY=key", "TROMMEL_ROUTE=a"];
    assert_eq!(names[0], "CARGO_PKG_NAME=trommel-sinks");
    assert_eq!(names.iter().filter(|name| own.contains(&&***name)).count(), 3, "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("CARGO_MANIFEST_DIR")), "{names:?}");
}

#[tokio::test]
async fn a_written_line_is_enough_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(&folder, ExecConfirm::Write, "exec >&-; while read -r line; do echo \"$line\" >> got; done");
    for slot in 1..=3 {
        sink.write(slot, &on("a", &slot.to_string())).await.unwrap();
        assert_eq!(report(&mut sink).await, format!("took {slot}"));
    }
    timeout(PATIENCE, sink.close()).await.unwrap();
    assert_eq!(lines(&folder.path().join("got")), ["1", "2", "3"], "it ends when it has read all");
}

/// The pipe is full long before the last of them.
#[tokio::test]
async fn a_program_that_reads_slowly_is_not_hurried() {
    let folder = tempfile::tempdir().unwrap();
    let script = "while [ ! -e go ]; do sleep 0.01; done; cat > got";
    let mut sink = sink(&folder, ExecConfirm::Write, script);
    let payload = format!("\"{}\"", "x".repeat(40_000));
    for slot in 0..10 {
        sink.write(slot, &on("a", &payload)).await.unwrap();
    }
    assert_eq!(report(&mut sink).await, "took 0");
    assert!(timeout(Duration::from_millis(200), async { while report(&mut sink).await != "took 9" {} }).await.is_err());
    fs::write(folder.path().join("go"), "").unwrap();
    until("all is read", || lines(&folder.path().join("got")).len() == 10).await;
}

/// A process that ignores the end of its input and SIGTERM, and has started another.
#[tokio::test]
async fn nothing_is_left_of_a_process_that_does_not_end() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        r#"trap "" TERM; sleep 1000 & echo $! > other; echo $$ > own; read -r line; echo ok; sleep 1000; sleep 1000"#;
    let mut sink = sink(&folder, ExecConfirm::Line, script);
    sink.write(1, &on("a", "1")).await.unwrap();
    assert_eq!(report(&mut sink).await, "took 1");
    timeout(PATIENCE, sink.close()).await.unwrap();
    for file in ["own", "other"] {
        let id = lines(&folder.path().join(file))[0].parse().unwrap();
        let process = Pid::from_raw(id).unwrap();
        let is_gone = || {
            let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            test_kill_process(process).is_err() || state.contains(") Z ")
        };
        until(file, is_gone).await;
    }
}

#[tokio::test]
async fn a_program_that_can_not_be_started_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(&folder, ExecConfirm::Line, "");
    sink.command.settings.program = "/nowhere/bot".into();
    let refusal = sink.write(1, &on("a", "1")).await.unwrap_err();
    let SinkRefusal::Apart(why) = refusal else { panic!("{refusal:?}") };
    assert!(format!("{why:#}").starts_with("could not start `/nowhere/bot`: No such file"), "{why:#}");
}
