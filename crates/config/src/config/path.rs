//! Paths of files that outputs are distributed over.

use std::path::{Component, Path, PathBuf};

use super::{template::take_apart, values};
use crate::json::JsonPointer;

/// Longest name with placeholders, in bytes.
const MAX_NAME: usize = 100;

/// A path with placeholders, checked at startup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// The folder before the first placeholder.
    pub root: PathBuf,
    /// The names of the folders below, then the file's.
    pub names: Vec<Vec<PathPart>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPart {
    Literal(String),
    /// The day on which the router saw the event, in UTC: `2024-05-01`.
    Date,
    Key,
    Subject,
    EventType,
    Header(String),
    /// What the output's payload has at this place.
    Pointer(JsonPointer),
}

/// The file or files that a sink writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePath {
    One(PathBuf),
    Many(PathTemplate),
}

impl FilePath {
    /// Reads `text`, relative to `dir`.
    ///
    /// # Errors
    /// Returns a message for an invalid path.
    pub fn parse(dir: &Path, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".into());
        }
        let Some(first) = text.find(['{', '}']) else { return Ok(Self::One(dir.join(text))) };
        let (root, names) = text.split_at(text[..first].rfind('/').map_or(0, |slash| slash + 1));
        let root = if root.is_empty() { dir.to_owned() } else { dir.join(root) };
        let names = split(take_apart(names, PathPart::Literal, placeholder)?);
        names.iter().try_for_each(|name| check(name))?;
        Ok(Self::Many(PathTemplate { root, names }))
    }

    /// Returns whether an output may have the same file in both.
    pub fn meets(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.all_names(), other.all_names());
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(ours, theirs)| ours.meets(theirs))
    }

    fn all_names(&self) -> Vec<NameEnds<'_>> {
        match self {
            Self::One(path) => path.components().map(NameEnds::of_component).collect(),
            Self::Many(PathTemplate { root, names }) => root
                .components()
                .map(NameEnds::of_component)
                .chain(names.iter().map(|name| NameEnds::of(name)))
                .collect(),
        }
    }
}

/// The known beginning and end of a name.
enum NameEnds<'a> {
    Fixed(&'a [u8]),
    Open { head: &'a [u8], tail: &'a [u8] },
}

impl<'a> NameEnds<'a> {
    fn of_component(component: Component<'a>) -> Self {
        Self::Fixed(component.as_os_str().as_encoded_bytes())
    }

    fn of(name: &'a [PathPart]) -> Self {
        let text = |part: Option<&'a PathPart>| match part {
            Some(PathPart::Literal(text)) => text.as_bytes(),
            _ => &[],
        };
        match name {
            [PathPart::Literal(text)] => Self::Fixed(text.as_bytes()),
            _ => Self::Open { head: text(name.first()), tail: text(name.last()) },
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            (Self::Fixed(name), Self::Open { head, tail }) | (Self::Open { head, tail }, Self::Fixed(name)) => {
                name.strip_prefix(*head).is_some_and(|rest| rest.len() > tail.len() && rest.ends_with(tail))
            }
            (Self::Open { head, tail }, Self::Open { head: other_head, tail: other_tail }) => {
                (head.starts_with(other_head) || other_head.starts_with(head))
                    && (tail.ends_with(other_tail) || other_tail.ends_with(tail))
            }
        }
    }
}

fn placeholder(name: &str) -> Result<PathPart, String> {
    match name {
        "date" => Ok(PathPart::Date),
        "key" => Ok(PathPart::Key),
        "subject" => Ok(PathPart::Subject),
        "event_type" => Ok(PathPart::EventType),
        _ if name.starts_with('/') => Ok(PathPart::Pointer(values::pointer(name)?)),
        _ => match name.strip_prefix("header:") {
            Some(header) => Ok(PathPart::Header(values::header_name(header)?)),
            None => Err(format!(
                "there is no placeholder `{{{name}}}` in paths, only `{{date}}`, `{{event_type}}`, `{{subject}}`, \
                 `{{key}}`, `{{header:NAME}}` and JSON pointers such as `{{/order/id}}`"
            )),
        },
    }
}

