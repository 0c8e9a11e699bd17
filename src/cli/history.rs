//! `trommel history DIR` (J14 to J17, X6).

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::{
    app::{self, ReplaySettings},
    avro::TimeForm,
    cli::{
        CacheArgs,
        consume::params,
        logs::{self, LogArgs},
        refusal::{CommandRefusal, RefusalKind},
        row::{MessageRow, RowFormat},
        run::ForegroundRouter,
        runtime,
        stretch::{StreamArgs, connect, key, time},
        terminal,
    },
    config::{RangeBegin, StreamRange},
    event::Origin,
    folder,
    nats::StreamHistory,
};

/// Show what a stream holds, oldest first
#[derive(Args, Debug)]
pub struct HistoryCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    #[command(flatten)]
    stretch: StreamArgs,
    /// Only messages stored at this time or later: `2026-03-14T08:00:00Z`, `2026-03-14`, or `90m`
    /// for 90 minutes ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only messages stored before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// At most this many; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Which messages to show, if there are more
    #[arg(long, value_enum, default_value_t = HistoryOrder::Newest)]
    order: HistoryOrder,
    /// Run the messages through this key's filter, and print its outputs
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A param of the key; may be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUE", requires = "key")]
    params: Vec<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HistoryOrder {
    /// Newest messages
    Newest,
    /// Oldest messages
    Oldest,
}

impl HistoryCommand {
    pub fn execute(self) -> ExitCode {
        self.show().unwrap_or_else(|refusal| refusal.end(self.json || self.logs.is_json()))
    }

    fn show(&self) -> Result<ExitCode, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let chosen = self.stretch.choose(&config)?;
        let limit = (self.limit > 0).then_some(self.limit);
        let begin = match (self.order, limit) {
            (HistoryOrder::Newest, Some(limit)) => RangeBegin::Newest(limit, self.since),
            _ => self.since.map_or(RangeBegin::First, RangeBegin::Time),
        };
        let stream = chosen.stream.clone();
        let range = StreamRange { stream, subjects: chosen.subjects, begin, until: self.until, to: None, limit };
        if let Some(name) = &self.key {
            let key = key(&config, name)?.clone();
            let params = params(&key, &self.params)?;
            let source = chosen.source;
            let replayed = ReplaySettings { key, params, source, range, rate: None, sink: None, component: None };
            let foreground = ForegroundRouter {
                cache: &self.cache,
                logs: &self.logs,
                place: None,
                idle_exit: None,
                connect_timeout: Some(Duration::ZERO),
                journal: None,
            };
            return Ok(foreground.run(Ok(app::replay(config, replayed))));
        }
        let runtime = runtime()?;
        runtime.block_on(async {
            let connection = connect(&config, "history").await?;
            let mut stored = StreamHistory::open(connection, range).await?;
            let form = if self.json { RowFormat::Json } else { RowFormat::Columns };
            let decoder = config.registry.avro.decoder(None, TimeForm::Rfc3339);
            let origin = Arc::new(Origin { source: chosen.source.name, stream: chosen.stream.clone() });
            let line = logs::live_line(!io::stdout().is_terminal());
            let (mut out, mut count) = (terminal::buffered(), 0_u64);
            while let Some(message) = stored.next().await? {
                let row = MessageRow::new(message, &chosen.source.envelope, &origin, &decoder);
                if let Err(error) = row.write(form, &mut out) {
                    return reader_left(error);
                }
                count += 1;
                if count.is_multiple_of(1000) {
                    line.set_message(format!("{count} of {} messages", stored.total()));
                }
            }
            line.finish_and_clear();
            if count == 0 && !self.json {
                let _ = writeln!(out, "stream `{}` holds no such messages", chosen.stream);
            }
            out.flush().map_or_else(reader_left, |()| Ok(ExitCode::SUCCESS))
        })
    }
}

/// Ends a command whose output can't be written: a closed pipe is not a failure.
pub(super) fn reader_left(error: io::Error) -> Result<ExitCode, CommandRefusal> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CommandRefusal::new(RefusalKind::Internal, "stdout", format!("can't write to standard output: {error}")))
}
