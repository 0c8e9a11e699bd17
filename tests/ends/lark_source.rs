//! The source of type `http` takes events of Lark as its open platform sends them.

use crate::http::{Answer, JSON};
use crate::http_rig::{HttpRig, header, kept, payload, settings};
use crate::lark::{LarkRequest, encrypt, first_version, message, now, verification};

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use trommel::{
    config::{AnswerPoint, ClientAuth, EnvelopeFormat, HttpSource, LarkApp},
    fate::Fate,
    pipeline::EventBudget,
};

const LARK: EnvelopeFormat = EnvelopeFormat::Lark { verify_header: false };

/// An app whose secrets are these: encrypt keys, and verification tokens.
fn app(folder: &TempDir, app_id: &str, keys: &[&str], tokens: &[&str]) -> LarkApp {
    let keep = |kind: &str, texts: &[&str]| {
        let one = |(number, text): (usize, &&str)| kept(folder, &format!("{app_id}-{kind}-{number}"), text).1;
        texts.iter().enumerate().map(one).collect()
    };
    LarkApp { app_id: app_id.to_owned(), encrypt_keys: keep("key", keys), tokens: keep("token", tokens) }
}

async fn rig(apps: Vec<LarkApp>) -> HttpRig {
    let auth = Some(ClientAuth::Lark(apps));
    HttpRig::with(HttpSource { auth, path: "/lark".to_owned(), ..settings() }, LARK, 100).await
}

async fn post(rig: &HttpRig, path: &str, request: &LarkRequest) -> Answer {
    rig.post(path, &request.headers(), &request.body).await
}

/// Status and reason of a refusal.
async fn refused(rig: &HttpRig, path: &str, request: &LarkRequest) -> (u16, String, String) {
    let answer = post(rig, path, request).await;
    (answer.status, answer.reason(), answer.message())
}

#[tokio::test]
async fn encrypted_events_of_both_versions_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(vec![app(&folder, "cli_a", &["key"], &["v-token"])]).await;
    for (event, id, event_type, time) in [
        (message("cli_a", "e-2"), "e-2", "im.message.receive_v1", "1608725989000"),
        (first_version("cli_a", "e-1"), "e-1", "app_open", "1502199207.7171419"),
    ] {
        let request = LarkRequest::signed("key", &event);
        let answer = post(&rig, "/lark", &request).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})), "Lark counts nothing else as taken");
        let ticket = rig.next().await;
        let found = ticket.event();
        assert_eq!((&*found.id, &*found.event_type, found.source_time.as_deref()), (id, event_type, Some(time)));
        assert_eq!(serde_json::from_str::<Value>(payload(&ticket)).unwrap(), event);
        assert_eq!((header(&ticket, "tenant"), header(&ticket, "x-lark-signature")), (Some("tenant-1"), None));
        ticket.settle(Fate::Emitted);
    }
}

/// The console asks for the challenge when a URL is entered, whatever waits.
#[tokio::test]
async fn the_challenge_is_answered_though_there_is_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let apps = vec![app(&folder, "cli_key", &["key"], &[]), app(&folder, "cli_token", &[], &["v-token"])];
    let auth = Some(ClientAuth::Lark(apps));
    let settings = HttpSource { auth, path: "/lark".to_owned(), ..settings() };
    let mut rig = HttpRig::before(settings, LARK, 1, EventBudget { events: 1, bytes: 1 << 20 }).await;
    assert_eq!(post(&rig, "/lark/cli_key", &LarkRequest::signed("key", &message("cli_key", "e-1"))).await.status, 200);
    let ticket = rig.next().await;
    let second = refused(&rig, "/lark/cli_key", &LarkRequest::signed("key", &message("cli_key", "e-2"))).await;
    assert_eq!((second.0, second.1.as_str()), (429, "no_room"));
    for (path, request) in [
        ("/lark/cli_key", LarkRequest::encrypted("key", &verification().to_string())),
        ("/lark/cli_key", LarkRequest::signed("key", &verification())),
        ("/lark/cli_token", LarkRequest::plain(&verification())),
    ] {
        let answer = post(&rig, path, &request).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "challenge": "ajls384kdjx98XX" })), "{path}");
    }
    ticket.settle(Fate::Emitted);
}

