//! Subjects of published messages.
//!
//! The value of a placeholder comes from an event and is not trusted: it must not turn the subject
//! into another one than the template means.

use std::fmt::{Display, Write};

use anyhow::{anyhow, bail};
use async_nats::Subject;
use bytes::BytesMut;

use crate::{
    config::{self, SubjectForm, SubjectPlaceholder, TemplatePart},
    event::{MAX_SUBJECT, check_subject, token},
};

/// Subjects are cut from buffers of this size instead of being allocated one by one.
const BUFFER: usize = 16 * 1024;

/// Subject whose placeholders are values of type `F`.
pub struct SubjectTemplate<F> {
    parts: Vec<TemplatePart<SubjectPlaceholder<F>>>,
    /// Set if there are no placeholders.
    constant: Option<Subject>,
    /// Prefix of subjects that no value of an event may produce.
    reserved: Option<String>,
    buffer: BytesMut,
}

impl<F: Display> SubjectTemplate<F> {
    pub fn new(template: config::TextTemplate<SubjectPlaceholder<F>>) -> Self {
        let parts = template.0;
        let constant = parts.iter().map(literal).collect::<Option<String>>().map(Subject::from);
        Self { parts, constant, reserved: None, buffer: BytesMut::new() }
    }

    /// Keeps events away from subjects that begin with `prefix`, whose messages are trusted.
    pub fn reserving(self, prefix: Option<String>) -> Self {
        Self { reserved: prefix, ..self }
    }

    /// Builds the subject; `found` returns the value of a field.
    ///
    /// # Errors
    /// Returns an error if the result is not a valid subject, or one that is not for events.
    pub fn fill<'a>(&'a mut self, found: impl Fn(&'a F) -> &'a str) -> anyhow::Result<Subject> {
        if let Some(constant) = &self.constant {
            return Ok(constant.clone());
        }
        // A longer value than any subject may have grows the buffer and is refused below.
        if self.buffer.capacity() < MAX_SUBJECT {
            self.buffer.reserve(BUFFER);
        }
        self.buffer.clear();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(text) => self.buffer.extend_from_slice(text.as_bytes()),
                TemplatePart::Value(placeholder) => append(&mut self.buffer, placeholder, found(&placeholder.field))?,
            }
        }
        let bytes = self.buffer.split().freeze();
        let subject = Subject::try_from(bytes)?;
        let shown = || shorten(&subject);
        check_subject(&subject).map_err(|error| anyhow!("subject `{}`: {error}", shown()))?;
        // Subjects under `$` and inboxes are the server's and the clients' own.
        let is_reserved = subject.starts_with('$') || subject.starts_with("_INBOX.");
        if is_reserved && !matches!(&self.parts[..], [TemplatePart::Literal(_), ..]) {
            bail!("subject `{}` is not for events", shown());
        }
        if let Some(reserved) = &self.reserved
            && subject.starts_with(reserved.as_str())
        {
            bail!("subject `{}` is one of dead letters, which only the router writes", shown());
        }
        Ok(subject)
    }
}

fn literal<P>(part: &TemplatePart<P>) -> Option<&str> {
    match part {
        TemplatePart::Literal(text) => Some(text),
        TemplatePart::Value(_) => None,
    }
}

fn append<F: Display>(buffer: &mut BytesMut, placeholder: &SubjectPlaceholder<F>, value: &str) -> anyhow::Result<()> {
    let value = match placeholder.form {
        SubjectForm::SafeToken => token(value),
        SubjectForm::Tokens | SubjectForm::Token => value.into(),
    };
    let problem = if value.is_empty() {
        "is empty"
    } else if value.bytes().any(|byte| matches!(byte, b'*' | b'>')) {
        "holds a wildcard"
    } else if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "holds white space or control characters"
    } else {
        let start = buffer.len();
        buffer.extend_from_slice(value.as_bytes());
        if placeholder.form == SubjectForm::Token {
            buffer[start..].iter_mut().filter(|byte| **byte == b'.').for_each(|byte| *byte = b'_');
        }
        return Ok(());
    };
    bail!("`{{{placeholder}}}` of the subject {problem}: {:?}", shorten(&value))
}

