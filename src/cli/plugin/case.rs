//! Test cases: an event, params and the expected outcome, one JSON object per line.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cli::{
        outcome,
        refusal::{CommandRefusal, RefusalKind},
    },
    endpoint::Endpoint,
    event::{Event, GivenEvent, TickMark},
    folder::CaseAnswer,
};

/// A file of cases, in order.
pub struct CaseFile {
    pub path: PathBuf,
    pub cases: Vec<TestCase>,
}

pub struct TestCase {
    /// Line number in the file, from 1.
    pub line: usize,
    pub event: Event,
    pub endpoints: Vec<Endpoint>,
    written: WrittenCase,
}

/// A line of the file. The order of the fields is the order in which `--update` writes them.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<GivenEvent>,
    /// Time of a tick, in Unix milliseconds, in place of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    tick: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    params: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    api: Vec<ApiAnswer>,
    /// `None` if no outcome is expected yet: `--update` adds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Value>,
}

/// Response of the API in this case, the same for every such call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiAnswer {
    /// Method and path with query, `GET /users/1`, behind `NAME: ` for an API with a name.
    pub call: String,
    #[serde(default = "success")]
    pub status: u16,
    #[serde(default)]
    pub body: Value,
}

fn success() -> u16 {
    200
}

impl TestCase {
    pub fn name(&self) -> String {
        self.written.name.clone().unwrap_or_else(|| format!("line {}", self.line))
    }

    pub fn params(&self) -> &BTreeMap<String, String> {
        &self.written.params
    }

    pub fn answers(&self) -> impl Iterator<Item = CaseAnswer> {
        self.written.api.iter().map(|ApiAnswer { call, status, body }| CaseAnswer {
            call: call.clone(),
            status: *status,
            body: body.to_string(),
            place: None,
        })
    }

    pub fn expected(&self) -> Option<&Value> {
        self.written.expect.as_ref()
    }

    pub fn expect(&mut self, outcome: Value) {
        self.written.expect = Some(outcome);
    }
}

impl CaseFile {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// Returns the file and line of the first problem, with a description.
    pub fn read(path: &Path) -> Result<Self, CommandRefusal> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| {
            CommandRefusal::new(
                RefusalKind::Validation,
                "unreadable",
                format!("can't read the cases in `{shown}`: {error}"),
            )
        })?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let cases: Vec<TestCase> = lines.map(|(number, line)| case(path, number, line)).collect::<Result<_, _>>()?;
        if cases.is_empty() {
            let hint = r#"one a line, such as {"event":{"payload":{"n":1}},"expect":"kept"}"#;
            let refusal = CommandRefusal::new(RefusalKind::Validation, "no_cases", format!("`{shown}` holds no cases"));
            return Err(refusal.hint(hint));
        }
        Ok(Self { path: path.to_owned(), cases })
    }

    /// Replaces the file atomically.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut text = String::new();
        for case in &self.cases {
            text.push_str(&serde_json::to_string(&case.written)?);
            text.push('\n');
        }
        let temporary = self.path.with_extension("ndjson.tmp");
        fs::write(&temporary, text)?;
        Ok(fs::rename(temporary, &self.path)?)
    }
}

fn case(path: &Path, line: usize, text: &str) -> Result<TestCase, CommandRefusal> {
    let bad = |column: usize, message: String| {
        let place = format!("{}:{line}:{column}", path.display());
        let hint = r#"a case is {"name":…,"event":{…} or "tick":…,"params":{…},"api":[…],"expect":…}: see the plugin's README"#;
        CommandRefusal::new(RefusalKind::Validation, "bad_case", format!("{place}: {message}")).hint(hint)
    };
    let written: WrittenCase = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The position is already reported, with the line of the file.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        bad(error.column().max(1), said.to_owned())
    })?;
    let event = match (&written.event, written.tick) {
        (Some(_), Some(_)) => return Err(bad(1, "a case has an `event` or a `tick`, not both".to_owned())),
        (None, Some(now)) => {
            let now = now.saturating_mul(1_000_000);
            Event::tick("case", "case", TickMark { now, run: 0, number: line as u64 })
        }
        (Some(event), None) => event.event().map_err(|message| bad(1, message))?,
        (None, None) => GivenEvent::default().event().map_err(|message| bad(1, message))?,
    };
    if let Some(expected) = &written.expect {
        outcome::check(expected).map_err(|message| bad(1, message))?;
    }
    let endpoint = |answer: &ApiAnswer| {
        let path = answer.call.split_once('?').map_or(answer.call.as_str(), |(path, _)| path);
        path.parse::<Endpoint>().map_err(|error| bad(1, format!("`call` is `{}`: {error}", answer.call)))
    };
    let endpoints = written.api.iter().map(endpoint).collect::<Result<_, _>>()?;
    Ok(TestCase { line, event, endpoints, written })
}
