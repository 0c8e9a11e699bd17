//! Subjects with placeholders.

use super::{Part, Template, values};

impl Template {
    /// The whole subject, when nothing in it depends on the output.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Literal(subject)] => Some(subject),
            _ => None,
        }
    }
}

/// Takes `alerts.{event_type}` apart. What stands between the placeholders must make a subject with them.
pub(super) fn template(text: &str) -> Result<Template, String> {
    let mut parts = Vec::new();
    // The subject with a plain token for every placeholder.
    let mut sample = String::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        literal(&rest[..open], &mut parts, &mut sample);
        let Some((name, after)) = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return Err("a `{` or a `}` stands alone".into());
        };
        parts.push(placeholder(name)?);
        sample.push('x');
        rest = after;
    }
    literal(rest, &mut parts, &mut sample);
    values::server_subject(&sample)?;
    Ok(Template(parts))
}

fn literal(text: &str, parts: &mut Vec<Part>, sample: &mut String) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
        sample.push_str(text);
    }
}

fn placeholder(name: &str) -> Result<Part, String> {
    match name {
        "event_type" => Ok(Part::EventType),
        "subject" => Ok(Part::Subject),
        "id" => Ok(Part::Id),
        "key" => Ok(Part::Key),
        _ => match name.strip_prefix("header:") {
            Some(header) => Ok(Part::Header(values::header_name(header)?)),
            None => Err(format!(
                "there is no placeholder `{{{name}}}`, only `{{event_type}}`, `{{subject}}`, `{{id}}`, `{{key}}` and \
                 `{{header:NAME}}`"
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
        ] {
            assert_eq!(template(text), Ok(Template(parts)), "{text}");
        }
        assert_eq!(template("alerts.orders").unwrap().literal(), Some("alerts.orders"));
        assert_eq!(template("alerts.{id}").unwrap().literal(), None);
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
        ] {
            let error = template(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
