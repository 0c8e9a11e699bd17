//! `trommel diff`: what another folder would do to messages of the past.

use crate::flow;
use crate::nats;
use crate::printed::{json_lines, text};
use crate::router;

use std::process::Output;

use flow::publish;
use nats::NatsServer;
use router::{Folder, TO_STDOUT};
use serde_json::{Value, json};

const KEYS: &str = r#"
    [[key]]
    key = "numbers"
    subject = "in.>"
    where = "/n < 40"
    filter = "select"
    params = [{ name = "keep" }]

    [[route]]
    key = "numbers"
    params = { keep = "/n" }
    sinks = ["out"]
"#;

fn diff(old: &Folder, new: &Folder, options: &[&str]) -> Output {
    old.trommel(&["diff"]).arg(new.path()).args(options).output().unwrap()
}

/// The rows that `--json` prints, and the exit code.
fn rows(old: &Folder, new: &Folder, options: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = diff(old, new, &[&["--json"], options].concat());
    assert_eq!(text(&output.stderr), "");
    (json_lines(&output.stdout), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_of_a_stream_is_run_through_both_folders() {
    let server = NatsServer::start().await;
    let settings = flow::settings(&server.url(), "", "");
    let folder = |keys: &str| Folder::new(&settings).write("keys/numbers.toml", keys).plugin("select", "select");
    let (old, new) = (folder(KEYS), folder(&KEYS.replace("/n < 40", "/n in [10..59]")));
    assert!(old.start().stop().status.success());
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..60, 3).await;
    let (same, code) = rows(&old, &old, &[]);
    assert_eq!(
        (&same[..], code),
        (
            &[json!({
                "messages": 60, "same": 60, "new_dead_letter": 0, "not_sent": 0, "newly_sent": 0, "elsewhere": 0, "other_content": 0,
            })][..],
            Some(0)
        )
    );
    // Sequences begin at 1: these are the numbers 5 to 44.
    let (rows, code) = rows(&old, &new, &["--from-seq", "6", "--to", "45", "--examples", "1"]);
    let [no_longer, newly, count] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(code, Some(1));
    assert_eq!(
        *count,
        json!({
            "messages": 40, "same": 30, "new_dead_letter": 0, "not_sent": 5, "newly_sent": 5, "elsewhere": 0,
            "other_content": 0,
        })
    );
    assert_eq!(
        *no_longer,
        json!({
            "message": "IN:6", "change": "not_sent",
            "old": [{ "sink": "out", "subject": "out.in.2", "payload": { "n": 5 } }],
            "new": [{ "key": "numbers", "dropped": "where", "because": "/n in 10..59" }],
        })
    );
    assert_eq!((&newly["message"], &newly["change"]), (&json!("IN:41"), &json!("newly_sent")));
    // A source that reads less: of the numbers below 40, every third is no longer sent.
    let narrow = Folder::new(&flow::settings(&server.url(), "subjects = [\"in.0\", \"in.1\"]", ""));
    let narrow = narrow.write("keys/numbers.toml", KEYS).plugin("select", "select");
    let (less, code) = self::rows(&old, &narrow, &["--examples", "1"]);
    let [unread, count] = &less[..] else { panic!("{less:?}") };
    assert_eq!(
        (&unread["message"], &unread["change"], &unread["new"]),
        (&json!("IN:3"), &json!("not_sent"), &json!([]))
    );
    assert_eq!((&count["same"], &count["not_sent"], code), (&json!(47), &json!(13), Some(1)));
    let (read, code) = self::rows(&narrow, &narrow, &["--stream", "IN"]);
    assert_eq!((&read[0]["messages"], code), (&json!(40), Some(0)));
    // Nothing was written, and the router's position is where it was.
    assert_eq!(flow::consumer(&context).await.ack_floor.stream_sequence, 0);
}

#[test]
fn each_kind_of_change_is_counted_and_shown() {
    let lines = (0..6).map(|n| format!("{{\"n\":{n},\"subject\":\"in.{n}\"}}\n")).collect::<String>();
    let settings = TO_STDOUT.replace("type = \"stdout\"", "type = \"file\"\npath = \"out/{subject}.ndjson\"");
    let folder = |keys: &str, settings: &str| {
        let folder = Folder::new(settings).write("keys/numbers.toml", keys).plugin("select", "select");
        folder.write("lines.ndjson", &lines)
    };
    let old = folder(KEYS, &settings);
    let file = old.file("lines.ndjson").display().to_string();
    let changed = |keys: &str, settings: &str| {
        let output = diff(&old, &folder(keys, settings), &["--lines", &file, "--examples", "1"]);
        (text(&output.stdout), output.status.code())
    };
    let (said, code) = changed(&KEYS.replace("keep = \"/n\"", "keep = \"/subject\""), &settings);
    insta::assert_snapshot!(said, @r#"
    lines.ndjson:1: other content
        sink = "out"
        file = "out/in.0.ndjson"
      - payload = {"n":0}
      + payload = {"subject":"in.0"}
    6 messages, 0 with the same ends
           6 go where they went, with other content
    "#);
    assert_eq!(code, Some(1));
    let (said, _) = changed(KEYS, &settings.replace("out/", "there/"));
    insta::assert_snapshot!(said, @r#"
    lines.ndjson:1: elsewhere
        sink = "out"
      - file = "out/in.0.ndjson"
      + file = "there/in.0.ndjson"
        payload = {"n":0}
    6 messages, 0 with the same ends
           6 go elsewhere
    "#);
    let strict = KEYS.replace(
        "filter = ",
        "validate = \"all\"\nschema.custom.inline = { type = \"object\", properties = { n = { maximum = 3 } } }\nfilter = ",
    );
    let (said, _) = changed(&strict, &settings);
    insta::assert_snapshot!(said, @r#"
    lines.ndjson:5: new dead letter
      - sink = "out"
      - file = "out/in.4.ndjson"
      - payload = {"n":4}
      + key = "numbers"
      + dead_letter = "schema_mismatch"
      + because = "output 0 does not fit the key's schema at `/n`: value is greater than the maximum of 3"
    6 messages, 4 with the same ends
           2 become new dead letters
    "#);
    // The order in which keys are declared makes no difference.
    let two =
        format!("{settings}\n[[sink]]\nname = \"second\"\ntype = \"file\"\npath = \"second/{{subject}}.ndjson\"\n");
    let second = KEYS.replace("\"numbers\"", "\"again\"").replace("\"out\"", "\"second\"");
    let [ahead, behind] = [format!("{KEYS}{second}"), format!("{second}{KEYS}")].map(|keys| folder(&keys, &two));
    let moved = diff(&ahead, &behind, &["--lines", &file]);
    assert_eq!(text(&moved.stdout), "6 messages, 6 with the same ends\n");
    assert_eq!(moved.status.code(), Some(0));
    let unreadable = diff(&old, &old, &["--lines", "/none"]);
    assert_eq!(unreadable.status.code(), Some(2), "{unreadable:?}");
}
