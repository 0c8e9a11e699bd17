//! `trommel streams ensure DIR` (H03).

use std::process::ExitCode;

use clap::Args;

use super::{FolderArgs, StreamReport, print_reports, refused};
use crate::cli::refusal::CommandRefusal;

#[derive(Args, Debug)]
pub(super) struct EnsureStreams {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
}

impl EnsureStreams {
    /// Ensures one stream after the other. Stops at the first failure; the streams before it keep
    /// their changes.
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let (streams, connection) = self.folder.open_streams().await?;
        let mut reports = Vec::new();
        let mut ended = Ok(ExitCode::SUCCESS);
        for stream in &streams {
            match connection.ensure_stream(stream).await {
                Ok(compared) => reports.push(StreamReport::new(stream, compared, "created", "updated")),
                Err(error) => {
                    ended = Err(refused(error));
                    break;
                }
            }
        }
        if ended.is_ok() || !reports.is_empty() {
            print_reports(&self.folder, &reports)?;
        }
        ended
    }
}
