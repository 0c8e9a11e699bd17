//! What `docs/contributing/compatibility.md` names is there.

use std::{fs, path::Path};

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/contributing/compatibility.md")).unwrap();
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
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contributing/compatibility.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(|c: char| c.is_ascii_digit()));
    let bare: Vec<_> = rows.filter(|row| !row.contains(".rs::") && !row.starts_with("| *")).collect();
    assert!(bare.is_empty(), "{bare:#?}");
}
