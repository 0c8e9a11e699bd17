//! `trommel consume DIR KEY` (L112 to L125).

use std::{collections::BTreeMap, io, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use crate::{
    cli::{
        exit,
        keys::unknown_key,
        logs,
        refusal::{CommandRefusal, RefusalKind},
        runtime,
    },
    condition,
    config::{self, Config, KeyConfig, ParamProblem, check_params},
    control::SocketPlace,
    event::Pattern,
    filter::Params,
    folder,
};

mod background;
mod dry_run;
mod identity;
mod jq;
mod outputs;
mod session;

use dry_run::AskedEvents;
use identity::{IdentityChoice, PreflightResult};
use jq::JqProgram;
pub(super) use jq::work as work_on_jq;
use outputs::{ConsumerOutputs, inside};
use session::{ConsumerSession, SessionEnd, SessionNotes};

/// Print what one key lets through, as one JSON value a line.
///
/// Attaches to the router that runs for the folder, or starts one in the background, which serves
/// only attached consumers, changes nothing that others see, and exits 30 s after its last consumer
/// has left.
#[derive(Args, Debug)]
pub struct ConsumeCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// The key's name: exactly one, since every key has a shape of its own
    key: String,
    /// A param of the key; repeat it for several, the last one of a name counts
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Only events whose subject fits this pattern: one entity, one action
    #[arg(long, value_name = "PATTERN")]
    subject: Option<Pattern>,
    /// Conditions that an event must fulfil, such as `/order/amount >= 500; !header:Test`
    #[arg(long = "where", value_name = "CONDITIONS", default_value = "", hide_default_value = true)]
    conditions: String,
    /// A jq program: each of its results is printed
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    jq: Option<String>,
    /// Print only errors to stderr
    #[arg(long)]
    quiet: bool,
    /// Write a file for each event into this folder below the present one, instead of printing
    #[arg(long, value_name = "FOLDER")]
    output_dir: Option<String>,
    /// End after this many events; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_events: u64,
    /// End after this long; `0s` means never
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    timeout: Option<Duration>,
    /// Kind of identity to consume as
    #[arg(long = "as", value_enum, default_value_t = IdentityChoice::Auto, value_name = "WHO")]
    wanted: IdentityChoice,
    /// Print what would happen, as JSON on stdout, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Reconnect when the router exits
    #[arg(long)]
    reconnect: bool,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
}

impl ConsumeCommand {
    pub fn execute(self) -> ExitCode {
        self.consume().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    /// Runs the command. Checks all of the input before it has any effect (L114).
    fn consume(&self) -> Result<ExitCode, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let given = pairs(&self.params)?;
        let key = self.key(&config)?;
        check_params(&key.name, &key.params, &given).map_err(refused_params)?;
        condition::checked(&self.conditions).map_err(|message| {
            let message = format!("`--where` can't be used: {message}");
            CommandRefusal::new(RefusalKind::Validation, "where", message).param("--where")
        })?;
        let preflight = PreflightResult::new(&config, key, self.wanted)?;
        let jq = self.jq.as_deref().map(JqProgram::new).transpose().map_err(|error| {
            CommandRefusal::new(RefusalKind::Validation, "jq", format!("the jq program can't be used: {error}"))
                .param("--jq")
        })?;
        let folder = self.output_dir.as_deref().map(inside).transpose().map_err(|error| {
            let given = self.output_dir.as_deref().unwrap_or_default();
            CommandRefusal::new(
                RefusalKind::Validation,
                "output_dir",
                format!("`{given}` can't be the output folder: {error}"),
            )
            .param("--output-dir")
        })?;
        let place = SocketPlace::of(&self.dir)
            .map_err(|error| CommandRefusal::new(RefusalKind::Precondition, "state_folder", error.to_string()))?;
        let runtime = runtime()?;
        if self.dry_run {
            let runs = runtime.block_on(session::runs(&place));
            let (subject, conditions) = (self.subject.as_ref(), self.conditions.as_str());
            let asked = AskedEvents { key, params: &given, subject, conditions };
            return dry_run::print(asked, &config, &preflight, runs, folder.as_deref());
        }
        preflight.conclude()?;
        let shows = !self.quiet && self.output_dir.is_some() | io::stdout().is_terminal();
        let line = logs::live_line(shows);
        let outputs = match folder {
            Some(folder) => ConsumerOutputs::folder(&folder).map_err(|error| {
                let message = format!("can't make the folder `{}`: {error}", folder.display());
                CommandRefusal::new(RefusalKind::Precondition, "output_dir", message).param("--output-dir")
            })?,
            None => ConsumerOutputs::stdout(&line),
        };
        let timeout = self.timeout.filter(|timeout| !timeout.is_zero());
        let mut session = ConsumerSession {
            place,
            key: key.name.clone(),
            params: given,
            subject: self.subject.clone(),
            conditions: self.conditions.clone(),
            buffer: key.buffer_size.get(),
            jq,
            outputs,
            max_events: self.max_events,
            timeout,
            heeds_stdin: timeout.is_none() && self.max_events == 0 && !io::stdin().is_terminal(),
            reconnect: self.reconnect,
            started: None,
            notes: SessionNotes { quiet: self.quiet, line },
            written: 0,
        };
        preflight.notes().for_each(|note| session.notes.say(format_args!("{note}")));
        let ended = runtime.block_on(session.run());
        // A read of standard input can't be cancelled, and must not delay the exit.
        runtime.shutdown_background();
        Ok(match ended? {
            SessionEnd::RouterGone => ExitCode::from(exit::UNREACHABLE),
            _ => ExitCode::SUCCESS,
        })
    }

    fn key<'a>(&self, config: &'a Config) -> Result<&'a KeyConfig, CommandRefusal> {
        let (keys, name) = (&config.registry.keys, &self.key);
        if let Some(key) = keys.iter().find(|key| key.name == *name) {
            return Ok(key);
        }
        if name.contains(['*', '>', ',']) {
            let message =
                format!("`{name}` is not one key: every key has a shape of its own, so consume one at a time");
            let all = format!("`trommel keys list {}` shows all", self.dir.display());
            return Err(CommandRefusal::new(RefusalKind::Validation, "one_key", message).param("KEY").hint(all));
        }
        Err(unknown_key(name, keys, &self.dir).param("KEY"))
    }
}

/// Parses the params of a key from the command line.
///
/// # Errors
/// Returns all problems with the params.
pub(super) fn params(key: &KeyConfig, given: &[String]) -> Result<Params, CommandRefusal> {
    check_params(&key.name, &key.params, &pairs(given)?).map_err(refused_params)
}

/// Splits at the first `=`; the last value of a name counts (L23).
fn pairs(given: &[String]) -> Result<BTreeMap<String, String>, CommandRefusal> {
    let pair = |given: &String| match given.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "param_syntax", format!("`{given}` is not a param"));
            Err(refusal.param("--param").hint("write it as NAME=VALUE"))
        }
    };
    given.iter().map(pair).collect()
}

/// Returns all problems with the params, one per line.
fn refused_params(problems: Vec<ParamProblem>) -> CommandRefusal {
    let first = problems.first().map(|problem| problem.param.clone());
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let hints: Vec<_> = problems.iter().filter_map(|problem| problem.hint.clone()).collect();
    let refusal = CommandRefusal::new(RefusalKind::Validation, "params", messages.join("; "));
    let refusal = first.into_iter().fold(refusal, CommandRefusal::param);
    if hints.is_empty() { refusal } else { refusal.hint(hints.join("\n")) }
}
