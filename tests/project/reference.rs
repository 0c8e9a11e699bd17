//! The pages of `docs/reference/` that are made of the code are what the code says today.

use std::{env, fs, path::PathBuf};

mod commands;
mod configuration;
mod envelopes;
mod exit_codes;
mod metrics;
mod reasons;
mod rows;

pub use commands::command;

/// Path of a page of the reference.
fn path(page: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page)
}

fn read(page: &str) -> String {
    fs::read_to_string(path(page)).unwrap()
}

/// Compares a generated page with the one in the tree, or writes it there.
fn is_current(page: &str, text: &str) {
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(path(page), text).unwrap();
    }
    let stored = fs::read_to_string(path(page)).unwrap_or_default();
    let differ = stored.lines().zip(text.lines()).find(|(stored, made)| stored != made);
    assert!(
        stored == text,
        "docs/reference/{page} is stale, first at {differ:#?}\n\
         regenerate it: UPDATE_REFERENCE=1 cargo test --test project reference"
    );
}

/// A text inside a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
