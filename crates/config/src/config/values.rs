//! Parsers of strings in a configuration: durations, sizes, names, fields of a message. Each
//! returns what it expects as its error, in words that follow the name of the setting.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use jiff::{Span, SpanRelativeTo, Timestamp};
use url::Url;

use super::{AuthType, Field, OrderBy};
use crate::{
    event::{Pattern, check_subject},
    json::JsonPointer,
};

const NAME: &str = "a name is made of letters, digits, `-`, `_` and `.`, and does not begin with `.`";
const SERVER_NAME: &str = "the server wants at most 255 bytes without spaces, `.`, `*`, `>`, `/` and `\\`";
const HEADER: &str = "a header's name is printable ASCII without spaces and `:`";

/// Longest duration: the server counts nanoseconds in 64 bits and would not accept more.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// Parses `5s`, `250ms`, `1h 30m`, `7d`: all units of fixed length.
///
/// # Errors
/// Returns the expected form of a duration.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let unsigned = text
        .parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .and_then(Duration::try_from);
    let duration = unsigned.map_err(|_| "a duration looks like `5s`, `250ms`, `1h 30m` or `7d`")?;
    if duration > LONGEST { Err("it is longer than a hundred years") } else { Ok(duration) }
}

/// Parses RFC 3339: `2026-05-01T00:00:00Z`.
pub fn time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse().map_err(|_| "a time looks like `2026-05-01T00:00:00Z` or `2026-05-01T02:00:00+02:00`")
}

/// Parses a number of bytes: `64MiB`, `1 GB`, `4096`.
pub fn size(text: &str) -> Result<u64, &'static str> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("it must be at least 1"),
        // The server counts in signed numbers.
        Ok(ByteSize(bytes)) if bytes > i64::MAX.cast_unsigned() => Err("it is too large"),
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(_) => Err("a size is a number of bytes, or looks like `64MiB` or `500kB`"),
    }
}

/// Checks a name of ours. It appears in paths, headers and metrics, so only characters without a
/// meaning there are allowed (L04, L82).
///
/// # Errors
/// Returns the expected form of a name.
pub fn name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = !text.is_empty() && !text.starts_with('.') && !text.contains("..") && text.chars().all(plain);
    if good { Ok(text.to_owned()) } else { Err(NAME) }
}

/// Checks the name of a stream or a consumer.
///
/// # Errors
/// Returns the expected form of such a name.
pub fn server_name(text: &str) -> Result<String, &'static str> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
    if text.is_empty() || text.len() > 255 || text.contains(bad) { Err(SERVER_NAME) } else { Ok(text.to_owned()) }
}

/// Parses a pattern that is sent to the server, where a space would end it.
pub fn server_pattern(text: &str) -> Result<Pattern, String> {
    no_spaces(text)?;
    text.parse::<Pattern>().map_err(|error| error.to_string())
}

/// Checks a subject that is sent to the server.
pub fn server_subject(text: &str) -> Result<String, String> {
    no_spaces(text)?;
    check_subject(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn no_spaces(text: &str) -> Result<(), String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the server takes no spaces in subjects".into());
    }
    Ok(())
}

/// Checks the name of a header.
pub fn header_name(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != ':');
    if good { Ok(text.to_owned()) } else { Err(HEADER) }
}

/// Checks that a text holds nothing such as `${NAME}`, which looks as if it were replaced.
pub fn expanded(text: &str) -> Result<(), String> {
    match text.contains("${") {
        true => Err("nothing is put in the place of `${…}`: write the address itself".to_owned()),
        false => Ok(()),
    }
}

/// Parses an HTTP address. `instead` is the place that a user belongs in, for messages.
pub fn http_url(text: &str, instead: &str) -> Result<Url, String> {
    expanded(text)?;
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("it begins with `{}:` instead of `https:` or `http:`", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("it holds a user, who belongs {instead}"));
    }
    Ok(url)
}

/// Parses `header:NAME` or a JSON pointer.
pub fn inner_field(text: &str) -> Result<Field, &'static str> {
    if let Some(name) = text.strip_prefix("header:") {
        return Ok(Field::Header(header_name(name)?));
    }
    if !text.starts_with('/') {
        return Err("it is `header:NAME` or a JSON pointer such as `/order/id`");
    }
    pointer(text).map(Field::Pointer)
}

