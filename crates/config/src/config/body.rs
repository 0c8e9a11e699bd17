//! Bodies of webhook requests in a receiver's own format.

use std::{borrow::Cow, fmt, str::FromStr};

use serde_json::Value;

use super::{TemplatePart, template::take_apart};
use crate::json::{self, JsonPointer};

/// Longest text of a payload inside of a string, in characters: receivers of messages refuse long
/// ones.
const MAX_PAYLOAD_TEXT: usize = 1_000;

/// Templates by name, for receivers whose format is known.
const PRESETS: [(&str, &str); 4] = [
    ("slack", r#"{"text": "*{event_type}* {subject}\n```{payload}```"}"#),
    ("discord", r#"{"content": "**{event_type}** {subject}\n```{payload}```"}"#),
    (
        "teams",
        r#"{"type": "message", "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {"type": "AdaptiveCard", "version": "1.4", "body": [
                {"type": "TextBlock", "weight": "Bolder", "wrap": true, "text": "{event_type} {subject}"},
                {"type": "TextBlock", "wrap": true, "text": "Payload: {payload}"}
            ]}
        }]}"#,
    ),
    (
        "pagerduty",
        r#"{"routing_key": "{routing_key}", "event_action": "trigger", "dedup_key": "{delivery_id}",
            "payload": {"summary": "{event_type} {subject}", "source": "trommel", "severity": "error",
                "custom_details": {"event_id": "{event_id}", "payload": "{payload}"}}}"#,
    ),
];

/// A JSON text with placeholders in its strings. A string that is one placeholder becomes the value
/// itself, in any other the value is text. Not shown by `Debug`, as it may hold a receiver's key.
#[derive(Clone, PartialEq)]
pub struct BodyTemplate(TemplateNode);

#[derive(Clone, Debug, PartialEq)]
enum TemplateNode {
    /// A value without placeholders, as JSON.
    Fixed(String),
    Text(Vec<TemplatePart<BodyField>>),
    List(Vec<TemplateNode>),
    /// Members with their names as JSON.
    Object(Vec<(String, TemplateNode)>),
}

/// A value that a body can have.
#[derive(Clone, Debug, PartialEq)]
enum BodyField {
    Pointer(JsonPointer),
    /// The whole payload.
    Payload,
    EventType,
    Subject,
    Tenant,
    EventId,
    DeliveryId,
    RoutingKey,
}

/// The facts of a delivery that its body can name.
#[derive(Clone, Copy, Debug)]
pub struct BodyFacts<'a> {
    pub event_type: &'a str,
    pub subject: &'a str,
    /// Empty if there is none.
    pub tenant: &'a str,
    pub event_id: &'a str,
    pub delivery_id: &'a str,
    pub payload: &'a [u8],
}

/// Error: a template and a payload that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnrenderableBody {
    #[error("the payload is not JSON, and its `body` names parts of it")]
    NotJson,
    #[error("the payload has no `{0}`, which its `body` names")]
    Missing(String),
}

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyTemplate(..)")
    }
}

/// Parses the name of a preset or a JSON text.
impl FromStr for BodyTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let preset = PRESETS.iter().find(|(name, _)| *name == text);
        let names = || super::quoted(PRESETS.map(|(name, _)| name), "or");
        let json = preset.map_or(text, |(_, json)| json);
        let value: Value =
            serde_json::from_str(json).map_err(|error| format!("it is neither {} nor JSON: {error}", names()))?;
        node(&value).map(Self)
    }
}

impl BodyTemplate {
    /// Returns whether a routing key is needed.
    pub fn needs_routing_key(&self) -> bool {
        fn needs(node: &TemplateNode) -> bool {
            match node {
                TemplateNode::Fixed(_) => false,
                TemplateNode::Text(parts) => parts.contains(&TemplatePart::Value(BodyField::RoutingKey)),
                TemplateNode::List(values) => values.iter().any(needs),
                TemplateNode::Object(members) => members.iter().any(|(_, value)| needs(value)),
            }
        }
        needs(&self.0)
    }

    /// Makes the body of a delivery: valid JSON, whatever its values hold.
    ///
    /// # Errors
    /// Returns an error if the payload lacks a part that the template names.
    pub fn render(&self, facts: &BodyFacts<'_>, routing_key: Option<&str>) -> Result<String, UnrenderableBody> {
        let mut body = String::new();
        write(&self.0, facts, routing_key.unwrap_or_default(), &mut body)?;
        Ok(body)
    }
}

