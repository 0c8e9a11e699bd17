//! The shape of the tree: who may import whom, and which module alone may name a library. See
//! ARCHITECTURE.md.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules that a module may take from its own crate; one that is missing here takes none. What a
/// crate may take from another is in its manifest.
const IMPORTS: &[(&str, &[&str])] = &[
    ("event/condition", &["event", "field", "json", "text"]),
    ("event/field", &["event", "json", "text"]),
    ("event/json", &["text"]),
    ("event/projection", &["condition", "event", "field", "json"]),
    ("config/config", &["address", "ownership", "schema", "signature"]),
    ("config/credential", &["config"]),
    ("core/ack", &["fate", "metrics", "telemetry"]),
    ("core/health", &[]),
    ("core/metrics", &["fate", "health", "pause", "recent", "tap"]),
    ("core/pause", &["health"]),
    ("core/recent", &["fate"]),
    ("core/summary", &["metrics"]),
    ("core/schema_registry", &["outgoing"]),
    ("core/telemetry", &["outgoing"]),
    ("filter/filter", &["api"]),
    ("engine/pipeline", &["registry", "sink", "walk"]),
    ("engine/registry", &["sink"]),
    ("engine/trial", &["registry", "walk"]),
    ("engine/walk", &["registry"]),
    ("sinks/sink", &["webhook"]),
    ("sinks/verify", &["sink", "webhook"]),
    ("sources/source", &["listener"]),
    ("trommel/admin", &["control", "feed"]),
    ("trommel/app", &["admin", "control", "feed", "self_service"]),
    ("trommel/cli", &["app", "control", "feed"]),
    ("trommel/control", &["feed"]),
    ("trommel/prelude", &["app"]),
];

/// Crates whose root is their only module: the parts of one idea may name each other.
const ONE_IDEA: &[&str] = &["avro", "bus", "client", "fleet", "folder", "nats"];

/// Modules of other crates that a module may not take, though its crate may.
const STRANGERS: &[(&str, &[&str])] = &[
    ("engine/pipeline", &["nats"]),
    ("engine/trial", &["nats"]),
    ("engine/walk", &["nats"]),
    ("trommel/admin", &["nats", "pipeline", "source"]),
    ("trommel/control", &["nats", "pipeline", "source"]),
];

/// Libraries that only some files may name.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("wasmtime", &["filter/filter"]),
    ("wasmtime_wasi", &["filter/filter"]),
    ("wit_component", &["filter/filter"]),
    ("wit_parser", &["filter/filter"]),
    ("wasmparser", &["filter/filter"]),
    ("similar", &["trommel/cli/cases"]),
    ("toml", &["folder"]),
    ("toml_edit", &["folder/case_end", "folder/case_file", "folder/toml_value", "folder/webhook_book"]),
    ("jsonschema", &["config/schema"]),
    ("hmac", &["config/signature"]),
    ("notify", &["engine/registry/watch"]),
    ("trommel_jq", &["trommel/cli/consume"]),
    ("async_nats", &["nats", "sources/source/jetstream", "sinks/sink/nats"]),
    ("apache_avro", &["avro", "client/family/helix"]),
    (
        "axum",
        &["trommel/admin", "trommel/self_service", "sources/listener", "sources/source/http", "trommel/cli/cases"],
    ),
    ("governor", &["sources/source/http"]),
    ("ratatui", &["trommel/cli/top"]),
    (
        "reqwest",
        &["filter/api", "core/outgoing", "core/schema_registry/client", "core/telemetry", "sinks/webhook/post"],
    ),
    ("opentelemetry", &["core/telemetry", "bus/envelope"]),
    ("opentelemetry_sdk", &["core/telemetry"]),
    ("opentelemetry_proto", &["core/telemetry/collector"]),
    ("prost", &["core/telemetry/collector"]),
    ("rustls", &["nats", "core/outgoing", "config/signature/new_secret"]),
    ("clap", &["trommel/cli", "trommel/main"]),
    ("indicatif", &["trommel/cli"]),
    ("rusqlite", &["sinks/webhook/store"]),
    ("type_safe_id", &["client/family/ctrlplane", "sinks/webhook/store"]),
    ("prometheus_client", &["core/metrics"]),
    ("regex", &["event/event/type_pattern", "event/condition"]),
    ("wide", &["event/json/block"]),
    ("x509_parser", &["nats/expiry"]),
    ("xid", &["bus/envelope", "sources/source/http"]),
];

/// Crates that are of use without a router.
const ALONE: &[&str] = &["trommel-avro", "trommel-bus", "trommel-client", "trommel-nats"];

/// Packages that a crate of use without a router must not need.
const HEAVY: &[&str] = &["axum", "reqwest", "rusqlite", "wasmtime"];

const LONGEST_FILE: usize = 500;

/// Modules that write to standard output and standard error. The rest goes through `cli/terminal`,
/// which escapes what others wrote.
const PRINTERS: &[&str] = &[
    "trommel/cli/terminal",
    "trommel/cli/logs",
    "trommel/cli/consume/jq",
    "trommel/cli/consume/outputs",
    "sinks/sink/stdout",
];

