//! Subjects and file names with placeholders.

use std::fmt;

use super::values;

/// A subject or a file name with placeholders, checked at startup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(String),
    EventType,
    /// The output's subject, including its dots.
    Subject,
    Id,
    SourceTime,
    Key,
    Header(String),
    /// Another placeholder's value, converted to one token (H08).
    Token(Box<Part>),
}

/// The placeholder as written, without the braces.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::EventType => f.write_str("event_type"),
            Self::Subject => f.write_str("subject"),
            Self::Id => f.write_str("id"),
            Self::SourceTime => f.write_str("source_time"),
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Token(part) => write!(f, "token:{part}"),
        }
    }
}

impl Template {
    /// The whole subject, if no part of it depends on the output.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Literal(subject)] => Some(subject),
            _ => None,
        }
    }
}

/// Longest template of a file name, in bytes.
const MAX_FILE_NAME: usize = 100;

/// Parses a subject such as `alerts.{event_type}`. Its literals must form a valid subject together
/// with the placeholders.
pub(super) fn subject(text: &str) -> Result<Template, String> {
    let parts = take_apart(text, Part::Literal, placeholder)?;
    // A token for every placeholder gives a subject that can be checked.
    let sample: String =
        parts.iter().map(|part| if let Part::Literal(text) = part { text.as_str() } else { "x" }).collect();
    values::server_subject(&sample)?;
    Ok(Template(parts))
}

/// Parses a file name such as `{event_type}_{id}.json`. Its literals must be valid in a file name,
/// which does not begin with a dot and does not lead to another folder.
pub(super) fn file_name(text: &str) -> Result<Template, String> {
    let parts = take_apart(text, Part::Literal, placeholder)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let bad = |part: &Part| matches!(part, Part::Literal(text) if !text.chars().all(is_plain) || text.contains(".."));
    if parts.iter().any(bad) || text.starts_with('.') {
        let rule = "beside its placeholders a file name is made of letters, digits, `.`, `_` and `-`, and does not begin with `.`";
        return Err(rule.into());
    }
    if text.len() > MAX_FILE_NAME {
        return Err(format!("it has more than {MAX_FILE_NAME} bytes"));
    }
    if parts.iter().any(|part| matches!(part, Part::Token(_))) {
        return Err("`{token:…}` is for subjects: every value is made safe for a file name".into());
    }
    if !parts.contains(&Part::Id) {
        return Err("without `{id}` events would take each other's names".into());
    }
    Ok(Template(parts))
}

/// Splits a text into its literals and its placeholders, in order.
pub(super) fn take_apart<P>(
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

fn placeholder(name: &str) -> Result<Part, String> {
    match name {
        "event_type" => Ok(Part::EventType),
        "subject" => Ok(Part::Subject),
        "id" => Ok(Part::Id),
        "source_time" => Ok(Part::SourceTime),
        "key" => Ok(Part::Key),
        _ => match name.split_once(':') {
            Some(("header", header)) => Ok(Part::Header(values::header_name(header)?)),
            Some(("token", inner)) if !inner.starts_with("token:") => Ok(Part::Token(Box::new(placeholder(inner)?))),
            _ => Err(format!(
                "there is no placeholder `{{{name}}}`, only `{{event_type}}`, `{{subject}}`, `{{id}}`, `{{source_time}}`, \
                 `{{key}}`, `{{header:NAME}}`, and each as `{{token:…}}`"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_taken_apart() {
        let literal = |text: &str| Part::Literal(text.into());
        for (text, parts) in [
            ("alerts.orders", vec![literal("alerts.orders")]),
            ("{subject}", vec![Part::Subject]),
            (
                "a.{key}.{header:Customer}-{id}",
                vec![literal("a."), Part::Key, literal("."), Part::Header("Customer".into()), literal("-"), Part::Id],
            ),
            ("{event_type}.out", vec![Part::EventType, literal(".out")]),
            (
                "a.{token:id}.{token:header:X}",
                vec![
                    literal("a."),
                    Part::Token(Box::new(Part::Id)),
                    literal("."),
                    Part::Token(Box::new(Part::Header("X".into()))),
                ],
            ),
        ] {
            assert_eq!(subject(text), Ok(Template(parts)), "{text}");
        }
        assert_eq!(subject("alerts.orders").unwrap().literal(), Some("alerts.orders"));
        assert_eq!(subject("alerts.{id}").unwrap().literal(), None);
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
        let parts = vec![Part::EventType, Part::Literal("_".into()), Part::Id, Part::Literal(".json".into())];
        assert_eq!(file_name("{event_type}_{id}.json"), Ok(Template(parts)));
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
