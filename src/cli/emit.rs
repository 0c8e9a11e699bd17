//! `trommel emit DIR TYPE k=v` (J03, J19): publishes an event as its producers would, to try keys
//! with.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        runtime,
        stretch::connect,
        terminal,
    },
    config::{Config, EnvelopeFormat, SourceConfig, SourceKind, quoted},
    event::{check_subject, identity},
    folder,
    nats::ApiError,
};

/// Publish an event, in the envelope that the router's source opens
#[derive(Args, Debug)]
pub struct EmitCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// The event's type, and its subject unless `--subject` is given
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// Members of its data: JSON where it can be read as such, else text
    #[arg(value_name = "NAME=VALUE")]
    data: Vec<String>,
    /// Subject to publish the event on
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Source whose envelope to use, if there are several
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// The node that a jb-mesh event comes from [default: the connection's name]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// The tenant whose event it is, where the envelope has one: ctrlplane, flowcraft
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Print the result, or the error, as JSON
    #[arg(long)]
    json: bool,
}

/// Message to publish.
struct EmittedMessage {
    subject: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl EmitCommand {
    pub fn execute(self) -> ExitCode {
        match self.publish() {
            Ok(said) => {
                // The event is stored: a closed pipe is not a failure.
                let _ = writeln!(terminal::stdout(), "{said}");
                ExitCode::SUCCESS
            }
            Err(refusal) => refusal.end(self.json),
        }
    }

    fn publish(&self) -> Result<String, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let EmittedMessage { subject, headers, body } = self.message(&config)?;
        let runtime = runtime()?;
        let stored = runtime.block_on(async {
            let connection = connect(&config, "emit").await?;
            let stored = connection.publish(&subject, &headers, body.to_string().into()).await;
            stored.map_err(|error| not_stored(&subject, error))
        })?;
        Ok(match self.json {
            true => json!({ "subject": subject, "stream": stored.stream, "sequence": stored.sequence }).to_string(),
            false => format!("{subject}: stored in {} at {}", stored.stream, stored.sequence),
        })
    }

    /// Builds the message, in the envelope of the source that opens it.
    fn message(&self, config: &Config) -> Result<EmittedMessage, CommandRefusal> {
        let data = data(&self.data)?;
        let source = self.source(config)?;
        let now = Timestamp::now().to_string();
        let id = format!("{:032x}", fastrand::u128(..));
        let event_type = match source.envelope {
            // The type may be given as it appears in subjects, with their prefix.
            EnvelopeFormat::JbMesh => self.event_type.strip_prefix("events.").unwrap_or(&self.event_type),
            _ => &self.event_type,
        };
        let (mut subject, mut headers) = (event_type.to_owned(), Vec::new());
        let body = match source.envelope {
            EnvelopeFormat::Plain { .. } => data,
            EnvelopeFormat::CloudEvents => {
                headers.push(("Content-Type", "application/cloudevents+json".to_owned()));
                json!({
                    "specversion": "1.0", "id": id, "source": "trommel", "type": event_type, "time": now, "data": data,
                })
            }
            EnvelopeFormat::Helix => {
                let payload = BASE64_STANDARD.encode(data.to_string());
                json!({ "id": id, "type": event_type, "source": "trommel", "payload": payload, "timestamp": now })
            }
            EnvelopeFormat::JbMesh => {
                subject = format!("events.{event_type}");
                let named = || config.nats.as_ref().map_or_else(String::new, |nats| nats.name.clone());
                let node = self.node.clone().unwrap_or_else(named);
                json!({ "type": event_type, "node": node, "timestamp": now, "data": data })
            }
            EnvelopeFormat::Ctrlplane => json!({
                "id": id, "type": event_type, "tenant_id": self.tenant.as_deref().unwrap_or_default(), "payload": data,
                "timestamp": now,
            }),
            EnvelopeFormat::Flowcraft => {
                let headers: BTreeMap<_, _> = self.tenant.iter().map(|tenant| (identity::TENANT, tenant)).collect();
                json!({ "id": id, "subject": event_type, "time": now, "headers": headers, "payload": data })
            }
            EnvelopeFormat::Lark { .. } => json!({
                "schema": "2.0",
                "header": {
                    "event_id": id,
                    "event_type": event_type,
                    "create_time": Timestamp::now().as_millisecond().to_string(),
                },
                "event": data,
            }),
        };
        let subject = self.subject.clone().unwrap_or(subject);
        check_subject(&subject).map_err(|error| {
            let message = format!("`{subject}` can't be a subject: {error}");
            let refusal = CommandRefusal::new(RefusalKind::Validation, "bad_subject", message).param("TYPE");
            refusal.hint("give another one with `--subject`")
        })?;
        Ok(EmittedMessage { subject, headers, body })
    }

    fn source<'a>(&self, config: &'a Config) -> Result<&'a SourceConfig, CommandRefusal> {
        let sources = config.sources.iter().filter(|source| matches!(source.kind, SourceKind::JetStream(_)));
        let sources: Vec<_> = sources.collect();
        let named = |name: &str| sources.iter().copied().find(|source| source.name == name);
        let (found, message) = match (&self.source, &sources[..]) {
            (Some(name), _) => (named(name), format!("there is no source `{name}` that reads a stream")),
            (None, [one]) => (Some(*one), String::new()),
            (None, []) => (None, "no source of this router reads a stream".to_owned()),
            (None, _) => (None, "the router reads several streams".to_owned()),
        };
        found.ok_or_else(|| {
            let refusal = CommandRefusal::new(RefusalKind::Validation, "which_source", message).param("--source");
            let names = quoted(sources.iter().map(|source| source.name.as_str()), "or");
            if names.is_empty() { refusal } else { refusal.hint(format!("name one with `--source`: {names}")) }
        })
    }
}

/// Parses the members of the data: JSON where a value is valid JSON, else text; an empty value is
/// empty text (J19).
fn data(given: &[String]) -> Result<Value, CommandRefusal> {
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
    Ok(data.into())
}

fn not_stored(subject: &str, error: ApiError) -> CommandRefusal {
    match error {
        ApiError::NoResponders(_) => {
            let refusal =
                CommandRefusal::new(RefusalKind::Precondition, "no_stream", format!("no stream takes `{subject}`"));
            refusal.hint("`trommel streams ensure` makes those that are declared; `--subject` names another subject")
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
        assert_eq!(data(&given).unwrap(), expected);
        for bad in ["n", "=1"] {
            assert!(data(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
