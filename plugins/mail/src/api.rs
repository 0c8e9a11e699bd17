//! Lark's mail API, as far as it is used here. Whoever calls is handed in, so that tests can answer.

use serde_json::{Map, Value};

use crate::trommel::filter::{api::ApiError, types::Failure};

/// Makes one call: method, path, body.
pub type Call<'a> = &'a dyn Fn(&str, &str, Option<&str>) -> Result<String, ApiError>;

/// How long to wait when the API is busy, in milliseconds.
const PAUSE: u32 = 1000;

/// The address of the mailbox that the router's identity owns.
pub fn own_address(call: Call<'_>) -> Result<String, Failure> {
    let data = ask(call, "GET", &path("me", &["profile"]), None)?;
    match data.get("primary_email_address").and_then(Value::as_str).map(str::trim) {
        Some(address) if !address.is_empty() => Ok(address.to_owned()),
        _ => Err(Failure::Failed("the profile of mailbox `me` has no `primary_email_address`".to_owned())),
    }
}

/// A message with as much in it as `format` has.
pub fn message(call: Call<'_>, mailbox: &str, id: &str, format: &str) -> Result<Map<String, Value>, Failure> {
    let path = format!("{}?format={format}", path(mailbox, &["messages", id]));
    let mut data = ask(call, "GET", &path, None)?;
    match data.remove("message") {
        Some(Value::Object(message)) => Ok(message),
        _ => Ok(data),
    }
}

/// Asks for events of new mail, or no longer. Doing so twice is harmless.
pub fn set_subscribed(call: Call<'_>, mailbox: &str, subscribed: bool) -> Result<(), Failure> {
    let action = if subscribed { "subscribe" } else { "unsubscribe" };
    ask(call, "POST", &path(mailbox, &["event", action]), Some(r#"{"event_type":1}"#)).map(drop)
}

fn ask(call: Call<'_>, method: &str, path: &str, body: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let at = |problem: String| format!("{method} {path}: {problem}");
    let text = call(method, path, body).map_err(|error| match error {
        ApiError::Timeout => Failure::Retry((PAUSE, at("no answer in time".to_owned()))),
        ApiError::Status((status @ (429 | 500..), text)) => Failure::Retry((PAUSE, at(answered(status, &text)))),
        ApiError::Status((status, text)) => Failure::Failed(at(answered(status, &text))),
        ApiError::Denied(why) => Failure::Failed(at(format!("not allowed: {why}"))),
        ApiError::Budget => Failure::Failed(at("the event has used up its calls".to_owned())),
        ApiError::Failed(why) => Failure::Failed(at(why)),
    })?;
    let mut answer: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Failed(at(format!("the answer can't be read: {error}"))))?;
    // The API tells of trouble of its own with a code, whatever the status.
    match answer.get("code").and_then(Value::as_i64) {
        None | Some(0) => Ok(answer.get_mut("data").map(Value::take).and_then(into_object).unwrap_or_default()),
        Some(code) => {
            let message = answer.get("msg").and_then(Value::as_str).unwrap_or_default();
            Err(Failure::Failed(at(format!("code {code}: {message}"))))
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
            let call = |method: &str, path: &str, body: Option<&str>| {
                assert_eq!((method, body), ("POST", Some(r#"{"event_type":1}"#)));
                assert_eq!(path, format!("/open-apis/mail/v1/user_mailboxes/a@b.c/event/{expected}"));
                Ok(r#"{"code":0,"msg":"success"}"#.to_owned())
            };
            assert_eq!(set_subscribed(&call, "a@b.c", subscribed), Ok(()));
        }
    }

    #[test]
    fn trouble_is_told_apart() {
        let fail = |error: ApiError| own_address(&|_, _, _| Err(error.clone())).unwrap_err();
        assert!(matches!(fail(ApiError::Timeout), Failure::Retry((PAUSE, _))));
        assert!(matches!(fail(ApiError::Status((503, "busy".to_owned()))), Failure::Retry((PAUSE, _))));
        assert!(matches!(fail(ApiError::Status((429, String::new()))), Failure::Retry(_)));
        let text = |failure| if let Failure::Failed(text) = failure { text } else { panic!("{failure:?}") };
        let at = "GET /open-apis/mail/v1/user_mailboxes/me/profile: ";
        assert_eq!(text(fail(ApiError::Status((403, "no".to_owned())))), format!("{at}status 403: no"));
        assert_eq!(
            text(fail(ApiError::Denied("the key's list".to_owned()))),
            format!("{at}not allowed: the key's list")
        );
        assert_eq!(text(fail(ApiError::Budget)), format!("{at}the event has used up its calls"));
        let answer = |text: &str| own_address(&|_, _, _| Ok(text.to_owned()));
        assert_eq!(
            text(answer(r#"{"code":1234,"msg":"no such mailbox"}"#).unwrap_err()),
            format!("{at}code 1234: no such mailbox")
        );
        assert!(text(answer("<html>").unwrap_err()).contains("can't be read"));
        assert!(text(answer(r#"{"data":{}}"#).unwrap_err()).contains("`primary_email_address`"));
    }
}
