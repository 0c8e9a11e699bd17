//! `explain` announces what `run` does, and cases that `test` records expect it: folders and events
//! from a seed, each event once explained, once recorded and tested, and once routed.
//! `EXPLAIN_SEED` repeats a run, `EXPLAIN_FOLDERS` makes it longer.

use crate::router;

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fastrand::Rng;
use router::Folder;
use serde_json::{Value, json};

const FOLDERS: usize = 50;
const EVENTS: usize = 50;

const SETTINGS: &str = r#"
[[source]]
name = "in"
type = "lines"
path = "events.ndjson"
id = "/id"
subject = "/subject"
event_type = "/type"
[[sink]]
name = "lines"
type = "file"
path = "out/lines.ndjson"
[[sink]]
name = "shared-out"
type = "file"
path = "out/shared/{event_type}.ndjson"
redact = ["password"]
max_field = "256B"
[[sink]]
name = "documents"
type = "folder"
path = "out/documents"
file_name = "{key}-{event_type}-{id}.json"
pretty = true
[[sink]]
name = "avro"
type = "folder"
path = "out/avro"
file_name = "{key}-{id}.avro"
encode = "avro"
writer_schema = "order"
[dead_letter]
file = "dead-letters.ndjson"
"#;

const ORDER: &str = r#"{"type":"record","name":"order","fields":[
    {"name":"id","type":"string"},{"name":"amount","type":"long"}]}"#;

fn given<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Native conditions, of a key or of a route.
fn conditions(random: &mut Rng) -> String {
    let conditions = [
        "/amount in [1, 2, 3, 4, text]",
        "subject ^= a. || /amount > 4",
        r#"!/password; event-type matches "^(order|user)$""#,
        "/deep/er == 1 || /amount not in [7]",
        "subject $= .c",
    ];
    match random.u8(..3) {
        0 => format!("where = '{}'\n", random.choice(conditions).unwrap()),
        _ => String::new(),
    }
}

/// A key with its routes.
fn key(random: &mut Rng, number: usize) -> String {
    let name = format!("key-{number}");
    let mut text = format!("[[key]]\nkey = \"{name}\"\n");
    let subject = random.choice([">", "a.*", "a.b", "*.c", "b.>"]).unwrap();
    let event_type = random.choice(["order", "user"]).unwrap();
    let which = random.u8(..3);
    if which != 1 {
        let _ = writeln!(text, "subject = \"{subject}\"");
    }
    if which != 0 {
        let _ = writeln!(text, "event_type = \"{event_type}\"");
    }
    let decode = random.choice(["", "decode = \"json\"", "decode = \"raw\"", "decode = \"auto\""]).unwrap();
    let _ = writeln!(text, "{decode}");
    text.push_str(&conditions(random));
    let is_validated = random.bool();
    if is_validated {
        let _ = writeln!(text, "validate = \"{}\"", random.choice(["off", "sample", "all"]).unwrap());
    }
    let filter = random.choice(["", "select", "redact", "flatten"]).unwrap();
    let params: &[(&str, &[&str])] = match filter {
        "select" => &[
            (
                "where",
                &[
                    "/amount >= 5",
                    "/id; /amount < 3 || subject == a.b",
                    "event-type != user",
                    "/deep/er == 1 || /password",
                ],
            ),
            ("keep", &["/id /amount", "/amount"]),
        ],
        "redact" => &[("also", &["id", "amount"])],
        _ => &[],
    };
    if !filter.is_empty() {
        let _ = writeln!(text, "filter = \"{filter}\"");
    }
    if is_validated {
        let _ = writeln!(
            text,
            "[key.schema.custom]\ninline = {{ type = \"object\", properties = {{ amount = {{ type = \"integer\" }} }} }}"
        );
    }
    for (name, _) in params {
        let _ = writeln!(text, "[[key.params]]\nname = \"{name}\"");
    }
    for route in 0..random.usize(1..=2) {
        let mut chosen = Vec::new();
        for (name, values) in params {
            if random.u8(..4) > 0 {
                chosen.push(format!("{name} = \"{}\"", random.choice(*values).unwrap()));
            }
        }
        let mut sinks = vec!["lines", "shared-out", "documents", "avro"];
        // The files of two routes would take each other's names.
        sinks.truncate(if route == 0 { 4 } else { 2 });
        random.shuffle(&mut sinks);
        sinks.truncate(random.usize(1..=3));
        let _ = writeln!(
            text,
            "[[route]]\nname = \"{name}-{route}\"\nkey = \"{name}\"\nparams = {{ {} }}\nsinks = {}",
            chosen.join(", "),
            json!(sinks)
        );
        text.push_str(&conditions(random));
    }
    text
}

