//! `trommel tail DIR` (J18).

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    avro::TimeForm,
    cli::{
        history::reader_left,
        refusal::{CommandRefusal, RefusalKind},
        row::{MessageRow, RowFormat},
        runtime,
        stretch::{StreamArgs, connect},
        terminal,
    },
    event::Origin,
    folder,
    nats::StreamHistory,
};

/// Show what comes into a stream from now on
#[derive(Args, Debug)]
pub struct TailCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    #[command(flatten)]
    stretch: StreamArgs,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

impl TailCommand {
    pub fn execute(self) -> ExitCode {
        self.show().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn show(&self) -> Result<ExitCode, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let chosen = self.stretch.choose(&config)?;
        let internal = |error: io::Error| CommandRefusal::new(RefusalKind::Internal, "signals", error.to_string());
        let runtime = runtime()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
            let connection = connect(&config, "tail").await?;
            let shown = if chosen.subjects.is_empty() { "all".to_owned() } else { chosen.subjects.join(", ") };
            let mut stored = StreamHistory::follow(connection, &chosen.stream, chosen.subjects.clone()).await?;
            // A failed write to stderr can't be reported anywhere else.
            let _ = writeln!(terminal::stderr(), "[trommel] watching stream {} ({shown})", chosen.stream);
            let form = if self.json { RowFormat::Json } else { RowFormat::Columns };
            let origin = Arc::new(Origin { source: chosen.source.name, stream: chosen.stream });
            let decoder = config.registry.avro.decoder(None, TimeForm::Rfc3339);
            loop {
                let message = tokio::select! {
                    message = stored.next() => message?,
                    _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
                    _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
                };
                let Some(message) = message else { return Ok(ExitCode::SUCCESS) };
                let row = MessageRow::new(message, &chosen.source.envelope, &origin, &decoder);
                let mut out = terminal::stdout();
                if let Err(error) = row.write(form, &mut out).and_then(|()| out.flush()) {
                    return reader_left(error);
                }
            }
        })
    }
}
