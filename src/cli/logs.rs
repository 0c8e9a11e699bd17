//! Logs on stderr, and the live line that shares it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{
        FormatFields,
        format::{DefaultFields, Writer},
    },
};

use crate::{config::suggest, control::LogSwitch, show, text};

mod stderr;

use stderr::StderrLog;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// Directive for what is of no use to operators, whatever the level.
const QUIET: &str = "async_nats=off";
/// Longest text of one log line's fields in bytes; the rest is cut off.
const MAX_FIELDS: usize = 32 << 10;

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Format of the logs on stderr, and of the run's final message
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log level: error, warn, info, debug, trace, or directives such as `info,filter=debug`
    #[arg(long, env = "TROMMEL_LOG", default_value = "info,async_nats=off", value_name = "LEVEL")]
    log: String,
    /// Also show every event that comes in, what goes out, and why something was dropped
    #[arg(long)]
    show: bool,
    /// Set once logging has started.
    #[arg(skip)]
    stderr: OnceLock<StderrLog>,
    /// Likewise.
    #[arg(skip)]
    switch: OnceLock<Arc<LogSwitch>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    /// Starts writing logs and panics to stderr, around the live line. Logging never blocks on a
    /// slow reader.
    ///
    /// # Errors
    /// Returns an error if the directives of `--log` are invalid.
    pub fn start(&self, line: &ProgressBar) -> anyhow::Result<()> {
        let shows = if self.show { format!(",{}", show::DIRECTIVE) } else { String::new() };
        let usual = format!("{}{shows}", self.log);
        let filter = level_filter(&usual).map_err(|error| anyhow::anyhow!("`--log`: {error}"))?;
        let stderr = StderrLog::new(self.log_format, line.clone())?;
        let stderr = self.stderr.get_or_init(|| stderr).clone();
        let (format, to) = (self.log_format, stderr.clone());
        panic::set_hook(Box::new(move |panicked| to.push(&panic_record(format, panicked))));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(move || stderr.clone());
        // Quiet unless asked for, as at the start.
        let wanted = move |level: Option<&str>| {
            let level = level.map(|level| format!("{QUIET},{level}{shows}"));
            level_filter(level.as_ref().unwrap_or(&usual))
        };
        let switch = match self.log_format {
            LogFormat::Text => {
                let builder = builder.with_target(false).fmt_fields(FieldFormat).with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                LogSwitch::new(move |level| handle.reload(wanted(level)?).map_err(|error| error.to_string()))
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                LogSwitch::new(move |level| handle.reload(wanted(level)?).map_err(|error| error.to_string()))
            }
        };
        self.switch.get_or_init(|| switch);
        Ok(())
    }

    /// Returns the switch for the level, once logging has started.
    pub(super) fn switch(&self) -> Option<Arc<LogSwitch>> {
        self.switch.get().cloned()
    }

    /// Returns whether logs are written as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }

    /// Writes the final message of a run, whatever the level of `--log`: as text, or as one JSON
    /// object on a line.
    pub(super) fn end(&self, level: Level, words: &str, details: &impl Serialize) {
        let record = match self.log_format {
            LogFormat::Text => format!("{}\n", text::lines(words)),
            LogFormat::Json => json_record(level, words, details),
        };
        match self.stderr.get() {
            Some(stderr) => stderr.push(&record),
            // A failed write to stderr can't be reported anywhere else.
            None => drop(io::stderr().write_all(record.as_bytes())),
        }
    }
}

/// Reads a level or directives. A word alone is a level: the library would take a mistyped one for
/// the name of a target, and log all of that.
fn level_filter(directives: &str) -> Result<EnvFilter, String> {
    for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        if !directive.contains(['=', '[']) && !LEVELS.contains(&directive.to_ascii_lowercase().as_str()) {
            let hint = suggest(directive, LEVELS, "levels", "");
            return Err(format!("there is no level `{directive}`: {hint} For one target it is `{directive}=debug`"));
        }
    }
    EnvFilter::try_new(directives).map_err(|error| format!("`{directives}` is not understood: {error}"))
}