fn keys(random: &mut Rng) -> String {
    let mut text: String = (0..random.usize(1..=4)).map(|number| key(random, number)).collect();
    if random.bool() {
        text.push_str("[[route]]\nname = \"orders\"\nmatch_regex = 'order|late'\nsinks = [\"lines\"]\n");
        text.push_str(&conditions(random));
        text.push_str("[[route]]\nname = \"others\"\nfallthrough = true\nsinks = [\"shared-out\"]\n");
    }
    text
}

/// A line of the source.
fn line(random: &mut Rng, number: usize) -> String {
    let subject = random.choice(["a.b", "a.c", "b.c", "b.x.y", "z"]).unwrap();
    let event_type = random.choice(["order", "user", "late", "o/d d"]).unwrap();
    let amount = match random.u8(..6) {
        0 => json!("text"),
        1 => json!(1.5),
        2 => Value::Null,
        _ => json!(random.u8(..10)),
    };
    let amount = amount.to_string();
    let more = match random.u8(..6) {
        0 => r#","password":"secret""#.to_owned(),
        1 => format!(r#","long":"{}""#, "x".repeat(300)),
        2 => r#","amount":7"#.to_owned(),
        3 => r#","deep":{"er":1.0},"é":"\ud83d\ude00 \ud800""#.to_owned(),
        _ => String::new(),
    };
    let id = format!("e{number}{}", random.choice(["", "", "", "/", " x"]).unwrap());
    format!(r#"{{"id":"{id}", "subject":"{subject}","type":"{event_type}","amount":{amount}{more}}}"#)
}

/// Lines of files, files of folders and dead letters, with how often there is each.
type Results = BTreeMap<String, usize>;

fn note(results: &mut Results, what: String) {
    *results.entry(what).or_default() += 1;
}

/// What the folder's events lead to by `trommel explain`.
fn explained(folder: &Folder, events: &str) -> Results {
    let given: String = events
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(&line.replace(r"\ud800", "")).unwrap();
            let (id, subject, event_type) = (&event["id"], &event["subject"], &event["type"]);
            json!({ "id": id, "subject": subject, "event_type": event_type, "payload_text": line }).to_string() + "\n"
        })
        .collect();
    folder.put("given.json", given.as_bytes());
    let output = folder.trommel(&["explain"]).arg(folder.file("given.json")).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut results = Results::new();
    for explained in String::from_utf8(output.stdout).unwrap().lines() {
        let explained: Value = serde_json::from_str(explained).unwrap();
        let id = &explained["event"]["id"];
        for key in explained["keys"].as_array().unwrap() {
            let name = &key["key"];
            if let Some(reason) = key["dead_letter"]["reason"].as_str() {
                note(&mut results, format!("dead {id} {name} {reason}"));
            }
            for route in key["routes"].as_array().unwrap() {
                if let Some(reason) = dead_by(&route["outcome"]) {
                    note(&mut results, format!("dead {id} {name} {reason}"));
                }
                for output in route["outputs"].as_array().into_iter().flatten() {
                    let path = output["to"]["file"].as_str().unwrap_or_else(|| panic!("{output}"));
                    note(&mut results, written(folder.path(), Path::new(path), &bytes(output)));
                }
            }
        }
    }
    results
}

fn bytes(output: &Value) -> Vec<u8> {
    match output["text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(output["base64"].as_str().unwrap()).unwrap(),
    }
}

/// The reason of the dead letter that an outcome leads to.
fn dead_by(outcome: &Value) -> Option<String> {
    let (kind, said) = outcome.as_object()?.iter().next()?;
    match kind.as_str() {
        "dead_letter" | "broke" => Some(said.as_str().unwrap().to_owned()),
        "replaced" | "replaced_text" | "replaced_base64" | "emitted" => None,
        reason => Some(reason.to_owned()),
    }
}

/// A file's content by its name, where that is its output's own, else by its folder.
fn written(root: &Path, path: &Path, content: &[u8]) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    // An id that had to be changed takes along a digest of where the event came in, which differs.
    let shown = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "avro") if path.to_str().unwrap().contains("_0-") => path.parent().unwrap(),
        _ => path,
    };
    format!("{} {}", shown.display(), content.escape_ascii())
}

