//! What is said of a source of type `http`, and what is wrong with it.

use crate::config_folder::ConfigFolder;

use std::time::Duration;

use insta::assert_snapshot;
use trommel::config::{
    AnswerPoint, ClientAuth, Config, EnvelopeFormat, EventField, HttpClient, HttpSource, KeptIn, RateLimit, SourceKind,
    SubjectForm, SubjectPlaceholder, TemplatePart, TextTemplate,
};

/// A folder with secrets, whose source of type `http` has these settings.
fn folder(source: &str) -> ConfigFolder {
    let settings =
        format!("[[source]]\nname = \"in\"\ntype = \"http\"\n{source}\n[[sink]]\nname = \"out\"\ntype = \"null\"\n");
    ConfigFolder::of(&[("trommel.toml", &settings), ("token", "x"), ("new", "x"), ("old", "x")])
}

fn loaded(source: &str) -> HttpSource {
    http(folder(source).load())
}

fn http(config: Config) -> HttpSource {
    match config.sources.into_iter().next().unwrap().kind {
        SourceKind::Http(http) => *http,
        other => panic!("{other:?}"),
    }
}

fn problems(source: &str) -> String {
    folder(source).problems()
}

#[test]
fn the_least_that_can_be_said() {
    let http = loaded("listen = \"127.0.0.1:8080\"");
    assert_eq!((http.listen.to_string().as_str(), http.path.as_str()), ("127.0.0.1:8080", "/events"));
    assert_eq!((http.fixed_subject, http.auth, http.tenant, http.rate), (None, None, None, None));
    assert_eq!(http.answer, AnswerPoint::Accepted);
    assert_eq!((http.max_body, http.connections, http.timeout), (1 << 20, 256, Duration::from_secs(30)));
}

#[test]
fn everything_that_can_be_said() {
    let folder = folder(
        r#"
        envelope = "cloudevents"
        listen = "0.0.0.0:8080"
        path = "/hooks/orders/"
        fixed_subject = "orders.created"
        secret_file = ["new", "old"]
        tenant = "t1"
        answer = "settled"
        rate = 100
        burst = 500
        max_body = "64KiB"
        connections = 10
        timeout = "5s"
        "#,
    );
    let config = folder.load();
    assert_eq!(config.sources[0].envelope, EnvelopeFormat::CloudEvents);
    let http = http(config);
    assert_eq!((http.path.as_str(), http.fixed_subject.as_deref()), ("/hooks/orders", Some("orders.created")));
    let secrets = ["new", "old"].map(|name| KeptIn::File(folder.file(name)));
    assert_eq!(http.auth, Some(ClientAuth::Signature(secrets.into())));
    assert_eq!((http.tenant.as_deref(), http.answer), (Some("t1"), AnswerPoint::Settled));
    assert_eq!(http.rate, Some(RateLimit { events: 100.try_into().unwrap(), burst: 500.try_into().unwrap() }));
    assert_eq!((http.max_body, http.connections, http.timeout), (64 << 10, 10, Duration::from_secs(5)));

    let http = loaded("listen = \"[::]:80\"\npath = \"/\"\ntoken_env = \"TOKEN\"\nrate = 7");
    assert_eq!((http.path.as_str(), http.auth), ("", Some(ClientAuth::Token(KeptIn::Env("TOKEN".to_owned())))));
    assert_eq!(http.rate, Some(RateLimit { events: 7.try_into().unwrap(), burst: 7.try_into().unwrap() }));
    let http = loaded("listen = \"0.0.0.0:80\"\nallow_unauthenticated = true");
    assert_eq!(http.auth, None);
    let http = loaded("listen = \"127.0.0.1:80\"\nstream_subject = \"in.{event_type}\"\n[nats]\nurl = \"nats://a\"");
    let event_type =
        TemplatePart::Value(SubjectPlaceholder { field: EventField::EventType, form: SubjectForm::Tokens });
    assert_eq!(
        http.answer,
        AnswerPoint::Stored(TextTemplate(vec![TemplatePart::Literal("in.".to_owned()), event_type]))
    );
}

