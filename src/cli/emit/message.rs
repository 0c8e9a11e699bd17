//! The message of an event, in the envelope of the source that is to open it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{EmitCommand, EmitTarget};
use crate::{
    avro::Framing,
    cli::refusal::{CommandRefusal, RefusalKind},
    client::{
        CtrlplaneEvent, Envelope, EventFamily, HelixEnvelope, MeshEvent, UnencodableEvent, WireFormat,
        helix::{self, entity_member, random_id},
    },
    config::{Config, EnvelopeFormat, values::server_subject},
    event::identity,
};

/// Message to publish.
pub(super) struct EmittedMessage {
    pub(super) subject: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl From<UnencodableEvent> for CommandRefusal {
    fn from(error: UnencodableEvent) -> Self {
        Self::new(RefusalKind::Validation, "bad_event", error.to_string())
    }
}

/// Builds the message of an event with this data.
pub(super) fn build(
    emit: &EmitCommand,
    config: &Config,
    target: &EmitTarget<'_>,
    data: &Map<String, Value>,
) -> Result<EmittedMessage, CommandRefusal> {
    let envelope = &target.source.envelope;
    if emit.avro.is_some() && !matches!(envelope, EnvelopeFormat::Plain { .. } | EnvelopeFormat::Helix) {
        let message = format!("source `{}` has an envelope whose content is JSON", target.source.name);
        return Err(CommandRefusal::new(RefusalKind::Validation, "not_avro", message).param("--avro"));
    }
    let mut headers = emit.headers.clone();
    let given = &emit.event_type;
    let (subject, body) = match envelope {
        EnvelopeFormat::Plain { .. } => (given.clone(), content(emit, config, data)?),
        EnvelopeFormat::CloudEvents => {
            headers.push(("Content-Type".to_owned(), "application/cloudevents+json".to_owned()));
            let (id, time) = (random_id(), Timestamp::now());
            let event = json!({
                "specversion": "1.0", "id": id, "source": "trommel", "type": given, "time": time, "data": data,
            });
            (given.clone(), event.to_string().into_bytes())
        }
        EnvelopeFormat::Helix => helix(emit, config, target, data)?,
        EnvelopeFormat::JbMesh => {
            // The type may be given as it appears in subjects, with their prefix.
            let event_type = given.strip_prefix("events.").unwrap_or(given);
            let named = || config.nats.as_ref().map_or_else(String::new, |nats| nats.name.clone());
            let node = emit.node.clone().unwrap_or_else(named);
            let event = MeshEvent::new(event_type, node, data.clone());
            (format!("{}.{event_type}", MeshEvent::PREFIX), event.encode(WireFormat::Json)?)
        }
        EnvelopeFormat::Ctrlplane => {
            let mut event = CtrlplaneEvent::new(given, emit.tenant.clone().unwrap_or_default());
            event = event.with_actor(emit.actor.clone().unwrap_or_default()).with_payload(data.clone());
            event.instance_id.clone_from(&emit.instance);
            (given.clone(), event.encode(WireFormat::Json)?)
        }
        EnvelopeFormat::Flowcraft => {
            let who = [(identity::TENANT, &emit.tenant), (identity::ACTOR_ID, &emit.actor)];
            let who = who.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
            let mut event = Envelope::new(given.as_str()).map_err(|error| bad_subject(given, &error.to_string()))?;
            event = who.fold(event, |event, (name, value)| event.with_header(name, value));
            (event.id, event.time) = (random_id().into(), Some(Timestamp::now()));
            let event = event.with_json(Value::from(data.clone()).to_string());
            (given.clone(), event.encode(WireFormat::Json)?)
        }
        EnvelopeFormat::Lark { .. } => {
            let time = Timestamp::now().as_millisecond().to_string();
            let header = json!({ "event_id": random_id(), "event_type": given, "create_time": time });
            (given.clone(), json!({ "schema": "2.0", "header": header, "event": data }).to_string().into_bytes())
        }
    };
    let subject = emit.subject.clone().unwrap_or(subject);
    server_subject(&subject).map_err(|error| bad_subject(&subject, &error))?;
    Ok(EmittedMessage { subject, headers, body })
}

/// The subject and the envelope of a Helix event: its type is the subject without what all
/// subjects of its stream begin with.
fn helix(
    emit: &EmitCommand,
    config: &Config,
    target: &EmitTarget<'_>,
    data: &Map<String, Value>,
) -> Result<(String, Vec<u8>), CommandRefusal> {
    let (given, prefix) = (&emit.event_type, &target.prefix);
    let stripped = given.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('.'));
    let (subject, event_type) = match stripped {
        Some(event_type) => (given.clone(), event_type),
        None if prefix.is_empty() => (given.clone(), given.as_str()),
        None => (format!("{prefix}.{given}"), given.as_str()),
    };
    let now = Timestamp::now();
    let mut data = data.clone();
    // What readers of the family want and the user has not given.
    let id = data.get("run_id").and_then(Value::as_str).map_or_else(random_id, str::to_owned);
    let mut want = |member: &str, value: Value| {
        data.entry(member).or_insert(value);
    };
    if let [.., domain, entity, action] = emit.subject.as_ref().unwrap_or(&subject).split('.').collect::<Vec<_>>()[..]
        && let Some(member) = entity_member(domain)
    {
        want("run_id", id.as_str().into());
        want(member, entity.into());
        want("action", action.into());
        let nanoseconds = || i64::try_from(now.as_nanosecond()).unwrap_or_default().into();
        want("timestamp", if emit.avro.is_some() { nanoseconds() } else { now.to_string().into() });
    }
    let envelope = HelixEnvelope {
        id,
        event_type: event_type.to_owned(),
        source: Some(helix::SOURCE.to_owned()),
        payload: content(emit, config, &data)?,
        timestamp: Some(now.to_string()),
    };
    Ok((subject, envelope.write()?))
}

/// The data as JSON, or as Avro of the wanted schema.
fn content(emit: &EmitCommand, config: &Config, data: &Map<String, Value>) -> Result<Vec<u8>, CommandRefusal> {
    let json = Value::from(data.clone()).to_string().into_bytes();
    let Some(name) = &emit.avro else { return Ok(json) };
    let schemas = &config.registry.avro;
    let refused =
        |message: String| CommandRefusal::new(RefusalKind::Validation, "avro_unencodable", message).param("--avro");
    let schema = schemas.get(name).ok_or_else(|| {
        let known = crate::config::quoted(schemas.names(), "or");
        let refusal = refused(format!("there is no Avro schema `{name}`"));
        if known.is_empty() { refusal } else { refusal.hint(format!("those of this folder are {known}")) }
    })?;
    let encoder = schemas.encoder(&schema, Framing::SingleObject);
    let encoder = encoder.ok_or_else(|| refused(format!("`{name}` has no encoder")))?;
    encoder.encode(&json).map_err(|error| refused(error.to_string()))
}

fn bad_subject(subject: &str, why: &str) -> CommandRefusal {
    let message = format!("`{subject}` can't be a subject: {why}");
    let refusal = CommandRefusal::new(RefusalKind::Validation, "bad_subject", message).param("TYPE");
    refusal.hint("give another one with `--subject`")
}