/// Parses a JSON pointer that is not empty.
pub fn pointer(text: &str) -> Result<JsonPointer, &'static str> {
    text.parse().map_err(|_| "in a JSON pointer `~` is written `~0`, and a `/` inside a name `~1`")
}

/// Parses `subject`, `event_type`, `header:NAME` or a JSON pointer.
pub fn field(text: &str) -> Result<Field, &'static str> {
    match text {
        "subject" => Ok(Field::Subject),
        "event_type" => Ok(Field::EventType),
        _ if text.starts_with("header:") || text.starts_with('/') => inner_field(text),
        _ => Err("it is `subject`, `event_type`, `header:NAME` or a JSON pointer such as `/order/id`"),
    }
}

/// Parses a field, or `none`.
pub fn order_by(text: &str) -> Result<OrderBy, &'static str> {
    match text {
        "none" => Ok(OrderBy::None),
        _ if text.starts_with("header:") || text.starts_with('/') => inner_field(text).map(OrderBy::Field),
        _ => field(text)
            .map(OrderBy::Field)
            .map_err(|_| "it is `subject`, `event_type`, `header:NAME`, a JSON pointer such as `/order/id`, or `none`"),
    }
}

/// Parses an auth type (L16).
pub fn auth_type(text: &str) -> Result<AuthType, &'static str> {
    let known = [AuthType::User, AuthType::Bot];
    known.into_iter().find(|known| known.word() == text).ok_or("it is `user` or `bot`")
}

/// Checks a scope (L17).
pub fn scope(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("it is empty"),
        _ if text.chars().all(|c| c.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("a scope is printable ASCII without spaces"),
    }
}

/// Parses the address of a listener.
pub fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "it is an address and a port, such as `127.0.0.1:9464`")
}

/// Checks a text that is used literally.
pub fn literal(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_fixed_length() {
        for (text, millis) in [
            ("5s", 5_000),
            ("250ms", 250),
            ("24h", 86_400_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1_500),
            ("7d", 604_800_000),
            ("PT5S", 5_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "-5s", "1mo", "soon", "5 parsecs", "36501d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_as_written() {
        for (text, bytes) in [("4096", 4096), ("64MiB", 64 << 20), ("1 GB", 1_000_000_000), ("1.5kB", 1500)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "0MiB", "-1", "MiB", "64 apples", "20EiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    /// L04 and L82: a name of ours can't leave its folder or break a header.
    #[test]
    fn names_are_harmless_in_paths_and_headers() {
        for text in ["orders.large", "a", "A-1_b"] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        for text in ["", ".", "..", ".hidden", "a/b", "a\\b", "a..b", "a b", "a\nb", "a\0", "ä"] {
            assert_eq!(name(text), Err(NAME), "{text:?}");
        }
        for text in ["", "a.b", "a*", ">", "a b", "a/b", &"a".repeat(256)] {
            assert_eq!(server_name(text), Err(SERVER_NAME), "{text:?}");
        }
        assert_eq!(server_name("ORDERS_1").as_deref(), Ok("ORDERS_1"));
    }

    #[test]
    fn fields_name_a_place_in_the_message() {
        assert_eq!(field("subject"), Ok(Field::Subject));
        assert_eq!(field("event_type"), Ok(Field::EventType));
        assert_eq!(field("header:Customer"), Ok(Field::Header("Customer".into())));
        assert_eq!(field("/a/b~1c"), Ok(Field::Pointer("/a/b~1c".parse().unwrap())));
        for text in ["", "Subject", "header:", "header:a b", "header:a:b", "a/b", "/a~2", "/a~", "none"] {
            assert!(field(text).is_err(), "{text:?}");
        }
        assert!(inner_field("subject").is_err());
        assert_eq!(order_by("none"), Ok(OrderBy::None));
        assert_eq!(order_by("/id"), Ok(OrderBy::Field(Field::Pointer("/id".parse().unwrap()))));
        assert_eq!(order_by("header:"), Err(HEADER));
    }

    #[test]
    fn subjects_for_the_server_hold_no_spaces() {
        assert!(server_pattern("orders.*").is_ok());
        assert!(server_pattern("or ders.*").is_err());
        assert!(server_subject("orders.a").is_ok());
        for text in ["orders.\r\nPUB x", "orders.*", "orders."] {
            assert!(server_subject(text).is_err(), "{text:?}");
        }
    }
}
