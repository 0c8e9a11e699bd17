//! Lark's mail API, as far as it is used here.

use std::time::Duration;

use serde_json::{Map, Value};
use trommel_filter::{
    Failure, Result,
    api::{Error, Request},
};

/// How long to wait when the API is busy.
const PAUSE: Duration = Duration::from_secs(1);

/// The address of the mailbox that the router's identity owns.
pub fn own_address() -> Result<String> {
    let data = ask("GET", &path("me", &["profile"]), None)?;
    match data.get("primary_email_address").and_then(Value::as_str).map(str::trim) {
        Some(address) if !address.is_empty() => Ok(address.to_owned()),
        _ => Err(Failure::failed("the profile of mailbox `me` has no `primary_email_address`")),
    }
}

/// A message with as much in it as `format` has.
pub fn message(mailbox: &str, id: &str, format: &str) -> Result<Map<String, Value>> {
    let path = format!("{}?format={format}", path(mailbox, &["messages", id]));
    let mut data = ask("GET", &path, None)?;
    match data.remove("message") {
        Some(Value::Object(message)) => Ok(message),
        _ => Ok(data),
    }
}

/// Asks for events of new mail, or no longer. Doing so twice is harmless.
pub fn set_subscribed(mailbox: &str, subscribed: bool) -> Result<()> {
    let action = if subscribed { "subscribe" } else { "unsubscribe" };
    ask("POST", &path(mailbox, &["event", action]), Some(r#"{"event_type":1}"#)).map(drop)
}

fn ask(method: &str, path: &str, body: Option<&str>) -> Result<Map<String, Value>> {
    let at = |problem: String| format!("{method} {path}: {problem}");
    let mut request = Request::new(method, path);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    let answer = request.send().and_then(|answer| answer.success()).map_err(|error| match error {
        Error::Timeout => Failure::retry(PAUSE, at("no answer in time".to_owned())),
        Error::Status(status @ (429 | 500..), text) => Failure::retry(PAUSE, at(answered(status, &text))),
        Error::Status(status, text) => Failure::failed(at(answered(status, &text))),
        Error::Denied(why) => Failure::failed(at(format!("not allowed: {why}"))),
        Error::Budget => Failure::failed(at("the event has used up its calls".to_owned())),
        Error::Failed(why) => Failure::failed(at(why)),
    })?;
    let mut answer: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::failed(at(format!("the answer can't be read: {error}"))))?;
    // The API tells of trouble of its own with a code, whatever the status.
    match answer.get("code").and_then(Value::as_i64) {
        None | Some(0) => Ok(answer.get_mut("data").map(Value::take).and_then(into_object).unwrap_or_default()),
        Some(code) => {
            let message = answer.get("msg").and_then(Value::as_str).unwrap_or_default();
            Err(Failure::failed(at(format!("code {code}: {message}"))))
        }
    }
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    if let Value::Object(members) = value { Some(members) } else { None }
}

fn answered(status: u16, text: &str) -> String {
    let start: String = text.chars().take(200).collect();
    format!("status {status}: {start}")
}

fn path(mailbox: &str, segments: &[&str]) -> String {
    let mut path = "/open-apis/mail/v1/user_mailboxes".to_owned();
    for segment in std::iter::once(&mailbox).chain(segments) {
        path.push('/');
        path.push_str(&encoded(segment));
    }
    path
}

/// One segment of a path: what means something in paths is written in percent.
fn encoded(segment: &str) -> String {
    segment.bytes().fold(String::new(), |encoded, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'@' | b'+' | b'=' | b'.' => {
            encoded + char::from(byte).encode_utf8(&mut [0])
        }
        _ => format!("{encoded}%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use trommel_filter::{
        FailureKind,
        testing::{answer_api, response},
    };

    use super::*;

    #[test]
    fn segments_stay_segments() {
        assert_eq!(
            path("a+b@example.com", &["messages", "x/../y?z#%"]),
            "/open-apis/mail/v1/user_mailboxes/a+b@example.com/messages/x%2F..%2Fy%3Fz%23%25"
        );
    }

    #[test]
    fn the_mailbox_is_subscribed_to_and_left() {
        for (subscribed, expected) in [(true, "subscribe"), (false, "unsubscribe")] {
            answer_api(move |request| {
                assert_eq!((&*request.method, request.body.as_deref()), ("POST", Some(&br#"{"event_type":1}"#[..])));
                assert_eq!(request.path, format!("/open-apis/mail/v1/user_mailboxes/a@b.c/event/{expected}"));
                Ok(response(200, r#"{"code":0,"msg":"success"}"#))
            });
            assert_eq!(set_subscribed("a@b.c", subscribed), Ok(()));
        }
    }

    #[test]
    fn trouble_is_told_apart() {
        let fail = |error: Error| {
            answer_api(move |_| Err(error.clone()));
            own_address().unwrap_err()
        };
        let answer = |status, body: &'static str| {
            answer_api(move |_| Ok(response(status, body)));
            own_address().unwrap_err()
        };
        assert_eq!(fail(Error::Timeout).kind, FailureKind::Retry(1_000));
        assert_eq!(answer(503, "busy").kind, FailureKind::Retry(1_000));
        assert_eq!(answer(429, "").kind, FailureKind::Retry(1_000));
        let at = "GET /open-apis/mail/v1/user_mailboxes/me/profile: ";
        assert_eq!(answer(403, "no"), Failure::failed(format!("{at}status 403: no")));
        let denied = fail(Error::Denied("the key's list".to_owned()));
        assert_eq!(denied, Failure::failed(format!("{at}not allowed: the key's list")));
        assert_eq!(fail(Error::Budget), Failure::failed(format!("{at}the event has used up its calls")));
        let refused = answer(200, r#"{"code":1234,"msg":"no such mailbox"}"#);
        assert_eq!(refused, Failure::failed(format!("{at}code 1234: no such mailbox")));
        assert!(answer(200, "<html>").cause.detail.contains("can't be read"));
        assert!(answer(200, r#"{"data":{}}"#).cause.detail.contains("`primary_email_address`"));
    }
}
