//! `trommel streams plan DIR` (H06).

use std::process::ExitCode;

use clap::Args;

use super::{FolderArgs, StreamReport, print_reports, refused};
use crate::cli::{exit, refusal::CommandRefusal};

#[derive(Args, Debug)]
pub(super) struct PlanStreams {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
}

impl PlanStreams {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let (streams, connection) = self.folder.open_streams().await?;
        let mut reports = Vec::new();
        for stream in &streams {
            let compared = connection.plan_stream(stream).await.map_err(refused)?;
            reports.push(StreamReport::new(stream, compared, "to_create", "to_update"));
        }
        print_reports(&self.folder, &reports)?;
        let is_done = reports.iter().all(|report| report.result == "as_declared");
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
    }
}
