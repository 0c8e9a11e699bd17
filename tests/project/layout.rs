//! The shape of the tree: who may import whom, and which module alone may name a library. See ARCHITECTURE.md.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Leaf modules that every other one may take.
const LEAVES: &[&str] = &["backoff", "poison", "timer"];

/// What each top module may take from the crate beside [`LEAVES`]. A module that is missing here fails the test.
const IMPORTS: &[(&str, &[&str])] = &[
    ("backoff", &[]),
    ("poison", &[]),
    ("timer", &[]),
    ("text", &[]),
    ("ownership", &[]),
    ("show", &["event", "text"]),
    ("event", &[]),
    ("bus", &["event"]),
    ("json", &[]),
    ("avro", &[]),
    ("schema", &["json"]),
    ("signature", &["json"]),
    ("stop", &[]),
    ("field", &["event", "json"]),
    ("fate", &[]),
    ("metrics", &["fate", "recent", "tap"]),
    ("recent", &["event", "fate"]),
    ("tap", &["event"]),
    ("telemetry", &["config", "event", "outgoing"]),
    ("ack", &["event", "fate", "metrics", "telemetry"]),
    ("summary", &["metrics"]),
    ("open_files", &[]),
    ("listener", &["open_files"]),
    ("endpoint", &[]),
    ("outgoing", &[]),
    (
        "config",
        &["avro", "bus", "endpoint", "event", "field", "json", "outgoing", "ownership", "schema", "signature", "text"],
    ),
    ("credential", &["config"]),
    ("api", &["config", "credential", "endpoint", "outgoing"]),
    ("filter", &["api", "config", "endpoint", "event", "field", "json", "metrics", "text"]),
    ("trial", &["event", "filter", "walk"]),
    ("walk", &["avro", "event", "filter", "registry"]),
    ("nats", &["config", "event"]),
    ("dead_letters", &["config", "nats"]),
    ("webhook", &["config", "event", "metrics", "outgoing", "signature", "stop"]),
    (
        "sink",
        &[
            "ack",
            "config",
            "event",
            "fate",
            "field",
            "json",
            "metrics",
            "nats",
            "show",
            "signature",
            "stop",
            "telemetry",
            "webhook",
        ],
    ),
    (
        "registry",
        &["avro", "config", "endpoint", "event", "field", "filter", "json", "metrics", "nats", "schema", "sink"],
    ),
    (
        "pipeline",
        &[
            "ack",
            "avro",
            "config",
            "event",
            "fate",
            "field",
            "filter",
            "metrics",
            "registry",
            "show",
            "sink",
            "stop",
            "telemetry",
            "walk",
        ],
    ),
    (
        "source",
        &[
            "ack",
            "bus",
            "config",
            "credential",
            "dead_letters",
            "event",
            "field",
            "json",
            "listener",
            "metrics",
            "nats",
            "pipeline",
            "signature",
            "stop",
        ],
    ),
    ("verify", &["config", "dead_letters", "event", "nats", "sink", "webhook"]),
    ("admin", &["config", "credential", "listener", "metrics", "recent", "signature", "stop"]),
    ("control", &["config", "event", "filter", "metrics", "open_files", "recent", "registry", "sink", "stop"]),
    (
        "app",
        &[
            "admin",
            "api",
            "bus",
            "config",
            "control",
            "filter",
            "metrics",
            "nats",
            "ownership",
            "pipeline",
            "registry",
            "signature",
            "sink",
            "source",
            "stop",
            "summary",
            "telemetry",
            "verify",
            "webhook",
        ],
    ),
    (
        "cli",
        &[
            "ack",
            "api",
            "app",
            "avro",
            "config",
            "control",
            "dead_letters",
            "endpoint",
            "event",
            "filter",
            "json",
            "metrics",
            "nats",
            "ownership",
            "recent",
            "registry",
            "schema",
            "show",
            "signature",
            "sink",
            "source",
            "stop",
            "summary",
            "text",
            "trial",
            "verify",
            "walk",
            "webhook",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

/// Libraries that only some files may name.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("wasmtime", &["filter"]),
    ("wasmtime_wasi", &["filter"]),
    ("wit_component", &["filter"]),
    ("wit_parser", &["filter"]),
    ("wasmparser", &["filter"]),
    ("similar", &["cli/plugin"]),
    ("toml", &["config"]),
    ("jsonschema", &["schema"]),
    ("hmac", &["signature"]),
    ("notify", &["registry/watch"]),
    ("trommel_jq", &["cli/consume"]),
    ("async_nats", &["nats", "source/jetstream", "sink/nats"]),
    ("apache_avro", &["avro"]),
    ("axum", &["admin", "listener", "source/http", "cli/plugin"]),
    ("governor", &["source/http"]),
    ("reqwest", &["api", "outgoing", "telemetry", "webhook/post"]),
    ("opentelemetry", &["telemetry", "bus/envelope"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_proto", &["telemetry/collector"]),
    ("prost", &["telemetry/collector"]),
    ("rustls", &["nats", "outgoing", "signature/new_secret"]),
    ("clap", &["cli", "main"]),
    ("indicatif", &["cli"]),
    ("rusqlite", &["webhook/store"]),
    ("type_safe_id", &["webhook/store"]),
    ("prometheus_client", &["metrics"]),
    ("regex", &["event/type_pattern"]),
    ("xid", &["bus/envelope", "source/http"]),
];

/// Modules of a sink or a source that the rest must reach through the traits: the pipeline knows no destination.
const PIPELINE_KNOWS_OF_SINKS: &[&str] = &["Output", "dead_letter", "outlet"];

const LONGEST_FILE: usize = 500;

/// What writes to standard output and standard error. The rest goes through `cli/terminal`, which escapes what others wrote.
const PRINTERS: &[&str] = &["cli/terminal", "cli/logs", "cli/consume/jq", "cli/consume/outputs", "sink/stdout"];

pub fn sources() -> Vec<(PathBuf, String)> {
    files_in("src")
}

fn files_in(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    assert!(found.len() > 20, "the tree was not found");
    let read =
        |path: PathBuf| (path.strip_prefix(&root).unwrap().with_extension(""), fs::read_to_string(&path).unwrap());
    found.into_iter().map(read).collect()
}

/// Lines that are code, up to the file's tests.
pub fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first names behind `crate::`, inside braces too.
fn crate_imports(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => names.extend(name(rest)),
            Some(group) => names.extend(group_members(group)),
        }
    }
    names
}

fn group_members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut member) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.extend(name(&std::mem::take(&mut member))),
            c if depth == 0 => member.push(c),
            _ => {}
        }
    }
    members.extend(name(&member));
    members
}

