//! Splits a request's body into messages.

use axum::http::{
    HeaderMap, HeaderName,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{headers::with, refusal::RequestRefusal};
use crate::{event::Headers, json};

const STRUCTURED: &str = "application/cloudevents+json";
const FORMATS: &str = "application/cloudevents";
/// Another media type of a JSON text a line, which does not look like it.
const STREAM: &str = "application/stream+json";
/// Media type of many JSON texts, separated by a control character.
const SEQUENCE: &str = "application/json-seq";

/// Kind of content of a body, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// One message of any kind.
    Whole,
    /// One message in JSON.
    Json,
    /// A message a line.
    Lines,
    /// A list of CloudEvents.
    Batch,
}

impl BodyForm {
    /// Determines the form. Without a content type the body is JSON, also as the data of a binary
    /// CloudEvent.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, RequestRefusal> {
        if let Some(encoding) = text(headers, CONTENT_ENCODING)?
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(RequestRefusal::unreadable(format!("the body is encoded as `{encoding}`")));
        }
        let Some(content_type) = text(headers, CONTENT_TYPE)? else { return Ok(Self::Json) };
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_one = media_type.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
        match &*media_type {
            other if is_lines(other) => Ok(Self::Lines),
            "application/cloudevents-batch+json" => Ok(Self::Batch),
            STRUCTURED => Ok(Self::Json),
            other if !is_one || other.starts_with(FORMATS) || other == SEQUENCE => {
                Err(RequestRefusal::unreadable(format!("`{content_type}` can't be read here")))
            }
            other if other.ends_with("/json") || other.ends_with("+json") => Ok(Self::Json),
            _ => Ok(Self::Whole),
        }
    }

    /// Splits the body into messages: headers and payload of each, at most one more than `most`.
    pub(super) fn take_apart(
        self,
        headers: Headers,
        body: Bytes,
        most: usize,
    ) -> Result<Vec<(Headers, Bytes)>, RequestRefusal> {
        let body = if self == Self::Whole { body } else { json::without_mark(body) };
        match self {
            Self::Whole | Self::Json => {
                let is_event_without_data = body.is_empty() && headers.get("ce-specversion").is_some();
                if self == Self::Json && !is_event_without_data {
                    json::check(&body).map_err(|error| not_json(&error))?;
                }
                if body.is_empty() && !is_event_without_data {
                    return Err(empty());
                }
                Ok(vec![(headers, body)])
            }
            Self::Lines => {
                // The content type is that of the whole body, so a line gets none.
                let headers = with(headers, "content-type", None);
                let lines =
                    body.split(|byte| *byte == b'\n').zip(1..).map(|(line, number)| (line.trim_ascii(), number));
                let lines = lines.filter(|(line, _)| !line.is_empty()).take(most + 1);
                let message = |(line, number): (&[u8], usize)| {
                    let not_json = |error| RequestRefusal::bad("not_json", format!("line {number}: {error}"));
                    json::check(line).map_err(not_json)?;
                    Ok((headers.clone(), body.slice_ref(line)))
                };
                let messages: Vec<_> = lines.map(message).collect::<Result<_, _>>()?;
                if messages.is_empty() { Err(empty()) } else { Ok(messages) }
            }
            Self::Batch => {
                let headers = with(headers, "content-type", Some(STRUCTURED.into()));
                let members: Vec<&RawValue> = serde_json::from_slice(&body).map_err(|error| not_json(&error))?;
                let message = |member: &RawValue| (headers.clone(), body.slice_ref(member.get().as_bytes()));
                // A batch may be empty (CloudEvents over HTTP, 3.3.2).
                Ok(members.into_iter().take(most + 1).map(message).collect())
            }
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, RequestRefusal> {
    let unreadable = |_| RequestRefusal::unreadable(format!("the header `{name}` is not text"));
    headers.get(&name).map(|value| value.to_str().map_err(unreadable)).transpose()
}

/// Returns whether a media type is one of the names of a JSON text a line.
fn is_lines(media_type: &str) -> bool {
    let Some(("application" | "text", name)) = media_type.split_once('/') else { return false };
    // Such as `vnd.elasticsearch+x-ndjson`.
    let name = name.rsplit('+').next().unwrap_or(name);
    let name = name.strip_prefix("x-").unwrap_or(name).replace('-', "");
    matches!(&*name, "ndjson" | "jsonl" | "jsonlines" | "ldjson" | "jsonstream") || media_type == STREAM
}

fn empty() -> RequestRefusal {
    RequestRefusal::bad("empty", "there is no event in the body")
}

fn not_json(error: &impl std::fmt::Display) -> RequestRefusal {
    RequestRefusal::bad("not_json", format!("the body is not what its content type says: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(headers: &[(&'static str, &'static str)]) -> Result<BodyForm, String> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        BodyForm::of(&headers).map_err(|refusal| refusal.message)
    }

    fn bodies(
        form: BodyForm,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> Result<Vec<String>, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let messages = form.take_apart(headers, Bytes::from_static(body.as_bytes()), 3);
        let show = |(headers, body): (Headers, Bytes)| {
            let content_type = headers.get("content-type").map_or("-", |value| value);
            format!("{content_type} {}", body.escape_ascii())
        };
        messages.map(|all| all.into_iter().map(show).collect()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_content_type_says_what_the_body_holds() {
        for (content_type, expected) in [
            ("application/json; charset=utf-8", BodyForm::Json),
            ("Application/CloudEvents+JSON", BodyForm::Json),
            ("application/vnd.a+json", BodyForm::Json),
            ("application/x-ndjson", BodyForm::Lines),
            ("application/ndjson", BodyForm::Lines),
            ("application/jsonl; charset=utf-8", BodyForm::Lines),
            ("application/x-jsonl", BodyForm::Lines),
            ("application/jsonlines", BodyForm::Lines),
            ("application/x-jsonlines", BodyForm::Lines),
            ("application/json-lines", BodyForm::Lines),
            ("application/x-json-lines", BodyForm::Lines),
            ("application/x-ldjson", BodyForm::Lines),
            ("application/x-json-stream", BodyForm::Lines),
            ("application/stream+json", BodyForm::Lines),
            ("application/vnd.elasticsearch+x-ndjson", BodyForm::Lines),
            ("text/x-ndjson", BodyForm::Lines),
            ("Application/JSONL", BodyForm::Lines),
            ("application/cloudevents-batch+json;charset=UTF-8", BodyForm::Batch),
            ("text/plain", BodyForm::Whole),
            ("application/x-www-form-urlencoded", BodyForm::Whole),
        ] {
            assert_eq!(form(&[("content-type", content_type)]), Ok(expected), "{content_type}");
        }
        assert_eq!(form(&[("content-encoding", "identity")]), Ok(BodyForm::Json));
        for (name, value) in [
            ("content-type", "application/cloudevents+avro"),
            ("content-type", "application/cloudevents-batch+avro"),
            ("content-type", "application/json-seq"),
            ("content-type", "json"),
            ("content-type", "/"),
            ("content-type", ""),
            ("content-encoding", "gzip"),
        ] {
            assert!(form(&[(name, value)]).is_err(), "{value}");
        }
    }

    #[test]
    fn bodies_are_taken_apart() {
        let json = [("content-type", "application/json")];
        assert_eq!(bodies(BodyForm::Json, &json, "{\"a\":1}").unwrap(), ["application/json {\\\"a\\\":1}"]);
        assert_eq!(bodies(BodyForm::Json, &json, "\u{feff}{\"a\":1}").unwrap(), ["application/json {\\\"a\\\":1}"]);
        assert_eq!(bodies(BodyForm::Whole, &[("content-type", "text/plain")], "hi").unwrap(), ["text/plain hi"]);
        let lines = [("content-type", "application/x-ndjson")];
        assert_eq!(bodies(BodyForm::Lines, &lines, "\u{feff}1\n2").unwrap(), ["- 1", "- 2"]);
        assert_eq!(bodies(BodyForm::Lines, &lines, "\n1\r\n \n 2 \n3").unwrap(), ["- 1", "- 2", "- 3"]);
        assert_eq!(bodies(BodyForm::Lines, &lines, "1\n2\n3\n4\n5\n").unwrap().len(), 4, "one too many is enough");
        let batch = [("content-type", "application/cloudevents-batch+json")];
        assert_eq!(
            bodies(BodyForm::Batch, &batch, "[ 1, [2] ]").unwrap(),
            ["application/cloudevents+json 1", "application/cloudevents+json [2]"]
        );
        assert!(bodies(BodyForm::Batch, &batch, " [ ] ").unwrap().is_empty(), "a batch may be empty");
        assert_eq!(bodies(BodyForm::Json, &[("ce-specversion", "1.0")], "").unwrap(), ["- "]);
    }

    #[test]
    fn bodies_that_hold_no_event_are_refused() {
        for (form, body, expected) in [
            (BodyForm::Json, "", "the body is not what its content type says: EOF"),
            (BodyForm::Json, "{", "the body is not what its content type says: EOF"),
            (BodyForm::Whole, "", "there is no event"),
            (BodyForm::Lines, " \n\n", "there is no event"),
            (BodyForm::Lines, "1\n\n{\n", "line 3: EOF"),
            (BodyForm::Batch, "{}", "the body is not what its content type says: invalid type"),
            (BodyForm::Batch, "[1", "the body is not what its content type says: EOF"),
        ] {
            let error = bodies(form, &[], body).unwrap_err();
            assert!(error.starts_with(expected), "{body}: {error}");
        }
    }
}
