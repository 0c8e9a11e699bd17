//! Messages in the streams that NATS sinks publish to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OutputDigest, OutputTable};
use crate::{
    config::{
        OutputField, RangeBegin, SinkConfig, SinkKind, StreamRange, SubjectForm, SubjectPlaceholder, TemplatePart,
        TextTemplate,
    },
    nats::{ApiError, Connection, HistoryError, StreamHistory},
};

/// Looks for outputs in every stream that keeps a subject of these sinks, among the messages stored
/// at `since` or later.
///
/// # Errors
/// Returns an error if the server does not answer, or denies reading.
pub async fn find_in_streams(
    connection: &Connection,
    sinks: &[SinkConfig],
    since: Option<Timestamp>,
    table: &mut OutputTable,
) -> Result<(), HistoryError> {
    let mut streams = BTreeMap::<String, Vec<(&str, String)>>::new();
    let mut has_ids = true;
    for sink in sinks {
        let SinkKind::Nats(settings) = &sink.kind else { continue };
        if !settings.jetstream {
            continue;
        }
        has_ids &= settings.message_id;
        let pattern = pattern(&settings.subject);
        let failed = |error| HistoryError::Api(format!("of sink {}", sink.name), error);
        for stream in streams_of(connection, &pattern).await.map_err(failed)? {
            streams.entry(stream).or_default().push((&sink.name, pattern.clone()));
        }
    }
    for (stream, fed) in streams {
        let info = connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await;
        let info = info.map_err(|error| HistoryError::Api(stream.clone(), error))?;
        if let Some((second, why)) = kept_since(&stream, &info) {
            fed.iter().for_each(|(sink, _)| table.keeps_since(sink, second, format!("sink `{sink}`: {why}")));
        }
        // A consumer refuses overlapping patterns, so only a single one is used as its filter.
        let subjects = if let [(_, pattern)] = &fed[..] { vec![pattern.clone()] } else { Vec::new() };
        let begin = since.map_or(RangeBegin::First, RangeBegin::Time);
        let range = StreamRange { stream, subjects, begin, until: None, to: None, limit: None };
        let mut messages = StreamHistory::open(connection.clone(), range).await?;
        while let Some(message) = messages.next().await? {
            if let Some(id) = message.headers.get("Nats-Msg-Id") {
                table.find(OutputDigest::message_id(id));
            }
            if !has_ids {
                table.find(OutputDigest::message(&message.subject, &message.payload));
            }
        }
    }
    Ok(())
}

/// Returns the streams that keep a subject that fits the pattern.
async fn streams_of(connection: &Connection, pattern: &str) -> Result<Vec<String>, ApiError> {
    let mut names = Vec::new();
    loop {
        let answer = connection.api("STREAM.NAMES", &json!({ "subject": pattern, "offset": names.len() })).await?;
        let page = answer["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        names.extend(page.iter().filter_map(Value::as_str).map(str::to_owned));
        if page.is_empty() || names.len() as u64 >= answer["total"].as_u64().unwrap_or_default() {
            return Ok(names);
        }
    }
}

/// Returns the second from which on a stream certainly has everything, and why not from its
/// beginning. `None` if it has everything.
fn kept_since(stream: &str, info: &Value) -> Option<(u32, String)> {
    let (config, state) = (&info["config"], &info["state"]);
    if config["retention"].as_str().is_some_and(|retention| retention != "limits") {
        return Some((u32::MAX, format!("stream `{stream}` drops what its consumers have taken")));
    }
    if config["max_msgs_per_subject"].as_i64().is_some_and(|most| most > 0) {
        return Some((u32::MAX, format!("stream `{stream}` keeps a number of messages of each subject")));
    }
    let first = state["first_seq"].as_u64().filter(|first| *first > 1)?;
    let is_empty = state["messages"].as_u64() == Some(0);
    let time = state["first_ts"].as_str().and_then(|time| time.parse::<Timestamp>().ok()).filter(|_| !is_empty);
    // Some messages of the first second itself may be gone.
    let second = time.map_or(u32::MAX, |time| u32::try_from(time.as_second() + 1).unwrap_or(u32::MAX));
    Some((second, format!("stream `{stream}` does not have what was before its message {first} any more")))
}

/// Returns a pattern of the subjects that a template leads to.
fn pattern(template: &TextTemplate<SubjectPlaceholder<OutputField>>) -> String {
    let (mut pattern, mut token, mut is_wild) = (String::new(), String::new(), false);
    for part in &template.0 {
        match part {
            TemplatePart::Literal(text) => {
                for (at, piece) in text.split('.').enumerate() {
                    if at > 0 {
                        pattern.push_str(if is_wild { "*" } else { &token });
                        pattern.push('.');
                        (token, is_wild) = (String::new(), false);
                    }
                    token.push_str(piece);
                }
            }
            TemplatePart::Value(SubjectPlaceholder { form: SubjectForm::Tokens, .. }) => return pattern + ">",
            TemplatePart::Value(_) => is_wild = true,
        }
    }
    pattern + if is_wild { "*" } else { &token }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventField;

    #[test]
    fn a_pattern_fits_every_subject_of_its_template() {
        let literal = |text: &str| TemplatePart::Literal(text.to_owned());
        let value = |field| TemplatePart::Value(SubjectPlaceholder::plain(field));
        for (parts, expected) in [
            (vec![literal("out.all")], "out.all"),
            (vec![literal("out."), value(EventField::Subject.into())], "out.>"),
            (vec![value(EventField::Subject.into()), literal(".x")], ">"),
            (vec![literal("a.b-"), value(EventField::EventType.into())], "a.>"),
            (vec![literal("a.b-"), value(OutputField::Key), literal(".c")], "a.*.c"),
            (vec![value(OutputField::Key), literal("x."), value(EventField::Id.into())], "*.*"),
        ] {
            assert_eq!(pattern(&TextTemplate(parts)), expected);
        }
    }

    #[test]
    fn what_a_stream_may_have_dropped_is_known() {
        let info = |retention: &str, per_subject: i64, first: u64| {
            json!({
                "config": { "retention": retention, "max_msgs_per_subject": per_subject },
                "state": { "first_seq": first, "messages": 9, "first_ts": "1970-01-01T00:01:00.5Z" },
            })
        };
        assert_eq!(kept_since("S", &info("limits", -1, 1)), None);
        assert_eq!(kept_since("S", &info("limits", -1, 2)).unwrap().0, 61);
        for trimmed in [info("workqueue", -1, 1), info("interest", -1, 1), info("limits", 1, 1)] {
            assert_eq!(kept_since("S", &trimmed).unwrap().0, u32::MAX, "{trimmed}");
        }
    }
}