impl Drop for LogArgs {
    fn drop(&mut self) {
        if let Some(stderr) = self.stderr.get() {
            stderr.finish();
        }
    }
}

/// Formats a log line that does not pass through `tracing` or its filter.
fn record(format: LogFormat, level: Level, message: &str) -> String {
    match format {
        LogFormat::Text => format!("{:.6} {level:>5} {}\n", Timestamp::now(), text::start(message, MAX_FIELDS)),
        LogFormat::Json => json_record(level, message, &()),
    }
}

fn json_record(level: Level, message: &str, details: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct LogRecord<'a> {
        timestamp: String,
        level: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Box<RawValue>>,
        target: &'a str,
    }
    let timestamp = format!("{:.6}", Timestamp::now());
    let details = serde_json::value::to_raw_value(details).ok().filter(|details| details.get() != "null");
    let record = LogRecord { timestamp, level: level.as_str(), message, details, target: "trommel" };
    // A record of strings always serializes; if it did not, its text is better than nothing.
    let json = serde_json::to_string(&record).unwrap_or_else(|_| message.to_owned());
    format!("{}\n", text::lines(&json))
}

fn panic_record(format: LogFormat, panicked: &PanicHookInfo<'_>) -> String {
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    record(format, Level::ERROR, &format!("{panicked}{backtrace}"))
}

/// Formats fields on one line, whatever they hold. For JSON, [`StderrLog`] escapes the whole line.
struct FieldFormat;

impl<'w> FormatFields<'w> for FieldFormat {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut written = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut written), fields)?;
        writer.write_str(&text::start(&written, MAX_FIELDS))
    }
}

/// Creates a live line on stderr, or a hidden one.
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const NASTY: &str = "a\nFORGED\r\u{1b}[8m\u{9b}1m\u{202e}\u{2028}";

    #[derive(Clone, Default)]
    struct WrittenLog(Arc<Mutex<Vec<u8>>>);

    impl Write for WrittenLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Checks every kind of field, on a terminal too, where the only escapes are our own colours.
    #[test]
    fn no_field_forges_a_line_or_drives_a_terminal() {
        let (written, error) = (WrittenLog::default(), io::Error::other(NASTY));
        let writer = written.clone();
        let builder =
            tracing_subscriber::fmt().with_ansi(true).without_time().with_target(false).fmt_fields(FieldFormat);
        let log = builder.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(string = NASTY, bare = %NASTY, debug = ?Some(NASTY), "message {NASTY}");
            let failed = &error as &dyn std::error::Error;
            tracing::warn!(%error, failed, bare = %NASTY.repeat(MAX_FIELDS), "message");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let plain = text.replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
        let [first, second] = plain.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {plain:?}") };
        assert!(first.contains(r"bare=a\nFORGED\r\u001b[8m\u009b1m\u202e\u2028"), "{first}");
        assert!(second.len() < 4 * MAX_FIELDS && second.ends_with("bytes more"), "{}", second.len());
        assert_eq!(text::lines(&plain), plain);
    }

    #[test]
    fn a_mistyped_level_is_no_target() {
        for good in ["debug", "WARN", "info,filter=debug,async_nats=off", "off", "[span]=trace", ""] {
            assert!(level_filter(good).is_ok(), "{good}");
        }
        let refused = level_filter("async_nats=off,debg").unwrap_err();
        assert!(refused.starts_with("there is no level `debg`: did you mean `debug`?"), "{refused}");
        assert!(level_filter("filter=loud").unwrap_err().contains("is not understood"));
    }

    #[test]
    fn a_line_of_our_own_is_one_line_of_json() {
        let line = record(LogFormat::Json, Level::ERROR, &format!("panicked at a.rs:1:1:\n{NASTY}"));
        assert_eq!((line.matches('\n').count(), text::lines(&line)), (1, line.as_str().into()));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["message"], format!("panicked at a.rs:1:1:\n{NASTY}"));
        assert_eq!((&json["level"], &json["target"], json.get("details")), (&"ERROR".into(), &"trommel".into(), None));
        assert!(json["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
    }
}
