//! `[[webhook]]` and the sink behind which its deliveries are stored: what comes out, and
//! everything that can be wrong.

use crate::config_folder::ConfigFolder;

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use insta::assert_snapshot;
use trommel::{
    config::{SinkKind, TenantSelection},
    folder::load_registry,
    signature::sign,
};

const SETTINGS: &str = "
[[source]]
name = \"in\"
type = \"lines\"

[[sink]]
name = \"hooks\"
type = \"webhook\"
";

/// A folder with these settings, webhooks and two good secrets.
fn folder(settings: &str, webhooks: &str) -> ConfigFolder {
    ConfigFolder::of(&[("trommel.toml", settings), ("keys/hooks.toml", webhooks), ("new", NEW), ("old", OLD)])
}

const NEW: &str = "a new secret of enough bytes\n";
const OLD: &str = "an old secret of enough bytes";

/// All that is said about these webhooks.
fn problems(webhooks: &str) -> String {
    folder(SETTINGS, webhooks).problems()
}

/// C20
#[test]
fn a_webhook_with_nothing_but_what_it_needs() {
    let folder =
        folder(SETTINGS, "[[webhook]]\nname = \"a\"\nurl = \"https://hooks.example.com/1\"\nsecret_file = \"new\"\n");
    let config = folder.load();
    let [webhook] = &config.registry.webhooks[..] else { panic!("there is one") };
    assert_eq!((webhook.name.as_str(), webhook.url.as_str()), ("a", "https://hooks.example.com/1"));
    assert_eq!((&webhook.tenant, webhook.active, webhook.concurrency), (&TenantSelection::None, true, 4));
    assert!(webhook.events.is_empty() && webhook.subjects.is_empty() && webhook.headers.is_empty());
    assert!(!webhook.allow_private);
    assert_eq!(sign(&webhook.secrets[0], "1", 2, b""), sign(&NEW.parse().unwrap(), "1", 2, b""));
    let SinkKind::Webhook(sink) = &config.sinks[0].kind else { panic!("it is one") };
    assert_eq!(sink.database, folder.file("deliveries.db"));
    assert_eq!(sink.retention, Duration::from_hours(7 * 24));
}

/// C24, C25
#[test]
fn a_webhook_with_everything() {
    let settings = SETTINGS.to_owned() + "database = \"data/hooks.db\"\nretention = \"1d\"\n";
    let folder = folder(
        &settings,
        r#"
[[webhook]]
name = "a"
url = "http://127.0.0.1:8080/1?key=2"
tenant = "t1"
events = ["instance.*", "deploy.done"]
subjects = "eu.>"
secret_file = ["new", "old"]
active = false
concurrency = 1
allow_private = true
headers = { X-Key = "3" }

[[webhook]]
name = "b"
url = "https://hooks.example.com"
tenant = "*"
events = ["*"]
secret_env = "CARGO_PKG_NAME"
secret_file = "old"
"#,
    );
    let config = folder.load();
    let [a, b] = &config.registry.webhooks[..] else { panic!("there are two") };
    assert_eq!((&a.tenant, &b.tenant), (&TenantSelection::Only("t1".to_owned()), &TenantSelection::Any));
    let shown = |patterns: &[trommel::event::Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (shown(&a.events), shown(&a.subjects)),
        (vec!["instance.*".into(), "deploy.done".into()], vec!["eu.>".into()])
    );
    assert!(b.events.is_empty());
    assert_eq!((a.secrets.len(), b.secrets.len(), a.active, a.concurrency, a.allow_private), (2, 2, false, 1, true));
    assert_eq!(a.headers, [("X-Key".to_owned(), "3".to_owned())]);
    let SinkKind::Webhook(sink) = &config.sinks[0].kind else { panic!("it is one") };
    assert_eq!((&sink.database, sink.retention), (&folder.file("data/hooks.db"), Duration::from_hours(24)));
}