#[test]
fn values_that_can_not_be() {
    assert_snapshot!(problems(
        r#"
listen = "8080"
path = "events?"
fixed_subject = "orders.*"
tenant = "a b"
answer = "setled"
rate = 0
burst = 2_000_000
max_body = 0
connections = 0
timeout = "0s"
tokenfile = "x"
"#
    ), @"
    trommel.toml:5:10: `listen` can't be `8080`: it is an address and a port, such as `127.0.0.1:9464`
    trommel.toml:6:8: `path` can't be `events?`: a path looks like `/events`, `/hooks/orders` or `/in/{tenant}`
    trommel.toml:7:17: `fixed_subject` can't be `orders.*`: `*` and `>` belong in patterns, not in subjects
    trommel.toml:8:10: `tenant` can't be `a b`: a tenant is printable ASCII without spaces
    trommel.toml:9:10: `answer` can't be `setled`
      did you mean `settled`?
    trommel.toml:10:8: `rate` can't be `0`: it must be at least 1
    trommel.toml:11:9: `burst` can't be `2000000`: it must be at most 1000000
    trommel.toml:12:12: `max_body` can't be `0`: it must be at least 1
    trommel.toml:13:15: `connections` can't be `0`: it must be at least 1
    trommel.toml:14:11: `timeout` can't be zero
    trommel.toml:15:1: unknown field `tokenfile`
      did you mean `token_file`?
    ");
}

/// Nobody finds out by accident that anybody could send events.
#[test]
fn a_listener_for_others_knows_its_clients() {
    assert_snapshot!(problems("listen = \"0.0.0.0:8080\""), @"
    trommel.toml:4:10: every client that can reach `0.0.0.0:8080` could send events
      give it a `token_file` or a `secret_file` or a `tenants_file`, or say `allow_unauthenticated = true` if that is meant
    ");
    assert_snapshot!(problems("listen = \"[::]:8080\"\nallow_unauthenticated = false"), @"
    trommel.toml:4:10: every client that can reach `[::]:8080` could send events
      give it a `token_file` or a `secret_file` or a `tenants_file`, or say `allow_unauthenticated = true` if that is meant
    ");
}

/// What the router shows of itself is kept likewise.
#[test]
fn an_admin_listener_for_others_asks_for_a_token() {
    let admin = |settings: &str| problems(&format!("listen = \"127.0.0.1:1\"\n[admin]\n{settings}"));
    assert_snapshot!(admin("listen = \"0.0.0.0:9464\""), @"
    trommel.toml:6:10: every client that can reach `0.0.0.0:9464` could see what happens here
      give it a `token_file`, or say `allow_unauthenticated = true` if that is meant
    ");
    for settings in [
        "listen = \"0.0.0.0:9464\"\nallow_unauthenticated = true",
        "listen = \"0.0.0.0:9464\"\ntoken_env = \"TOKEN\"",
        "listen = \"127.0.0.1:9464\"",
    ] {
        folder(&format!("listen = \"127.0.0.1:1\"\n[admin]\n{settings}")).load();
    }
}

#[test]
fn clients_are_known_by_one_thing() {
    assert_snapshot!(problems(
        r#"
listen = "127.0.0.1:1"
token_file = "token"
token_env = "TOKEN"
secret_file = ["new", "old"]
secret_env = ["ONE", ""]
"#
    ), @"
    trommel.toml:7:13: the token comes from `token_file` or from `token_env`, not from both
    trommel.toml:8:15: clients prove who they are by a token or by signatures, not by both
    trommel.toml:9:14: at most 2 secrets count at a time
    trommel.toml:9:22: `secret_env` can't be ``: it is empty
    ");
    assert_snapshot!(problems("listen = \"127.0.0.1:1\"\nsecret_file = [\"new\", \"old\", \"older\"]"), @"
    trommel.toml:5:15: at most 2 secrets count at a time
    trommel.toml:5:30: can't read `DIR/older`: No such file or directory (os error 2)
    ");
    assert_snapshot!(problems("listen = \"127.0.0.1:1\"\nsecret_file = []"), @"trommel.toml:5:15: `secret_file` names no secret");
}

#[test]
fn clients_may_be_bound_to_tenants() {
    let http = loaded(
        "listen = \"0.0.0.0:80\"\n[[source.client]]\ntoken_env = \"ONE\"\ntenants = \"t1\"\n[[source.client]]\ntoken_env = \"ANY\"",
    );
    let client =
        |variable: &str, tenants: Option<Vec<String>>| HttpClient { token: KeptIn::Env(variable.to_owned()), tenants };
    assert_eq!(
        http.auth,
        Some(ClientAuth::Clients(vec![client("ONE", Some(vec!["t1".to_owned()])), client("ANY", None)]))
    );
    assert_snapshot!(problems(
        r#"
listen = "127.0.0.1:1"
tenant = "t1"
token_env = "TOKEN"

[[source.client]]
token_env = "ONE"
tenants = ["t1"]

[[source.client]]
tenants = []

[[source.client]]
token_env = "TWO"
tenants = ["a b"]
"#
    ), @"
    trommel.toml:9:1: a source has one token, or a `client` for each
      a `[[source.client]]` without `tenants` may send events of any tenant
    trommel.toml:13:1: a client is known by its token, and none is named
      name a file with `token_file`, or an environment variable with `token_env`
    trommel.toml:14:11: `tenants` names no tenant
      leave it out for a client that may send events of any tenant
    trommel.toml:18:12: `tenants` can't be `a b`: a tenant is printable ASCII without spaces
    ");
    assert_snapshot!(problems(
        "listen = \"127.0.0.1:1\"\ntenant = \"t1\"\n[[source.client]]\ntoken_env = \"ONE\"\ntenants = [\"t1\"]"
    ), @"trommel.toml:5:10: `tenant` sets the tenant of all events, so no `client` can be bound to `tenants`");
}

/// Nothing is read where a signature says nothing.
#[test]
fn signed_requests_are_told_by_what_is_signed() {
    assert_snapshot!(problems(
        "listen = \"127.0.0.1:1\"\nsecret_env = \"S\"\nid = \"header:webhook-id\"\nevent_type = \"header:X-Type\""
    ), @"
    trommel.toml:7:14: no signature covers the header `X-Type`: it could be changed on the way
      the body is covered, and so are `webhook-id` and `webhook-timestamp`
    ");
    assert_snapshot!(problems(
        "listen = \"127.0.0.1:1\"\nsecret_env = \"S\"\nenvelope = \"lark\"\nverify_header = true"
    ), @"trommel.toml:7:17: `verify_header` compares with the message's headers, and no signature covers them");
}

#[test]
fn settings_that_contradict_each_other() {
    assert_snapshot!(problems(
        r#"
listen = "127.0.0.1:1"
answer = "settled"
stream_subject = "in.{key}"
burst = 5

[[source]]
name = "again"
type = "http"
listen = "127.0.0.1:1"
stream_subject = "in.{event_type}"
"#
    ), @r#"
    trommel.toml:6:10: with `stream_subject` a request is answered when the stream has its events
      without `stream_subject` the router works on the events at once and can tell
    trommel.toml:7:18: `stream_subject` can't be `in.{key}`: there is no `{key}` yet where events come in
    trommel.toml:8:9: `burst` without `rate` means nothing
    trommel.toml:10:1: a source with `stream_subject` needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    trommel.toml:13:10: the listener `127.0.0.1:1` appears twice
      first at trommel.toml:5:10
    "#);
}

/// Tenants share a listener by their tokens or by the path.
#[test]
fn tenants_share_a_listener() {
    let http = loaded(
        "listen = \"127.0.0.1:1\"\npath = \"/in/{tenant}\"\ntenants_env = \"T\"\ntenant_rate = 5\ntenant_burst = 9",
    );
    assert_eq!((http.path.as_str(), http.tenant_in_path), ("/in", true));
    assert_eq!(http.auth, Some(ClientAuth::Tenants(KeptIn::Env("T".to_owned()))));
    let rate = http.tenant_rate.unwrap();
    assert_eq!((rate.events.get(), rate.burst.get(), http.rate), (5, 9, None));
    let root = loaded("listen = \"127.0.0.1:1\"\npath = \"/{tenant}\"");
    assert_eq!((root.path.as_str(), root.tenant_in_path, root.auth), ("", true, None));
    let settings =
        "listen = \"127.0.0.1:1\"\npath = \"/in/{tenant}\"\ntenant = \"t\"\nsecret_file = \"new\"\ntenant_burst = 1";
    assert_snapshot!(problems(settings), @"
    trommel.toml:5:8: no signature covers the `{tenant}` in `path`: it could be changed on the way
      tenants are known by their tokens: name a `tenants_file`
    trommel.toml:6:10: `tenant` sets the tenant of all events, which `path` or `tenants_file` tell apart
    trommel.toml:8:16: `tenant_burst` without `tenant_rate` means nothing
    ");
    assert_snapshot!(problems("listen = \"127.0.0.1:1\"\ntoken_file = \"token\"\ntenants_env = \"T\"\npath = \"/{tenant}/in\""), @"
    trommel.toml:5:14: `tenants_env` has the tokens of all clients, so there is no `token_file`
    trommel.toml:7:8: `path` can't be `/{tenant}/in`: a path looks like `/events`, `/hooks/orders` or `/in/{tenant}`
    ");
}
