//! Single messages of a stream, read by sequence: those that were delivered and never arrived, and
//! those that can't arrive because the client gives the connection up over their headers.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ApiError, Connection, code,
    event::{Headers, Pattern},
};

/// A message as stored in the stream.
#[derive(Clone, Debug)]
pub struct RawMessage {
    pub sequence: u64,
    pub subject: String,
    /// The header block as it is on the wire.
    pub header_block: Vec<u8>,
    pub payload: Bytes,
    /// Time at which it was stored, in Unix nanoseconds.
    pub stored_at: i64,
}

#[derive(Deserialize)]
struct MessageResponse {
    message: MessageBody,
}

#[derive(Deserialize)]
struct MessageBody {
    subject: String,
    #[serde(rename = "seq")]
    sequence: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: Timestamp,
}

impl RawMessage {
    /// The first message of the stream at or after `from` whose subject matches one of the
    /// patterns; without patterns, any message does.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or not with a message.
    pub async fn next(
        connection: &Connection,
        stream: &str,
        subjects: &[Pattern],
        mut from: u64,
    ) -> Result<Option<Self>, ApiError> {
        let filter = match subjects {
            [one] => one.as_str(),
            _ => ">",
        };
        loop {
            let Some(found) = Self::at_or_after(connection, stream, filter, from).await? else { return Ok(None) };
            if subjects.is_empty() || subjects.iter().any(|pattern| pattern.matches(&found.subject)) {
                return Ok(Some(found));
            }
            from = found.sequence + 1;
        }
    }

    /// The first message of the stream at or after `from` on a subject that `filter` matches.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn at_or_after(
        connection: &Connection,
        stream: &str,
        filter: &str,
        from: u64,
    ) -> Result<Option<Self>, ApiError> {
        Self::get(connection, stream, &json!({ "seq": from, "next_by_subj": filter })).await
    }

    /// The message of the stream at this sequence; `None` if it is not there, or no more.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn at(connection: &Connection, stream: &str, sequence: u64) -> Result<Option<Self>, ApiError> {
        Self::get(connection, stream, &json!({ "seq": sequence })).await
    }

    /// The newest message of the stream on a subject.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn newest(connection: &Connection, stream: &str, subject: &str) -> Result<Option<Self>, ApiError> {
        Self::get(connection, stream, &json!({ "last_by_subj": subject })).await
    }

    async fn get(connection: &Connection, stream: &str, wanted: &Value) -> Result<Option<Self>, ApiError> {
        let request = format!("STREAM.MSG.GET.{stream}");
        let answer = match connection.api(&request, wanted).await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some(code::MESSAGE_NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let broken = |error: anyhow::Error| ApiError::Failed(request.clone(), error);
        let MessageResponse { message } = serde_json::from_value(answer).map_err(|error| broken(error.into()))?;
        let MessageBody { subject, sequence, hdrs, data, time } = message;
        let header_block = BASE64_STANDARD.decode(hdrs).map_err(|error| broken(error.into()))?;
        let payload = BASE64_STANDARD.decode(data).map_err(|error| broken(error.into()))?.into();
        let stored_at = i64::try_from(time.as_nanosecond()).unwrap_or_default();
        Ok(Some(Self { sequence, subject, header_block, payload, stored_at }))
    }

    /// The headers as far as they can be read, and the reason code if the client can't read this
    /// message. Accepts any header block.
    pub fn headers(&self) -> (Headers, Option<&'static str>) {
        let text = String::from_utf8_lossy(&self.header_block);
        let mut reason = matches!(text, std::borrow::Cow::Owned(_)).then_some("headers_not_utf8");
        let mut bad = || reason = reason.or(Some("bad_headers"));
        let mut headers = Headers::default();
        let mut lines = text.lines().peekable();
        match lines.next().map(|version| version.strip_prefix("NATS/1.0").map(str::trim)) {
            None => {}
            // A publisher may set a status. The client takes three digits for one.
            Some(Some(status)) if is_status(status) => {}
            Some(_) => bad(),
        }
        while let Some(line) = lines.next() {
            if line.is_empty() {
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                bad();
                headers.push("", line);
                continue;
            };
            let mut value = value.trim_start().to_owned();
            while let Some(folded) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
                value.push_str(folded);
            }
            let value = value.trim_end();
            if !name.chars().all(|c| c.is_ascii_graphic()) || value.contains(['\r', '\n']) {
                bad();
            }
            headers.push(name, value);
        }
        // The server's JSON has replaced bytes that are not UTF-8; white space that the protocol
        // does not expect splits its line.
        if self.subject.contains(|c: char| c == char::REPLACEMENT_CHARACTER || c.is_whitespace()) {
            reason = reason.or(Some("bad_subject"));
        }
        (headers, reason)
    }

    pub fn subject(&self) -> ByteString {
        self.subject.as_str().into()
    }
}

/// Returns whether the text after the version is valid: nothing, or a status and its description.
fn is_status(text: &str) -> bool {
    let code = text.split_once(' ').map_or(text, |(code, _)| code.trim());
    code.is_empty() || code.len() == 3 && code.starts_with(|c| c != '0') && code.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(subject: &str, headers: &[u8]) -> RawMessage {
        let (subject, header_block) = (subject.to_owned(), headers.to_vec());
        RawMessage { sequence: 1, subject, header_block, payload: Bytes::new(), stored_at: 0 }
    }

    fn reason(subject: &str, headers: &[u8]) -> Option<&'static str> {
        stored(subject, headers).headers().1
    }

    #[test]
    fn what_the_client_can_not_read_is_found() {
        for (subject, headers, expected) in [
            ("a", &b""[..], None),
            ("a", b"NATS/1.0\r\nA: b\r\n\r\n", None),
            ("a", "NATS/1.0\r\nA: ümlaut\r\n\r\n".as_bytes(), None),
            ("a", b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n", Some("headers_not_utf8")),
            ("a", b"NATS/1.0\r\nno colon\r\n\r\n", Some("bad_headers")),
            ("a", b"NATS/1.0\r\nna me: x\r\n\r\n", Some("bad_headers")),
            ("a", b"NATS/1.0\r\n: x\r\n\r\n", None),
            ("a", b"NATS/1.0\r\nA: b\rc\r\n\r\n", Some("bad_headers")),
            ("a", b"NATS/1.0\r\nA: b\r\r\n\r\n", None),
            ("a", b"NATS/1.0\r\nA: b\r\n c\r\n\r\n", None),
            ("a", b"NATS/1.0 503 no\r\n\r\n", None),
            ("a", b"NATS/1.0 late\r\n\r\n", Some("bad_headers")),
            ("a", b"NATS/2.0\r\n\r\n", Some("bad_headers")),
            ("a\u{fffd}", b"", Some("bad_subject")),
            ("a\u{a0}b", b"", Some("bad_subject")),
        ] {
            assert_eq!(reason(subject, headers), expected, "{subject} {headers:?}");
        }
    }

    #[test]
    fn headers_survive_as_far_as_they_can() {
        let (headers, _) = stored("a", b"NATS/1.0\r\nGood: one\r\nBad: x\xffy\r\n\r\n").headers();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(headers, [("Good", "one"), ("Bad", "x\u{fffd}y")]);
    }

    proptest! {
        /// Any block is accepted, and an invalid header shows in the reason.
        #[test]
        fn every_block_has_an_answer(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let (headers, reason) = stored("a", &[b"NATS/1.0\r\n", &block[..]].concat()).headers();
            for (name, value) in headers.iter().filter(|_| reason.is_none()) {
                prop_assert!(!name.contains(' ') && !value.contains(['\r', '\n']));
            }
        }
    }
}
