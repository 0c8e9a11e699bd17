//! The source of type `http` knows who sends, and for whom.

use crate::http;
use crate::http_rig::{HttpRig, header, kept, payload, settings};
use crate::patience::until;

use std::fs;

use http::{JSON, post, send};
use serde_json::json;
use trommel::{
    config::{AnswerPoint, ClientAuth, EnvelopeFormat, HttpClient, HttpSource},
    fate::Fate,
    signature::{Secret, sign},
};

#[tokio::test]
async fn a_token_is_asked_for_and_may_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = kept(&folder, "token", "first\n");
    let mut rig = HttpRig::new(HttpSource { auth: Some(ClientAuth::Token(token)), ..settings() }).await;
    for headers in [
        &[][..],
        &[("Authorization", "Bearer ")],
        &[("Authorization", "Bearer firs")],
        &[("Authorization", "Bearer first2")],
        &[("Authorization", "Basic first")],
        &[("Authorization", "first")],
    ] {
        let answer = rig.post("/events", headers, "1").await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "token"), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.body.contains("first"), "{answer:?}");
    }
    assert_eq!(rig.post("/events", &[("Authorization", "bearer first")], "1").await.status, 202);
    assert_eq!(header(&rig.next().await, "authorization"), None);
    fs::write(path, "second").unwrap();
    let new = ("Authorization", "Bearer second");
    until("the new token counts", async || rig.post("/events", &[new], "1").await.status == 202).await;
    assert_eq!(rig.post("/events", &[("Authorization", "Bearer first")], "1").await.status, 401);
}

fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs()
}

#[tokio::test]
async fn signatures_are_verified_with_either_secret() {
    let folder = tempfile::tempdir().unwrap();
    let new = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let secrets = vec![kept(&folder, "new", new).1, kept(&folder, "old", "old\n").1];
    let mut rig = HttpRig::new(HttpSource { auth: Some(ClientAuth::Signature(secrets)), ..settings() }).await;
    let secret = |text: &str| text.parse::<Secret>().unwrap();
    let post = async |rig: &HttpRig, id: &str, timestamp: u64, signatures: &str| {
        let timestamp = timestamp.to_string();
        let headers = [("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", signatures), JSON];
        rig.post("/events", &headers, "{}").await
    };
    let now = seconds();
    for (text, id) in [(new, "msg_1"), ("old", "msg_0")] {
        let signature = sign(&secret(text), id, now, b"{}");
        assert_eq!(post(&rig, id, now, &format!("v1,AAAA {signature}")).await.status, 202, "{text}");
        let ticket = rig.next().await;
        assert_eq!((&*ticket.event().id, header(&ticket, "webhook-signature")), (id, None));
    }
    let signature = sign(&secret(new), "msg_1", now, b"{}");
    for (id, timestamp, signature, expected) in [
        ("msg_2", now, &signature, "no signature"),
        ("msg_1", now + 1, &signature, "no signature"),
        ("msg_1", now, &sign(&secret("other"), "msg_1", now, b"{}"), "no signature"),
        ("msg_1", now, &sign(&secret(new), "msg_1", now, b"{ }"), "no signature"),
        ("msg_1", now - 400, &sign(&secret(new), "msg_1", now - 400, b"{}"), "5 minutes back"),
        ("msg_1", now + 100, &sign(&secret(new), "msg_1", now + 100, b"{}"), "60 seconds ahead"),
        ("msg_1", now, &String::new(), "`webhook-signature` is missing"),
        ("", now, &signature, "`webhook-id` is missing"),
    ] {
        let answer = post(&rig, id, timestamp, signature).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "signature"));
        assert_eq!(answer.header("www-authenticate"), Some("Webhook-Signature"));
        assert!(answer.message().contains(expected), "{answer:?}");
    }
    assert_eq!(rig.post("/events", &[JSON], "{}").await.reason(), "signature");
}

