//! `trommel keys`: the keys that a router's folder declares, for people and for programs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    cli::{
        Folder,
        refusal::{Kind, Refusal},
        terminal,
    },
    config::{self, nearest, quoted},
    filter::has_lifecycle,
};

mod definition;
mod list;
mod schema;

/// Show the keys that a router's folder declares
#[derive(Args, Debug)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all keys
    List(list::List),
    /// Show a key, its params and what its outputs look like
    Schema(schema::Schema),
}

impl Keys {
    pub fn execute(self) -> ExitCode {
        let (json, text) = match self.command {
            Command::List(list) => (list.folder.json, list.text()),
            Command::Schema(schema) => (schema.folder.json, schema.text()),
        };
        let printed = text.and_then(|text| print(&text));
        printed.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(json))
    }
}

impl Folder {
    /// Returns all keys, sorted by their bytes (L08), with the lifecycles of their filters.
    fn keys(&self) -> Result<(Vec<config::Key>, Lifecycles), Refusal> {
        let config = config::load(&self.dir)?;
        let mut keys = config.registry.keys;
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((keys, Lifecycles { plugins: config.plugins, known: RefCell::default() }))
    }
}

/// Refusal for a key that the folder does not declare, with the nearest names and the command that
/// lists all (L115).
pub(super) fn unknown_key(name: &str, keys: &[config::Key], dir: &Path) -> Refusal {
    let near = nearest(name, keys.iter().map(|key| key.name.as_str()));
    let mean = if near.is_empty() { String::new() } else { format!("did you mean {}?\n", quoted(near, "or")) };
    let refusal = Refusal::new(Kind::Validation, "unknown_key", format!("there is no key `{name}`"));
    refusal.hint(format!("{mean}`trommel keys list {}` shows all", dir.display()))
}

/// Lookup of the filters that have lifecycle hooks, to hold something upstream while consumers are
/// attached. Each component is read on first use.
struct Lifecycles {
    plugins: PathBuf,
    known: RefCell<BTreeMap<String, Option<bool>>>,
}

impl Lifecycles {
    /// Returns whether the key's filter has lifecycle hooks; `None` if its component can't be read,
    /// for which `trommel check` gives the reason.
    fn of(&self, key: &config::Key) -> Option<bool> {
        let Some(filter) = &key.filter else { return Some(false) };
        let look = || fs::read(self.plugins.join(format!("{filter}.wasm"))).ok().and_then(|file| has_lifecycle(&file));
        *self.known.borrow_mut().entry(filter.clone()).or_insert_with(look)
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Refusal> {
    let text = serde_json::to_string_pretty(value);
    text.map_err(|error| Refusal::new(Kind::Internal, "json", format!("can't be written as JSON: {error}")))
}

pub(super) fn print(text: &str) -> Result<(), Refusal> {
    match writeln!(terminal::stdout(), "{text}") {
        // A reader that has closed the pipe is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Refusal::new(Kind::Internal, "stdout", format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
