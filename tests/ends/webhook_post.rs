//! One POST to a webhook, against receivers that behave and others that do not.

use crate::patience::until;
use crate::stand_in;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use jiff::Timestamp;
use stand_in::{Reply, Seen, StandIn, ok, status};
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::Instant};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};
use trommel::{
    config::{ConfigPlace, TenantSelection, Webhook},
    signature::{self, Secret, SignatureDoubt, SignatureHeaders, verify},
    webhook::{
        post::{WebhookAnswer, WebhookPoster},
        request::WebhookRequest,
    },
};

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

fn webhook(url: &str) -> Webhook {
    Webhook {
        name: "a".to_owned(),
        url: url.parse().unwrap(),
        tenant: TenantSelection::None,
        events: Vec::new(),
        subjects: Vec::new(),
        secrets: vec![secret("first secret")],
        former_until: None,
        active: true,
        concurrency: 4,
        max_pending: 1_000,
        allow_private: true,
        headers: vec![("X-Key".to_owned(), "k-5ecret".to_owned())],
        body: None,
        routing_key: None,
        place: ConfigPlace::file("keys/a.toml"),
    }
}

fn to(address: SocketAddr) -> Webhook {
    webhook(&format!("http://{address}/hooks/1?token=t-5ecret"))
}

fn letter() -> WebhookRequest {
    WebhookRequest {
        id: "deli_1".to_owned(),
        content_type: None,
        traceparent: None,
        payload: Bytes::from_static(br#"{"n":1}"#),
    }
}

async fn post(webhook: &Webhook, letter: WebhookRequest) -> Result<WebhookAnswer, String> {
    WebhookPoster::default().post(webhook, letter, Timestamp::now()).await
}

fn check(seen: &Seen, secret: Secret) -> Result<(), SignatureDoubt> {
    let header = |name| seen.header(name).unwrap();
    let (id, timestamp) = (header(signature::ID), header(signature::TIMESTAMP));
    let signed = SignatureHeaders { id, timestamp, signatures: header(signature::SIGNATURE) };
    verify(&[secret], signed, seen.body.as_bytes(), SystemTime::now())
}

/// C22
#[tokio::test]
async fn a_letter_is_posted_and_signed() {
    let receiver = StandIn::new(|_, _| ok("thanks"));
    let answer = post(&to(receiver.address), letter()).await.unwrap();
    assert!(answer.is_success() && answer.body == b"thanks", "{answer:?}");
    let seen = receiver.seen().remove(0);
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /hooks/1?token=t-5ecret", r#"{"n":1}"#));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("webhook-id"), Some("deli_1"));
    assert_eq!(seen.header("x-key"), Some("k-5ecret"));
    assert!(seen.header("user-agent").unwrap().starts_with("trommel/"));
    assert_eq!(check(&seen, secret("first secret")), Ok(()));
    assert_eq!(check(&seen, secret("another secret")), Err(SignatureDoubt::NoMatch));
}

#[tokio::test]
async fn the_payload_keeps_its_content_type() {
    let receiver = StandIn::new(|_, _| ok(""));
    for (given, sent) in [("text/plain; charset=utf-8", "text/plain; charset=utf-8"), ("a\nb", "application/json")] {
        post(&to(receiver.address), WebhookRequest { content_type: Some(given.to_owned()), ..letter() }).await.unwrap();
        assert_eq!(receiver.seen().last().unwrap().header("content-type"), Some(sent));
    }
}

/// F12
#[tokio::test]
async fn the_trace_goes_on() {
    let receiver = StandIn::new(|_, _| ok(""));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for traceparent in [None, Some(trace.to_owned())] {
        post(&to(receiver.address), WebhookRequest { traceparent, ..letter() }).await.unwrap();
    }
    let traces: Vec<_> = receiver.seen().iter().map(|seen| seen.header("traceparent").map(str::to_owned)).collect();
    assert_eq!(traces, [None, Some(trace.to_owned())]);
}

/// During a rotation receivers with either secret believe it.
#[tokio::test]
async fn two_secrets_sign_both() {
    let receiver = StandIn::new(|_, _| ok(""));
    let secrets = vec![secret("new secret"), secret("old secret")];
    post(&Webhook { secrets, ..to(receiver.address) }, letter()).await.unwrap();
    let seen = receiver.seen().remove(0);
    for known in ["new secret", "old secret"] {
        assert_eq!(check(&seen, secret(known)), Ok(()), "{known}");
    }
    let signatures = seen.header("webhook-signature").unwrap();
    assert!(signatures.split(' ').all(|signature| signature.starts_with("v1,")) && signatures.contains(' '));
    let new = signature::sign(
        &secret("new secret"),
        "deli_1",
        seen.header("webhook-timestamp").unwrap().parse().unwrap(),
        seen.body.as_bytes(),
    );
    assert!(signatures.starts_with(&new));
}

#[tokio::test]
async fn refusals_come_with_their_pause_and_the_beginning_of_their_body() {
    let receiver =
        StandIn::new(|_, _| Reply::Answer("429 Too Many Requests", &["Retry-After: 120"], vec![b'x'; 5_000]));
    let answer = post(&to(receiver.address), letter()).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(120))));
    assert_eq!(answer.body, vec![b'x'; 1024]);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let inside = StandIn::new(|_, _| ok(""));
    let location: &'static str = format!("Location: http://{}/", inside.address).leak();
    let headers: &'static [&'static str] = vec![location].leak();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let receiver = StandIn::new(move |_, _| Reply::Answer(status, headers, Vec::new()));
        let answer = post(&to(receiver.address), letter()).await.unwrap();
        assert_eq!(answer.status.to_string(), status[..3]);
    }
    assert!(inside.seen().is_empty());
}

