//! What the page has commands do: list, retry and drop dead letters and deliveries, explain events.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    ConsoleState, OwnCommands,
    commands::{CommandEnd, CommandFailure},
};
use crate::webhook::store::DeliveryId;

/// Letters and deliveries in an answer.
const LISTED: u32 = 200;
/// Most letters or deliveries in a request.
const MAX_IDS: usize = 1_000;
/// Characters of what a failed command has logged last.
const MAX_LOG: usize = 4_000;

/// Reason why a request was not carried out.
#[derive(Debug, Serialize)]
pub(super) struct ConsoleProblem {
    #[serde(skip)]
    status: StatusCode,
    message: String,
    /// Way out of the problem.
    hint: Option<String>,
}

/// Ids of what is to be retried or dropped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChosenIds<T> {
    ids: Vec<T>,
}

/// Question what would become of an event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    /// The event as `trommel explain` takes it; without one the next that comes in.
    event: Option<Box<RawValue>>,
    key: Option<String>,
    /// Conditions in the place of the key's own.
    #[serde(rename = "where")]
    conditions: Option<String>,
}

/// `GET /console/letters?reason=trap&key=orders`, the newest, the oldest of them first
pub(super) async fn letters(
    State(console): State<ConsoleState>,
    RawQuery(query): RawQuery,
) -> Result<Response, ConsoleProblem> {
    let rest = options(query.as_deref(), &["reason", "key"])?;
    listed(console.commands()?.run(&["dlq", "list"], &rest, Vec::new()).await?)
}

/// `GET /console/deliveries?webhook=crm&state=failed`, likewise
pub(super) async fn deliveries(
    State(console): State<ConsoleState>,
    RawQuery(query): RawQuery,
) -> Result<Response, ConsoleProblem> {
    let rest = options(query.as_deref(), &["webhook", "state"])?;
    listed(console.commands()?.run(&["deliveries", "list"], &rest, Vec::new()).await?)
}

/// `POST /console/letters/retry`
pub(super) async fn retry_letters(
    State(console): State<ConsoleState>,
    body: Bytes,
) -> Result<Response, ConsoleProblem> {
    let commands = console.commands()?;
    if commands.prints {
        let message = "a sink writes to standard output, which belongs to the router's own process";
        return Err(ConsoleProblem::new(StatusCode::CONFLICT, message).hint("run `trommel dlq retry` in a terminal"));
    }
    let end = commands.change(&["dlq", "retry"], &words(&chosen::<u64>(&body)?)).await?;
    // Its code says that letters are still dead, and its lines which.
    if end.status.code() == Some(1) && !end.stdout.is_empty() { Ok(rows(&end)) } else { listed(end) }
}

/// `POST /console/letters/drop`
pub(super) async fn drop_letters(State(console): State<ConsoleState>, body: Bytes) -> Result<Response, ConsoleProblem> {
    listed(console.commands()?.change(&["dlq", "drop"], &words(&chosen::<u64>(&body)?)).await?)
}

/// `POST /console/deliveries/retry`
pub(super) async fn retry_deliveries(
    State(console): State<ConsoleState>,
    body: Bytes,
) -> Result<Response, ConsoleProblem> {
    let ids = chosen::<String>(&body)?.iter().map(|id| id.parse::<DeliveryId>()).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|error| ConsoleProblem::new(StatusCode::BAD_REQUEST, format!("`ids`: {error}")))?;
    listed(console.commands()?.change(&["deliveries", "retry"], &words(&ids)).await?)
}

/// `POST /console/explain`
pub(super) async fn explain(State(console): State<ConsoleState>, body: Bytes) -> Result<Response, ConsoleProblem> {
    let ExplainRequest { event, key, conditions } = serde_json::from_slice(&body).map_err(ConsoleProblem::bad_body)?;
    // One word each: what a client gives is never read as an option.
    let key = key.map(|key| format!("--key={key}"));
    let conditions = conditions.map(|conditions| format!("--where={conditions}"));
    let (which, input) = match event {
        Some(event) => (vec!["-".to_owned()], event.get().as_bytes().to_vec()),
        None => (vec!["--live".to_owned(), "--limit=1".to_owned()], Vec::new()),
    };
    let rest: Vec<_> = which.into_iter().chain(["--json".to_owned()]).chain(key).chain(conditions).collect();
    match console.commands()?.run(&["explain"], &rest, input).await {
        Err(CommandFailure::Slow) if rest[0] == "--live" => {
            let message = "no event came in for a while";
            Err(ConsoleProblem::new(StatusCode::GATEWAY_TIMEOUT, message).hint("paste one instead"))
        }
        end => listed(end?),
    }
}

