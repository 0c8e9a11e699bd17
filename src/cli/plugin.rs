//! `trommel plugin`: tools for the author of a filter, from a new folder to a component in service.

use std::{fs, path::Path, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{FilterSettings, Grant, GuestLimits},
};

mod bench;
mod case;
mod check;
mod declared;
mod ls;
mod new;
mod paste;
mod test;

/// Write, check, test and measure a filter
#[derive(Args, Debug)]
pub struct PluginCommand {
    #[command(subcommand)]
    command: PluginSubcommand,
}

#[derive(Debug, Subcommand)]
enum PluginSubcommand {
    New(new::NewPlugin),
    Check(check::CheckPlugin),
    Test(test::TestPlugin),
    Bench(bench::BenchPlugin),
    Ls(ls::ListPlugins),
}

impl PluginCommand {
    pub fn execute(self) -> ExitCode {
        match self.command {
            PluginSubcommand::New(new) => new.execute(),
            PluginSubcommand::Check(check) => check.execute(),
            PluginSubcommand::Test(test) => test.execute(),
            PluginSubcommand::Bench(bench) => bench.execute(),
            PluginSubcommand::Ls(ls) => ls.execute(),
        }
    }
}

/// A component's file, and the name that a router would give it.
struct ComponentFile {
    name: String,
    bytes: Vec<u8>,
}

impl ComponentFile {
    fn read(path: &Path) -> Result<Self, CommandRefusal> {
        let shown = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "unreadable", format!("can't read `{shown}`: {error}"));
            refusal.param(&shown).hint("give the `.wasm` file that the plugin's build makes")
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, bytes })
    }
}

/// Settings that grant everything, with memory for an interpreter: whether a router would grant the
/// same is reported separately.
fn settings(name: &str) -> FilterSettings {
    let limits = GuestLimits { memory: MEMORY, ..GuestLimits::default() };
    let grants = vec![Grant::Api, Grant::Identity, Grant::State];
    FilterSettings { grants, limits, ..FilterSettings::new(name.to_owned()) }
}

/// Memory limit of an instance in these commands, in bytes.
const MEMORY: usize = 256 << 20;

/// Formats an error with its causes on one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
