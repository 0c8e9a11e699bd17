//! Changes of declared webhooks by commands: what surrounds them in their files stays, and a
//! rotation has no gap.

use crate::stand_in::{StandIn, ok};
use crate::webhook_folder::{folder, json_of, run, used};

use std::{fs, os::unix::fs::PermissionsExt as _, time::SystemTime};

use insta::assert_snapshot;
use serde_json::json;
use trommel::{
    signature::{self, Secret, SignatureHeaders},
    webhook::store::{DeliveryQuery, DeliveryState, DeliveryStore},
};

const COMMENTED: &str = "# Ours.\n[[webhook]]\nname = \"acme\" # a customer\nurl = \"https://acme.example/a\" # from \
    their mail\nsecret_file = \"secrets/shared\"\n\n# Theirs.\n[[webhook]]\nname = \"globex\"\n\
    url = \"https://globex.example\"\nsecret_file = \"secrets/shared\"\n";

/// What a user has written around a webhook is left as it was.
#[test]
fn a_change_keeps_what_is_around_it() {
    let folder = folder().write("keys/webhooks.toml", COMMENTED);
    fs::set_permissions(folder.file("keys/webhooks.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let changes = ["acme", "--url", "https://new.example/b", "--events", "a.*,b"];
    assert_snapshot!(run(&folder, "webhooks change", &changes, &[]), @r"
    `acme` is changed in `keys/webhooks.toml`; a router that runs takes it up at once
    --- stderr
    --- exit code 0
    ");
    let expected = COMMENTED.replace("https://acme.example/a", "https://new.example/b").replacen(
        "\"secrets/shared\"\n",
        "\"secrets/shared\"\nevents = [\"a.*\", \"b\"]\n",
        1,
    );
    assert_eq!(folder.read("keys/webhooks.toml"), expected);
    let mode = fs::metadata(folder.file("keys/webhooks.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_snapshot!(run(&folder, "webhooks change", &["acme", "--url", "https://10.0.0.1"], &[]), @r"
    --- stderr
    error: the configuration has problems:
    keys/webhooks.toml:4:7: `url` is a private address
      say `allow_private = true` if that is meant
      nothing was changed
    --- exit code 2
    ");
    assert_eq!(folder.read("keys/webhooks.toml"), expected);
    let left: Vec<_> = fs::read_dir(folder.file("keys")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["webhooks.toml"]);
}

/// The deliveries that wait go with it, and its name is free for another.
#[test]
fn a_webhook_is_removed_with_what_waits_for_it() {
    let (folder, _) = used();
    assert_snapshot!(run(&folder, "webhooks remove", &["acme"], &[]), @r"
    `acme` is removed from `keys/webhooks.toml`; 1 delivery cancelled
    --- stderr
    --- exit code 0
    ");
    assert!(!folder.read("keys/webhooks.toml").contains("acme"));
    assert!(folder.read("keys/webhooks.toml").contains("globex"), "the others stay");
    assert!(folder.file("secrets/shared").exists(), "it was not made for this webhook");
    let store = DeliveryStore::open(&folder.file("deliveries.db")).unwrap();
    let pending = DeliveryQuery { state: Some(DeliveryState::Pending), ..DeliveryQuery::default() };
    assert!(store.list(&pending, 9).unwrap().iter().all(|delivery| delivery.webhook != "acme"));
    drop(store);

    json_of(&folder, "webhooks add", &["acme", "--url", "https://acme.example"]);
    let [list] = &json_of(&folder, "webhooks list", &[])[..] else { unreachable!("one object") };
    assert_eq!((&list["webhooks"][0]["webhook"], &list["webhooks"][0]["state"]), (&json!("acme"), &json!("active")));
    json_of(&folder, "webhooks remove", &["acme"]);
    assert!(!folder.file("keys/webhook-acme.toml").exists() && !folder.file("secrets/acme").exists());
    let unknown = run(&folder, "webhooks remove", &["acme"], &[]);
    assert!(unknown.contains("there is no webhook `acme`") && unknown.ends_with("exit code 2"), "{unknown}");
}

fn secret(folder: &crate::router::Folder, file: &str) -> Secret {
    folder.read(file).parse().unwrap()
}

/// C22: a receiver that knows either secret believes every request until the rotation is finished.
#[test]
fn both_secrets_sign_until_a_rotation_is_finished() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder();
    let url = format!("http://{}/in", receiver.address);
    json_of(&folder, "webhooks add", &["here", "--url", &url, "--allow-private"]);
    let old = secret(&folder, "secrets/here");
    assert_snapshot!(run(&folder, "webhooks rotate", &["here", "--finish"], &[]), @r"
    --- stderr
    error: webhook `here` has one secret: no rotation is under way
      without `--finish` it gets a new secret
    --- exit code 2
    ");
    assert_snapshot!(run(&folder, "webhooks rotate", &["here"], &[]), @r"
    `here` signs with a new secret and with the former one
      the new one is in `secrets/here-2`: give it to the receiver
      `trommel webhooks rotate DIR here --finish` gives up the former one after that
    --- stderr
    --- exit code 0
    ");
    let new = secret(&folder, "secrets/here-2");
    assert_snapshot!(run(&folder, "webhooks rotate", &["here"], &[]), @r"
    --- stderr
    error: webhook `here` has two secrets already: the rotation before this one is not finished
      `--finish` gives up the former secret
    --- exit code 2
    ");
    assert!(!folder.file("secrets/here-3").exists());
    json_of(&folder, "webhooks test", &["here"]);
    assert_snapshot!(run(&folder, "webhooks rotate", &["here", "--finish"], &[]), @r"
    `here` signs with its new secret alone
    --- stderr
    --- exit code 0
    ");
    json_of(&folder, "webhooks test", &["here"]);
    assert!(folder.file("secrets/here-2").exists() && !folder.file("secrets/here").exists());

    let believed = receiver.seen().into_iter().map(|seen| {
        let header = |name| seen.header(name).unwrap();
        let signed = SignatureHeaders {
            id: header(signature::ID),
            timestamp: header(signature::TIMESTAMP),
            signatures: header(signature::SIGNATURE),
        };
        let count = signed.signatures.split(' ').count();
        let by = |secret: &Secret| {
            let secrets = std::slice::from_ref(secret);
            signature::verify(secrets, signed, seen.body.as_bytes(), SystemTime::now()).is_ok()
        };
        (count, by(&new), by(&old))
    });
    assert_eq!(believed.collect::<Vec<_>>(), [(2, true, true), (1, true, false)]);
}

#[test]
fn a_rotation_can_end_by_itself() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder();
    let url = format!("http://{}/in", receiver.address);
    json_of(&folder, "webhooks add", &["here", "--url", &url, "--allow-private"]);
    let signatures = || {
        json_of(&folder, "webhooks test", &["here"]);
        receiver.seen().last().unwrap().header(signature::SIGNATURE).unwrap().split(' ').count()
    };
    let listed = || {
        let [listed] = &json_of(&folder, "webhooks list", &[])[..] else { panic!("one object") };
        let webhooks = listed["webhooks"].as_array().unwrap();
        let here = webhooks.iter().find(|webhook| webhook["webhook"] == "here").unwrap();
        (here["rotating"].clone(), here["former_until"].as_str().map(str::to_owned))
    };
    let [rotated] = &json_of(&folder, "webhooks rotate", &["here", "--for", "7d"])[..] else { panic!("one object") };
    let until = rotated["former_until"].as_str().unwrap().to_owned();
    assert_eq!((signatures(), listed()), (2, (true.into(), Some(until.clone()))));
    let text = run(&folder, "webhooks list", &[], &[]);
    assert!(text.contains(&format!("`here` signs with its former secret, too, until {until}")), "{text}");
    let refused = run(&folder, "webhooks rotate", &["here", "--for", "1d"], &[]);
    assert!(refused.contains("the rotation before this one is not finished"), "{refused}");

    // The time has come.
    let file = "keys/webhook-here.toml";
    let over = folder.read(file).replace(&until, "2026-01-01T00:00:00Z");
    folder.put(file, over.as_bytes());
    assert_eq!((signatures(), listed().0), (1, false.into()));
    // The next one finishes it: the newest secret and the one before it sign.
    json_of(&folder, "webhooks rotate", &["here"]);
    assert_eq!((signatures(), listed()), (2, (true.into(), None)));
    assert!(!folder.file("secrets/here").exists() && folder.file("secrets/here-2").exists());
    json_of(&folder, "webhooks rotate", &["here", "--finish"]);
    assert_eq!((signatures(), listed()), (1, (false.into(), None)));
}

/// What is sent in place of the payload is what is signed, and is shown.
#[test]
fn a_test_shows_the_body_that_a_payload_becomes() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder().write("order.json", r#"{"order": {"id": 7, "title": "a \"b\""}}"#);
    let url = format!("http://{}/in", receiver.address);
    let body = r#"{"order": "{/order/id}", "text": "{event_type}: {/order/title}"}"#;
    json_of(&folder, "webhooks add", &["here", "--url", &url, "--allow-private", "--body", body]);
    let refused = run(&folder, "webhooks test", &["here"], &[]);
    assert!(refused.contains("`here`: the payload has no `/order/id`, which its `body` names"), "{refused}");
    assert!(receiver.seen().is_empty(), "{refused}");
    let payload = folder.file("order.json").display().to_string();
    let [tested] = &json_of(&folder, "webhooks test", &["here", "--payload", &payload])[..] else {
        panic!("one object")
    };
    let sent = r#"{"order":7,"text":"trommel.test: a \"b\""}"#;
    assert_eq!(tested["body"], sent);
    let seen = &receiver.seen()[0];
    assert_eq!((seen.body.as_str(), seen.header("content-type")), (sent, Some("application/json")));
    let header = |name| seen.header(name).unwrap();
    let signed = SignatureHeaders {
        id: header(signature::ID),
        timestamp: header(signature::TIMESTAMP),
        signatures: header(signature::SIGNATURE),
    };
    let secrets = [secret(&folder, "secrets/here")];
    assert_eq!(signature::verify(&secrets, signed, sent.as_bytes(), SystemTime::now()), Ok(()));
}
