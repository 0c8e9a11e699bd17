//! Records that a sink writes of outputs: without secrets (J23), and cut to size (J22).

use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use crate::{
    config,
    json::{self, Redactor, line},
};

/// Conversion of outputs to lines.
pub struct RecordWriter {
    redactor: Option<Redactor>,
    max_field: usize,
    max_record: usize,
    /// A record that is being changed, kept to save allocations.
    draft: Vec<u8>,
}

impl RecordWriter {
    pub fn new(settings: &config::RecordSettings) -> Self {
        let max = |size: Option<u64>| size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
        Self {
            redactor: (!settings.redact.is_empty()).then(|| Redactor::new(settings.redact.clone())),
            max_field: max(settings.max_field),
            max_record: max(settings.max_record),
            draft: Vec::new(),
        }
    }

    /// Appends a line. Limits apply to its size in the line, without its secrets.
    pub fn append(&mut self, lines: &mut Vec<u8>, payload: &[u8]) {
        let start = lines.len();
        let is_json = line::is_json(payload);
        if is_json {
            self.append_json(lines, payload);
        } else {
            line::append_other(lines, payload);
        }
        let whole = &lines[start..];
        self.draft.clear();
        if is_json && whole.len() > self.max_field {
            cut_fields(whole, self.max_field, &mut self.draft);
        }
        let left = if self.draft.is_empty() { whole } else { &self.draft };
        if left.len() > self.max_record {
            self.draft.clear();
            push_digest(&mut self.draft, whole);
        }
        if !self.draft.is_empty() {
            lines.truncate(start);
            lines.extend_from_slice(&self.draft);
        }
        lines.push(b'\n');
    }

    fn append_json(&mut self, lines: &mut Vec<u8>, payload: &[u8]) {
        let Some(redactor) = &mut self.redactor else { return json::append(lines, payload) };
        self.draft.clear();
        match redactor.redact(payload, &mut self.draft) {
            Ok(()) => json::append(lines, &self.draft),
            // Not reached with valid JSON. If it were, no secret would get out.
            Err(_) => push_digest(lines, payload),
        }
    }
}

/// Appends `record` to `out` with digests in place of its members above `max` bytes. Appends
/// nothing if there are none.
fn cut_fields(record: &[u8], max: usize, out: &mut Vec<u8>) {
    let mut copied = 0;
    for value in json::values(record).filter(|value| value.len() > max) {
        out.extend_from_slice(&record[copied..value.start]);
        push_digest(out, &record[value.clone()]);
        copied = value.end;
    }
    if copied > 0 {
        out.extend_from_slice(&record[copied..]);
    }
}

