//! `trommel webhooks` as a user meets it: what it prints where, what it changes, and how it ends.

use crate::router;
use crate::stand_in;
use crate::webhook_folder::{SECRET, SETTINGS, at, folder, json_of, run, states, used};

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::SystemTime};

use insta::assert_snapshot;
use router::Folder;
use serde_json::{Value, json};
use stand_in::{Reply, StandIn, ok, status};
use trommel::{
    signature::{self, SignatureHeaders},
    webhook::store::{AttemptVerdict, DeliveryAttempt, DeliveryState, DeliveryStore},
};

/// A damaged database is left as it was.
#[test]
fn a_database_that_is_cut_off_is_told_of() {
    let (folder, _) = used();
    let path = folder.file("deliveries.db");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let text = run(&folder, "webhooks disable", &["acme"], &[]);
    assert!(text.contains("error: database `DIR/deliveries.db` is cut off"), "{text}");
    assert!(text.ends_with("--- exit code 5"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), whole[..whole.len() / 2]);
}

/// C20: what follows the host may be a secret, as the secret is.
#[test]
fn webhooks_are_listed_with_their_states() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "webhooks list", &[], &[]), @r"
      NAME    URL                     TENANT  EVENTS                     STATE     PENDING  FAILED
      acme    https://acme.example/…  acme    instance.*, deploy.failed  active    1        1
      globex  https://globex.example  *       *                          active    0        0
      idle    https://idle.example    -       *                          inactive  0        0
      former  -                       -       -                          removed   1        0
    those removed are in no file any more: what is pending waits until they are, or for `trommel deliveries drop DIR --webhook NAME`
    --- stderr
    --- exit code 0
    ");
    let store = DeliveryStore::open(&folder.file("deliveries.db")).unwrap();
    store.disable("globex", "by test", at(20)).unwrap();
    let gone = DeliveryAttempt {
        id: ids[1],
        webhook: "acme".into(),
        ended: at(21),
        status_code: Some(410),
        error: Some("it answered 410".into()),
        answer: None,
        verdict: AttemptVerdict::Gone,
    };
    store.record(&[gone]).unwrap();
    assert_snapshot!(run(&folder, "webhooks list", &[], &[]), @r"
      NAME    URL                     TENANT  EVENTS                     STATE     PENDING  FAILED
      acme    https://acme.example/…  acme    instance.*, deploy.failed  gone      0        2
      globex  https://globex.example  *       *                          disabled  0        0
      idle    https://idle.example    -       *                          inactive  0        0
      former  -                       -       -                          removed   1        0
    `acme` is disabled since 2025-06-15T15:07:01Z: it answered 410; `trommel webhooks enable DIR acme` lets it get more
    `globex` is disabled since 2025-06-15T15:07:00Z: by test; `trommel webhooks enable DIR globex` lets it get more
    those removed are in no file any more: what is pending waits until they are, or for `trommel deliveries drop DIR --webhook NAME`
    --- stderr
    --- exit code 0
    ");
    let [list] = &json_of(&folder, "webhooks list", &[])[..] else { unreachable!("one object") };
    assert_eq!(
        list["webhooks"][0],
        json!({
            "webhook": "acme", "state": "gone", "since": "2025-06-15T15:07:01Z", "reason": "it answered 410", "rotating": false, "former_until": null,
            "url": "https://acme.example/…", "tenant": "acme", "events": ["instance.*", "deploy.failed"],
            "deliveries": { "pending": 0, "delivered": 0, "failed": 2, "cancelled": 0 },
        })
    );
    assert_eq!(list["webhooks"].as_array().unwrap().len(), 4);
    let empty = Folder::new(SETTINGS);
    assert_snapshot!(run(&empty, "webhooks list", &[], &[]), @r"
    DIR declares no webhooks: they go into `keys/*.toml`, and `trommel webhooks add DIR` writes them
    --- stderr
    --- exit code 0
    ");
}

#[test]
fn webhooks_are_disabled_and_enabled() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "webhooks disable", &["acme"], &ids), @r"
    `acme` is disabled; 1 delivery cancelled
    --- stderr
    --- exit code 0
    ");
    assert_eq!(states(&folder)[1], DeliveryState::Cancelled);
    assert_snapshot!(run(&folder, "webhooks disable", &["acme"], &ids), @r"
    `acme` was disabled already; 0 deliveries cancelled
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(run(&folder, "webhooks enable", &["acme"], &ids), @r"
    `acme` is enabled and gets what comes from now on
      `trommel deliveries retry DIR --state cancelled --webhook acme` sends what it has missed
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(run(&folder, "webhooks enable", &["idle"], &ids), @r"
    `idle` was not disabled
      it still gets nothing: keys/webhooks.toml:15:5 says `active = false`
    --- stderr
    --- exit code 0
    ");
    // Also before the router has ever run.
    let folder = crate::webhook_folder::folder();
    let disabled = json_of(&folder, "webhooks disable", &["acme"]);
    assert_eq!(disabled, [json!({ "webhook": "acme", "was_disabled": false, "cancelled": 0 })]);
    let enabled = json_of(&folder, "webhooks enable", &["acme"]);
    assert_eq!(enabled, [json!({ "webhook": "acme", "was_disabled": true, "active": true })]);
}

/// C20: the secret is new, is nobody else's to read, and is not printed.
#[test]
fn a_webhook_is_added_with_a_secret_of_its_own() {
    let folder = folder();
    let words = ["new", "--url", "https://new.example/in", "--events", "instance.*,deploy.failed", "--tenant", "t-1"];
    assert_snapshot!(run(&folder, "webhooks add", &words, &[]), @r"
    `new` is declared in `keys/webhook-new.toml`; a router that runs takes it up at once
      its secret is in `secrets/new`: give it to the receiver, who needs it to verify signatures
      `trommel webhooks test DIR new` sends a signed event to try it with
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(folder.read("keys/webhook-new.toml"), @r#"
    [[webhook]]
    name = "new"
    url = "https://new.example/in"
    tenant = "t-1"
    events = ["instance.*", "deploy.failed"]
    secret_file = "secrets/new"
    "#);
    let mode = fs::metadata(folder.file("keys/webhook-new.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its address may hold a secret");
    let secret = folder.read("secrets/new");
    assert!(secret.starts_with("whsec_") && secret.trim().len() == 38, "{secret}");
    assert_eq!(fs::metadata(folder.file("secrets/new")).unwrap().permissions().mode() & 0o777, 0o600);
    let [list] = &json_of(&folder, "webhooks list", &[])[..] else { unreachable!("one object") };
    assert_eq!((&list["webhooks"][0]["webhook"], &list["webhooks"][0]["state"]), (&json!("new"), &json!("active")));

    let other = ["other", "--url", "https://other.example", "--secret-file", "secrets/shared"];
    let added = json_of(&folder, "webhooks add", &other);
    let expected = json!({ "webhook": "other", "file": "keys/webhook-other.toml", "secret_file": "secrets/shared" });
    assert_eq!(added, [expected]);
    assert!(!folder.file("secrets/other").exists());
}

#[test]
fn a_webhook_that_can_not_be_added_leaves_nothing_behind() {
    let folder = folder();
    let files = || {
        let mut files = Vec::new();
        for inner in ["keys", "secrets"] {
            let entries = fs::read_dir(folder.file(inner)).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
        files.sort();
        files
    };
    let before = files();
    let refused = |arguments: &[&str]| {
        let text = run(&folder, "webhooks add", arguments, &[]);
        assert_eq!(files(), before, "{text}");
        text.strip_prefix("--- stderr\n").unwrap().to_owned()
    };
    assert_snapshot!(refused(&["new", "--url", "ftp://new.example"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:3:7: `url` is not a server's address: it begins with `ftp:` instead of `https:` or `http:`
      an address looks like `https://hooks.example.com/trommel`
      nothing was changed
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "http://127.0.0.1:80"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:3:7: `url` is a private address
      say `allow_private = true` if that is meant
      nothing was changed
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "https://a", "--events", "a..b"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:4:11: `events` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
      nothing was changed
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "https://a", "--secret-file", "secrets/none"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:4:15: can't use the secret in `secrets/none`: No such file or directory (os error 2)
      nothing was changed
    --- exit code 2
    ");
    assert_snapshot!(refused(&["acme", "--url", "https://a"]), @r"
    error: there is a webhook `acme` already, at keys/webhooks.toml:2:5
    --- exit code 2
    ");
    assert_snapshot!(refused(&["shared", "--url", "https://a"]), @r"
    error: there is a file `DIR/secrets/shared` already
      nothing is written over: choose another name, or name the secret with `--secret-file`
    --- exit code 2
    ");
    assert_snapshot!(refused(&["../new", "--url", "https://a"]), @r"
    error: invalid value '../new' for '<NAME>': a name is made of letters, digits, `-`, `_` and `.`, and does not begin with `.`

    For more information, try '--help'.
    --- exit code 2
    ");
    folder.put("keys/broken.toml", b"[[webhook]]\n");
    fs::remove_file(folder.file("keys/webhooks.toml")).unwrap();
    let text = run(&folder, "webhooks add", &["new", "--url", "https://a"], &[]);
    assert!(text.contains("keys/broken.toml:1:1") && text.ends_with("--- exit code 2"), "{text}");
}

/// C22, C23: signed as every delivery is, and apart from them.
#[test]
fn a_signed_event_tries_a_webhook() {
    let receiver = StandIn::new(|before, _| match before {
        0 => ok("thank you\nvery much"),
        1 => status("401 Unauthorized", "who\u{1b}[31m is this"),
        2 => Reply::Answer("302 Found", &["Location: /elsewhere"], Vec::new()),
        3 => status("404 Not Found", ""),
        4 => status("410 Gone", "bye"),
        5 => status("503 Service Unavailable", ""),
        6 => status("422 Unprocessable Content", ""),
        _ => Reply::Cut,
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let webhook = |name: &str, address| {
        let url = format!("http://{address}/in");
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nallow_private = true\nsecret_file = \"secrets/shared\"\n"
        )
    };
    let webhooks = webhook("here", receiver.address) + &webhook("nobody", free);
    let folder = folder().write("keys/webhooks.toml", &webhooks);
    let test = |arguments: &[&str]| run(&folder, "webhooks test", arguments, &[]);
    insta::with_settings!({ filters => [(r"after \d+ ms", "after N ms")] }, {
        assert_snapshot!(test(&["here"]), @r"
        `here` answered 200 after N ms: thank you
        --- stderr
        --- exit code 0
        ");
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` answered 401 after N ms: who\u001b[31m is this
          does the receiver verify with the same secret, and is its clock right?
        --- exit code 1
        ");
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` answered 302 after N ms
          redirects are not followed: let `url` be the address that it leads to
        --- exit code 1
        ");
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` answered 404 after N ms
          is `url` the receiver's whole address, with its path?
        --- exit code 1
        ");
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` answered 410 after N ms: bye
          it wants no events any more: a delivery would disable the webhook
        --- exit code 1
        ");
        assert_snapshot!(test(&["here", "--json"]), @r#"
        --- stderr
        {"ok":false,"error":{"type":"api","subtype":"not_taken","param":null,"message":"`here` answered 503 after N ms","hint":"a delivery would be tried again, for hours"}}
        --- exit code 1
        "#);
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` answered 422 after N ms
          a delivery would fail at once
        --- exit code 1
        ");
        assert_snapshot!(test(&["here"]), @r"
        --- stderr
        error: `here` did not answer: the connection broke: connection closed before message completed
          a delivery would be tried again, for hours
        --- exit code 4
        ");
        assert_snapshot!(test(&["nobody"]), @r"
        --- stderr
        error: `nobody` did not answer: could not connect: Connection refused (os error 111)
          a delivery would be tried again, for hours
        --- exit code 4
        ");
    });

    let seen = &receiver.seen()[0];
    let header = |name| seen.header(name).unwrap();
    let signed = SignatureHeaders {
        id: header(signature::ID),
        timestamp: header(signature::TIMESTAMP),
        signatures: header(signature::SIGNATURE),
    };
    let secrets = [SECRET.parse().unwrap()];
    assert_eq!(signature::verify(&secrets, signed, seen.body.as_bytes(), SystemTime::now()), Ok(()));
    let event: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((&event["type"], &event["webhook"]), (&json!("trommel.test"), &json!("here")));
    assert_eq!((seen.line.as_str(), event["id"].as_str()), ("POST /in", Some(signed.id)));
    assert!(!folder.file("deliveries.db").exists(), "it is no delivery");
}
