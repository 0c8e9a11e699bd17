//! `trommel pause DIR NAME` and `trommel resume DIR NAME`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{
    FolderArgs,
    keys::{json, print},
    operate::{operate, strange},
    refusal::CommandRefusal,
};
use crate::{
    control::operation::{Operation, OperationResult, PartName, PauseResult, ResumeResult},
    pause::PausableKind,
};

/// Pause a key, a source or a sink of a running router until it is resumed, over restarts too
#[derive(Args, Debug)]
pub struct PauseCommand {
    #[command(flatten)]
    part: PartArgs,
}

/// Resume a key, a source or a sink that was paused
#[derive(Args, Debug)]
pub struct ResumeCommand {
    #[command(flatten)]
    part: PartArgs,
}

#[derive(Args, Debug)]
struct PartArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the key, source or sink
    name: String,
    /// What it is, if several parts have the name
    #[arg(long, value_enum)]
    kind: Option<PartKindArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartKindArg {
    Key,
    Source,
    Sink,
}

impl PartArgs {
    fn wanted(&self) -> PartName {
        let kind = self.kind.map(|kind| match kind {
            PartKindArg::Key => PausableKind::Key,
            PartKindArg::Source => PausableKind::Source,
            PartKindArg::Sink => PausableKind::Sink,
        });
        PartName { name: self.name.clone(), kind }
    }
}

impl PauseCommand {
    pub fn execute(self) -> ExitCode {
        self.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.part.folder.json))
    }

    fn run(&self) -> Result<(), CommandRefusal> {
        let FolderArgs { dir, json: is_json } = &self.part.folder;
        let OperationResult::Pause(result) = operate(dir, Operation::Pause(self.part.wanted()))? else {
            return Err(strange(dir));
        };
        if *is_json {
            return print(&json(&result)?);
        }
        let PauseResult { part, note, .. } = result;
        let what = match part.kind {
            PausableKind::Key => "its events wait",
            PausableKind::Source => "it takes nothing",
            PausableKind::Sink => "its outputs wait",
        };
        let (dir, kind, name) = (dir.display(), part.kind, part.name);
        let resume = format!("{kind} `{name}` is paused: {what} until `trommel resume {dir} {name}`");
        print(&with(resume, note))
    }
}

impl ResumeCommand {
    pub fn execute(self) -> ExitCode {
        self.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.part.folder.json))
    }

    fn run(&self) -> Result<(), CommandRefusal> {
        let FolderArgs { dir, json: is_json } = &self.part.folder;
        let OperationResult::Resume(result) = operate(dir, Operation::Resume(self.part.wanted()))? else {
            return Err(strange(dir));
        };
        if *is_json {
            return print(&json(&result)?);
        }
        let ResumeResult { kind, name, note, .. } = result;
        print(&with(format!("{kind} `{name}` goes on"), note))
    }
}

fn with(line: String, note: Option<String>) -> String {
    note.map_or(line.clone(), |note| format!("{line}\n  {note}"))
}