/// Of a 100 MB answer hardly more is taken than what sockets hold.
#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let receiver = StandIn::new(|_, _| Reply::Flood(100 << 20));
    let began = Instant::now();
    let answer = post(&to(receiver.address), letter()).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 1024));
    assert!(receiver.flooded() < 20 << 20, "{} bytes", receiver.flooded());
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// A success stays one when its body breaks off.
#[tokio::test]
async fn half_an_answer_is_an_answer() {
    let receiver = StandIn::new(|_, _| Reply::Half);
    let answer = post(&to(receiver.address), letter()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"half"[..]));
}

#[tokio::test]
async fn a_connection_that_breaks_is_told() {
    let receiver = StandIn::new(|_, _| Reply::Cut);
    let error = post(&to(receiver.address), letter()).await.unwrap_err();
    assert!(error.starts_with("the connection broke: "), "{error}");
    let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let error = post(&to(nobody), letter()).await.unwrap_err();
    assert!(error.starts_with("could not connect: ") && !error.contains("5ecret"), "{error}");
}

/// The clock is let run once the request has arrived.
#[tokio::test]
async fn a_receiver_that_hangs_is_left_after_15_seconds() {
    let receiver = StandIn::new(|_, _| Reply::Silence);
    let webhook = to(receiver.address);
    let posting = tokio::spawn(async move { post(&webhook, letter()).await });
    until("the request has arrived", async || !receiver.seen().is_empty()).await;
    tokio::time::pause();
    let began = Instant::now();
    assert_eq!(posting.await.unwrap().unwrap_err(), "no answer within 15s");
    assert!(began.elapsed() <= Duration::from_secs(15));
    receiver.wait_for_leaving();
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let receiver = StandIn::new(|_, _| ok(""));
    let url = format!("http://localhost:{}/", receiver.address.port());
    let error = post(&Webhook { allow_private: false, ..webhook(&url) }, letter()).await.unwrap_err();
    assert_eq!(error, "its name leads to a private address, and `allow_private` is not set");
    assert!(post(&webhook(&url), letter()).await.is_ok());
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_bad_certificate_is_told() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return 0 };
        stream.read(&mut [0; 64]).await.unwrap_or_default()
    });
    let error = post(&webhook(&format!("https://localhost:{port}/")), letter()).await.unwrap_err();
    assert!(error.starts_with("could not connect: ") && error.contains("certificate"), "{error}");
    assert_eq!(server.await.unwrap(), 0, "nothing is sent to who is not believed");
}

#[tokio::test]
async fn answers_that_are_no_success_are_answers() {
    let receiver =
        StandIn::new(|before, _| if before == 0 { status("500 Internal Server Error", "ouch") } else { ok("") });
    let poster = WebhookPoster::default();
    let first = poster.post(&to(receiver.address), letter(), Timestamp::now()).await.unwrap();
    assert_eq!((first.status, first.body.as_slice()), (500, &b"ouch"[..]));
    assert!(poster.post(&to(receiver.address), letter(), Timestamp::now()).await.unwrap().is_success());
}