impl ConsoleState {
    fn commands(&self) -> Result<&OwnCommands, ConsoleProblem> {
        self.view.commands.as_ref().ok_or_else(|| {
            let message = "this router runs in another program, which has no commands";
            ConsoleProblem::new(StatusCode::NOT_IMPLEMENTED, message).hint("use `trommel` on the router's folder")
        })
    }
}

impl ConsoleProblem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn read_only() -> Self {
        Self::new(StatusCode::FORBIDDEN, "this listener is read-only, because no token is configured")
            .hint("give `[admin]` a `token_file`, and start the router again")
    }

    fn bad_body(error: serde_json::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("the body is not what was expected: {error}"))
    }
}

impl IntoResponse for ConsoleProblem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self }).to_string();
        (self.status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl From<CommandFailure> for ConsoleProblem {
    fn from(failure: CommandFailure) -> Self {
        let status = match failure {
            CommandFailure::Slow | CommandFailure::AtWork => StatusCode::GATEWAY_TIMEOUT,
            CommandFailure::Long => StatusCode::UNPROCESSABLE_ENTITY,
            CommandFailure::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("{:#}", anyhow::Error::new(failure)))
    }
}

/// Options of a list, from the query's parameters of these names.
fn options(query: Option<&str>, names: &[&str]) -> Result<Vec<String>, ConsoleProblem> {
    let mut options = vec!["--json".to_owned(), format!("--limit={LISTED}")];
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !names.contains(&&*name) {
            let message =
                format!("unknown parameter `{name}`: it is {}", crate::config::quoted(names.iter().copied(), "or"));
            return Err(ConsoleProblem::new(StatusCode::BAD_REQUEST, message));
        }
        options.push(format!("--{name}={value}"));
    }
    Ok(options)
}

/// Reads the ids in a body.
fn chosen<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<Vec<T>, ConsoleProblem> {
    let ChosenIds { ids } = serde_json::from_slice::<ChosenIds<T>>(body).map_err(ConsoleProblem::bad_body)?;
    if ids.is_empty() || ids.len() > MAX_IDS {
        let message = format!("`ids` has 1 to {MAX_IDS} ids, not {}", ids.len());
        return Err(ConsoleProblem::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(ids)
}

/// Arguments that name these.
fn words<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(T::to_string).chain(["--json".to_owned()]).collect()
}

/// Answers with the lines of a command that succeeded.
fn listed(end: CommandEnd) -> Result<Response, ConsoleProblem> {
    if end.status.success() { Ok(rows(&end)) } else { Err(refusal(&end)) }
}

/// Answers with the lines that a command printed, each a JSON object.
fn rows(end: &CommandEnd) -> Response {
    let mut body = b"{\"rows\":[".to_vec();
    for (at, line) in end.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        body.extend_from_slice(if at > 0 { b"," } else { b"" });
        body.extend_from_slice(line);
    }
    body.extend_from_slice(b"]}");
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What a command said when it failed.
fn refusal(end: &CommandEnd) -> ConsoleProblem {
    #[derive(Deserialize)]
    struct Said {
        error: Refusal,
    }
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
        hint: Option<String>,
    }
    let log = String::from_utf8_lossy(&end.stderr);
    let said = log.lines().rev().find_map(|line| serde_json::from_str::<Said>(line).ok());
    match said {
        Some(Said { error: Refusal { message, hint } }) => {
            ConsoleProblem { status: StatusCode::UNPROCESSABLE_ENTITY, message, hint }
        }
        None => {
            let from = log.char_indices().rev().nth(MAX_LOG).map_or(0, |(at, _)| at);
            ConsoleProblem::new(StatusCode::BAD_GATEWAY, log[from..].trim())
        }
    }
}
