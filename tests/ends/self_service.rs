//! Webhooks over HTTP: tenants see to their own and never meet another's, what is made is in force,
//! and files that users have written stay as they are.

use crate::http::{Answer, request, send};
use crate::patience::blocking::until;
use crate::router::{Folder, Router, trommel};
use crate::stand_in::{Seen, StandIn, ok, status};

use std::{
    fs,
    io::{PipeWriter, Write as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    time::SystemTime,
};

use serde_json::{Value, json};
use trommel::signature::{self, Secret, SignatureHeaders};

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    envelope = "ctrlplane"

    [[sink]]
    name = "hooks"
    type = "webhook"

    [webhooks]
    listen = "127.0.0.1:0"
    token_file = "operator"
    tenants_file = "tenants"
"#;

const KEYS: &str = "[[route]]\nfallthrough = true\nsinks = [\"hooks\"]\n";
const BY_HAND: &str = "# By hand.\n[[webhook]]\nname = \"fixed\"\nurl = \"https://fixed.example/in\"\n\
    tenant = \"acme\"\nsecret_file = \"operator\"\n";
const OPERATOR: &str = "operator-operator-operator-1";
const ACME: &str = "acme-acme-acme-acme-1";
const GLOBEX: &str = "globex-globex-globex-1";

struct Running {
    folder: Folder,
    router: Router,
    address: SocketAddr,
    events: PipeWriter,
}

fn running() -> Running {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).write("keys/fixed.toml", BY_HAND);
    let folder = folder.write("operator", OPERATOR).write("tenants", &format!("acme {ACME}\nglobex {GLOBEX}\n"));
    let (mut router, events) = folder.spawn_with_stdin();
    let line = router.wait_for("listening for changes of webhooks");
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    router.wait_for("running");
    Running { folder, router, address, events }
}

impl Running {
    async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = format!("Bearer {token}");
        send(self.address, &request(method, path, &[("authorization", &token)], &body)).await
    }

    /// Asks for what is done.
    async fn done(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask(token, method, path, body).await;
        assert!((200..202).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.json()
    }

    /// Asks for what is refused: status, reason code, detail and hint.
    async fn refused(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let answer = self.ask(token, method, path, body).await;
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["type"]), (&json!(answer.status), &json!("about:blank")));
        let detail = problem["detail"].as_str().unwrap().to_owned();
        (answer.status, problem["reason"].as_str().unwrap().to_owned(), detail)
    }

    fn event(&mut self, id: &str, tenant: &str) {
        let event = json!({ "id": id, "type": "instance.created", "tenant_id": tenant, "instance_id": "i-1", "data": { "n": 1 },
            "timestamp": "2026-01-01T00:00:00Z" });
        writeln!(self.events, "{event}").unwrap();
    }

    fn stop(self) {
        drop(self.events);
        let mut router = self.router;
        assert!(router.end().status.success());
    }
}

/// Which of the secrets have signed a request.
fn signed_by(seen: &Seen, secrets: &[&str]) -> Vec<bool> {
    let header = |name| seen.header(name).unwrap();
    let signed = SignatureHeaders {
        id: header(signature::ID),
        timestamp: header(signature::TIMESTAMP),
        signatures: header(signature::SIGNATURE),
    };
    let is_by = |secret: &&str| {
        let secrets = [secret.parse::<Secret>().unwrap()];
        signature::verify(&secrets, signed, seen.body.as_bytes(), SystemTime::now()).is_ok()
    };
    secrets.iter().map(is_by).collect()
}

