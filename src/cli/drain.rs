//! `trommel drain DIR`.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use tokio::time::{Instant, sleep};

use super::{
    exit,
    keys::{json, print},
    refusal::CommandRefusal,
    running::{running, unreachable},
    runtime, terminal,
};
use crate::{
    cli::refusal::RefusalKind,
    control::{SocketPlace, client, protocol::RouterAnswer},
};

/// Longest time from an empty router to the end of its process: its sinks and deliveries finish.
const LAST_STEPS: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Drain a running router: it takes nothing new, finishes what is open, and ends
#[derive(Args, Debug)]
pub struct DrainCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl DrainCommand {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let failed = |error| unreachable(&self.dir, &error);
        let given_back = runtime()?.block_on(async {
            let mut link = running(&self.dir).await?;
            client::begin_drain(&mut link).await.map_err(failed)?;
            let mut said = None;
            let given_back = loop {
                match client::drain_news(&mut link).await.map_err(failed)? {
                    RouterAnswer::Draining { in_flight } if !self.json && said != Some(in_flight) => {
                        said = Some(in_flight);
                        // A failed write to stderr can't be reported anywhere else.
                        let _ = writeln!(terminal::stderr(), "[trommel] draining, {in_flight} events are open");
                    }
                    RouterAnswer::Drained { given_back } => break given_back,
                    _ => {}
                }
            };
            self.until_ended().await?;
            Ok::<_, CommandRefusal>(given_back)
        })?;
        print(&match (self.json, given_back) {
            (true, _) => json(&serde_json::json!({ "drained": given_back == 0, "given_back": given_back }))?,
            (false, 0) => "the router is empty and has ended".to_owned(),
            (false, _) => {
                let how = "not done within `[pipeline] drain`: they go back to their sources";
                format!("the router has ended; {given_back} events were {how}")
            }
        })?;
        Ok(if given_back == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
    }

    /// Waits until the router's process has ended.
    async fn until_ended(&self) -> Result<(), CommandRefusal> {
        let place = SocketPlace::of(&self.dir).map_err(|error| {
            CommandRefusal::new(RefusalKind::Precondition, "state_folder", error.to_string()).param("DIR")
        })?;
        let until = Instant::now() + LAST_STEPS;
        while client::is_locked(&place).map_err(|error| unreachable(&self.dir, &error))? {
            if Instant::now() >= until {
                let message = format!("the router is empty, and still there after {} s", LAST_STEPS.as_secs());
                let hint = "a sink or a delivery does not end: `trommel stop --force` ends it";
                return Err(CommandRefusal::new(RefusalKind::Api, "not_ended", message).hint(hint));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}
