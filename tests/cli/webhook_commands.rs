//! `trommel deliveries` and `trommel webhooks` as a user meets them: what they print where, what they change, and how they
//! end. No router runs here.

use crate::router;
use crate::stand_in;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

use insta::assert_snapshot;
use jiff::Timestamp;
use router::{Folder, trommel};
use serde_json::{Value, json};
use stand_in::{Reply, StandIn, ok, status};
use trommel::{
    signature::{self, Signed},
    webhook::store::{Attempt, DeliveryId, NewOutput, State, Store, Verdict, Which},
};

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "hooks"
    type = "webhook"
"#;

const WEBHOOKS: &str = r#"
    [[webhook]]
    name = "acme"
    url = "https://acme.example/hooks/very-secret?token=1"
    tenant = "acme"
    events = ["instance.*", "deploy.failed"]
    secret_file = "secrets/shared"

    [[webhook]]
    name = "globex"
    url = "https://globex.example"
    tenant = "*"
    secret_file = "secrets/shared"

    [[webhook]]
    name = "idle"
    url = "https://idle.example"
    active = false
    secret_file = "secrets/shared"
"#;

const SECRET: &str = "hunter2-hunter2-hunter2-2";

fn folder() -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/webhooks.toml", WEBHOOKS);
    fs::create_dir(folder.file("secrets")).unwrap();
    let folder = folder.write("secrets/shared", &format!("{SECRET}\n"));
    fs::set_permissions(folder.file("secrets/shared"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

/// A folder after a while, and its deliveries in the order in which they were made: one to `acme` that failed, one that
/// is pending, one to `globex` that was delivered, one to `former`, which is declared no more.
fn used() -> (Folder, Vec<DeliveryId>) {
    let folder = folder();
    let store = Store::make(&folder.file("deliveries.db")).unwrap();
    for (second, event_type, webhook) in [
        (1, "instance.created", "acme"),
        (2, "deploy.failed", "acme"),
        (3, "instance.created", "globex"),
        (4, "odd\n\u{1b}[31mtype", "former"),
    ] {
        let output = NewOutput {
            id: format!("evt_{second}:key:key-0:0"),
            event_id: format!("evt_{second}").into(),
            event_type: event_type.into(),
            subject: "events".into(),
            tenant: Some("acme".into()),
            content_type: None,
            traceparent: None,
            payload: format!(r#"{{"id":"evt_{second}","size":[1,2]}}"#).into(),
        };
        store.insert([(&output, &[webhook][..])], at(second)).unwrap();
        // Of one millisecond, ids have no order.
        let made = Timestamp::now().as_millisecond();
        while Timestamp::now().as_millisecond() == made {
            std::hint::spin_loop();
        }
    }
    let mut deliveries = store.list(&Which::default(), 9).unwrap();
    deliveries.reverse();
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
    let attempt = |of: usize, status_code, error: Option<&str>, answer: Option<&[u8]>, verdict| Attempt {
        id: ids[of],
        webhook: deliveries[of].webhook.clone(),
        ended: at(10),
        status_code,
        error: error.map(str::to_owned),
        answer: answer.map(<[u8]>::to_vec),
        verdict,
    };
    let again = Verdict::Again(Duration::from_secs(30));
    store
        .record(&[
            attempt(0, Some(400), Some("it answered 400"), Some(b"no such\n\x1b[2Jtenant"), Verdict::Failed),
            attempt(1, None, Some("could not connect"), None, again),
            attempt(2, Some(200), None, Some(b"ok"), Verdict::Delivered),
        ])
        .unwrap();
    (folder, ids)
}

/// `trommel GROUP COMMAND DIR ARGUMENTS...`, with the folder written as `DIR` and deliveries as their numbers.
fn run(folder: &Folder, words: &str, arguments: &[&str], ids: &[DeliveryId]) -> String {
    let output = trommel().args(words.split(' ')).arg(folder.path()).args(arguments).output().unwrap();
    let (code, stdout, stderr) = (output.status.code().unwrap(), output.stdout, output.stderr);
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    let mut text = format!("{stdout}--- stderr\n{stderr}--- exit code {code}");
    text = text.replace(&folder.path().display().to_string(), "DIR");
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(&id.to_string(), &format!("deli_{number:0>26}"));
    }
    assert!(!text.contains("hunter2"), "{text}");
    text
}

/// What a command prints as JSON, a value a line or in all.
fn json_of(folder: &Folder, words: &str, arguments: &[&str]) -> Vec<Value> {
    let text = run(folder, words, &[&["--json"], arguments].concat(), &[]);
    let (stdout, rest) = text.split_once("--- stderr\n").unwrap();
    assert_eq!(rest, "--- exit code 0", "{text}");
    serde_json::Deserializer::from_str(stdout).into_iter().collect::<Result<_, _>>().unwrap()
}

fn states(folder: &Folder) -> Vec<State> {
    let store = Store::open(&folder.file("deliveries.db")).unwrap();
    let mut all = store.list(&Which::default(), 9).unwrap();
    all.reverse();
    all.into_iter().map(|delivery| delivery.state).collect()
}

/// C21
#[test]
fn deliveries_are_a_table_with_the_newest_last() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "deliveries list", &[], &ids), @r"
      ID                               MADE                 WEBHOOK  EVENT TYPE           STATE      TRIES  STATUS  NEXT TRY
      deli_00000000000000000000000000  2025-06-15 15:06:41  acme     instance.created     failed     1      400     -
      deli_00000000000000000000000001  2025-06-15 15:06:42  acme     deploy.failed        pending    1      -       2025-06-15 15:07:20
      deli_00000000000000000000000002  2025-06-15 15:06:43  globex   instance.created     delivered  1      200     -
      deli_00000000000000000000000003  2025-06-15 15:06:44  former   odd\n\u001b[31mtype  pending    0      -       2025-06-15 15:06:44

    `trommel deliveries show DIR ID` shows what became of one
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(run(&folder, "deliveries list", &["--limit", "1", "--state", "pending"], &ids), @r"
      ID                               MADE                 WEBHOOK  EVENT TYPE           STATE    TRIES  STATUS  NEXT TRY
      deli_00000000000000000000000003  2025-06-15 15:06:44  former   odd\n\u001b[31mtype  pending  0      -       2025-06-15 15:06:44

    `trommel deliveries show DIR ID` shows what became of one
    these are the newest 1; `--limit` shows more
    --- stderr
    --- exit code 0
    ");
}

#[test]
fn filters_say_which_are_listed() {
    let (folder, ids) = used();
    for (arguments, expected) in [
        (&[][..], &[0, 1, 2, 3][..]),
        (&["--webhook", "acme"], &[0, 1]),
        (&["--webhook", "former"], &[3]),
        (&["--failed"], &[0]),
        (&["--state", "pending"], &[1, 3]),
        (&["--event-type", "instance.created"], &[0, 2]),
        (&["--event-type", "instance.created", "--webhook", "globex"], &[2]),
        (&["--since", "2025-06-15T15:06:43Z"], &[2, 3]),
        (&["--limit", "3"], &[1, 2, 3]),
        (&["--limit", "0"], &[0, 1, 2, 3]),
        (&["--webhook", "idle"], &[]),
    ] {
        let listed = json_of(&folder, "deliveries list", arguments);
        let listed: Vec<_> = listed.iter().map(|row| row["id"].as_str().unwrap()).collect();
        let expected: Vec<_> = expected.iter().map(|number| ids[*number].to_string()).collect();
        assert_eq!(listed, expected, "{arguments:?}");
    }
}

/// C21, and nothing of it commands the terminal.
#[test]
fn one_delivery_is_shown_with_all_that_is_known() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "deliveries show", &[&ids[0].to_string()], &ids), @r#"
    deli_00000000000000000000000000
      webhook  acme
      state    failed
      tries    1
      status   400
      error    it answered 400
      answer   no such\n\u001b[2Jtenant
      made     2025-06-15T15:06:41Z
      changed  2025-06-15T15:06:50Z
      event    evt_1
      type     instance.created
      tenant   acme
      subject  events
      output   evt_1:key:key-0:0

    {
      "id": "evt_1",
      "size": [
        1,
        2
      ]
    }
    --- stderr
    --- exit code 0
    "#);
    assert_snapshot!(run(&folder, "deliveries show", &[&ids[1].to_string(), "--json"], &ids), @r#"
    {
      "id": "deli_00000000000000000000000001",
      "webhook": "acme",
      "state": "pending",
      "event_id": "evt_2",
      "event_type": "deploy.failed",
      "tenant": "acme",
      "attempts": 1,
      "status_code": null,
      "next_retry": "2025-06-15T15:07:20Z",
      "error": "could not connect",
      "created": "2025-06-15T15:06:42Z",
      "updated": "2025-06-15T15:06:50Z",
      "output_id": "evt_2:key:key-0:0",
      "subject": "events",
      "content_type": null,
      "answer": null,
      "payload": {"id":"evt_2","size":[1,2]}
    }
    --- stderr
    --- exit code 0
    "#);
}

/// What is sent again is tried as often as what is new.
#[test]
fn deliveries_are_sent_again_by_id_or_by_what_they_are() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "deliveries retry", &[&ids[0].to_string(), &ids[2].to_string()], &ids), @r"
    2 deliveries to send again: a router that runs does so at once, another when it starts
    --- stderr
    --- exit code 0
    ");
    assert_eq!(states(&folder), [State::Pending; 4]);
    let [shown] = &json_of(&folder, "deliveries show", &[&ids[0].to_string()])[..] else { unreachable!("one") };
    assert_eq!((&shown["attempts"], shown["next_retry"].is_string()), (&json!(0), true));

    let (folder, ids) = used();
    let retried = json_of(&folder, "deliveries retry", &["--failed", "--webhook", "acme"]);
    assert_eq!(retried, [json!({ "retried": [ids[0].to_string()], "left": {} })]);
    assert_snapshot!(run(&folder, "deliveries retry", &["--failed"], &ids), @r"
    there is nothing to send again
    --- stderr
    --- exit code 0
    ");
}

/// Nothing is refused in silence.
#[test]
fn what_nobody_would_get_is_not_sent_again_and_it_is_said() {
    let (folder, ids) = used();
    let store = Store::open(&folder.file("deliveries.db")).unwrap();
    store.disable("acme", "by test", at(20)).unwrap();
    assert_snapshot!(run(&folder, "deliveries retry", &[&ids[0].to_string(), &ids[2].to_string()], &ids), @r"
    --- stderr
    error: delivery `deli_00000000000000000000000000` can't be sent again: webhook `acme` is disabled: by test
      `trommel webhooks enable DIR acme` lets it get more
    --- exit code 2
    ");
    assert_eq!(states(&folder)[2], State::Delivered, "none is sent when one can't be");
    assert_snapshot!(run(&folder, "deliveries retry", &["--failed"], &ids), @r"
    there is nothing to send again
    1 delivery left as before: webhook `acme` is disabled: by test
      `trommel webhooks enable DIR acme` lets it get more
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(run(&folder, "deliveries retry", &["--state", "pending"], &ids), @r"
    there is nothing to send again
    1 delivery left as before: webhook `former` is declared no more
      declare it again in `keys/`
    --- stderr
    --- exit code 0
    ");
    folder.put(
        "keys/webhooks.toml",
        WEBHOOKS.replace("url = \"https://globex", "active = false\nurl = \"https://globex").as_bytes(),
    );
    let retried = json_of(&folder, "deliveries retry", &["--state", "delivered"]);
    assert_eq!(retried, [json!({ "retried": [], "left": { "globex": 1 } })]);
}

#[test]
fn deliveries_are_dropped_when_it_is_said_which() {
    let (folder, ids) = used();
    assert_snapshot!(run(&folder, "deliveries drop", &[&ids[3].to_string()], &ids), @r"
    1 delivery dropped
    --- stderr
    --- exit code 0
    ");
    let dropped = json_of(&folder, "deliveries drop", &["--webhook", "acme", "--failed"]);
    assert_eq!(dropped, [json!({ "dropped": [ids[0].to_string()] })]);
    assert_eq!(states(&folder), [State::Pending, State::Delivered]);
    assert_snapshot!(run(&folder, "deliveries drop", &["--all"], &ids), @r"
    2 deliveries dropped
    --- stderr
    --- exit code 0
    ");
    assert_eq!(states(&folder), []);
}

#[test]
fn what_can_not_be_meant_is_refused_and_changes_nothing() {
    let (folder, ids) = used();
    let (known, gone) = (ids[0].to_string(), "deli_01h2xcejqtf2nbrexx3vqjhp41");
    let refused = |words: &str, arguments: &[&str]| {
        let text = run(&folder, words, arguments, &ids);
        let refusal = text.strip_prefix("--- stderr\n").unwrap();
        assert!(refusal.ends_with("--- exit code 2"), "{text}");
        refusal.trim_end_matches("\n--- exit code 2").to_owned()
    };
    assert_snapshot!(refused("deliveries retry", &[&known, gone]), @r"
    error: there is no delivery `deli_01h2xcejqtf2nbrexx3vqjhp41`
      `trommel deliveries list DIR` shows those that there are
    ");
    assert_snapshot!(refused("deliveries drop", &[&known, gone, "--json"]), @r#"{"ok":false,"error":{"type":"validation","subtype":"unknown_delivery","param":"ID","message":"there is no delivery `deli_01h2xcejqtf2nbrexx3vqjhp41`","hint":"`trommel deliveries list DIR` shows those that there are"}}"#);
    assert_snapshot!(refused("deliveries show", &[gone]), @r"
    error: there is no delivery `deli_01h2xcejqtf2nbrexx3vqjhp41`
      `trommel deliveries list DIR` shows those that there are
    ");
    assert_snapshot!(refused("deliveries show", &["deli_1"]), @r"
    error: invalid value 'deli_1' for '<ID>': a delivery's id looks like `deli_01h2xcejqtf2nbrexx3vqjhp41`

    For more information, try '--help'.
    ");
    assert_snapshot!(refused("deliveries list", &["--webhook", "acmee"]), @r"
    error: there is no webhook `acmee`
      did you mean `acme`?
      `trommel webhooks list DIR` shows all
    ");
    assert_snapshot!(refused("deliveries list", &["--state", "late"]), @r"
    error: invalid value 'late' for '--state <STATE>': it is `pending`, `delivered`, `failed` or `cancelled`

    For more information, try '--help'.
    ");
    assert_snapshot!(refused("deliveries retry", &[]), @r"
    error: it is not said which deliveries to send again
      name them by their ids, or say `--failed`, perhaps with `--webhook` or `--since`
    ");
    assert_snapshot!(refused("deliveries retry", &["--webhook", "acme"]), @r"
    error: it is not said in which state the deliveries are that are sent again
      add `--failed`, or `--state` with another state
    ");
    assert_snapshot!(refused("deliveries retry", &[&known, "--failed"]), @"error: deliveries are named by their ids or by what they have in common, not by both");
    assert_snapshot!(refused("deliveries drop", &[]), @r"
    error: it is not said which deliveries to drop
      name them by their ids, by filters such as `--webhook` or `--failed`, or say `--all`
    ");
    assert_snapshot!(refused("deliveries drop", &["--failed", "--all"]), @"error: `--all` means every delivery, and only some are named");
    assert_snapshot!(refused("webhooks disable", &["acmee"]), @r"
    error: there is no webhook `acmee`
      did you mean `acme`?
      `trommel webhooks list DIR` shows all
    ");
    assert_eq!(states(&folder), [State::Failed, State::Pending, State::Delivered, State::Pending]);
}

#[test]
fn before_the_first_start_there_is_nothing() {
    let folder = folder();
    assert_snapshot!(run(&folder, "deliveries list", &[], &[]), @r"
    there are no such deliveries
    --- stderr
    --- exit code 0
    ");
    assert_eq!(json_of(&folder, "deliveries list", &[]), [Value::Null; 0]);
    assert_eq!(json_of(&folder, "deliveries drop", &["--all"]), [json!({ "dropped": [] })]);
    let show = run(&folder, "deliveries show", &["deli_01h2xcejqtf2nbrexx3vqjhp41"], &[]);
    assert!(show.ends_with("--- exit code 2"), "{show}");
    assert!(!folder.file("deliveries.db").exists(), "who only asks makes nothing");
    let plain = Folder::new(&SETTINGS.replace("webhook", "null"));
    assert_snapshot!(run(&plain, "deliveries list", &[], &[]), @r#"
    --- stderr
    error: this router has no sink of type `webhook`
      add `[[sink]]` with a `name` and `type = "webhook"` to `trommel.toml`
    --- exit code 2
    "#);
}

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
    let store = Store::open(&folder.file("deliveries.db")).unwrap();
    store.disable("globex", "by test", at(20)).unwrap();
    let gone = Attempt {
        id: ids[1],
        webhook: "acme".into(),
        ended: at(21),
        status_code: Some(410),
        error: Some("it answered 410".into()),
        answer: None,
        verdict: Verdict::Gone,
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
            "webhook": "acme", "state": "gone", "since": "2025-06-15T15:07:01Z", "reason": "it answered 410",
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
    assert_eq!(states(&folder)[1], State::Cancelled);
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
    let folder = self::folder();
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
      nothing was added
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "http://127.0.0.1:80"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:3:7: `url` is a private address
      say `allow_private = true` if that is meant
      nothing was added
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "https://a", "--events", "a..b"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:4:11: `events` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
      nothing was added
    --- exit code 2
    ");
    assert_snapshot!(refused(&["new", "--url", "https://a", "--secret-file", "secrets/none"]), @r"
    error: the configuration has problems:
    keys/webhook-new.toml:4:15: can't use the secret in `secrets/none`: No such file or directory (os error 2)
      nothing was added
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
    let signed = Signed {
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
