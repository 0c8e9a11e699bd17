//! `trommel emit DIR TYPE k=v` (J03, J19): publishes events as their producers would, to try keys
//! with.

use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        runtime,
        stretch::connect,
        terminal,
    },
    client::{NoTypeId, TypeId},
    folder,
    nats::{ApiError, Connection},
};

mod message;
mod target;

use message::EmittedMessage;
use target::EmitTarget;

/// Longest line that is read from standard input, in bytes.
const LONGEST_LINE: u64 = 64 << 20;

/// Publish events, in the envelope that the router's source opens
#[derive(Args, Debug)]
pub struct EmitCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// The event's type, and its subject unless `--subject` is given; for helix and jb-mesh without
    /// what all subjects of the stream begin with, or with it
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// Members of its data: JSON where it can be read as such, else text; `-` alone reads a JSON
    /// object a line from standard input, and publishes an event for each
    #[arg(value_name = "NAME=VALUE")]
    data: Vec<String>,
    /// Subject to publish the event on
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Source whose envelope to use, if several could take the event
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// The node that a jb-mesh event comes from [default: the connection's name]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// The tenant whose event it is, where the envelope has one: ctrlplane, flowcraft
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The actor that caused it, where the envelope has one: ctrlplane, flowcraft
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// The instance that it happened to, where the envelope has one: ctrlplane
    #[arg(long, value_name = "ID", value_parser = instance)]
    instance: Option<TypeId>,
    /// A header of the message; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Avro schema of the folder to encode the data with: plain and helix
    #[arg(long, value_name = "SCHEMA")]
    avro: Option<String>,
    /// Publish so many events, each with an id of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Send by core NATS, without a stream that stores it
    #[arg(long)]
    core: bool,
    /// Print the result, or the error, as JSON
    #[arg(long)]
    json: bool,
}

fn instance(text: &str) -> Result<TypeId, NoTypeId> {
    text.parse()
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header looks like `Nats-Msg-Id=order-7`"),
    }
}

impl EmitCommand {
    pub fn execute(self) -> ExitCode {
        match self.publish() {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => refusal.end(self.json),
        }
    }

    fn publish(&self) -> Result<(), CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let reads_input = self.data == ["-"];
        let given = if reads_input { Map::new() } else { data(&self.data)? };
        let runtime = runtime()?;
        // Found before anything is asked for: a folder without such a source needs no server.
        target::candidates(self, &config)?;
        let connection = runtime.block_on(connect(&config, "emit"))?;
        let target = runtime.block_on(EmitTarget::find(self, &config, &connection))?;
        let mut published = 0;
        let mut publish = |data: &Map<String, Value>| {
            for _ in 0..self.count {
                let message = message::build(self, &config, &target, data)?;
                let said = runtime.block_on(self.publish_one(&connection, &target, message))?;
                // The event is published: a closed pipe is not a failure.
                let _ = writeln!(terminal::stdout(), "{said}");
                published += 1;
            }
            Ok(())
        };
        let ended = if reads_input { each_line(&mut publish) } else { publish(&given) };
        ended.map_err(|refusal| match published {
            0 => refusal,
            _ => CommandRefusal { message: format!("{}, after {published} events", refusal.message), ..refusal },
        })
    }

    /// Publishes a message, and says where it is.
    async fn publish_one(
        &self,
        connection: &Connection,
        target: &EmitTarget<'_>,
        message: EmittedMessage,
    ) -> Result<String, CommandRefusal> {
        let EmittedMessage { subject, headers, body } = message;
        if target.is_core {
            let sent = connection.send(&subject, &headers, body.into()).await;
            sent.map_err(|error| CommandRefusal::new(RefusalKind::Network, "nats", format!("{error:#}")))?;
            return Ok(match self.json {
                true => json!({ "subject": subject, "stream": null }).to_string(),
                false => format!("{subject}: sent, not confirmed"),
            });
        }
        let stored = connection.publish(&subject, &headers, body.into()).await;
        let stored = stored.map_err(|error| not_stored(&subject, error))?;
        Ok(match self.json {
            true => json!({ "subject": subject, "stream": stored.stream, "sequence": stored.sequence }).to_string(),
            false => format!("{subject}: stored in {} at {}", stored.stream, stored.sequence),
        })
    }
}

/// Parses the members of the data: JSON where a value is valid JSON, else text; an empty value is
/// empty text (J19).
fn data(given: &[String]) -> Result<Map<String, Value>, CommandRefusal> {
    let mut data = Map::new();
    for given in given {
        match given.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                data.insert(name.to_owned(), value);
            }
            _ => {
                let refusal = CommandRefusal::new(
                    RefusalKind::Validation,
                    "data_syntax",
                    format!("`{given}` is not `NAME=VALUE`"),
                );
                return Err(refusal.param("NAME=VALUE").hint("write it as NAME=VALUE"));
            }
        }
    }
    Ok(data)
}

/// Calls `publish` with the object in each line of standard input. Empty lines are skipped.
fn each_line(
    publish: &mut impl FnMut(&Map<String, Value>) -> Result<(), CommandRefusal>,
) -> Result<(), CommandRefusal> {
    let mut input = io::stdin().lock();
    for number in 1_u64.. {
        let bad = |message: String| {
            let message = format!("line {number} of standard input {message}");
            let refusal = CommandRefusal::new(RefusalKind::Validation, "data_syntax", message);
            refusal.hint("write one JSON object a line")
        };
        let mut line = Vec::new();
        let read = io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(read) if read as u64 == LONGEST_LINE => {
                return Err(bad(format!("has more than {LONGEST_LINE} bytes")));
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => {
                let data = serde_json::from_slice(&line).map_err(|error| bad(format!("is no JSON object: {error}")))?;
                publish(&data)?;
            }
            Err(error) => return Err(bad(format!("can't be read: {error}"))),
        }
    }
    Ok(())
}

fn not_stored(subject: &str, error: ApiError) -> CommandRefusal {
    match error {
        ApiError::NoResponders(_) => {
            let refusal =
                CommandRefusal::new(RefusalKind::Precondition, "no_stream", format!("no stream takes `{subject}`"));
            refusal.hint(
                "`trommel streams ensure` makes those that are declared; `--subject` names another subject; `--core` \
                 sends without a stream",
            )
        }
        ApiError::NoPermission(denied) => CommandRefusal::new(RefusalKind::Auth, "no_permission", denied.to_string()),
        error => CommandRefusal::new(RefusalKind::Network, "jetstream", format!("{:#}", anyhow::Error::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J19
    #[test]
    fn data_is_json_where_it_can_be_read_as_such() {
        let given = ["n=1", "ok=true", "text=a b", "nothing=", "list=[1]", "quoted=\"1\"", "eq=a=b"].map(str::to_owned);
        let expected = json!({
            "n": 1, "ok": true, "text": "a b", "nothing": "", "list": [1], "quoted": "1", "eq": "a=b",
        });
        assert_eq!(Value::from(data(&given).unwrap()), expected);
        for bad in ["n", "=1"] {
            assert!(data(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