/// From the first request to the last, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_and_used_and_removed() {
    let receiver = StandIn::new(|_, _| ok("thanks"));
    let mut running = running();
    let url = format!("http://{}/acme", receiver.address);
    // For an address on this machine an operator is needed.
    let new = json!({ "tenant": "acme", "url": url, "allow_private": true, "events": ["instance.*"] });
    let made = running.done(OPERATOR, "POST", "/webhooks", new).await;
    let name = made["name"].as_str().unwrap().to_owned();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(name.starts_with("hook_") && secret.starts_with("whsec_"), "{made}");
    assert_eq!((&made["tenant"], &made["state"], &made["url"]), (&json!("acme"), &json!("active"), &json!(url)));
    let path = format!("/webhooks/{name}");
    let file = format!("keys/webhook-{name}.toml");
    let mode = fs::metadata(running.folder.file(&file)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its address may hold a secret");

    // In force at once.
    running.event("evt_1", "acme");
    running.event("evt_2", "globex");
    until("the event is there", || receiver.seen().len() == 1);
    assert_eq!(signed_by(&receiver.seen()[0], &[&secret]), [true]);
    let shown = running.done(ACME, "GET", &path, Value::Null).await;
    assert!(shown.get("secret").is_none(), "{shown}");

    let rotated = running.done(ACME, "POST", &format!("{path}/rotate"), Value::Null).await;
    let next = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated["rotating"], true);
    let tested = running.done(ACME, "POST", &format!("{path}/test"), Value::Null).await;
    assert_eq!((&tested["status_code"], &tested["answer"]), (&json!(200), &json!("thanks")));
    assert_eq!(signed_by(&receiver.seen()[1], &[&secret, &next]), [true, true]);
    let finished = running.done(ACME, "POST", &format!("{path}/rotate"), json!({ "finish": true })).await;
    assert_eq!((&finished["rotating"], &finished["former_until"]), (&false.into(), &Value::Null));
    running.done(ACME, "POST", &format!("{path}/test"), Value::Null).await;
    assert_eq!(signed_by(&receiver.seen()[2], &[&secret, &next]), [false, true]);
    let rotated = running.done(ACME, "POST", &format!("{path}/rotate"), json!({ "for": "7d" })).await;
    assert!(rotated["rotating"] == true && rotated["former_until"].is_string(), "{rotated}");

    let changed = running.done(ACME, "PATCH", &path, json!({ "events": ["deploy.*"] })).await;
    assert_eq!(changed["events"], json!(["deploy.*"]));
    running.done(ACME, "PATCH", &path, json!({ "events": null })).await;
    running.event("evt_3", "acme");
    until("the third is there", || receiver.seen().len() == 4);

    let removed = running.done(ACME, "DELETE", &path, Value::Null).await;
    assert_eq!(removed, json!({ "name": name, "cancelled": 0 }));
    assert!(!running.folder.file(&file).exists());
    let secrets = fs::read_dir(running.folder.file("secrets")).unwrap().count();
    assert_eq!(secrets, 0, "no secret is left behind");
    assert_eq!(running.refused(ACME, "GET", &path, Value::Null).await.1, "unknown_webhook");
    assert_eq!(running.folder.read("keys/fixed.toml"), BY_HAND);
    running.stop();
}