fn node(value: &Value) -> Result<TemplateNode, String> {
    Ok(match value {
        Value::String(text) => {
            let parts = take_apart(text, TemplatePart::Literal, |name| field(name).map(TemplatePart::Value))?;
            match parts.iter().any(|part| matches!(part, TemplatePart::Value(_))) {
                true => TemplateNode::Text(parts),
                false => TemplateNode::Fixed(value.to_string()),
            }
        }
        Value::Array(values) => TemplateNode::List(values.iter().map(node).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Ok((Value::from(name.as_str()).to_string(), node(value)?));
            TemplateNode::Object(members.iter().map(member).collect::<Result<_, String>>()?)
        }
        fixed => TemplateNode::Fixed(fixed.to_string()),
    })
}

fn field(name: &str) -> Result<BodyField, String> {
    Ok(match name {
        "payload" => BodyField::Payload,
        "event_type" => BodyField::EventType,
        "subject" => BodyField::Subject,
        "tenant" => BodyField::Tenant,
        "event_id" => BodyField::EventId,
        "delivery_id" => BodyField::DeliveryId,
        "routing_key" => BodyField::RoutingKey,
        pointer if pointer.starts_with('/') => {
            let pointer = pointer.parse::<JsonPointer>().map_err(|error| format!("`{{{name}}}`: {error}"))?;
            BodyField::Pointer(pointer)
        }
        _ => {
            return Err(format!(
                "there is no placeholder `{{{name}}}`, only `{{/POINTER}}`, `{{payload}}`, `{{event_type}}`, \
                 `{{subject}}`, `{{tenant}}`, `{{event_id}}`, `{{delivery_id}}` and `{{routing_key}}`"
            ));
        }
    })
}

fn write(
    node: &TemplateNode,
    facts: &BodyFacts<'_>,
    routing_key: &str,
    body: &mut String,
) -> Result<(), UnrenderableBody> {
    match node {
        TemplateNode::Fixed(json) => body.push_str(json),
        TemplateNode::Text(parts) => match &parts[..] {
            [TemplatePart::Value(field)] => body.push_str(&value(field, facts, routing_key)?),
            parts => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        TemplatePart::Literal(literal) => whole.push_str(literal),
                        TemplatePart::Value(field) => {
                            let value = value(field, facts, routing_key)?;
                            let text = json::text(&value).map_err(|_| UnrenderableBody::NotJson)?;
                            let is_payload = *field == BodyField::Payload;
                            let most = if is_payload { MAX_PAYLOAD_TEXT } else { usize::MAX };
                            whole.extend(text.chars().take(most));
                        }
                    }
                }
                body.push_str(&quoted(&whole));
            }
        },
        TemplateNode::List(values) => {
            body.push('[');
            for (index, value) in values.iter().enumerate() {
                body.push_str(if index == 0 { "" } else { "," });
                write(value, facts, routing_key, body)?;
            }
            body.push(']');
        }
        TemplateNode::Object(members) => {
            body.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                body.push_str(if index == 0 { "" } else { "," });
                body.push_str(name);
                body.push(':');
                write(value, facts, routing_key, body)?;
            }
            body.push('}');
        }
    }
    Ok(())
}

