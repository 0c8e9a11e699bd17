//! `trommel deliveries` as a user meets it: what it prints where, what it changes, and how it ends.

use crate::router;
use crate::webhook_folder::{SETTINGS, WEBHOOKS, at, folder, json_of, run, states, used};

use insta::assert_snapshot;
use router::Folder;
use serde_json::{Value, json};
use trommel::webhook::store::{DeliveryState, DeliveryStore};

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
    assert_eq!(states(&folder), [DeliveryState::Pending; 4]);
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
    let store = DeliveryStore::open(&folder.file("deliveries.db")).unwrap();
    store.disable("acme", "by test", at(20)).unwrap();
    assert_snapshot!(run(&folder, "deliveries retry", &[&ids[0].to_string(), &ids[2].to_string()], &ids), @r"
    --- stderr
    error: delivery `deli_00000000000000000000000000` can't be sent again: webhook `acme` is disabled: by test
      `trommel webhooks enable DIR acme` lets it get more
    --- exit code 2
    ");
    assert_eq!(states(&folder)[2], DeliveryState::Delivered, "none is sent when one can't be");
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
    assert_eq!(states(&folder), [DeliveryState::Pending, DeliveryState::Delivered]);
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
    assert_eq!(
        states(&folder),
        [DeliveryState::Failed, DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Pending]
    );
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
