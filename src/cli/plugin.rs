//! `trommel plugin`: tools for the author of a filter, from a new folder to a component in service.

use std::{fs, path::Path, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{
    cli::refusal::{Kind, Refusal},
    config::{FilterSettings, Grant, Limits},
};

mod bench;
mod case;
mod check;
mod ls;
mod new;
mod stand_in;
mod test;

/// Write, check, test and measure a filter
#[derive(Args, Debug)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Check(check::Check),
    Test(test::Test),
    Bench(bench::Bench),
    Ls(ls::Ls),
}

impl Plugin {
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::New(new) => new.execute(),
            Command::Check(check) => check.execute(),
            Command::Test(test) => test.execute(),
            Command::Bench(bench) => bench.execute(),
            Command::Ls(ls) => ls.execute(),
        }
    }
}

/// A component's file, and the name that a router would give it.
struct File {
    name: String,
    bytes: Vec<u8>,
}

impl File {
    fn read(path: &Path) -> Result<Self, Refusal> {
        let shown = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| {
            let refusal = Refusal::new(Kind::Validation, "unreadable", format!("can't read `{shown}`: {error}"));
            refusal.param(&shown).hint("give the `.wasm` file that the plugin's build makes")
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, bytes })
    }
}

/// Settings that grant everything, with memory for an interpreter: whether a router would grant the
/// same is reported separately.
fn settings(name: &str) -> FilterSettings {
    let limits = Limits { memory: MEMORY, ..Limits::default() };
    let grants = vec![Grant::Api, Grant::Identity, Grant::State];
    FilterSettings { grants, limits, ..FilterSettings::new(name.to_owned()) }
}

/// Memory limit of an instance in these commands, in bytes.
const MEMORY: usize = 256 << 20;

/// Formats an error with its causes on one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
