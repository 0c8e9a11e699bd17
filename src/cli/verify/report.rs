//! Output of a verification.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, StdoutLock, Write},
};

use serde_json::{Value, json};

use super::settled::SettledRange;
use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    summary::RunSummary,
    text::HarmlessWriter,
    verify::{OutputPlace, VerifyFinding, VerifyTotals},
};

/// Writes findings as they come, and the totals at the end.
pub(super) struct VerifyReport {
    json: bool,
    out: HarmlessWriter<BufWriter<StdoutLock<'static>>>,
    /// First failed write. Later lines are skipped: the exit code still tells the result.
    failure: Option<io::Error>,
}

impl VerifyReport {
    pub(super) fn new(json: bool) -> Self {
        Self { json, out: terminal::buffered(), failure: None }
    }

    fn line(&mut self, line: &str) {
        if self.failure.is_none() {
            self.failure = writeln!(self.out, "{line}").err();
        }
    }

    pub(super) fn finding(&mut self, finding: &VerifyFinding<'_>) {
        let line = if self.json { object(finding).to_string() } else { text(finding) };
        self.line(&line);
    }

    /// Writes the totals.
    ///
    /// # Errors
    /// Returns an error if standard output can't be written.
    pub(super) fn end(
        mut self,
        summary: &RunSummary,
        totals: &VerifyTotals,
        stretches: &[SettledRange],
        unchecked: &BTreeSet<String>,
    ) -> Result<(), CommandRefusal> {
        let VerifyTotals { outputs, at_sinks, in_letters, gaps, doubles, .. } = totals;
        let RunSummary { received, filtered, duplicates, .. } = summary;
        let unsettled: u64 = stretches.iter().map(|stretch| stretch.unsettled).sum();
        let mut reasons: BTreeMap<String, Option<u64>> =
            totals.unchecked.iter().map(|(why, count)| (why.clone(), Some(*count))).collect();
        for key in unchecked {
            reasons
                .insert(format!("key `{key}`: decision not checked, its filter may keep state or call the API"), None);
        }
        if self.json {
            let unchecked: Vec<_> =
                reasons.iter().map(|(why, outputs)| json!({ "why": why, "outputs": outputs })).collect();
            let line = json!({
                "verified": received, "dropped": filtered, "repeats": duplicates, "outputs": outputs,
                "at_sinks": at_sinks, "in_dead_letters": in_letters, "gaps": gaps, "doubles": doubles,
                "unsettled": unsettled, "not_checked": unchecked,
            });
            self.line(&line.to_string());
        } else {
            for (why, outputs) in &reasons {
                let outputs = outputs.map(|outputs| format!(" ({outputs})")).unwrap_or_default();
                self.line(&format!("not checked{outputs}: {why}"));
            }
            for SettledRange { source, unsettled, range } in stretches.iter().filter(|stretch| stretch.unsettled > 0) {
                let to = range.to.unwrap_or_default();
                self.line(&format!(
                    "source `{source}`: settled up to message {to}, {unsettled} are still open or waiting"
                ));
            }
            let repeats = if *duplicates > 0 { format!(", {duplicates} repeats") } else { String::new() };
            self.line(&format!(
                "{received} events verified, {filtered} of them dropped by decision{repeats}: of {outputs} outputs \
                 {at_sinks} are at their sinks; {in_letters} in the dead letters, {gaps} gaps, {doubles} doubles"
            ));
        }
        let ended = self.failure.map_or_else(|| self.out.flush(), Err);
        match ended {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandRefusal::new(
                RefusalKind::Internal,
                "stdout",
                format!("can't write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }
}

fn text(finding: &VerifyFinding<'_>) -> String {
    let way = |OutputPlace { source, key, route, .. }: &OutputPlace| match (&**key, &**route) {
        ("", _) => format!("source `{source}`"),
        (key, "") => format!("source `{source}`, key `{key}`"),
        (key, route) => format!("source `{source}`, key `{key}`, route `{route}`"),
    };
    let to = |OutputPlace { sink, webhook, .. }: &OutputPlace| match &**webhook {
        "" => format!("sink `{sink}`"),
        webhook => format!("sink `{sink}` for webhook `{webhook}`"),
    };
    match finding {
        VerifyFinding::MissingOutput { place, sequence, index } => {
            format!("gap     {sequence:>10}  {}: output {index} is not at {}", way(place), to(place))
        }
        VerifyFinding::MissingLetter { place, sequence, reason } => {
            format!("gap     {sequence:>10}  {}: it should be a dead letter (`{reason}`), and is not", way(place))
        }
        VerifyFinding::Double { place, sequence, index, times } => {
            format!("double  {sequence:>10}  {}: output {index} is at {} {times} times", way(place), to(place))
        }
    }
}

fn object(finding: &VerifyFinding<'_>) -> Value {
    let (finding, place, sequence, more) = match finding {
        VerifyFinding::MissingOutput { place, sequence, index } => ("gap", place, sequence, json!({ "index": index })),
        VerifyFinding::MissingLetter { place, sequence, reason } => {
            ("gap", place, sequence, json!({ "dead_letter": reason }))
        }
        VerifyFinding::Double { place, sequence, index, times } => {
            ("double", place, sequence, json!({ "index": index, "times": times }))
        }
    };
    let OutputPlace { source, key, route, sink, webhook, .. } = place;
    let mut object = json!({
        "finding": finding, "source": source, "sequence": sequence, "key": &**key, "route": &**route, "sink": &**sink,
    });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        if !webhook.is_empty() {
            object.insert("webhook".to_owned(), json!(webhook));
        }
        object.extend(more);
    }
    object
}
