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
        FolderArgs,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    config::{self, nearest, quoted},
    filter::has_lifecycle,
    folder,
};

mod definition;
mod list;
mod schema;

/// Show the keys that a router's folder declares
#[derive(Args, Debug)]
pub struct KeysCommand {
    #[command(subcommand)]
    command: KeysSubcommand,
}

#[derive(Debug, Subcommand)]
enum KeysSubcommand {
    /// List all keys
    List(list::ListKeys),
    /// Show a key, its params and what its outputs look like
    Schema(schema::ShowKeySchema),
}

impl KeysCommand {
    pub fn execute(self) -> ExitCode {
        let (json, text) = match self.command {
            KeysSubcommand::List(list) => (list.folder.json, list.text()),
            KeysSubcommand::Schema(schema) => (schema.folder.json, schema.text()),
        };
        let printed = text.and_then(|text| print(&text));
        printed.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(json))
    }
}

impl FolderArgs {
    /// Returns all keys, sorted by their bytes (L08), with the lifecycles of their filters.
    fn keys(&self) -> Result<(Vec<config::KeyConfig>, LifecycleLookup), CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let mut keys = config.registry.keys;
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((keys, LifecycleLookup { plugins: config.plugins, known: RefCell::default() }))
    }
}

/// Refusal for a key that the folder does not declare, with the nearest names and the command that
/// lists all (L115).
pub(super) fn unknown_key(name: &str, keys: &[config::KeyConfig], dir: &Path) -> CommandRefusal {
    let near = nearest(name, keys.iter().map(|key| key.name.as_str()));
    let mean = if near.is_empty() { String::new() } else { format!("did you mean {}?\n", quoted(near, "or")) };
    let refusal = CommandRefusal::new(RefusalKind::Validation, "unknown_key", format!("there is no key `{name}`"));
    refusal.hint(format!("{mean}`trommel keys list {}` shows all", dir.display()))
}

/// Lookup of the filters that have lifecycle hooks, to hold something upstream while consumers are
/// attached. Each component is read on first use.
struct LifecycleLookup {
    plugins: PathBuf,
    known: RefCell<BTreeMap<String, Option<bool>>>,
}

impl LifecycleLookup {
    /// Returns whether the key's filter has lifecycle hooks; `None` if its component can't be read,
    /// for which `trommel check` gives the reason.
    fn of(&self, key: &config::KeyConfig) -> Option<bool> {
        let Some(filter) = &key.filter else { return Some(false) };
        let look = || fs::read(self.plugins.join(format!("{filter}.wasm"))).ok().and_then(|file| has_lifecycle(&file));
        *self.known.borrow_mut().entry(filter.clone()).or_insert_with(look)
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, CommandRefusal> {
    let text = serde_json::to_string_pretty(value);
    text.map_err(|error| {
        CommandRefusal::new(RefusalKind::Internal, "json", format!("can't be written as JSON: {error}"))
    })
}

pub(super) fn print(text: &str) -> Result<(), CommandRefusal> {
    match writeln!(terminal::stdout(), "{text}") {
        // A reader that has closed the pipe is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandRefusal::new(
            RefusalKind::Internal,
            "stdout",
            format!("can't write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
