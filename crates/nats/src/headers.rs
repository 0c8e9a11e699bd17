//! Conversion of message headers from the client's type to the router's and back.

use anyhow::anyhow;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytestring::ByteString;

use crate::event::Headers;

/// Copies all headers into one buffer that they share. The client has lost their order, so they
/// come sorted by name.
pub fn headers(map: &HeaderMap) -> Headers {
    let mut buffer = String::new();
    let mut ends = Vec::with_capacity(map.len());
    for (name, values) in map.iter() {
        for value in values {
            buffer.push_str(name.as_ref());
            let middle = buffer.len();
            buffer.push_str(value.as_str());
            ends.push((middle, buffer.len()));
        }
    }
    let buffer = ByteString::from(buffer);
    let mut start = 0;
    let mut all: Vec<_> = ends
        .into_iter()
        .map(|(middle, end)| {
            let pair = (buffer.slice_ref(&buffer[start..middle]), buffer.slice_ref(&buffer[middle..end]));
            start = end;
            pair
        })
        .collect();
    // Stable: several values of one header keep their order.
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.into_iter().collect()
}

/// Converts headers for publishing. Those that begin with `Nats-` are left out: they were meant for
/// the stream that the event came from.
///
/// # Errors
/// Returns an error that names the header that NATS can't send.
pub fn header_map(headers: &Headers) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        if !name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-")) {
            append(&mut map, name, value)?;
        }
    }
    Ok(map)
}

/// Converts headers of a publisher, which may be for the stream.
pub(super) fn given_headers(headers: &[(String, String)]) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    headers.iter().try_for_each(|(name, value)| append(&mut map, name, value))?;
    Ok(map)
}

fn append(map: &mut HeaderMap, name: &str, value: &str) -> anyhow::Result<()> {
    let bad = |what| anyhow!("header {name:?}: {what}");
    let parsed: HeaderName = name.parse().map_err(|_| bad("the name is not one that NATS can send"))?;
    let value: HeaderValue = value.parse().map_err(|_| bad("the value holds line breaks"))?;
    map.append(parsed, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_sorted_and_keep_every_value() {
        let mut map = HeaderMap::new();
        map.append("b", "2");
        map.append("a", "1");
        map.append("b", "");
        let headers = headers(&map);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(headers, [("a", "1"), ("b", "2"), ("b", "")]);
    }
}