fn name(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn modules_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = path.iter().next().unwrap().to_str().unwrap();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{}.rs: no rule for module `{module}`", path.display()));
            continue;
        };
        for import in crate_imports(&code(&text)) {
            let import = import.as_str();
            if import != module && !allowed.contains(&import) && !LEAVES.contains(&import) {
                wrong.push(format!("src/{}.rs imports `crate::{import}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden imports:\n{}", wrong.join("\n"));
}

#[test]
fn libraries_stay_behind_their_modules() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = code(&text);
        for (library, homes) in LIBRARIES {
            let is_home = homes.iter().any(|home| path.starts_with(home));
            let names_it = code
                .match_indices(&format!("{library}::"))
                .any(|(start, _)| !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if names_it && !is_home {
                wrong.push(format!("src/{}.rs names `{library}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries out of place:\n{}", wrong.join("\n"));
}

#[test]
fn the_pipeline_knows_no_destination() {
    for (path, text) in sources() {
        if !path.starts_with("pipeline") {
            continue;
        }
        let code = code(&text);
        for (start, _) in code.match_indices("sink::") {
            let rest = &code[start + "sink::".len()..];
            let names = rest.strip_prefix('{').map_or_else(|| name(rest).into_iter().collect(), group_members);
            for name in names {
                assert!(
                    PIPELINE_KNOWS_OF_SINKS.contains(&name.as_str()),
                    "src/{}.rs names sink `{name}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn files_hold_one_idea() {
    for folder in ["src", "tests"] {
        for (path, text) in files_in(folder) {
            let name = path.display();
            assert!(path.file_name().unwrap() != "mod", "{folder}/{name}.rs: modules are `foo.rs` beside `foo/`");
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{folder}/{name}.rs has {lines} lines: two ideas in one");
        }
    }
}

#[test]
fn nothing_is_printed_past_what_makes_it_harmless() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = code(&text);
        let prints = ["io::stdout()", "io::stderr()"].iter().any(|stream| {
            code.match_indices(stream).any(|(at, _)| !code[at + stream.len()..].starts_with(".is_terminal()"))
        });
        if prints && !PRINTERS.iter().any(|printer| path.starts_with(printer)) {
            wrong.push(format!("src/{}.rs prints by itself: use `cli::terminal`", path.display()));
        }
        // Recorded as a string it is quoted: `event = &*event.id`.
        for bare in ["event = %", "event_type = %", "subject = %event", "id = %event"] {
            if code.contains(bare) {
                wrong.push(format!("src/{}.rs logs text of others bare: `{bare}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "text of others:\n{}", wrong.join("\n"));
}

/// The rules' own eyes: imports are seen in every way of writing them.
#[test]
fn imports_are_seen_in_braces_and_paths() {
    let code = "use crate::{\n    ack::{Fate, Ticket},\n    event::Event,\n};\nfn f() -> crate::nats::X {}";
    let expected = ["ack", "event", "nats"].map(str::to_owned);
    assert_eq!(crate_imports(code), BTreeSet::from(expected));
}
