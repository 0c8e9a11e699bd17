//! Subjects and file names with placeholders.

use std::fmt;

use super::values;
use crate::event::{Event, Headers, Pattern};

/// A text with placeholders of type `P`, checked at startup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate<P>(pub Vec<TemplatePart<P>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart<P> {
    Literal(String),
    Value(P),
}

/// A value that an event has wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventField {
    EventType,
    /// The subject, including its dots.
    Subject,
    Id,
    SourceTime,
    Header(String),
}

/// A value that an output has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputField {
    Event(EventField),
    Key,
}

/// A placeholder of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPlaceholder<F> {
    pub field: F,
    pub form: SubjectForm,
}

/// The tokens that a value becomes in a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectForm {
    /// The value is a subject or looks like one: its dots separate tokens.
    Tokens,
    /// The value is one token, so its dots become `_`.
    Token,
    /// `{token:…}`: one token, in which all that a token can't hold is replaced (H08).
    SafeToken,
}

impl EventField {
    /// Returns its value, empty if there is none. An output may have another subject than its
    /// event, and other headers.
    pub fn value<'a>(&'a self, event: &'a Event, subject: &'a str, headers: &'a Headers) -> &'a str {
        match self {
            Self::EventType => &event.event_type,
            Self::Subject => subject,
            Self::Id => &event.id,
            Self::SourceTime => event.source_time.as_deref().unwrap_or_default(),
            Self::Header(name) => headers.get(name).map_or("", |value| value),
        }
    }
}

impl OutputField {
    /// Returns its value, as [`EventField::value`].
    pub fn value<'a>(&'a self, event: &'a Event, subject: &'a str, headers: &'a Headers, key: &'a str) -> &'a str {
        match self {
            Self::Event(field) => field.value(event, subject, headers),
            Self::Key => key,
        }
    }
}

impl From<EventField> for OutputField {
    fn from(field: EventField) -> Self {
        Self::Event(field)
    }
}

/// The placeholder as written, without the braces.
impl fmt::Display for EventField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventType => f.write_str("event_type"),
            Self::Subject => f.write_str("subject"),
            Self::Id => f.write_str("id"),
            Self::SourceTime => f.write_str("source_time"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl fmt::Display for OutputField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(field) => field.fmt(f),
            Self::Key => f.write_str("key"),
        }
    }
}

impl<F: fmt::Display> fmt::Display for SubjectPlaceholder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            SubjectForm::SafeToken => write!(f, "token:{}", self.field),
            SubjectForm::Tokens | SubjectForm::Token => self.field.fmt(f),
        }
    }
}

impl SubjectPlaceholder<OutputField> {
    /// Creates the placeholder of a field without `token:`.
    pub fn plain(field: OutputField) -> Self {
        let form = match field {
            OutputField::Event(EventField::EventType | EventField::Subject) => SubjectForm::Tokens,
            _ => SubjectForm::Token,
        };
        Self { field, form }
    }
}

impl<F> TextTemplate<SubjectPlaceholder<F>> {
    /// The pattern of all subjects that it may become: a token with a placeholder is any, and
    /// behind a placeholder of several tokens so is the rest. `None` if no pattern says that.
    pub fn possible_subjects(&self) -> Option<Pattern> {
        let mut pattern = String::new();
        for part in &self.0 {
            match part {
                TemplatePart::Literal(text) => pattern.push_str(text),
                TemplatePart::Value(SubjectPlaceholder { form: SubjectForm::Tokens, .. }) => {
                    pattern.push('>');
                    break;
                }
                TemplatePart::Value(_) => pattern.push('*'),
            }
        }
        let token = |token: &str| match token {
            token if token.contains('>') => ">".to_owned(),
            token if token.contains('*') => "*".to_owned(),
            token => token.to_owned(),
        };
        pattern.split('.').map(token).collect::<Vec<_>>().join(".").parse().ok()
    }
}

/// The template as written.
impl<P: fmt::Display> fmt::Display for TextTemplate<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            TemplatePart::Literal(text) => f.write_str(text),
            TemplatePart::Value(placeholder) => write!(f, "{{{placeholder}}}"),
        })
    }
}

