//! Selection of the request headers that its events get, and of their tenant.

use std::borrow::Cow;

use axum::http::{HeaderMap, header::CONNECTION};
use bytestring::ByteString;
use percent_encoding::percent_decode;

use super::refusal::RequestRefusal;
use crate::{
    event::{
        Headers,
        identity::{TENANT, TRACEPARENT, TRACESTATE},
    },
    signature,
};

/// Prefix of headers that are attributes of CloudEvents.
const ATTRIBUTE: &str = "ce-";

/// Headers that concern the connection, the client or the answer.
const KEPT_BACK: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-amzn-oidc-data",
    "x-real-ip",
];
/// Prefixes of further ones. `nats-` headers are orders to a stream, such as to delete what it
/// holds.
const KEPT_BACK_FAMILIES: [&str; 4] = ["accept", "nats-", "sec-", "x-forwarded-"];
/// Words in a header's name that mark a credential, or proof of one.
const CREDENTIALS: [&str; 11] = [
    "assertion",
    "auth",
    "authenticate",
    "authentication",
    "authorization",
    "credential",
    "credentials",
    "dpop",
    "hmac",
    "jwt",
    "session",
];
/// Ends of words that mark a credential, as in `x-accesstoken`.
const CREDENTIALS_BY_END: [&str; 8] =
    ["apikey", "cookie", "passwd", "password", "secret", "signature", "token", "tokens"];
/// Words before `key` that make it a credential; other keys are data, as an `idempotency-key` is.
const KEYS: [&str; 9] = ["access", "account", "api", "app", "auth", "functions", "license", "shared", "subscription"];

/// Returns whether a header's name marks a credential, which is kept from events, and so from
/// sinks, dead letters and logs.
fn is_credential(name: &str) -> bool {
    let words: Vec<_> = name.split(['-', '_', '.']).collect();
    let is_named = |word: &&str| CREDENTIALS.contains(word) || CREDENTIALS_BY_END.iter().any(|end| word.ends_with(end));
    words.iter().any(is_named) || words.windows(2).any(|pair| pair[1] == "key" && KEYS.contains(&pair[0]))
}

/// Trust in the tenant and the headers that a client states.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientTrust<'a> {
    /// Tenant that replaces the client's.
    pub(super) tenant: Option<&'a str>,
    /// True if the client's headers are trusted. Those of a signed request are not, since they may
    /// have been changed on the way, and none counts that could decide where the event goes.
    pub(super) head: bool,
}

/// Headers of a signed request that its events get: the signed ones, the content type, and the
/// trace context, which decides nothing.
const OF_SIGNED: [&str; 5] = [signature::ID, signature::TIMESTAMP, "content-type", TRACEPARENT, TRACESTATE];