/// Cuts a value to the length that a message should show.
fn shorten(value: &str) -> String {
    let mut shown: String = value.chars().take(80).collect();
    if shown.len() < value.len() {
        // Writing to a `String` does not fail.
        let _ = write!(shown, "… ({} bytes)", value.len());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{EventField, OutputField},
        event::{Event, Headers, Origin},
    };

    fn event() -> Event {
        let mut headers = Headers::default();
        headers.push("tenant", "acme.eu");
        Event {
            id: "7.1".into(),
            uid: Default::default(),
            event_type: "order.created".into(),
            subject: "orders.eu.7".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers,
            payload: "{}".into(),
            origin: Origin { source: "s".to_owned(), stream: "S".to_owned() }.into(),
            sequence: 1,
        }
    }

    type SubjectPart = TemplatePart<SubjectPlaceholder<OutputField>>;

    fn text(text: &str) -> SubjectPart {
        TemplatePart::Literal(text.to_owned())
    }

    fn plain(field: EventField) -> SubjectPart {
        TemplatePart::Value(SubjectPlaceholder::plain(field.into()))
    }

    fn token(field: EventField) -> SubjectPart {
        TemplatePart::Value(SubjectPlaceholder { field: field.into(), form: SubjectForm::SafeToken })
    }

    fn value<'a>(field: &'a OutputField, event: &'a Event) -> &'a str {
        field.value(event, &event.subject, &event.headers, "the.key")
    }

    fn fill(parts: &[SubjectPart], event: Event) -> Result<String, String> {
        let mut template = SubjectTemplate::new(config::TextTemplate(parts.to_vec()));
        let filled = template.fill(|field| value(field, &event));
        filled.map(Subject::into_string).map_err(|why| format!("{why:#}"))
    }

    #[test]
    fn dead_letters_are_the_routers() {
        let parts = vec![text("trommel."), plain(EventField::Subject)];
        let mut template =
            SubjectTemplate::new(config::TextTemplate(parts)).reserving(Some("trommel.dead.".to_owned()));
        let mut fill = |subject: &str| {
            let event = Event { subject: subject.into(), ..event() };
            template.fill(|field| value(field, &event)).map(Subject::into_string).map_err(|why| why.to_string())
        };
        assert_eq!(fill("deaf.x"), Ok("trommel.deaf.x".to_owned()));
        assert!(fill("dead.failed").unwrap_err().contains("only the router writes"));
    }

    #[test]
    fn placeholders_are_filled() {
        let key = TemplatePart::Value(SubjectPlaceholder::plain(OutputField::Key));
        for (parts, expected) in [
            (vec![text("out.all")], "out.all"),
            (vec![text("out."), plain(EventField::EventType)], "out.order.created"),
            (vec![text("out."), plain(EventField::Subject), text(".x")], "out.orders.eu.7.x"),
            (vec![text("out."), plain(EventField::Id), text("."), key], "out.7_1.the_key"),
            (vec![text("out."), plain(EventField::Header("TENANT".to_owned()))], "out.acme_eu"),
        ] {
            assert_eq!(fill(&parts, event()).as_deref(), Ok(expected));
        }
    }

    /// H08 and H09: a value that would be refused becomes one harmless token.
    #[test]
    fn tokens_take_what_comes() {
        let parts =
            [text("out."), token(EventField::EventType), text("."), token(EventField::Header("none".to_owned()))];
        for (event_type, expected) in
            [("a.b", "out.a_b._"), ("", "out._._"), ("a *\r\n>", "out.a_____._"), ("$JS", "out.$JS._")]
        {
            let event = Event { event_type: event_type.into(), ..event() };
            assert_eq!(fill(&parts, event).as_deref(), Ok(expected));
        }
        assert_eq!(fill(&[token(EventField::Subject)], event()).as_deref(), Ok("orders_eu_7"));
        let reserved = Event { event_type: "$JS.API".into(), ..event() };
        assert!(fill(&[token(EventField::EventType), text(".x")], reserved).unwrap_err().contains("is not for events"));
        let control = Event { event_type: "a\0".into(), ..event() };
        assert_eq!(
            fill(&parts, control).unwrap_err(),
            "`{token:event_type}` of the subject holds white space or control characters: \"a\\0\""
        );
    }

    #[test]
    fn values_that_would_change_the_subject_are_refused() {
        let typed = |event_type: &str| Event { event_type: event_type.to_owned().into(), ..event() };
        for (value, expected) in [
            ("", "is empty"),
            ("a b", "white space or control characters"),
            ("a\u{a0}b", "white space or control characters"),
            ("a\r\nPUB x 0\r\n", "white space or control characters"),
            ("a.*", "holds a wildcard"),
            (">", "holds a wildcard"),
            ("a..b", "empty token"),
            (".a", "empty token"),
            (&"a".repeat(2000), "more than 1024"),
        ] {
            let error = fill(&[text("out."), plain(EventField::EventType)], typed(value)).unwrap_err();
            assert!(error.contains(expected), "{value:?}: {error}");
            assert!(error.len() < 300, "{error}");
        }
        let error = fill(&[text("out."), plain(EventField::Header("none".to_owned()))], event()).unwrap_err();
        assert_eq!(error, "`{header:none}` of the subject is empty: \"\"");
    }

    #[test]
    fn an_event_can_not_reach_the_servers_own_subjects() {
        for event_type in ["$JS.API.STREAM.DELETE.ORDERS", "$SYS.REQ.x", "_INBOX.abc.1"] {
            let event = Event { event_type: event_type.into(), ..event() };
            let error = fill(&[plain(EventField::EventType)], event.clone()).unwrap_err();
            assert!(error.contains("is not for events"), "{error}");
            assert!(fill(&[text("out."), plain(EventField::EventType)], event).is_ok());
        }
    }
}