/// Whoever has recorded a signed request can't have it done again, nor say for whom it is.
#[tokio::test]
async fn a_signed_request_counts_once_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(ClientAuth::Signature(vec![kept(&folder, "secret", "s3cret").1]));
    let mut rig = HttpRig::new(HttpSource { auth, answer: AnswerPoint::Settled, ..settings() }).await;
    let now = seconds();
    let timestamp = now.to_string();
    let signature = sign(&"s3cret".parse().unwrap(), "msg_1", now, b"{}");
    let signed =
        [("webhook-id", "msg_1"), ("webhook-timestamp", &*timestamp), ("webhook-signature", &*signature), JSON];
    let forged = [&signed[..], &[("Tenant", "t2"), ("actor_id", "a2")]].concat();
    let address = rig.address;
    let first = async || post(address, "/events", &forged, "{}").await;
    let (answer, ()) = tokio::join!(first(), async {
        let ticket = rig.next().await;
        assert_eq!((header(&ticket, "tenant"), header(&ticket, "actor_id")), (None, None));
        // Not done yet, so it can't be said to be.
        let again = post(address, "/events", &signed, "{}").await;
        assert_eq!((again.status, again.reason().as_str()), (429, "repeat"));
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(answer.status, 200);
    // No signature covers the URL.
    let elsewhere = rig.post("/events/elsewhere", &signed, "{}").await;
    assert_eq!((elsewhere.status, elsewhere.reason().as_str()), (404, "not_found"));
    let again = rig.post("/events", &signed, "{}").await;
    assert_eq!((again.status, again.json()), (200, json!({ "settled": 1 })));
    let fresh = sign(&"s3cret".parse().unwrap(), "msg_2", now, b"2");
    let other = [("webhook-id", "msg_2"), ("webhook-timestamp", &*timestamp), ("webhook-signature", &*fresh), JSON];
    let next = async || post(address, "/events", &other, "2").await;
    let (answer, ()) = tokio::join!(next(), async {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), "2", "the repeat has come to nothing");
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(answer.status, 200);
}

/// What decides where an event goes is signed, or it is the configuration's.
#[tokio::test]
async fn an_unsigned_head_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(ClientAuth::Signature(vec![kept(&folder, "secret", "s3cret").1]));
    let mut rig = HttpRig::with(HttpSource { auth, ..settings() }, EnvelopeFormat::CloudEvents, 100).await;
    let now = seconds();
    let timestamp = now.to_string();
    let structured = r#"{"specversion":"1.0","id":"a","source":"/s","type":"order.made","data":1}"#;
    let attributes =
        [("ce-specversion", "1.0"), ("ce-id", "a"), ("ce-source", "/s"), ("ce-type", "order.paid"), ("X-Region", "eu")];
    for (id, content_type, body, expected) in [
        ("msg_1", "application/cloudevents+json", structured, Some("order.made")),
        ("msg_2", "application/json", structured, None),
    ] {
        let signature = sign(&"s3cret".parse().unwrap(), id, now, body.as_bytes());
        let signed = [
            ("webhook-id", id),
            ("webhook-timestamp", &*timestamp),
            ("webhook-signature", &*signature),
            ("content-type", content_type),
        ];
        let answer = rig.post("/events", &[&signed[..], &attributes[..]].concat(), body).await;
        match expected {
            Some(event_type) => {
                assert_eq!(answer.status, 202, "{answer:?}");
                let ticket = rig.next().await;
                assert_eq!((&*ticket.event().event_type, &*ticket.event().subject), (event_type, "in"));
                assert_eq!(header(&ticket, "x-region"), None);
            }
            None => assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_cloudevent")),
        }
    }
}

/// Without a token anybody on this machine may send, but no page that somebody's browser shows.
#[tokio::test]
async fn pages_of_other_sites_send_nothing() {
    let mut rig = HttpRig::new(HttpSource { is_this_machines: true, ..settings() }).await;
    for header in [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
        let answer = rig.post("/events", &[header, ("Content-Type", "text/plain")], "1").await;
        assert_eq!((answer.status, answer.reason().as_str()), (403, "other_site"), "{header:?}");
    }
    let rebound =
        b"POST /events HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nContent-Length: 1\r\n\r\n1";
    assert_eq!(send(rig.address, rebound).await.status, 403);
    assert_eq!(rig.post("/events", &[("Origin", "http://localhost:3000"), JSON], "1").await.status, 202);
    rig.next().await.settle(Fate::Emitted);
    rig.assert_nothing_taken().await;
    // Whoever has the token is no browser of somebody else's.
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(ClientAuth::Token(kept(&folder, "token", "t").1));
    let rig = HttpRig::new(HttpSource { auth, ..settings() }).await;
    let headers = [("Origin", "http://other.example"), ("Authorization", "Bearer t"), JSON];
    assert_eq!(rig.post("/events", &headers, "1").await.status, 202);
}

