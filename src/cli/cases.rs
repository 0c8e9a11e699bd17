//! What cases of a filter and of a router have in common: the stand-in of the API, results, and how
//! they are told.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use crate::{
    cli::{exit, terminal},
    text,
};

pub mod diff;
pub mod junit;
mod lines;
mod stand_in;

pub use lines::FilterLines;
pub use stand_in::StandIn;

/// Result of a case.
pub struct CaseResult {
    pub name: String,
    pub place: String,
    pub took: Duration,
    /// Description of the failure, in lines.
    pub wrong: Option<String>,
    /// The expectation that `--update` replaced, beside what it wrote.
    pub written: Option<String>,
    /// Lines that the filters logged or printed.
    pub lines: Vec<String>,
}

/// Description of the failure of a case that foresees too few calls.
pub fn unanswered(calls: &[String]) -> String {
    format!("the filter called `{}`, which `api` of the case does not answer", calls.join("`, `"))
}

/// Number of cases that failed.
pub fn failed(ran: &[CaseResult]) -> usize {
    ran.iter().filter(|ran| ran.wrong.is_some()).count()
}

/// Prints failures in full, the other cases on one line each.
pub fn print(ran: &[CaseResult], update: bool, verbose: bool) -> io::Result<ExitCode> {
    let mut out = terminal::stdout();
    for CaseResult { name, place, took, wrong, written, lines } in ran {
        let name = text::line(name);
        match (wrong, written) {
            (None, None) => writeln!(out, "ok    {name} ({:.1} µs)", took.as_secs_f64() * 1e6)?,
            (Some(_), _) => writeln!(out, "FAIL  {name} ({place})")?,
            (None, Some(_)) => writeln!(out, "wrote {name} ({place})")?,
        }
        for told in [wrong, written].into_iter().flatten() {
            told.lines().try_for_each(|line| writeln!(out, "      {}", text::line(line)))?;
        }
        if (verbose || wrong.is_some()) && !lines.is_empty() {
            writeln!(out, "      log:")?;
            lines.iter().try_for_each(|line| writeln!(out, "        {}", text::line(line)))?;
        }
    }
    let failed = failed(ran);
    let written = if update { ", outcomes written" } else { "" };
    writeln!(out, "{} passed, {failed} failed{written}", ran.len() - failed)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}
