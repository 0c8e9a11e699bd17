//! `trommel dlq show DIR ID`

use std::{io::Write, process::ExitCode};

use clap::Args;

use super::{Folder, row};
use crate::cli::{history::reader_left, refusal::Refusal, terminal};

/// Show everything that is known of a dead letter
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Its id, as `trommel dlq list` shows it
    id: u64,
}

impl Show {
    pub(super) async fn run(&self) -> Result<ExitCode, Refusal> {
        let letters = self.folder.open_letters().await?;
        let entry = self.folder.find_letter(&letters, self.id).await?;
        let mut out = terminal::stdout();
        let written = if self.folder.json {
            row::json(&entry, &mut out)
        } else {
            writeln!(out, "{}", row::whole(&entry).trim_end())
        };
        written.map_or_else(reader_left, |()| Ok(ExitCode::SUCCESS))
    }
}