/// F05: identity is carried, and the tenant that is set counts whatever a client says.
#[tokio::test]
async fn a_tenant_that_is_set_is_that_of_every_event() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let said = [JSON, ("Tenant", "t2"), ("actor_id", "a1"), ("traceparent", trace)];
    for (tenant, expected) in [(None, "t2"), (Some("t1"), "t1")] {
        let mut rig = HttpRig::new(HttpSource { tenant: tenant.map(str::to_owned), ..settings() }).await;
        rig.post("/events", &said, "1").await;
        let ticket = rig.next().await;
        let tenants = ticket.event().headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tenant"));
        assert_eq!(tenants.map(|(_, value)| &**value).collect::<Vec<_>>(), [expected]);
        assert_eq!((header(&ticket, "actor_id"), header(&ticket, "traceparent")), (Some("a1"), Some(trace)));
    }
}

/// What a body says of its tenant is the client's word, too.
#[tokio::test]
async fn a_tenant_that_is_set_counts_more_than_the_bodys() {
    let body = r#"{"id":"evt_1","type":"deploy.failed","tenant_id":"t2","timestamp":"2026-01-01T00:00:00Z"}"#;
    for (tenant, expected) in [(None, "t2"), (Some("t1"), "t1")] {
        let settings = HttpSource { tenant: tenant.map(str::to_owned), ..settings() };
        let mut rig = HttpRig::with(settings, EnvelopeFormat::Ctrlplane, 100).await;
        assert_eq!(rig.post("/events", &[JSON], body).await.status, 202);
        let ticket = rig.next().await;
        let tenants = ticket.event().headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tenant"));
        assert_eq!(tenants.map(|(_, value)| &**value).collect::<Vec<_>>(), [expected]);
    }
}

/// A client that is bound to tenants speaks for nobody else, by whatever it says so.
#[tokio::test]
async fn a_token_speaks_for_its_tenants_alone() {
    let folder = tempfile::tempdir().unwrap();
    let client = |name: &str, tenants: Option<&[&str]>| HttpClient {
        token: kept(&folder, name, name).1,
        tenants: tenants.map(|tenants| tenants.iter().map(|tenant| (*tenant).to_owned()).collect()),
    };
    let clients = vec![client("one", Some(&["t1"])), client("two", Some(&["t2", "t3"])), client("any", None)];
    let settings = HttpSource { auth: Some(ClientAuth::Clients(clients)), ..settings() };
    let mut rig = HttpRig::with(settings, EnvelopeFormat::Ctrlplane, 100).await;
    let body = |tenant: &str| match tenant {
        "" => r#"{"id":"e","type":"deploy.failed"}"#.to_owned(),
        tenant => format!(r#"{{"id":"e","type":"deploy.failed","tenant_id":"{tenant}"}}"#),
    };
    // The token, what the header says, what the body says, and whose event it is.
    for (token, header, in_body, expected) in [
        ("one", "", "", Ok(Some("t1"))),
        ("one", "t1", "t1", Ok(Some("t1"))),
        ("one", "", "t2", Err("other_tenant")),
        ("one", "t2", "", Err("other_tenant")),
        ("one", "t2", "t1", Err("other_tenant")),
        ("one", "T1", "", Err("other_tenant")),
        ("two", "t3", "", Ok(Some("t3"))),
        ("two", "", "t2", Ok(Some("t2"))),
        ("two", "", "", Err("no_tenant")),
        ("two", "", "t1", Err("other_tenant")),
        ("any", "t9", "", Ok(Some("t9"))),
        ("any", "", "", Ok(None)),
        ("none", "", "", Err("token")),
    ] {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![JSON, ("Authorization", &*authorization)];
        headers.extend((!header.is_empty()).then_some(("Tenant", header)));
        let answer = rig.post("/events", &headers, &body(in_body)).await;
        match expected {
            Ok(tenant) => {
                assert_eq!(answer.status, 202, "{token} {header} {in_body}: {answer:?}");
                assert_eq!(rig.next().await.event().tenant(), tenant, "{token} {header} {in_body}");
            }
            Err(reason) => {
                let status = if reason == "token" { 401 } else { 403 };
                assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{token} {header} {in_body}");
            }
        }
    }
    // Two are no better than one.
    let headers = [JSON, ("Authorization", "Bearer one"), ("Tenant", "t1"), ("tenant", "t2")];
    assert_eq!(rig.post("/events", &headers, &body("")).await.status, 403);
}
