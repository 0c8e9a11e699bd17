//! What `trommel plugin check` says of a component.

use crate::crafted;
use crate::plugin_kit::{guest, said};
use crate::router::trommel;

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

fn wat(name: &str) -> Vec<u8> {
    wat::parse_file(format!("{}/tests/guests/{name}.wat", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn check(file: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    fs::write(&path, file).unwrap();
    said(trommel().args(["plugin", "check"]).arg(path), folder.path())
}

#[test]
fn a_component_is_described() {
    assert_snapshot!(check(&guest("caller")), @r#"
    form      a core module with its WIT, made a component when it is loaded, 44.4 KiB
    contract  trommel:filter@0.1.0 (this router has 0.1.0, 0.1.1, 0.2.0)
    imports   trommel:filter/api@0.1.0, trommel:filter/types@0.1.0
    exports   trommel:filter/filter@0.1.0
    filter    caller 1.0.0: Calls the API and sends on the answer
    hooks     normalize-params, matches, process
    grants    api
    reads     matches: nothing
              process: nothing
    digest    sha256:d28c2109aa547848a4bda0b71c5e22043bb457b12567a690dde974fb6cd2a239
    memory    1.1 MiB before the first event, of 64.0 MiB
    compiled  TIME
    it asks for
      # keys/guest.toml
      [[key]]
      key = "guest"
      subject = "…"
      filter = "guest"
      
      # filters/guest.toml
      [[filter]]
      name = "guest"
      grants = ["api"]
    a router would take it
    --- stderr
    --- exit code 0
    "#);
}

/// As toolchains of interpreters do, whose components import all that there is.
#[test]
fn an_import_that_the_manifest_does_not_ask_for_is_no_warning() {
    let delete = r#"(import "trommel:filter/state@0.1.1" "delete" (func $delete (param i32 i32 i32)))"#;
    let said = check(&crafted::filter(crafted::Trick { imports: delete, ..crafted::Trick::default() }));
    assert!(said.contains("unasked   state: imported, but not in the manifest; denied without a grant"), "{said}");
    assert!(!said.contains("warning") && !said.contains("it asks for"), "{said}");
}

#[test]
fn everything_that_is_wrong_is_said() {
    assert_snapshot!(check(&wat("unknown-import")), @r"
    form      a component, 120 B
    contract  trommel:filter@none (this router has 0.1.0, 0.1.1, 0.2.0)
    imports   acme:telemetry/meter@1.0.0
    exports   nothing
    problem: it imports `acme:telemetry/meter@1.0.0`, which no router has: filters call `trommel:filter/log`, `api` and `state`, and WASI 0.2, which has nothing in it
    a router would refuse it
    --- stderr
    --- exit code 2
    ");
    assert_snapshot!(check(&wat("too-new")), @r"
    form      a component, 280 B
    contract  trommel:filter@0.3.0 (this router has 0.1.0, 0.1.1, 0.2.0)
    imports   trommel:filter/clock@0.3.0
    exports   trommel:filter/filter@0.3.0
    problem: it imports `trommel:filter/clock@0.3.0`, which no router has: filters call `trommel:filter/log`, `api` and `state`, and WASI 0.2, which has nothing in it
    problem: it needs trommel:filter@0.3.0, this router has 0.1.0 and 0.1.1 and 0.2.0: take a newer router, or build the component against an older version
    a router would refuse it
    --- stderr
    --- exit code 2
    ");
    assert_snapshot!(check(b"#!/bin/sh"), @r"
    problem: it is not WebAssembly: it starts with `#!/bin/s`, a component with `\0asm`
    a router would refuse it
    --- stderr
    --- exit code 2
    ");
}

/// As a debug build has it, in small: most of it is names and lines.
#[test]
fn a_debug_build_is_noticed() {
    let mut module = guest("stamp-v1");
    // A custom section: its id, its length, the length of its name, the name, and what is in it.
    let mut section = vec![11];
    section.extend(b".debug_info");
    section.resize(2 << 20, 0);
    module.push(0);
    module.extend(leb(section.len()));
    module.extend(section);
    let said = check(&module);
    assert!(said.contains("warning: 2.0 MiB of its 2.1 MiB are debugging information"), "{said}");
    assert!(said.contains("a router would take it"), "{said}");
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn programs_are_told_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    fs::write(&path, guest("stamp-v1")).unwrap();
    let output = trommel().args(["plugin", "check", "--json"]).arg(path).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["ok"], &said["problems"], &said["warnings"]), (&json!(true), &json!([]), &json!([])));
    assert_eq!(said["file"]["form"], "module");
    assert_eq!(said["filter"]["hooks"], json!(["process"]));
    assert_eq!(said["filter"]["process_reads"], json!(["id"]));
}

/// Compiled by a process of its own, whose memory ends before that of the machine.
#[test]
fn what_wants_too_much_memory_to_be_compiled_is_refused() {
    let costly = crafted::filter(crafted::Trick { more: &crafted::nested(200, 10_000), ..Default::default() });
    let said = check(&costly);
    assert!(said.contains("its compiler wants more than 512.0 MiB of memory"), "{said}");
    let bomb = crafted::filter(crafted::Trick { more: &crafted::nested(1_000, 10_000), ..Default::default() });
    let said = check(&bomb);
    assert!(said.contains("too many loops or branches for its many locals"), "{said}");
}

/// What a filter of version 0.2 asks for is printed as what to paste.
#[test]
fn what_a_component_asks_for_can_be_pasted() {
    let said = check(&guest("fields"));
    let (_, asked) = said.split_once("it asks for\n").unwrap();
    let lines: Vec<_> = asked.lines().map_while(|line| line.strip_prefix("  ")).collect();
    let (key, settings) = lines.split_at(lines.iter().position(|line| line.is_empty()).unwrap());
    assert!(key.starts_with(&["# keys/guest.toml", "[[key]]", "key = \"guest\"", "subject = \"…\""]), "{said}");
    let param = ["[[key.params]]", "name = \"mode\"", "type = \"string\"", "description = \"what it does\""];
    assert!(key.windows(4).any(|lines| lines == param) && key.contains(&"api = [\"GET /none\"]"), "{said}");
    let wanted = ["# state: keeps values", "grants = [\"state\"]", "limits = { memory = 16777216 }"];
    assert!(settings.ends_with(&wanted), "{said}");
    assert!(lines.join("\n").parse::<toml::Table>().is_ok(), "{said}");
}