impl<P> TextTemplate<P> {
    /// The whole text, if no part of it is a placeholder.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [TemplatePart::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// Longest template of a file name, in bytes.
const MAX_FILE_NAME: usize = 100;

/// Parses the subject of an output, such as `alerts.{event_type}`. Its literals must form a valid
/// subject together with the placeholders.
pub fn subject(text: &str) -> Result<TextTemplate<SubjectPlaceholder<OutputField>>, String> {
    parse_subject(text, Ok)
}

/// Parses the subject of an event that comes in, likewise: no key has taken it yet.
pub fn incoming_subject(text: &str) -> Result<TextTemplate<SubjectPlaceholder<EventField>>, String> {
    parse_subject(text, |field| match field {
        OutputField::Event(field) => Ok(field),
        OutputField::Key => Err("there is no `{key}` yet where events come in".into()),
    })
}

fn parse_subject<F>(
    text: &str,
    known: impl Fn(OutputField) -> Result<F, String>,
) -> Result<TextTemplate<SubjectPlaceholder<F>>, String> {
    let placeholder = |name: &str| {
        let SubjectPlaceholder { field, form } = placeholder(name)?;
        Ok(TemplatePart::Value(SubjectPlaceholder { field: known(field)?, form }))
    };
    let parts = take_apart(text, TemplatePart::Literal, placeholder)?;
    // A token for every placeholder gives a subject that can be checked.
    let sample: String =
        parts.iter().map(|part| if let TemplatePart::Literal(text) = part { text.as_str() } else { "x" }).collect();
    values::server_subject(&sample)?;
    Ok(TextTemplate(parts))
}

/// Parses a file name such as `{event_type}_{id}.json`. Its literals must be valid in a file name,
/// which does not begin with a dot and does not lead to another folder.
pub fn file_name(text: &str) -> Result<TextTemplate<OutputField>, String> {
    let field = |name: &str| match placeholder(name)? {
        SubjectPlaceholder { form: SubjectForm::SafeToken, .. } => {
            Err("`{token:…}` is for subjects: every value is made safe for a file name".to_owned())
        }
        SubjectPlaceholder { field, .. } => Ok(TemplatePart::Value(field)),
    };
    let parts = take_apart(text, TemplatePart::Literal, field)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let bad = |part: &TemplatePart<_>| matches!(part, TemplatePart::Literal(text) if !text.chars().all(is_plain) || text.contains(".."));
    if parts.iter().any(bad) || text.starts_with('.') {
        let rule = "beside its placeholders a file name is made of letters, digits, `.`, `_` and `-`, and does not \
            begin with `.`";
        return Err(rule.into());
    }
    if text.len() > MAX_FILE_NAME {
        return Err(format!("it has more than {MAX_FILE_NAME} bytes"));
    }
    if !parts.contains(&TemplatePart::Value(EventField::Id.into())) {
        return Err("without `{id}` events would take each other's names".into());
    }
    Ok(TextTemplate(parts))
}

/// Splits a text into its literals and its placeholders, in order.
pub fn take_apart<P>(
    text: &str,
    literal: impl Fn(String) -> P,
    placeholder: impl Fn(&str) -> Result<P, String>,
) -> Result<Vec<P>, String> {
    let mut parts = Vec::new();
    let literal = |text: &str| (!text.is_empty()).then(|| literal(text.to_owned()));
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        parts.extend(literal(&rest[..open]));
        let Some((name, after)) = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return Err("a `{` or a `}` stands alone".into());
        };
        parts.push(placeholder(name)?);
        rest = after;
    }
    parts.extend(literal(rest));
    Ok(parts)
}

fn placeholder(name: &str) -> Result<SubjectPlaceholder<OutputField>, String> {
    match name.strip_prefix("token:") {
        Some(inner) if !inner.starts_with("token:") => {
            Ok(SubjectPlaceholder { field: output_field(inner)?, form: SubjectForm::SafeToken })
        }
        _ => output_field(name).map(SubjectPlaceholder::plain),
    }
}

