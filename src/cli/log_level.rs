//! `trommel log DIR LEVEL`.

use std::process::ExitCode;

use clap::Args;

use super::{
    FolderArgs,
    keys::{json, print},
    operate::{operate, strange},
    refusal::CommandRefusal,
};
use crate::control::operation::{LogWish, Operation, OperationResult};

/// Change the level of a running router's logs, for a while or until it ends
#[derive(Args, Debug)]
pub struct LogCommand {
    #[command(flatten)]
    folder: FolderArgs,
    /// A level or directives, as `trommel run --log` takes them; left out, the level of the start
    level: Option<String>,
    /// Time after which the level is that of the start again, such as `10m`
    #[arg(long = "for", value_name = "DURATION", requires = "level")]
    lasts: Option<String>,
}

impl LogCommand {
    pub fn execute(self) -> ExitCode {
        self.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.folder.json))
    }

    fn run(&self) -> Result<(), CommandRefusal> {
        let FolderArgs { dir, json: is_json } = &self.folder;
        let wish = LogWish { level: self.level.clone(), lasts: self.lasts.clone() };
        let OperationResult::Log { level, until } = operate(dir, Operation::Log(wish))? else {
            return Err(strange(dir));
        };
        if *is_json {
            return print(&json(&serde_json::json!({ "level": level, "until": until }))?);
        }
        let how = level.map_or_else(|| "at the level of its start".to_owned(), |level| format!("with `{level}`"));
        let lasts = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        print(&format!("the router logs {how}{lasts}"))
    }
}