/// What the folder's events lead to by the cases that `trommel test` makes of them, and which pass.
fn tested(folder: &Folder, events: &str) -> Results {
    let file = folder.file("tests/recorded.toml");
    let lines = folder.file("events.ndjson");
    let mut record = folder.trommel(&["test"]);
    let recorded = record.arg("--record").arg(&file).arg("--lines").arg(lines).args(["--limit", "0"]).output().unwrap();
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let passed = folder.trommel(&["test"]).output().unwrap();
    assert!(passed.status.success(), "{}", String::from_utf8_lossy(&passed.stdout));
    let cases: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let mut results = Results::new();
    for (case, line) in cases["case"].as_array().unwrap().iter().zip(events.lines()) {
        let event: Value = serde_json::from_str(&line.replace(r"\ud800", "")).unwrap();
        for end in case["expect"].as_array().unwrap() {
            let text = |name: &str| end.get(name).and_then(toml::Value::as_str);
            if let Some(reason) = text("dead_letter") {
                let key = text("key").unwrap_or_default();
                note(&mut results, format!("dead {} {key:?} {reason}", event["id"]));
            }
            let base64 = text("payload_base64").map(|encoded| STANDARD.decode(encoded).unwrap());
            let content =
                text("payload").or_else(|| text("payload_text")).map(|text| text.as_bytes().to_vec()).or(base64);
            if let (Some(path), Some(content)) = (text("file"), content) {
                note(&mut results, written(folder.path(), Path::new(path), &content));
            }
        }
    }
    results
}

/// The same without the ends of lines, which are not in cases.
fn without_ends(results: &Results) -> Results {
    let mut without = Results::new();
    for (what, count) in results {
        *without.entry(what.trim_end_matches(r"\n").to_owned()).or_default() += count;
    }
    without
}

/// What the folder's events led to.
fn routed(folder: &Folder) -> Results {
    let ended = folder.run();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let mut results = Results::new();
    let mut folders = vec![folder.file("out")];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "ndjson") {
                for line in content.split_inclusive(|byte| *byte == b'\n') {
                    note(&mut results, written(folder.path(), &path, line));
                }
            } else {
                note(&mut results, written(folder.path(), &path, &content));
            }
        }
    }
    for letter in folder.read("dead-letters.ndjson").lines() {
        let letter: Value = serde_json::from_str(letter).unwrap();
        let [id, key, reason] = ["id", "key", "reason"].map(|name| &letter[name]);
        note(&mut results, format!("dead {id} {key} {}", reason.as_str().unwrap()));
    }
    results
}

/// Fails with the first differences between what was announced and what was done.
fn agree(announced: &Results, done: &Results, repeat: &str, keys: &str) {
    let different: Vec<_> = announced
        .iter()
        .filter(|(what, count)| done.get(*what) != Some(count))
        .map(|(what, count)| format!("announced {count} times, done {}: {what}", done.get(what).unwrap_or(&0)))
        .chain(done.keys().filter(|what| !announced.contains_key(*what)).map(|what| format!("not announced: {what}")))
        .collect();
    let shown = different.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(different.is_empty(), "{repeat}:\n{shown}\n{keys}");
}

#[test]
fn explain_announces_what_run_does_and_recorded_cases_expect_it() {
    let seed = given("EXPLAIN_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let (mut cases, mut seen) = (0, [0; 2]);
    for number in 0..given("EXPLAIN_FOLDERS").unwrap_or(FOLDERS) {
        let keys = keys(&mut random);
        let events: String = (0..EVENTS).map(|number| line(&mut random, number) + "\n").collect();
        let mut folder = Folder::new(SETTINGS).write("keys/all.toml", &keys).write("schemas/order.avsc", ORDER);
        folder = folder.write("events.ndjson", &events);
        for plugin in ["select", "redact", "flatten"] {
            folder = folder.plugin(plugin, plugin);
        }
        let (announced, done) = (explained(&folder, &events), routed(&folder));
        let repeat = format!("EXPLAIN_SEED={seed}, folder {number}");
        agree(&announced, &done, &repeat, &keys);
        agree(
            &without_ends(&tested(&folder, &events)),
            &without_ends(&done),
            &format!("{repeat}, by its cases"),
            &keys,
        );
        cases += EVENTS;
        for what in done.keys() {
            seen[usize::from(what.starts_with("dead"))] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > cases / 10), "too little happened in {cases} cases: {seen:?}");
}