/// Splits the path at its slashes.
fn split(parts: Vec<PathPart>) -> Vec<Vec<PathPart>> {
    let (mut names, mut name) = (Vec::new(), Vec::new());
    for part in parts {
        let PathPart::Literal(text) = part else {
            name.push(part);
            continue;
        };
        for (index, piece) in text.split('/').enumerate() {
            if index > 0 {
                names.push(std::mem::take(&mut name));
            }
            if !piece.is_empty() {
                name.push(PathPart::Literal(piece.to_owned()));
            }
        }
    }
    names.push(name);
    names
}

/// Checks a name behind a placeholder: it must not be empty or lead up again.
fn check(name: &[PathPart]) -> Result<(), String> {
    let literals = || name.iter().filter_map(|part| if let PathPart::Literal(text) = part { Some(text) } else { None });
    let leads_nowhere = match name {
        [PathPart::Literal(text)] => matches!(text.as_str(), "." | ".."),
        name => name.is_empty(),
    };
    if leads_nowhere || literals().any(|text| text.contains('\0')) {
        return Err(
            "from its first placeholder on, a path is made of names parted by `/`, none of them empty, `.` or `..`"
                .into(),
        );
    }
    if literals().map(String::len).sum::<usize>() > MAX_NAME {
        return Err(format!("beside its placeholders, a name has more than {MAX_NAME} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FilePath, String> {
        FilePath::parse(Path::new("/router{1}"), text)
    }

    #[test]
    fn paths_are_taken_apart() {
        let literal = |text: &str| PathPart::Literal(text.into());
        for text in ["out.ndjson", "a/../b//out", "/tmp/out"] {
            assert_eq!(parse(text), Ok(FilePath::One(Path::new("/router{1}").join(text))), "{text}");
        }
        let header = PathPart::Header("Node".into());
        let pointer = PathPart::Pointer("/a/b".parse().unwrap());
        for (text, root, names) in [
            ("{key}", "/router{1}", vec![vec![PathPart::Key]]),
            (
                "raw/../raw/date={date}/all/{header:Node}-{/a/b}.ndjson",
                "/router{1}/raw/../raw",
                vec![
                    vec![literal("date="), PathPart::Date],
                    vec![literal("all")],
                    vec![header, literal("-"), pointer, literal(".ndjson")],
                ],
            ),
            ("/{event_type}", "/", vec![vec![PathPart::EventType]]),
        ] {
            assert_eq!(parse(text), Ok(FilePath::Many(PathTemplate { root: root.into(), names })), "{text}");
        }
    }

    #[test]
    fn templates_that_lead_elsewhere_are_refused() {
        for (text, reason) in [
            ("", "it is empty"),
            ("{id}.ndjson", "no placeholder `{id}` in paths"),
            ("{date", "stands alone"),
            ("out}", "stands alone"),
            ("{header:}", "header's name"),
            ("{/a~2}", "written `~0`"),
            ("{date}/", "none of them empty"),
            ("{date}//out", "none of them empty"),
            ("{date}/../out", "none of them empty"),
            ("{date}/./out", "none of them empty"),
            ("{date}\0", "none of them empty"),
            (&format!("{{key}}{}", "x".repeat(101)), "more than 100"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn paths_meet_where_an_output_may_have_the_same_file() {
        let meet = |one, other| {
            let (one, other) = (parse(one).unwrap(), parse(other).unwrap());
            assert_eq!(one.meets(&other), other.meets(&one));
            one.meets(&other)
        };
        for (one, other) in [
            ("a", "a"),
            ("a/{key}.ndjson", "a/{date}.ndjson"),
            ("a/{key}.ndjson", "a/b.ndjson"),
            ("{key}/b", "a/{key}"),
            ("a-{key}", "{key}-b"),
        ] {
            assert!(meet(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("a", "b"),
            ("a/{key}.ndjson", "b/{key}.ndjson"),
            ("a/{key}.ndjson", "a/.ndjson"),
            ("a/{key}.ndjson", "a/b.json"),
            ("a/{key}", "a/b/{key}"),
            ("a/orders-{key}", "a/refunds-{key}"),
            ("node={key}/b", "key={key}/b"),
        ] {
            assert!(!meet(one, other), "{one} {other}");
        }
    }
}
