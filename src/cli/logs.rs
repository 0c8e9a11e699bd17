//! Logs on stderr, and the live line that shares it.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::show;

#[derive(Debug, Args)]
pub struct Logs {
    /// How logs are written on stderr
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,filter=debug`
    #[arg(long, env = "TROMMEL_LOG", default_value = "info,async_nats=off", value_name = "LEVEL")]
    log: String,
    /// Also show every event that comes in, what goes out, and why something was dropped
    #[arg(long)]
    show: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Logs {
    /// Sends logs to stderr from now on, around the live line.
    ///
    /// # Errors
    /// When the directives of `--log` are wrong.
    pub fn start(&self, line: &ProgressBar) -> anyhow::Result<()> {
        let shows = if self.show { format!(",{}", show::DIRECTIVE) } else { String::new() };
        let filter = EnvFilter::try_new(format!("{}{shows}", self.log))
            .map_err(|error| anyhow::anyhow!("`--log {}` is not understood: {error}", self.log))?;
        let line = line.clone();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(move || Around(line.clone()));
        match self.log_format {
            Format::Text => builder.with_target(false).init(),
            Format::Json => builder.json().flatten_event(true).init(),
        }
        Ok(())
    }
}

/// Writes to stderr while the live line is out of the way.
struct Around(ProgressBar);

impl Write for Around {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A live line on stderr, or one that is never seen.
pub fn live_line(is_wanted: bool) -> ProgressBar {
    if !is_wanted || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(100));
    line
}
