//! Which of a request's headers belong to its events, and what an event's tenant is.

use axum::http::{HeaderMap, header::CONNECTION};
use bytestring::ByteString;
use percent_encoding::percent_decode;

use super::refusal::Refusal;
use crate::{
    event::{Headers, identity::TENANT},
    signature::SIGNATURE,
};

/// Those that concern the connection, the client's credentials or the answer.
const KEPT_BACK: [&str; 24] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "signature",
    "signature-input",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-real-ip",
    SIGNATURE,
];
/// `nats-` headers are orders to a stream, such as to delete what it holds.
const KEPT_BACK_FAMILIES: [&str; 4] = ["accept", "nats-", "x-forwarded-", "x-hub-signature"];

/// The headers that an event has of its request's, and `tenant` in the place of what the client says.
pub(super) fn of_request(headers: &HeaderMap, tenant: Option<&str>) -> Result<Headers, Refusal> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    // A client may declare more of them to concern the connection.
    let named: Vec<_> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is_kept_back = |name: &str| {
        KEPT_BACK.contains(&name)
            || KEPT_BACK_FAMILIES.iter().any(|family| name.starts_with(family))
            || named.iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    let mut kept = Headers::default();
    for (name, value) in headers.iter().filter(|(name, _)| !is_kept_back(name.as_str())) {
        let bad = |what| Refusal::bad("bad_header", format!("the header `{name}` {what}"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("is not UTF-8"))?;
        if !name.as_str().starts_with("ce-") {
            kept.push(name.as_str(), text);
            continue;
        }
        // CloudEvents writes what HTTP can't send so.
        let text = percent_decode(text.as_bytes()).decode_utf8().map_err(|_| bad("is not UTF-8"))?;
        if text.contains(char::is_control) {
            return Err(bad("holds a control character"));
        }
        kept.push(name.as_str(), &*text);
    }
    Ok(match tenant {
        Some(tenant) => with(kept, TENANT, Some(tenant.into())),
        None => kept,
    })
}

/// `headers` with this one value of `name`, or without any.
pub(super) fn with(headers: Headers, name: &'static str, value: Option<ByteString>) -> Headers {
    let others = headers.iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name)).cloned();
    others.chain(value.map(|value| (ByteString::from_static(name), value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(headers: &[(&'static str, &'static str)], tenant: Option<&str>) -> Result<String, String> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let kept = of_request(&headers, tenant).map_err(|refusal| refusal.message)?;
        Ok(kept.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_concerns_the_connection_or_the_client_stays_behind() {
        let headers = [
            ("host", "a"),
            ("authorization", "Bearer x"),
            ("cookie", "x"),
            ("webhook-signature", "v1,x"),
            ("x-hub-signature-256", "x"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("nats-rollup", "all"),
            ("x-forwarded-for", "::1"),
            ("accept-encoding", "gzip"),
            ("webhook-id", "1"),
            ("content-type", "text/plain"),
            ("traceparent", "00-1"),
        ];
        assert_eq!(kept(&headers, None).unwrap(), "webhook-id=1 content-type=text/plain traceparent=00-1");
    }

    #[test]
    fn attributes_of_cloudevents_are_decoded() {
        assert_eq!(kept(&[("ce-a", "%C3%A9%20%25"), ("other", "%25")], None).unwrap(), "ce-a=é % other=%25");
        assert_eq!(kept(&[("ce-a", "a%0D%0Ab")], None).unwrap_err(), "the header `ce-a` holds a control character");
        assert_eq!(kept(&[("ce-a", "%FF")], None).unwrap_err(), "the header `ce-a` is not UTF-8");
    }

    #[test]
    fn a_tenant_that_is_set_takes_the_place_of_the_clients() {
        let headers = [("Tenant", "t2"), ("actor_id", "a")];
        assert_eq!(kept(&headers, None).unwrap(), "tenant=t2 actor_id=a");
        assert_eq!(kept(&headers, Some("t1")).unwrap(), "actor_id=a tenant=t1");
    }
}