fn output_field(name: &str) -> Result<OutputField, String> {
    Ok(OutputField::Event(match name {
        "event_type" => EventField::EventType,
        "subject" => EventField::Subject,
        "id" => EventField::Id,
        "source_time" => EventField::SourceTime,
        "key" => return Ok(OutputField::Key),
        _ => match name.strip_prefix("header:") {
            Some(header) => EventField::Header(values::header_name(header)?),
            None => {
                return Err(format!(
                    "there is no placeholder `{{{name}}}`, only `{{event_type}}`, `{{subject}}`, `{{id}}`, \
                     `{{source_time}}`, `{{key}}`, `{{header:NAME}}`, and each as `{{token:…}}`"
                ));
            }
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::{EventField::*, SubjectForm::*, *};

    #[test]
    fn templates_are_taken_apart() {
        let literal = |text: &str| TemplatePart::Literal(text.into());
        let value = |form, field: EventField| TemplatePart::Value(SubjectPlaceholder { field: field.into(), form });
        let header = |name: &str| EventField::Header(name.into());
        let key = TemplatePart::Value(SubjectPlaceholder { field: OutputField::Key, form: Token });
        for (text, parts) in [
            ("alerts.orders", vec![literal("alerts.orders")]),
            ("{subject}", vec![value(Tokens, Subject)]),
            (
                "a.{key}.{header:Customer}-{id}",
                vec![
                    literal("a."),
                    key,
                    literal("."),
                    value(Token, header("Customer")),
                    literal("-"),
                    value(Token, Id),
                ],
            ),
            ("{event_type}.out", vec![value(Tokens, EventType), literal(".out")]),
            (
                "a.{token:id}.{token:header:X}",
                vec![literal("a."), value(SafeToken, Id), literal("."), value(SafeToken, header("X"))],
            ),
        ] {
            assert_eq!(subject(text), Ok(TextTemplate(parts)), "{text}");
        }
        assert_eq!(subject("alerts.orders").unwrap().literal(), Some("alerts.orders"));
        assert_eq!(subject("alerts.{id}").unwrap().literal(), None);
    }

    #[test]
    fn events_that_come_in_have_no_key_yet() {
        let typed = SubjectPlaceholder { field: EventType, form: Tokens };
        assert_eq!(incoming_subject("{event_type}"), Ok(TextTemplate(vec![TemplatePart::Value(typed)])));
        for text in ["in.{key}", "in.{token:key}"] {
            assert!(incoming_subject(text).unwrap_err().contains("no `{key}` yet"), "{text}");
        }
    }

    #[test]
    fn templates_that_can_never_be_subjects_are_refused() {
        for (text, reason) in [
            ("", "it is empty"),
            ("alerts..{id}", "empty token"),
            ("alerts.{id}.", "empty token"),
            ("alerts.>", "patterns"),
            ("alerts {id}", "no spaces"),
            ("alerts.{id", "stands alone"),
            ("alerts.id}", "stands alone"),
            ("alerts.}{", "stands alone"),
            ("alerts.{}", "no placeholder `{}`"),
            ("alerts.{ID}", "no placeholder `{ID}`"),
            ("alerts.{header:}", "header's name"),
            ("alerts.{token:}", "no placeholder `{}`"),
            ("alerts.{token:token:id}", "no placeholder `{token:token:id}`"),
            ("alerts.{token:header:a b}", "header's name"),
        ] {
            let error = subject(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    /// L130: no template leads out of the folder, and every event has a name of its own.
    #[test]
    fn file_names_are_plain_and_hold_the_id() {
        let (value, literal) =
            (|field: EventField| TemplatePart::Value(field.into()), |text: &str| TemplatePart::Literal(text.into()));
        let parts = vec![value(EventType), literal("_"), value(Id), literal(".json")];
        assert_eq!(file_name("{event_type}_{id}.json"), Ok(TextTemplate(parts)));
        for (text, reason) in [
            ("{event_type}.json", "without `{id}`"),
            ("", "without `{id}`"),
            ("../{id}", "letters, digits"),
            ("{key}/{id}", "letters, digits"),
            ("{id}..json", "letters, digits"),
            (".{id}", "does not begin"),
            ("{id}\0", "letters, digits"),
            ("{id}{", "stands alone"),
            ("{id}{time}", "no placeholder `{time}`"),
            ("{id}{token:key}", "is for subjects"),
            (&format!("{{id}}{}", "x".repeat(100)), "more than 100"),
        ] {
            let error = file_name(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
