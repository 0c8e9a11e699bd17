//! `trommel filter`: the filters of a running router.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{
    FolderArgs,
    keys::{json, print},
    operate::{operate, strange},
    refusal::CommandRefusal,
};
use crate::control::operation::{FilterName, Operation, OperationResult};

/// Release a filter from its quarantine
#[derive(Args, Debug)]
pub struct FilterCommand {
    #[command(subcommand)]
    command: FilterSubcommand,
}

#[derive(Debug, Subcommand)]
enum FilterSubcommand {
    /// Lift the quarantine of a filter now: its events go on with the component that there is
    Release(ReleaseFilter),
}

#[derive(Args, Debug)]
struct ReleaseFilter {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the filter: that of its component without `.wasm`
    name: String,
}

impl FilterCommand {
    pub fn execute(self) -> ExitCode {
        let FilterSubcommand::Release(release) = self.command;
        release.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(release.folder.json))
    }
}

impl ReleaseFilter {
    fn run(&self) -> Result<(), CommandRefusal> {
        let FolderArgs { dir, json: is_json } = &self.folder;
        let wanted = FilterName { filter: self.name.clone() };
        let OperationResult::Release { filter, generation } = operate(dir, Operation::Release(wanted))? else {
            return Err(strange(dir));
        };
        print(&match is_json {
            true => json(&serde_json::json!({ "filter": filter, "generation": generation }))?,
            false => format!("filter `{filter}` is released: its events go on, in generation {generation}"),
        })
    }
}
