//! `trommel dlq show DIR ID`

use std::{io::Write, process::ExitCode};

use clap::Args;

use super::{FolderArgs, row};
use crate::cli::{history::reader_left, refusal::CommandRefusal, terminal};

/// Show everything that is known of a dead letter
#[derive(Args, Debug)]
pub(super) struct ShowLetter {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Id of the dead letter, as `trommel dlq list` shows it
    id: u64,
}

impl ShowLetter {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let (letters, signer) = self.folder.open_signed_letters().await?;
        let entry = self.folder.find_letter(&letters, self.id).await?;
        let proof = signer.verify(&entry.record);
        let mut out = terminal::stdout();
        let written = if self.folder.json {
            row::json(&entry, proof, &mut out)
        } else {
            writeln!(out, "{}", row::whole(&entry, proof).trim_end())
        };
        written.map_or_else(reader_left, |()| Ok(ExitCode::SUCCESS))
    }
}