#[tokio::test]
async fn what_is_not_proven_is_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let both = app(&folder, "cli_a", &["key"], &["v-token"]);
    let mut rig = rig(vec![both, app(&folder, "cli_token", &[], &["v-token"])]).await;
    let event = message("cli_a", "e-1");
    let signed = |body: LarkRequest| body.with_signature("key", now());
    let mut tampered = LarkRequest::signed("key", &event);
    tampered.body.push(' ');
    let mut incomplete = LarkRequest::signed("key", &event);
    incomplete.headers.retain(|(name, _)| *name != "X-Lark-Request-Nonce");
    let without_token = {
        let mut event = first_version("cli_token", "e-1");
        event.as_object_mut().unwrap().remove("token");
        LarkRequest::plain(&event)
    };
    let wrong_token = LarkRequest::plain(&json!({ "type": "url_verification", "challenge": "c", "token": "v-toke" }));
    let two_tokens =
        LarkRequest { body: r#"{"token":"x","token":"v-token"}"#.to_owned(), ..LarkRequest::plain(&json!({})) };
    let not_json = LarkRequest { body: "{".to_owned(), ..LarkRequest::plain(&json!({})) };
    for (path, request, expected) in [
        ("/lark/cli_a", tampered, (401, "signature", "not made with the encrypt key")),
        ("/lark/cli_a", LarkRequest::signed("other", &event), (401, "signature", "not made with the encrypt key")),
        ("/lark/cli_a", incomplete, (401, "signature", "one is missing")),
        ("/lark/cli_a", LarkRequest::signed_at("key", &event, now() - 400), (401, "signature", "5 minutes back")),
        ("/lark/cli_a", LarkRequest::signed_at("key", &event, now() + 100), (401, "signature", "60 seconds ahead")),
        ("/lark/cli_a", LarkRequest::plain(&event), (401, "signature", "is missing")),
        ("/lark/cli_a", LarkRequest::plain(&verification()), (401, "signature", "is missing")),
        ("/lark/cli_a", signed(LarkRequest::encrypted("other", "{}")), (400, "encrypted", "can't be decrypted")),
        ("/lark/cli_a", signed(LarkRequest::encrypted("key", "[]")), (400, "not_json", "not an object")),
        ("/lark/cli_a", LarkRequest::signed("key", &message("cli_b", "e-1")), (403, "other_app", "`cli_a`")),
        ("/lark/cli_token", without_token, (401, "token", "no `token`")),
        ("/lark/cli_token", wrong_token, (401, "token", "not the verification token")),
        ("/lark/cli_token", two_tokens, (400, "ambiguous", "`token`")),
        ("/lark/cli_token", LarkRequest::encrypted("key", "{}"), (400, "encrypted", "no encrypt key here")),
        ("/lark/cli_token", not_json, (400, "not_json", "")),
        ("/lark/cli_none", LarkRequest::signed("key", &event), (404, "not_found", "/lark/APP_ID")),
        ("/lark", LarkRequest::signed("key", &event), (404, "not_found", "/lark/APP_ID")),
        ("/elsewhere", LarkRequest::signed("key", &event), (404, "not_found", "/lark")),
    ] {
        let (status, reason, message) = refused(&rig, path, &request).await;
        assert_eq!((status, reason.as_str()), (expected.0, expected.1), "{path}: {message}");
        assert!(message.contains(expected.2), "{path}: {message}");
    }
    let counted = rig.metrics.refused();
    assert_eq!((counted["signature"], counted["token"], counted["encrypted"]), (7, 2, 2));
    // Nothing of it was taken.
    let request = LarkRequest::signed("key", &message("cli_a", "last"));
    assert_eq!(post(&rig, "/lark/cli_a", &request).await.status, 200);
    assert_eq!(&*rig.next().await.event().id, "last");
}

/// The answers to bodies that are not signed would reveal the plaintext of a recorded one if they
/// differed.
#[tokio::test]
async fn an_unsigned_body_reveals_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(vec![app(&folder, "cli_a", &["key"], &[])]).await;
    let good = encrypt("key", message("cli_a", "e-1").to_string().as_bytes());
    let mut answers = Vec::new();
    let bad_padding = encrypt("other", b"0123456789");
    let no_json = encrypt("key", b"0123456789");
    for text in [&*good, &bad_padding, &no_json, "", "?", "AAAA", &good[..64]] {
        let request = LarkRequest::plain(&json!({ "encrypt": text }));
        answers.push(refused(&rig, "/lark", &request).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn both_keys_of_a_rotation_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(vec![app(&folder, "cli_a", &["new", "old"], &["v-new", "v-token"])]).await;
    for (key, id) in [("new", "e-1"), ("old", "e-2")] {
        assert_eq!(post(&rig, "/lark", &LarkRequest::signed(key, &message("cli_a", id))).await.status, 200, "{key}");
        assert_eq!(&*rig.next().await.event().id, id);
        let challenge = LarkRequest::encrypted(key, &verification().to_string());
        assert_eq!(post(&rig, "/lark/cli_a", &challenge).await.status, 200, "{key}");
    }
    fs::write(folder.path().join("cli_a-key-1"), "newer").unwrap();
    crate::patience::until("the old key does not count", async || {
        post(&rig, "/lark", &LarkRequest::signed("old", &message("cli_a", "e-3"))).await.status == 401
    })
    .await;
}

/// Lark sends an event again until it is answered; a recorded request comes to nothing.
#[tokio::test]
async fn an_event_that_is_sent_again_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(ClientAuth::Lark(vec![app(&folder, "cli_a", &["key"], &[])]));
    let settings = HttpSource { auth, path: "/lark".to_owned(), answer: AnswerPoint::Settled, ..settings() };
    let mut rig = HttpRig::with(settings, LARK, 100).await;
    let first = LarkRequest::signed("key", &message("cli_a", "e-1"));
    let address = rig.address;
    let send = async |request: &LarkRequest| {
        crate::http::post(address, "/lark", &request.headers(), &request.body).await.status
    };
    let (status, ()) = tokio::join!(send(&first), async {
        let ticket = rig.next().await;
        assert_eq!(send(&first).await, 429, "it is under way");
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(status, 200);
    let again = LarkRequest::signed_at("key", &message("cli_a", "e-1"), now() - 15);
    assert_eq!((send(&first).await, send(&again).await), (200, 200));
    let other = LarkRequest::signed("key", &message("cli_a", "e-2"));
    let (status, ()) = tokio::join!(send(&other), async {
        let ticket = rig.next().await;
        assert_eq!(&*ticket.event().id, "e-2", "the repeats have come to nothing");
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(status, 200);
}

#[tokio::test]
async fn only_posts_of_uncompressed_bodies_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(vec![app(&folder, "cli_a", &["key"], &[])]).await;
    let get = crate::http::send(rig.address, &crate::http::request("GET", "/lark", &[], "")).await;
    assert_eq!((get.status, get.reason().as_str()), (405, "method"));
    let packed = rig.post("/lark", &[JSON, ("Content-Encoding", "gzip")], "x").await;
    assert_eq!((packed.status, packed.reason().as_str()), (415, "content_type"));
}