/// The value as JSON, as written in the payload.
fn value<'a>(field: &BodyField, facts: &BodyFacts<'a>, routing_key: &str) -> Result<Cow<'a, str>, UnrenderableBody> {
    Ok(Cow::Owned(match field {
        BodyField::Pointer(pointer) => {
            json::check(facts.payload).map_err(|_| UnrenderableBody::NotJson)?;
            let found = pointer.find(facts.payload).map_err(|_| UnrenderableBody::NotJson)?;
            return found.map(Cow::Borrowed).ok_or_else(|| UnrenderableBody::Missing(pointer.to_string()));
        }
        BodyField::Payload => match json::check(facts.payload) {
            Ok(()) => return Ok(String::from_utf8_lossy(facts.payload)),
            Err(_) => quoted(&String::from_utf8_lossy(facts.payload)),
        },
        BodyField::EventType => quoted(facts.event_type),
        BodyField::Subject => quoted(facts.subject),
        BodyField::Tenant => quoted(facts.tenant),
        BodyField::EventId => quoted(facts.event_id),
        BodyField::DeliveryId => quoted(facts.delivery_id),
        BodyField::RoutingKey => quoted(routing_key),
    }))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(payload: &[u8]) -> BodyFacts<'_> {
        BodyFacts {
            event_type: "order.paid",
            subject: "orders.1",
            tenant: "acme",
            event_id: "evt_1",
            delivery_id: "deli_1",
            payload,
        }
    }

    fn render(template: &str, payload: &str) -> Result<String, UnrenderableBody> {
        template.parse::<BodyTemplate>().unwrap().render(&facts(payload.as_bytes()), Some("key-1"))
    }

    #[test]
    fn a_string_that_is_one_placeholder_becomes_the_value() {
        let payload = r#"{"n": 1.50, "s": "a\"b", "o": {"x": [1]}, "/": null}"#;
        for (template, expected) in [
            (r#"{"a": "{/n}", "b": [true, "{/o}"]}"#, r#"{"a":1.50,"b":[true,{"x": [1]}]}"#),
            (r#""{/s} and {/n}, {/o}""#, r#""a\"b and 1.50, {\"x\": [1]}""#),
            (r#"["{/s}", "{/~1}", "{payload}"]"#, &format!(r#"["a\"b",null,{payload}]"#)),
            (r#""{event_type} {tenant} {event_id}""#, r#""order.paid acme evt_1""#),
            (r#"{"routing_key": "{routing_key}"}"#, r#"{"routing_key":"key-1"}"#),
        ] {
            assert_eq!(render(template, payload).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_the_payload_lacks_is_named() {
        assert_eq!(render(r#""{/a/b}""#, "{}"), Err(UnrenderableBody::Missing("/a/b".into())));
        assert_eq!(render(r#""{/a}""#, "no"), Err(UnrenderableBody::NotJson));
        assert_eq!(render(r#""{payload}!""#, "no\u{1}").as_deref(), Ok(r#""no\u0001!""#));
    }

    #[test]
    fn templates_that_can_not_be_bodies_are_refused() {
        for (template, reason) in [
            ("slak", "neither `slack`, `discord`, `teams` or `pagerduty` nor JSON"),
            ("{", "nor JSON: EOF"),
            (r#""{a}""#, "no placeholder `{a}`"),
            (r#""{/a~2}""#, "followed by `0`"),
            (r#"{"a": "{"}"#, "stands alone"),
        ] {
            let error = template.parse::<BodyTemplate>().unwrap_err();
            assert!(error.contains(reason), "{template}: {error}");
        }
    }

    #[test]
    fn presets_are_what_their_receivers_read() {
        let body =
            |name: &str, payload: &str| -> Value { serde_json::from_str(&render(name, payload).unwrap()).unwrap() };
        let slack = body("slack", "{\"a\":1}");
        assert_eq!(slack["text"], "*order.paid* orders.1\n```{\"a\":1}```");
        let long = body("discord", &format!("\"{}\"", "x".repeat(5_000)));
        assert!(long["content"].as_str().unwrap().chars().count() < 2_000, "Discord takes no more");
        let page = body("pagerduty", "{\"a\":1}");
        assert_eq!((&page["routing_key"], &page["payload"]["severity"]), (&"key-1".into(), &"error".into()));
        assert_eq!(page["payload"]["custom_details"]["payload"]["a"], 1);
        assert_eq!(body("teams", "1")["attachments"][0]["content"]["body"][1]["text"], "Payload: 1");
        for (name, needs) in [("slack", false), ("pagerduty", true)] {
            assert_eq!(name.parse::<BodyTemplate>().unwrap().needs_routing_key(), needs);
        }
    }

    proptest! {
        /// No value breaks out of its place.
        #[test]
        fn whatever_the_values_hold_the_body_is_json(text in ".*", name in "[a-z\"\\\\{}]{0,5}") {
            let payload = Value::from_iter([(name.clone(), text.clone())]).to_string();
            let body = render(r#"{"a": "x {payload} {event_type}", "b": "{payload}"}"#, &payload).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(&body["b"][&name], &Value::from(text));
        }
    }
}