/// Deliveries are seen, tried again and stopped over HTTP too.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_failed_is_sent_again() {
    let receiver = StandIn::new(|before, _| if before == 0 { status("400 Bad Request", "no") } else { ok("") });
    let mut running = running();
    let url = format!("http://{}/acme", receiver.address);
    let new = json!({ "name": "mine", "tenant": "acme", "url": url, "allow_private": true });
    running.done(OPERATOR, "POST", "/webhooks", new).await;
    running.event("evt_1", "acme");
    let path = "/webhooks/mine/deliveries";
    let failed = loop {
        let listed = running.done(ACME, "GET", &format!("{path}?state=failed"), Value::Null).await;
        if let Some(failed) = listed["deliveries"][0].as_object() {
            break failed.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((&failed["event_id"], &failed["status_code"]), (&json!("evt_1"), &json!(400)));
    let id = failed["id"].as_str().unwrap();
    let (status, reason, _) = running.refused(GLOBEX, "POST", &format!("{path}/{id}/retry"), Value::Null).await;
    assert_eq!((status, reason.as_str()), (404, "unknown_webhook"));
    let answer = running.ask(ACME, "POST", &format!("{path}/{id}/retry"), Value::Null).await;
    assert_eq!((answer.status, &answer.json()["retried"]), (202, &json!(id)));
    until("it is sent again", || receiver.seen().len() == 2);
    assert_eq!(receiver.seen()[0].header("webhook-id"), receiver.seen()[1].header("webhook-id"));

    let disabled = running.done(ACME, "POST", "/webhooks/mine/disable", Value::Null).await;
    assert_eq!((&disabled["state"], &disabled["reason"]), (&json!("disabled"), &json!("over the HTTP API")));
    let (status, reason, detail) = running.refused(ACME, "POST", &format!("{path}/{id}/retry"), Value::Null).await;
    assert_eq!((status, reason.as_str()), (409, "webhook_gets_nothing"), "{detail}");
    let enabled = running.done(ACME, "POST", "/webhooks/mine/enable", Value::Null).await;
    assert_eq!(enabled["state"], "active");
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_never_meets_anothers_webhooks() {
    let running = running();
    let new = json!({ "url": "https://globex.example/in?key=1" });
    let theirs = running.done(GLOBEX, "POST", "/webhooks", new).await;
    let theirs = theirs["name"].as_str().unwrap();
    let own = |list: &Value| -> Vec<String> {
        list["webhooks"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(own(&running.done(ACME, "GET", "/webhooks", Value::Null).await), ["fixed"]);
    assert_eq!(own(&running.done(GLOBEX, "GET", "/webhooks", Value::Null).await), [theirs]);
    assert_eq!(own(&running.done(OPERATOR, "GET", "/webhooks", Value::Null).await).len(), 2);
    // The same answer as for one that is not there.
    for (method, more, body) in [
        ("GET", "", Value::Null),
        ("PATCH", "", json!({ "active": false })),
        ("DELETE", "", Value::Null),
        ("POST", "/rotate", Value::Null),
        ("POST", "/test", Value::Null),
        ("POST", "/enable", Value::Null),
        ("POST", "/disable", Value::Null),
        ("GET", "/deliveries", Value::Null),
    ] {
        for name in [theirs, "nobodys"] {
            let refused = running.refused(ACME, method, &format!("/webhooks/{name}{more}"), body.clone()).await;
            let expected = (404, "unknown_webhook".to_owned(), format!("there is no webhook `{name}`"));
            assert_eq!(refused, expected, "{method} {more}");
        }
    }
    for token in ["", "acme-acme-acme-acme-2", "x"] {
        let (status, reason, _) = running.refused(token, "GET", "/webhooks", Value::Null).await;
        assert_eq!((status, reason.as_str()), (401, "token"), "{token}");
    }
    // What was written by hand is seen and left alone.
    let (status, reason, _) = running.refused(ACME, "DELETE", "/webhooks/fixed", Value::Null).await;
    assert_eq!((status, reason.as_str()), (409, "declared_elsewhere"));
    running.stop();
}

/// In the words of the command line, and with nothing left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_can_not_be_made_leaves_nothing_behind() {
    let running = running();
    let files = || {
        let folder = fs::read_dir(running.folder.file("keys")).unwrap();
        let secrets = fs::read_dir(running.folder.file("secrets")).into_iter().flatten();
        folder.chain(secrets).map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let before = files();
    for (token, body, expected) in [
        (ACME, json!({}), (422, "bad_webhook", "`url` is missing")),
        (ACME, json!({ "url": "http://127.0.0.1:80" }), (422, "bad_webhook", "`url` is a private address")),
        (ACME, json!({ "url": "https://a.example", "colour": 1 }), (422, "bad_webhook", "unknown field `colour`")),
        (
            ACME,
            json!({ "url": "https://a.example", "events": ["a..b"] }),
            (
                422,
                "bad_webhook",
                "`events` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last",
            ),
        ),
        (ACME, json!({ "url": "https://a.example", "body": "{" }), (422, "bad_webhook", "")),
        (
            ACME,
            json!({ "url": "https://a.example", "allow_private": true }),
            (403, "operators_field", "`allow_private` is for the operator to set"),
        ),
        (
            ACME,
            json!({ "url": "https://a.example", "tenant": "globex" }),
            (403, "operators_field", "`tenant` is for the operator to set"),
        ),
        (
            ACME,
            json!({ "url": "https://a.example", "secret_file": "tenants" }),
            (422, "bad_webhook", "unknown field `secret_file`"),
        ),
        (OPERATOR, json!({ "name": "../x", "url": "https://a.example" }), (422, "bad_webhook", "")),
        (
            OPERATOR,
            json!({ "name": "fixed", "url": "https://a.example" }),
            (409, "webhook_exists", "there is a webhook `fixed` already"),
        ),
        (OPERATOR, json!([1]), (400, "bad_body", "the body is a JSON object")),
    ] {
        let (status, reason, detail) = running.refused(token, "POST", "/webhooks", body.clone()).await;
        assert_eq!((status, reason.as_str()), (expected.0, expected.1), "{body}: {detail}");
        assert!(detail == expected.2 || expected.2.is_empty(), "{body}: {detail}");
        assert_eq!(files(), before, "{body}");
    }
    let (status, reason, _) = running.refused(ACME, "PUT", "/webhooks", Value::Null).await;
    assert_eq!((status, reason.as_str()), (405, "method"));
    let (status, reason, _) = running.refused(ACME, "GET", "/other", Value::Null).await;
    assert_eq!((status, reason.as_str()), (404, "not_found"));
    running.stop();
}

/// While another file of the folder is broken, a change waits and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_in_force_yet_is_accepted_only() {
    let mut running = running();
    running.folder.put("keys/broken.toml", b"[[webhook]]\n");
    running.router.wait_for("not reloaded");
    let answer = running.ask(ACME, "POST", "/webhooks", json!({ "url": "https://a.example/in" })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let (status, reason, _) =
        running.refused(GLOBEX, "POST", "/webhooks", json!({ "url": "https://b.example/in" })).await;
    assert_eq!((status, reason.as_str()), (503, "not_in_force"), "a broken folder does not fill");
    fs::remove_file(running.folder.file("keys/broken.toml")).unwrap();
    crate::patience::until("the change is in force", async || {
        running.done(ACME, "GET", "/webhooks", Value::Null).await["webhooks"].as_array().unwrap().len() == 2
    })
    .await;
    let output = trommel().args(["webhooks", "list"]).arg(running.folder.path()).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("hook_"), "the command line sees it too");
    running.stop();
}