/// The files in a folder that are written in Rust.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The files of all crates, as `CRATE/MODULE/…` without `.rs`.
pub fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crates = vec![("trommel".to_owned(), root.join("src"))];
    crates.extend(fs::read_dir(root.join("crates")).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.path().join("src"))
    }));
    assert!(crates.len() > 5, "the crates were not found");
    let mut read = Vec::new();
    for (name, folder) in crates {
        read.extend(files_in(&folder).into_iter().map(|path| {
            let module = Path::new(&name).join(path.strip_prefix(&folder).unwrap().with_extension(""));
            (module, fs::read_to_string(&path).unwrap())
        }));
    }
    read
}

/// Lines that are code and no item under `#[cfg(test)]`.
pub fn code(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        // The item ends with its own line, or with the brace that its block closes with.
        for item in lines.by_ref().skip_while(|line| line.starts_with("#[")) {
            if !item.starts_with(' ') && (item.ends_with(';') || item == "}") {
                break;
            }
        }
    }
    kept.join("\n")
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

/// Names of a list for a module, none if it is not in the table.
fn listed(table: &[(&str, &'static [&'static str])], module: &str) -> &'static [&'static str] {
    table.iter().find(|(name, _)| *name == module).map_or(&[], |(_, names)| names)
}

#[test]
fn modules_import_only_what_they_may() {
    let sources = sources();
    let module = |path: &Path| path.iter().take(2).collect::<PathBuf>().into_os_string().into_string().unwrap();
    let modules: BTreeSet<_> = sources.iter().map(|(path, _)| module(path)).collect();
    for (name, _) in IMPORTS.iter().chain(STRANGERS) {
        assert!(modules.contains(*name), "there is no module `{name}`");
    }
    let mut wrong = Vec::new();
    for (path, text) in &sources {
        let of_crate = path.iter().next().unwrap().to_str().unwrap();
        let own = module(path);
        if ONE_IDEA.contains(&of_crate) {
            continue;
        }
        for import in crate_imports(&code(text)) {
            let full = format!("{of_crate}/{import}");
            let is_own = full != own && modules.contains(&full);
            let is_wrong = is_own && !listed(IMPORTS, &own).contains(&&*import);
            if is_wrong || listed(STRANGERS, &own).contains(&&*import) {
                wrong.push(format!("{} imports `crate::{import}`", path.display()));
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
                wrong.push(format!("{}.rs names `{library}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries out of place:\n{}", wrong.join("\n"));
}

#[test]
fn files_hold_one_idea() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in ["src", "crates", "tests"].iter().flat_map(|folder| files_in(&root.join(folder))) {
        assert!(path.file_name().unwrap() != "mod.rs", "{}: modules are `foo.rs` beside `foo/`", path.display());
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines: two ideas in one", path.display());
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
            wrong.push(format!("{}.rs prints by itself: use `cli::terminal`", path.display()));
        }
        // Recorded as a string it is quoted: `event = &*event.id`.
        for bare in ["event = %", "event_type = %", "subject = %event", "id = %event"] {
            if code.contains(bare) {
                wrong.push(format!("{}.rs logs text of others bare: `{bare}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "text of others:\n{}", wrong.join("\n"));
}

#[test]
fn crates_of_use_alone_stay_light() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let needs = |name: &str| {
        let of_name = packages.iter().filter(move |package| package["name"].as_str() == Some(name));
        let lists = of_name.filter_map(|package| package.get("dependencies")?.as_array());
        // A dependency of several versions is `NAME VERSION`.
        lists.flatten().filter_map(|needed| needed.as_str()?.split(' ').next()).collect::<Vec<_>>()
    };
    for alone in ALONE {
        let mut seen = BTreeSet::from([*alone]);
        let mut open = vec![*alone];
        while let Some(name) = open.pop() {
            open.extend(needs(name).into_iter().filter(|needed| seen.insert(needed)));
        }
        assert!(seen.len() > 5, "`{alone}` is not in the lock file");
        for heavy in HEAVY {
            assert!(!seen.contains(heavy), "`{alone}` needs `{heavy}`");
        }
    }
}

/// The rules' own eyes: imports are seen in every way of writing them.
#[test]
fn imports_are_seen_in_braces_and_paths() {
    let code = "use crate::{\n    ack::{Fate, Ticket},\n    event::Event,\n};\nfn f() -> crate::nats::X {}";
    let expected = ["ack", "event", "nats"].map(str::to_owned);
    assert_eq!(crate_imports(code), BTreeSet::from(expected));
}

#[test]
fn code_behind_a_test_module_is_seen() {
    let text = "use a;\n#[cfg(test)]\nmod double;\nuse b;\n#[cfg(test)]\nimpl A {\n    fn f() {}\n}\nuse c;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    use d;\n}\n";
    assert_eq!(code(text), "use a;\nuse b;\nuse c;");
}
