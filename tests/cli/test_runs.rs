//! `trommel test` as it is used: coverage, reports, the watch, cases that are recorded, and those
//! of the examples.

use crate::flow;
use crate::nats::NatsServer;
use crate::router;
use crate::test_command::{KEYS, LARGE, folder, test};

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use router::{Folder, Router, trommel};
use serde_json::Value;

#[test]
fn too_little_coverage_fails() {
    let folder = folder(LARGE);
    assert!(test(&folder, &["--min-coverage", "44"]).ends_with("--- exit code 0"));
    let short = test(&folder, &["--min-coverage", "80"]);
    assert!(short.ends_with("the cases reach 44 % of the parts, less than 80 %\n--- exit code 1"), "{short}");
}

#[test]
fn reports_for_machines_have_every_case() {
    let cases = format!("{LARGE}\n[[case]]\nname = \"wrong\"\nevent = {{ subject = \"payments.eu\" }}\nexpect = []\n");
    let folder = folder(&cases);
    let report = folder.file("junit.xml");
    let output = folder.trommel(&["test"]).args(["--json", "--junit"]).arg(&report).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let rows: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let [large, wrong, last] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&large["case"], &large["ok"]), (&"a large order".into(), &true.into()));
    assert_eq!(large["ends"][0]["payload"], serde_json::json!({ "amount": 700 }));
    assert_eq!((&wrong["ok"], &wrong["ends"][0]["sink"]), (&false.into(), &"archive".into()));
    assert_eq!((&last["passed"], &last["failed"], &last["coverage"]["keys"]["of"]), (&1.into(), &1.into(), &3.into()));
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains(r#"tests="2" failures="1""#) && report.contains(r#"name="wrong""#), "{report}");
}

#[test]
fn cases_run_again_when_a_key_changes() {
    let folder = folder(LARGE);
    let mut command = folder.trommel(&["test"]);
    command.arg("--watch");
    let mut watching = Router::spawn(command);
    watching.wait_for_output("1 passed, 0 failed");
    watching.wait_for("waiting for a change");
    folder.put("keys/keys.toml", KEYS.replace("\"/amount\" }", "\"/note\" }").as_bytes());
    watching.wait_for_output("FAIL  a large order");
    folder.put("keys/keys.toml", b"[[kye]]");
    watching.wait_for("unknown field `kye`");
    folder.put("keys/keys.toml", KEYS.as_bytes());
    watching.wait_for_output("1 passed, 0 failed");
    watching.kill();
}

/// What a case of lines expects is what came out when it was recorded.
#[test]
fn recorded_cases_pass_until_a_key_changes() {
    let lines = "{\"amount\":1}\n\nno JSON\n{\"amount\":600,\"s\":\"it's\"}\n\u{feff}{\"amount\":7}\n";
    let folder = Folder::new(router::TO_STDOUT).plugin("select", "select").write("lines.ndjson", lines);
    let folder = folder.write(
        "keys/keys.toml",
        &KEYS.replace("orders.*.created", "in").replace("\"alerts\"", "\"out\"").replace("archive", "out"),
    );
    let (lines, file) = (folder.file("lines.ndjson"), folder.file("tests/lines.toml"));
    let recorded = folder.trommel(&["test"]).arg("--record").arg(&file).arg("--lines").arg(&lines).output().unwrap();
    assert!(recorded.status.success(), "{recorded:?}");
    assert!(test(&folder, &[]).contains("4 passed, 0 failed\n"), "{}", test(&folder, &[]));
    let again = folder.trommel(&["test"]).arg("--record").arg(&file).arg("--lines").arg(&lines).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    folder.put("keys/keys.toml", folder.read("keys/keys.toml").replace(">= 500", ">= 700").as_bytes());
    assert!(test(&folder, &[]).contains("passed, 1 failed\n"), "{}", test(&folder, &[]));
    // A link to the file stays one, and the file keeps its permissions.
    let linked = folder.file("linked.toml");
    fs::rename(&file, &linked).unwrap();
    symlink(&linked, &file).unwrap();
    fs::set_permissions(&linked, Permissions::from_mode(0o640)).unwrap();
    assert!(test(&folder, &["--update"]).contains("outcomes written"));
    assert!(file.is_symlink() && test(&folder, &[]).contains("4 passed, 0 failed\n"), "{}", test(&folder, &[]));
    assert_eq!(linked.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    folder.put("none.ndjson", b"\n");
    let (lines, file) = (folder.file("none.ndjson"), folder.file("tests/none.toml"));
    let none = folder.trommel(&["test"]).arg("--record").arg(&file).arg("--lines").arg(&lines).output().unwrap();
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("`none.ndjson` holds no messages"), "{none:?}");
    assert!(!file.exists());
}

/// Ids, subjects, headers and times are the stream's, so that what is made of them is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_of_a_stream_becomes_cases_that_need_no_server() {
    let server = NatsServer::start().await;
    let key = KEYS.replace("orders.*.created", "in.*").replace("alerts", "out").replace("archive", "out");
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).plugin("select", "select");
    let folder =
        folder.write("keys/keys.toml", &key.replace("/amount >= 500", "/n >= 3").replace("\"/amount\"", "\"/n\""));
    assert!(folder.start().stop().status.success());
    let context = flow::connect(&server.url()).await;
    flow::publish(&context, 0..9, 3).await;
    let file = folder.file("tests/stream.toml");
    let record = folder.trommel(&["test"]).arg("--record").arg(&file).args(["--from-seq", "3", "--to", "6"]).output();
    assert!(record.as_ref().unwrap().status.success(), "{record:?}");
    drop(server);
    let recorded: toml::Table = folder.read("tests/stream.toml").parse().unwrap();
    let [two, three, ..] = &recorded["case"].as_array().unwrap()[..] else { panic!("{recorded}") };
    let text = |case: &toml::Value, path: &[&str]| {
        path.iter().fold(case, |value, name| &value[*name]).as_str().unwrap().to_owned()
    };
    assert_eq!(text(two, &["name"]), "IN:3");
    assert_eq!(two["expect"][0]["dropped"].as_str(), Some("conditions"));
    assert_eq!(text(three, &["event", "subject"]), "in.0");
    assert_eq!(three["event"]["sequence"].as_integer(), Some(4));
    assert!(three["event"]["headers"]["Nats-Msg-Id"].is_str() && three["event"]["time"].is_str(), "{three}");
    assert_eq!(three["expect"][0]["subject"].as_str(), Some("out.in.0"));
    let said = test(&folder, &[]);
    assert!(said.contains("4 passed, 0 failed\n"), "{said}");
}

#[test]
fn the_cases_of_the_examples_pass_and_reach_everything() {
    for example in ["quickstart", "components", "components/window"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let output = trommel().arg("test").arg(folder).args(["--min-coverage", "80"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