/// A secret that was changed counts from the next reload on.
#[test]
fn secrets_are_read_with_every_reload() {
    let folder =
        folder(SETTINGS, "[[webhook]]\nname = \"a\"\nurl = \"https://hooks.example.com/1\"\nsecret_file = \"new\"\n");
    let config = folder.load();
    assert_eq!(load_registry(&config).unwrap(), config.registry);
    folder.write("new", "another secret");
    assert_ne!(load_registry(&config).unwrap(), config.registry);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = problems(
        r#"
[[webhook]]
name = "a"
url = "https://bob:pw-5ecret@hooks.example.com"
tenant = ""
events = ["instance.>.x"]
subjects = ["a..b"]
secret_file = ["none", "new", "old"]
active = "yes"
concurrency = 0
headers = { Host = "h-5ecret", webhook-id = "1" }
retries = 3

[[webhook]]
name = "a"
url = "http://10.0.0.1/"
secret_env = "TROMMEL_NO_SUCH_VARIABLE"

[[webhook]]
name = "b"
url = "ftp://hooks.example.com"
secret_file = []
"#,
    );
    assert_snapshot!(said, @r#"
    keys/hooks.toml:4:7: `url` is not a server's address: it holds a user, who belongs in `headers`
      an address looks like `https://hooks.example.com/trommel`
    keys/hooks.toml:5:10: `tenant` can't be ``: it is empty
    keys/hooks.toml:6:11: `events` can't be `instance.>.x`: `>` stands for the rest and must come last
    keys/hooks.toml:7:13: `subjects` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
    keys/hooks.toml:8:15: at most 2 secrets count at a time
    keys/hooks.toml:8:16: can't use the secret in `none`: No such file or directory (os error 2)
    keys/hooks.toml:9:10: `active` must be `true` or `false`, found a string
    keys/hooks.toml:10:15: `concurrency` can't be `0`: it must be at least 1
    keys/hooks.toml:11:13: the router sets the header `Host` itself
    keys/hooks.toml:11:32: the router sets the header `webhook-id` itself
    keys/hooks.toml:12:1: unknown field `retries`
      known fields: `active`, `allow_private`, `body`, `concurrency`, `events`, `former_until`, `headers`, `max_pending`, `name`, `routing_key`, `secret_env`, `secret_file`, `subjects`, `tenant` and `url`
    keys/hooks.toml:15:8: webhook `a` appears twice
      first at keys/hooks.toml:3:8
    keys/hooks.toml:16:7: `url` is a private address
      say `allow_private = true` if that is meant
    keys/hooks.toml:16:7: warning: events go to `10.0.0.1` unencrypted, and can be read on the way
      use an `https://` address
    keys/hooks.toml:17:14: can't use the secret in `TROMMEL_NO_SUCH_VARIABLE`: it is not set
    keys/hooks.toml:21:7: `url` is not a server's address: it begins with `ftp:` instead of `https:` or `http:`
      an address looks like `https://hooks.example.com/trommel`
    keys/hooks.toml:22:15: `secret_file` names no secret
    "#);
    assert!(!said.contains("5ecret"));
}

#[test]
fn a_secret_that_is_of_no_use_is_not_shown() {
    let folder =
        folder(SETTINGS, "[[webhook]]\nname = \"a\"\nurl = \"https://a.example.com\"\nsecret_file = \"broken\"\n");
    let said = |secret: &[u8]| {
        folder.write("broken", secret);
        folder.problems()
    };
    assert_snapshot!(said(b"whsec_5ecret!"), @"keys/hooks.toml:4:15: can't use the secret in `broken`: what follows `whsec_` is not base64");
    assert_snapshot!(said(b" \n"), @"keys/hooks.toml:4:15: can't use the secret in `broken`: it is empty");
    assert_snapshot!(said(b"\xff5ecret"), @"keys/hooks.toml:4:15: can't use the secret in `broken`: it is not UTF-8");
    let none = problems("[[webhook]]\nname = \"a\"\nurl = \"https://a.example.com\"\n");
    assert_snapshot!(none, @r#"
    keys/hooks.toml:1:1: there is no secret to sign with
      name a file with `secret_file`, or an environment variable with `secret_env`
    "#);
}

/// What works and is not safe all the same.
#[test]
fn weak_secrets_and_open_files_are_warned_of() {
    let webhook = |more: &str| {
        let webhook = format!("[[webhook]]\nname = \"a\"\nsecret_file = \"new\"\nallow_private = true\n{more}");
        folder(SETTINGS, &webhook)
    };
    for safe in ["https://a.example.com", "http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
        assert_eq!(webhook(&format!("url = \"{safe}/5ecret\"")).warnings(), "", "{safe}");
    }
    assert_snapshot!(webhook("url = \"http://10.0.0.1/5ecret\"").warnings(), @r"
    keys/hooks.toml:5:7: warning: events go to `10.0.0.1` unencrypted, and can be read on the way
      use an `https://` address
    ");
    let folder = webhook("url = \"https://a.example.com\"");
    folder.write("new", "whsec_5ecrets=");
    fs::set_permissions(folder.file("new"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!(folder.warnings(), @r"
    keys/hooks.toml:3:15: warning: all users of this machine can read `new`
      keep it to yourself: `chmod o-r new`
    keys/hooks.toml:3:15: warning: the secret in `new` is easy to guess
      take 24 random bytes or more: `openssl rand -base64 32`
    ");
}

#[test]
fn webhooks_and_their_sink_belong_together() {
    let webhook = "[[webhook]]\nname = \"a\"\nurl = \"https://a.example.com\"\nsecret_file = \"new\"\n";
    let without = SETTINGS.replace("\"webhook\"", "\"null\"");
    assert_snapshot!(folder(&without, webhook).problems(), @r#"
    keys/hooks.toml:1:1: nothing is ever sent to webhook `a`: there is no sink of type `webhook`
      add `[[sink]]` with `name` and `type = "webhook"` to `trommel.toml`, and name it in a route
    "#);
    let two = format!("{SETTINGS}[[sink]]\nname = \"more\"\ntype = \"webhook\"\ndatabase = \"more.db\"\n");
    assert_snapshot!(folder(&two, "").problems(), @r#"
    trommel.toml:9:1: a sink of type `webhook` appears twice
      first at trommel.toml:6:1
    "#);
    let misplaced = format!("{SETTINGS}\n{webhook}");
    assert_snapshot!(folder(&misplaced, "").problems(), @r#"
    trommel.toml:10:3: `webhook` does not belong here
      it belongs in a file in `keys/`
    "#);
}

/// A listener that changes files always asks for a token.
#[test]
fn webhooks_over_http_ask_for_a_token() {
    let api = |more: &str| folder(&format!("{SETTINGS}\n[webhooks]\n{more}"), "");
    let settings =
        api("listen = \"127.0.0.1:1\"\ntoken_file = \"new\"\ntenants_file = \"old\"").load().self_service.unwrap();
    assert!(settings.token.is_some() && settings.tenants.is_some());
    assert_snapshot!(api("listen = \"127.0.0.1:1\"").problems(), @"
    trommel.toml:10:1: who may change webhooks is known by a token, and none is named
      give it a `token_file` for an operator, a `tenants_file` for tenants, or both
    ");
    let without =
        SETTINGS.replace("\"webhook\"", "\"null\"") + "[webhooks]\nlisten = \"127.0.0.1:1\"\ntoken_env = \"T\"\n";
    assert_snapshot!(folder(&without, "").problems(), @"
    trommel.toml:9:1: nothing is ever sent to webhooks: there is no sink of type `webhook`
      add `[[sink]]` with `name` and `type = \"webhook\"`
    ");
}

#[test]
fn a_body_names_what_there_is() {
    let with = |more: &str| {
        problems(&format!("[[webhook]]\nname = \"a\"\nurl = \"https://a.example\"\nsecret_file = \"new\"\n{more}\n"))
    };
    assert_snapshot!(with("body = \"pagerduty\""), @"keys/hooks.toml:5:8: `body` has a `routing_key`, and none is given");
    assert_snapshot!(with("body = \"slack\"\nrouting_key = \"k\""), @"
    keys/hooks.toml:6:15: `routing_key` is not in the `body`
      a `body` names it as `{routing_key}`, as `pagerduty` does
    ");
    assert_snapshot!(with("body = '\"{colour}\"'"), @r#"keys/hooks.toml:5:8: `body` can't be `"{colour}"`: there is no placeholder `{colour}`, only `{/POINTER}`, `{payload}`, `{event_type}`, `{subject}`, `{tenant}`, `{event_id}`, `{delivery_id}` and `{routing_key}`"#);
}
