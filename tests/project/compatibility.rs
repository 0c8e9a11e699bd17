//! What `docs/contributing/compatibility.md` names is there.

use std::{fs, path::Path};

use serde::Deserialize;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn page() -> String {
    read("docs/contributing/compatibility.md")
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page();
    let named: Vec<_> = page.split('`').filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 100, "only {} tests are named", named.len());
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(file, name)| {
            let source = fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
            let before = source.split_once(&format!("fn {name}(")).map(|(before, _)| before.lines().rev().take(4));
            !before.is_some_and(|mut lines| lines.any(|line| line.contains("#[") && line.contains("test")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A row is held by a test, or says in italics why it is left out.
#[test]
fn every_row_has_a_test_or_a_reason() {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(|c: char| c.is_ascii_digit()));
    let bare: Vec<_> = rows.filter(|row| !row.contains(".rs::") && !row.starts_with("| *")).collect();
    assert!(bare.is_empty(), "{bare:#?}");
}

/// An entry of the table of `tools/mutate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableMutation {
    row: String,
    file: String,
    find: String,
    replace: String,
    test: String,
}

#[derive(Deserialize)]
struct MutationTable {
    mutation: Vec<TableMutation>,
}

#[test]
fn every_mutation_breaks_something_that_a_row_names_a_test_for() {
    let MutationTable { mutation: mutations } = toml::from_str(&read("tools/mutations.toml")).unwrap();
    let page = page();
    for TableMutation { row, file, find, replace, test } in mutations {
        assert_eq!(read(&file).matches(&*find).count(), 1, "{file}: {find}");
        assert_ne!(find, replace, "{file}");
        let line = page.lines().find(|line| line.starts_with(&format!("| {row} |"))).unwrap_or_default();
        assert!(line.contains(&format!("`{test}`")), "row {row} does not name `{test}`");
    }
}
