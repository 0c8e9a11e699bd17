//! What `consume` refuses before anything happens, and what it would do.

use crate::consumer_folder::{STDIN, consume, folder};
use crate::printed::{refusal, text};
use crate::router;

use insta::assert_snapshot;
use router::Folder;
use serde_json::Value;

/// What a command that is refused says, and its exit code. Nothing is started for it.
fn refused(words: &[&str]) -> String {
    refused_in(&folder(), words)
}

fn refused_in(folder: &Folder, words: &[&str]) -> String {
    let refusal = refusal(&mut consume(folder, words), folder.path());
    assert!(!folder.file("state").exists(), "something was started");
    refusal
}

/// L23, L24, L27, L112, L115, L117, L118
#[test]
fn bad_input_is_refused_before_anything_happens() {
    assert_snapshot!(refused(&["order.large"]), @r"
    2: error: there is no key `order.large`
      did you mean `orders.large`?
      `trommel keys list DIR` shows all
    ");
    assert_snapshot!(refused(&["orders.*"]), @r"
    2: error: `orders.*` is not one key: every key has a shape of its own, so consume one at a time
      `trommel keys list DIR` shows all
    ");
    assert_snapshot!(refused(&["all", "-p", "where"]), @r"
    2: error: `where` is not a param
      write it as NAME=VALUE
    ");
    assert_snapshot!(refused(&["all", "-p", "=x"]), @r"
    2: error: `=x` is not a param
      write it as NAME=VALUE
    ");
    assert_snapshot!(refused(&["all", "-p", "b=1", "-p", "a=2"]), @r"
    2: error: key `all` has no param `a`; key `all` has no param `b`
      key `all` takes no params
      key `all` takes no params
    ");
    assert_snapshot!(refused(&["orders.large", "-p", "wher=x"]), @r"
    2: error: key `orders.large` has no param `wher`; param `where` of key `orders.large` is required
      did you mean `where`?
      Which orders
    ");
    assert_snapshot!(refused(&["all", "--jq", ".a |"]), @"2: error: the jq program can't be used: expected term at the end");
    assert_snapshot!(refused(&["all", "--output-dir", "../out"]), @"2: error: `../out` can't be the output folder: it leads out of the present folder");
}

/// L23
#[test]
fn the_last_one_of_a_param_counts() {
    let folder = folder();
    let words = ["orders.large", "-p", "where=/n > 1", "-p", "where=/n > 2", "-p", "keep=", "--dry-run"];
    let output = consume(&folder, &words).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["decision"]["params"], serde_json::json!({ "where": "/n > 2", "keep": "" }));
}

/// L124
#[test]
fn a_refusal_can_be_json() {
    assert_snapshot!(
        refused(&["all", "-p", "where", "--json"]),
        @r#"2: {"ok":false,"error":{"type":"validation","subtype":"param_syntax","param":"--param","message":"`where` is not a param","hint":"write it as NAME=VALUE"}}"#
    );
}

/// What only the filter can refuse is refused too, and the next one is served.
#[test]
fn a_filter_can_refuse_params() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let output = consume(&folder, &["orders.large", "-p", "where=nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("key `orders.large`") && stderr.contains("nonsense"), "{stderr}");
    let served = consume(&folder, &["all"]).output().unwrap();
    assert!(served.status.success(), "{served:?}");
}

/// Keys that ask something of the identity, and one that has some of it.
fn folder_with_an_identity() -> Folder {
    let api = "[api]\nbase_url = \"https://api.example.com\"\nauth_types = [\"bot\"]\n\
               scopes = [\"mail:read\"]\nconsole_events = [\"mail.read\"]\n";
    let key = |name: &str, wants: &str| format!("[[key]]\nkey = \"{name}\"\nsubject = \"mail\"\n{wants}\n");
    let keys = [
        key("both", "auth_types = [\"user\", \"bot\"]\nscopes = [\"mail:read\"]"),
        key("person", "auth_types = [\"user\"]"),
        key("sent", "scopes = [\"mail:send\", \"mail:read\", \"mail:move\"]"),
        key("received", "console_events = [\"mail.received\"]"),
    ];
    Folder::new(&format!("{STDIN}\n{api}")).write("keys/keys.toml", &keys.concat())
}

/// L16, L17
#[test]
fn an_identity_that_does_not_suffice_is_refused_before_anything_happens() {
    let folder = folder_with_an_identity();
    assert_snapshot!(refused_in(&folder, &["person"]), @"3: error: key `person` needs the auth type `user`, the identity in `[api]` has `bot`");
    assert_snapshot!(refused_in(&folder, &["person", "--as", "bot"]), @r"
    2: error: key `person` is not consumed as `bot`
      it takes `user`
    ");
    assert_snapshot!(refused_in(&folder, &["both", "--as", "user", "--json"]), @r#"3: {"ok":false,"error":{"type":"auth","subtype":"auth_type","param":null,"message":"key `both` needs the auth type `user`, the identity in `[api]` has `bot`","hint":null}}"#);
    assert_snapshot!(refused_in(&folder, &["sent"]), @r"
    3: error: key `sent` needs scopes that the identity in `[api]` does not have: `mail:move` and `mail:send`
      grant them to the identity, and add them to `scopes` in `[api]`
    ");
    assert_snapshot!(refused_in(&folder, &["received", "--json"]), @r#"2: {"ok":false,"error":{"type":"precondition","subtype":"console_events","param":null,"message":"key `received` needs console events that the identity in `[api]` does not have: `mail.received`","hint":"turn them on at the platform, and add them to `console_events` in `[api]`"}}"#);
}

/// L16, L17, L125
#[test]
fn a_dry_run_tells_what_the_identity_lacks() {
    let folder = folder_with_an_identity();
    let decision = |words: &[&str]| {
        let output = consume(&folder, &[words, &["--dry-run"]].concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["decision"].take()
    };
    let about = |decision: &Value, name: &str| {
        let preconditions = decision["preconditions"].as_array().unwrap();
        preconditions.iter().find(|precondition| precondition["name"] == name).unwrap()["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let both = decision(&["both"]);
    assert_eq!(both["identity"], serde_json::json!(["bot"]));
    assert_eq!([about(&both, "auth_type"), about(&both, "scopes")], ["ready", "ready"]);
    let sent = decision(&["sent"]);
    assert_eq!((about(&sent, "scopes"), &sent["status"]), ("blocked".to_owned(), &Value::from("blocked")));
    assert_eq!(about(&decision(&["person"]), "auth_type"), "blocked");
}

/// L125
#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let folder = folder();
    let output = consume(&folder, &["orders.large", "-p", "where=/n > 1", "--dry-run"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!folder.file("state").exists());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["dry_run"], &json["decision"]["event_key"]), (&true.into(), &"orders.large".into()));
    assert_eq!(json["decision"]["status"], "blocked", "a router in the background has no standard input: {json}");
    assert_eq!(json["decision"]["params"]["where"], "/n > 1");
    assert_eq!((&json["decision"]["subject"], &json["decision"]["where"]), (&Value::Null, &Value::Null));
    let narrowed = ["orders.large", "-p", "where=/n > 1", "--subject", "orders.*.new", "--where", "/vip", "--dry-run"];
    let output = consume(&folder, &narrowed).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["decision"]["subject"], &json["decision"]["where"]), (&"orders.*.new".into(), &"/vip".into()));
    let output = consume(&folder, &["orders.large", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "wrong input is wrong in a dry run too");
}