/// Headers of a request that its events get.
pub(super) fn of_request(headers: &HeaderMap, trust: ClientTrust<'_>) -> Result<Headers, RequestRefusal> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    // `Connection` names further headers that concern only the connection.
    let named: Vec<_> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is_kept_back = |name: &str| {
        KEPT_BACK.contains(&name)
            || KEPT_BACK_FAMILIES.iter().any(|family| name.starts_with(family))
            || named.iter().any(|other| other.eq_ignore_ascii_case(name))
            || !trust.head && !OF_SIGNED.contains(&name)
            // Attributes are part of the event, whatever they are called.
            || !name.starts_with(ATTRIBUTE) && is_credential(name)
    };
    let mut kept = Headers::default();
    for (name, value) in headers.iter().filter(|(name, _)| !is_kept_back(name.as_str())) {
        let bad = |what| RequestRefusal::bad("bad_header", format!("the header `{name}` {what}"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("is not UTF-8"))?;
        if !name.as_str().starts_with(ATTRIBUTE) {
            kept.push(name.as_str(), text);
            continue;
        }
        // CloudEvents percent-encodes what HTTP can't send, and a quoted value means its content.
        let text = unquoted(text);
        let text = percent_decode(text.as_bytes()).decode_utf8().map_err(|_| bad("is not UTF-8"))?;
        if text.contains(char::is_control) {
            return Err(bad("holds a control character"));
        }
        kept.push(name.as_str(), &*text);
    }
    Ok(match trust.tenant {
        Some(tenant) => with(kept, TENANT, Some(tenant.into())),
        None => kept,
    })
}

/// Content of a quoted string (RFC 7230, 3.2.6). Any other text is left as it is.
fn unquoted(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.into() };
    let mut meant = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return text.into(),
            '\\' => match chars.next() {
                Some(escaped) => meant.push(escaped),
                None => return text.into(),
            },
            char => meant.push(char),
        }
    }
    meant.into()
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
        trusted(headers, ClientTrust { tenant, head: true })
    }

    fn trusted(headers: &[(&'static str, &'static str)], trust: ClientTrust<'_>) -> Result<String, String> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let kept = of_request(&headers, trust).map_err(|refusal| refusal.message)?;
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
    fn credentials_stay_behind_by_what_they_are_called() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-auth-token",
            "x-access-token",
            "x-accesstoken",
            "private-token",
            "api-key",
            "x-api-key",
            "apikey",
            "x-apikey",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "dd-application-secret",
            "x-client-secret",
            "x-amz-security-token",
            "x-csrf-token",
            "x-gitlab-token",
            "stripe-signature",
            "x-hub-signature-256",
            "signature-input",
            "x-shopify-hmac-sha256",
            "cf-access-jwt-assertion",
            "x-amzn-oidc-data",
            "x_auth_token",
            "x-password",
            "x-session-id",
            "webhook-signature",
        ] {
            assert_eq!(kept(&[(name, "s3cret")], None).unwrap(), "", "{name}");
        }
        // Names that only look like credentials, and headers that belong to the event.
        for name in [
            "x-author",
            "authority",
            "idempotency-key",
            "x-partition-key",
            "x-tokenizer",
            "keyboard",
            "x-event-key",
            "webhook-id",
            "x-github-event",
            "x-request-id",
            "traceparent",
            "ce-authtype",
            "ce-sessiontoken",
        ] {
            assert_eq!(kept(&[(name, "1")], None).unwrap(), format!("{name}=1"));
        }
    }

    /// CloudEvents over HTTP, 3.1.3.2
    #[test]
    fn attributes_in_quotes_are_what_stands_between_them() {
        for (value, expected) in [
            ("\"order placed\"", "order placed"),
            ("\"a \\\"b\\\" \\\\c\"", "a \"b\" \\c"),
            ("\"%C3%A9\"", "é"),
            ("\"\"", ""),
            ("Euro \"quoted\"", "Euro \"quoted\""),
            ("\"a\" \"b\"", "\"a\" \"b\""),
            ("\"a\\\"", "\"a\\\""),
            ("\"", "\""),
            ("%22a%22", "\"a\""),
            ("%2522", "%22"),
        ] {
            assert_eq!(kept(&[("ce-a", value)], None).unwrap(), format!("ce-a={expected}"), "{value}");
        }
        assert_eq!(kept(&[("other", "\"a\"")], None).unwrap(), "other=\"a\"");
    }

    /// A signature covers the id, the time and the body.
    #[test]
    fn what_a_signature_does_not_cover_does_not_become_part_of_an_event() {
        let headers = [
            ("Tenant", "t2"),
            ("actor_id", "a"),
            ("ce-type", "order.paid"),
            ("x-other", "1"),
            ("webhook-id", "1"),
            ("content-type", "text/plain"),
            ("traceparent", "00-1"),
        ];
        let expected = "webhook-id=1 content-type=text/plain traceparent=00-1";
        assert_eq!(trusted(&headers, ClientTrust { tenant: None, head: false }).unwrap(), expected);
        let expected = format!("{expected} tenant=t1");
        assert_eq!(trusted(&headers, ClientTrust { tenant: Some("t1"), head: false }).unwrap(), expected);
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
