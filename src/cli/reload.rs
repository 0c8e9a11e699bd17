//! `trommel reload DIR`.

use std::process::ExitCode;

use clap::Args;

use super::{
    FolderArgs, exit,
    keys::{json, print},
    operate::{operate, strange},
    refusal::{CommandRefusal, RefusalKind},
};
use crate::{
    control::operation::{Operation, OperationResult, ReloadResult, ReloadWish},
    registry::EntryChange,
};

/// Have a running router read its keys, filters, schemas and components now
#[derive(Args, Debug)]
pub struct ReloadCommand {
    #[command(flatten)]
    folder: FolderArgs,
    /// Wait until all of it is in force, or print every problem for which it is not and exit with 2
    #[arg(long)]
    wait: bool,
}

impl ReloadCommand {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.folder.json))
    }

    fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let FolderArgs { dir, json: is_json } = &self.folder;
        let wish = ReloadWish { wait: self.wait };
        let OperationResult::Reload(result) = operate(dir, Operation::Reload(wish))? else {
            return Err(strange(dir));
        };
        if *is_json {
            print(&json(&result)?)?;
            let is_good = result.problems.is_empty();
            return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) });
        }
        if !result.done {
            print("the router reads its folder: `--wait` would tell how that ends")?;
            return Ok(ExitCode::SUCCESS);
        }
        print(&text(&result))?;
        if result.problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(problems(&result)) }
    }
}

fn text(result: &ReloadResult) -> String {
    let mut lines = vec![match result.generation {
        Some(generation) => format!("generation {generation} is in force"),
        None if result.problems.is_empty() => "nothing has changed".to_owned(),
        None => "nothing new is in force".to_owned(),
    }];
    for (word, how) in
        [("added", EntryChange::Added), ("changed", EntryChange::Changed), ("removed", EntryChange::Removed)]
    {
        lines.extend(result.changes.listed(how).map(|listed| format!("  {word}: {listed}")));
    }
    if !result.at_next_start.is_empty() {
        lines.push(format!("  at the next start, from `trommel.toml`: {}", result.at_next_start.join(", ")));
    }
    lines.join("\n")
}

fn problems(result: &ReloadResult) -> CommandRefusal {
    let mut lines = vec!["what was good before stays in force:".to_owned()];
    for problem in &result.problems {
        lines.push(format!("{}: {}", problem.place, problem.message));
        lines.extend(problem.hint.iter().flat_map(|hint| hint.lines()).map(|line| format!("  {line}")));
    }
    CommandRefusal::new(RefusalKind::Validation, "not_reloaded", lines.join("\n"))
}