/// Appends the replacement of JSON that is too large: its original size and its digest.
fn push_digest(out: &mut Vec<u8>, json: &[u8]) {
    let digest = Sha256::digest(json);
    // Writing to a `Vec` does not fail.
    let _ = write!(out, r#"{{"truncated":true,"original_bytes":{},"sha256":"{digest:x}"}}"#, json.len());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::SecretName;

    fn line(settings: config::RecordSettings, payload: &[u8]) -> String {
        let mut lines = b"before\n".to_vec();
        let mut records = RecordWriter::new(&settings);
        records.append(&mut lines, payload);
        records.append(&mut lines, b"behind");
        let lines = String::from_utf8(lines).unwrap();
        let line = lines.strip_prefix("before\n").unwrap().strip_suffix("\"behind\"\n").unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    fn capped(max_field: Option<u64>, max_record: Option<u64>, payload: &str) -> String {
        line(config::RecordSettings { max_field, max_record, ..config::RecordSettings::default() }, payload.as_bytes())
    }

    fn digest(json: &str) -> Value {
        let sha256 = format!("{:x}", Sha256::digest(json));
        json!({ "truncated": true, "original_bytes": json.len(), "sha256": sha256 })
    }

    #[test]
    fn without_settings_lines_are_as_ever() {
        for payload in [&b"{\"a\": 1}"[..], b"{\n}", b"text", b"\xff", b"{\"password\":1}", b""] {
            let mut expected = Vec::new();
            line::append(&mut expected, payload);
            assert_eq!(line(config::RecordSettings::default(), payload) + "\n", String::from_utf8(expected).unwrap());
        }
    }

    /// J22, at the limits.
    #[test]
    fn members_above_the_limit_are_replaced() {
        let fits = format!("\"{}\"", "x".repeat(298));
        let large = format!("\"{}\"", "x".repeat(299));
        let nested = format!("{{\"b\":[{large}]}}");
        let record = format!(r#"{{"a": {fits} , "b":{large},"c":{nested},"d":1.10}}"#);
        let expected = format!(r#"{{"a": {fits} , "b":{},"c":{},"d":1.10}}"#, digest(&large), digest(&nested));
        let sorted = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let line = capped(Some(300), None, &record);
        assert_eq!(sorted(&line), sorted(&expected));
        assert!(
            line.starts_with(&format!(r#"{{"a": {fits} , "b":{{"truncated":true,"original_bytes":301,"sha256":""#))
        );
        assert!(line.ends_with(r#","d":1.10}"#), "the rest stays as it stands: {line}");
        for other in [format!("[{large}]"), large.clone(), "x".repeat(400)] {
            assert!(!capped(Some(300), None, &other).contains("truncated"), "only members of objects: {other}");
        }
    }

    #[test]
    fn records_above_the_limit_are_replaced_whole() {
        let record = |size: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(size - 8));
        assert_eq!(capped(None, Some(300), &record(300)), record(300));
        let cut = capped(None, Some(300), &record(301));
        assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), digest(&record(301)));

        let text = |size: usize| "x".repeat(size - 2);
        assert_eq!(capped(None, Some(300), &text(300)), format!("\"{}\"", text(300)));
        let cut = capped(None, Some(300), &text(301));
        assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), digest(&format!("\"{}\"", text(301))));
        let bytes =
            line(config::RecordSettings { max_record: Some(300), ..config::RecordSettings::default() }, &[0xff; 300]);
        assert!(bytes.starts_with(r#"{"truncated":true,"original_bytes":413,"#), "{bytes}");
    }

    /// Only records that are too large even without their large members become a digest.
    #[test]
    fn members_are_cut_first() {
        let large = format!("\"{}\"", "x".repeat(300));
        let of = |members: usize| {
            let members: Vec<_> = (0..members).map(|number| format!("\"m{number}\":{large}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(capped(Some(300), Some(500), &of(3)).matches("original_bytes\":302").count(), 3);
        let cut = capped(Some(300), Some(500), &of(5));
        assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), digest(&of(5)), "of what came, not of what was left");
    }

    /// J23: the line has neither a secret nor its digest, and redacted text does not count for the
    /// limits.
    #[test]
    fn secrets_are_gone_before_anything_is_measured() {
        let settings =
            config::RecordSettings { redact: SecretName::defaults(), max_field: Some(300), max_record: Some(600) };
        let secret = "x".repeat(1000);
        let payload = format!("{{\n \"api-key\": \"{secret}\",\n \"a\": [{{\"Token\": [\"{secret}\"]}}]\n}}");
        let expected = r#"{"api-key":"[REDACTED]","a":[{"Token":"[REDACTED]"}]}"#;
        assert_eq!(line(settings.clone(), payload.as_bytes()), expected);

        let filler = "y".repeat(600);
        let record = |secret: &str| format!(r#"{{"a":{{"token":"{secret}","filler":"{filler}"}}}}"#);
        let cut = line(settings.clone(), record(&secret).as_bytes());
        assert_eq!(cut, line(settings.clone(), record("[REDACTED]").as_bytes()));
        let text = format!("password={secret}");
        assert!(line(settings, text.as_bytes()).starts_with(r#"{"truncated":true,"original_bytes":1011"#));
    }
}
