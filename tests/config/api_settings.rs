//! What is said of the API, and whether its identity suffices for the keys that are routed, is
//! checked before anything starts (L16, L17).

use crate::config_folder::ConfigFolder;

use std::time::Duration;

use insta::assert_snapshot;
use trommel::{
    backoff::Backoff,
    config::{ApiLogin, ApiToken, AuthType, DeclaredIdentity, Grant, KeptIn, LoginKind},
    endpoint::Endpoint,
    folder::{load, load_registry},
};

const SETTINGS: &str = "
[[source]]
name = \"in\"
type = \"lines\"

[[sink]]
name = \"out\"
type = \"null\"
";

const ROUTE: &str = "
[[route]]
key = \"mail\"
sinks = [\"out\"]
";

/// A folder with a component `mail`, whose settings begin with `api`.
fn folder(api: &str, keys: &str) -> ConfigFolder {
    ConfigFolder::of(&[
        ("plugins/mail.wasm", ""),
        ("token", "t"),
        ("trommel.toml", &format!("{api}\n{SETTINGS}")),
        ("keys/mail.toml", keys),
    ])
}

fn problems(api: &str, keys: &str) -> String {
    folder(api, keys).problems()
}

/// What is said of an identity and a routed key that wants something of it: errors, or else
/// warnings.
fn said(identity: &str, key: &str) -> String {
    let api = format!("[api]\nbase_url = \"https://api.example.com\"\n{identity}");
    let folder = folder(&api, &format!("[[key]]\nkey = \"mail\"\nsubject = \"mail.>\"\n{key}\n{ROUTE}"));
    if load(folder.path()).is_ok() { folder.warnings() } else { folder.problems() }
}

#[test]
fn everything_that_can_be_said() {
    let api = r#"
[api]
base_url = "https://api.example.com/v1"
token_file = "token"
headers = { X-Tenant = "tenant-forty-two", Accept-Language = "en" }
timeout = "2s"
retries = 0
backoff = { min = "1s", max = "5s" }
max_body = "4KiB"
allow_private = true
auth_types = ["bot"]
scopes = ["mail:read", "mail:write"]
console_events = "mail.received"

[[filter]]
name = "mail"
grants = ["api", "state"]
"#;
    let keys = r#"
[[key]]
key = "mail"
subject = "mail.>"
filter = "mail"
api = ["GET /users/*", "POST /mails/**"]
auth_types = ["user", "bot"]
scopes = "mail:read"
"#;
    let folder = folder(api, keys);
    let config = folder.load();
    let api = config.api.unwrap();
    assert_eq!(api.base_url.as_str(), "https://api.example.com/v1");
    assert_eq!(api.token, Some(ApiToken::Kept(KeptIn::File(folder.file("token")))));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(api.headers, [header("X-Tenant", "tenant-forty-two"), header("Accept-Language", "en")]);
    assert_eq!((api.timeout, api.retries, api.max_body), (Duration::from_secs(2), 0, 4096));
    assert_eq!(api.backoff, Backoff::new(Duration::from_secs(1), Duration::from_secs(5)));
    assert!(api.allow_private);
    let scopes = Some(vec!["mail:read".to_owned(), "mail:write".to_owned()]);
    let console_events = Some(vec!["mail.received".to_owned()]);
    assert_eq!(api.identity, DeclaredIdentity { auth_types: vec![AuthType::Bot], scopes, console_events });
    assert!(!format!("{api:?}").contains("forty-two"), "{api:?}");
    assert_eq!(config.filters[0].grants, [Grant::Api, Grant::State]);
    let key = &config.registry.keys[0];
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    assert_eq!(key.api, [endpoint("GET /users/*"), endpoint("POST /mails/**")]);
    assert_eq!(key.auth_types, [AuthType::User, AuthType::Bot]);
    assert_eq!(key.scopes, ["mail:read"]);
}

#[test]
fn the_least_that_can_be_said() {
    let config = folder("[api]\nbase_url = \"https://api.example.com\"\ntoken_env = \"API_TOKEN\"", "").load();
    let api = config.api.unwrap();
    assert_eq!(api.token, Some(ApiToken::Kept(KeptIn::Env("API_TOKEN".to_owned()))));
    assert_eq!((api.timeout, api.retries, api.max_body), (Duration::from_secs(5), 2, 1 << 20));
    assert_eq!(api.backoff, Backoff::new(Duration::from_millis(100), Duration::from_secs(2)));
    assert_eq!((api.allow_private, api.identity), (false, DeclaredIdentity::default()));
    assert_eq!(folder("", "").load().api, None);
}

#[test]
fn settings_that_can_not_be() {
    let api = r#"
[api]
base_url = "https://api.example.com"
base_uri = "https://api.example.com"
token_file = "tokens"
token_env = "API_TOKEN"
headers = { Authorization = "Bearer 5ecret", Host = "x", "a b" = "5ecret", X-A = "1", x-a = "2", X-B = "5ecret\n", X-C = ["5ecret"] }
timeout = "0s"
retries = -1
backoff = { min = "5s", max = "1s" }
max_body = 0
auth_types = ["user", "admin"]
scopes = ["mail:read", "mail write"]

[[filter]]
name = "mail"
grants = ["apis"]
"#;
    assert_snapshot!(problems(api, ""), @r"
    trommel.toml:4:1: unknown field `base_uri`
      did you mean `base_url`?
    trommel.toml:5:14: can't read `DIR/tokens`: No such file or directory (os error 2)
    trommel.toml:6:13: the token comes from `token_file` or from `token_env`, not from both
    trommel.toml:7:13: `Authorization` is what the token is sent as: give one of them
    trommel.toml:7:46: the router sets the header `Host` itself
    trommel.toml:7:58: `a b` is not a valid header name
    trommel.toml:7:87: header `x-a` appears twice
      first at trommel.toml:7:76
    trommel.toml:7:104: the header `X-B` must be a string of printable ASCII
    trommel.toml:7:122: the header `X-C` must be a string of printable ASCII
    trommel.toml:8:11: `timeout` can't be zero
    trommel.toml:9:11: `retries` can't be `-1`: it must be at least 0
    trommel.toml:10:19: `min` is longer than `max`
    trommel.toml:11:12: `max_body` can't be `0`: it must be at least 1
    trommel.toml:12:23: `auth_types` can't be `admin`: it is `user` or `bot`
    trommel.toml:13:24: `scopes` can't be `mail write`: a scope is printable ASCII without spaces
    trommel.toml:17:11: `grants` can't be `apis`: what can be granted is `api`, `identity` and `state`
    ");
}

#[test]
fn a_login_takes_the_place_of_a_token() {
    let api = |login: &str| format!("[api]\nbase_url = \"https://api.example.com\"\n\n[api.login]\n{login}");
    let login = |text: &str| {
        let folder = folder(&api(text), "");
        let Some(ApiToken::Login(login)) = folder.load().api.unwrap().token else { panic!("it logs in") };
        (login, folder.file("token"))
    };
    let (lark, file) = login("type = \"lark\"\nid = \"cli_a\"\nsecret_file = \"token\"");
    assert_eq!(lark, ApiLogin { kind: LoginKind::Lark, id: "cli_a".to_owned(), secret: KeptIn::File(file) });
    let url = "https://login.example.com/oauth2/token";
    let more = "scope = [\"mail:read\", \"mail:send\"]";
    let (oauth2, _) =
        login(&format!("type = \"oauth2\"\nid = \"a\"\nsecret_env = \"SECRET\"\nurl = \"{url}\"\n{more}"));
    let kind = LoginKind::OAuth2 { url: url.parse().unwrap(), scope: Some("mail:read mail:send".to_owned()) };
    assert_eq!(oauth2, ApiLogin { kind, id: "a".to_owned(), secret: KeptIn::Env("SECRET".to_owned()) });
}

#[test]
fn logins_that_can_not_be() {
    let api = "[api]\nbase_url = \"https://api.example.com\"\n";
    let both = "token_file = \"token\"\nheaders = { Authorization = \"5ecret\" }\n";
    let lark = "[api.login]\ntype = \"lark\"\nid = \"cli_a\"\nsecret_file = \"token\"\n";
    assert_snapshot!(problems(&format!("{api}{both}{lark}url = \"https://host/\"\nscope = \"a\""), ""), @r"
    trommel.toml:3:14: `[api.login]` fetches the token, so there is no `token_file`
      give one of them
    trommel.toml:4:13: `Authorization` is what the token is sent as: give one of them
    trommel.toml:9:7: a login of type `lark` has no `url`
      Lark is asked at `base_url`, for what the app may do
    trommel.toml:10:9: a login of type `lark` has no `scope`
      Lark is asked at `base_url`, for what the app may do
    ");
    assert_snapshot!(problems(&format!("{api}[api.login]"), ""), @r"
    trommel.toml:3:1: `type` is missing
    trommel.toml:3:1: `id` is missing
    trommel.toml:3:1: there is no secret to log in with
      name a file with `secret_file`, or an environment variable with `secret_env`
    ");
    let oauth2 = "[api.login]\ntype = \"oauth2\"\nid = \"\"\nsecret_file = \"token\"\nsecret_env = \"A\"\n";
    assert_snapshot!(problems(&format!("{api}{oauth2}scope = \"a b\"\nsecret = \"x\""), ""), @r"
    trommel.toml:3:1: `url` is missing
      a token endpoint looks like `https://login.example.com/oauth2/token`
    trommel.toml:5:6: `id` can't be ``: it is empty
    trommel.toml:7:14: the secret comes from `secret_file` or from `secret_env`, not from both
    trommel.toml:8:9: `scope` can't be `a b`: a scope is printable ASCII without spaces
    trommel.toml:9:1: unknown field `secret`
      did you mean `secret_env` or `secret_file`?
    ");
    let url = "url = \"https://bob:5ecret@host/token\"\n";
    assert_snapshot!(problems(&format!("{api}[api.login]\ntype = \"oauth\"\nid = 1\nsecret_file = \"none\"\n{url}"), ""), @r"
    trommel.toml:4:8: `type` can't be `oauth`
      did you mean `oauth2`?
    trommel.toml:5:6: `id` must be a string, found an integer
    trommel.toml:6:15: can't read `DIR/none`: No such file or directory (os error 2)
    trommel.toml:7:7: `url` is not a token endpoint: it holds a user, who belongs in `id` and `secret_file`
      a token endpoint looks like `https://login.example.com/oauth2/token`
    ");
    assert_snapshot!(problems(&format!("{api}login = \"lark\""), ""), @"trommel.toml:3:9: `login` must be a table, found a string");
}

/// An address may hold a password.
#[test]
fn addresses_are_refused_without_being_shown() {
    for (address, expected) in [
        ("api.example.com/5ecret", "relative URL without a base"),
        ("ftp://5ecret", "it begins with `ftp:` instead of `https:` or `http:`"),
        ("https://bob:5ecret@host", "it holds a user, who belongs in `token_file`, `token_env` or `headers`"),
        ("https://host/?key=5ecret", "it ends with its path, without `?` and `#`"),
    ] {
        let said = problems(&format!("[api]\nbase_url = \"{address}\""), "");
        let hint = "an address looks like `https://api.example.com/v1`";
        let expected = format!("trommel.toml:2:12: `base_url` is not an API's address: {expected}\n  {hint}");
        assert_eq!(said, expected);
    }
}

#[test]
fn broken_syntax_in_a_secret_is_not_shown() {
    let said = problems("[api]\nbase_url = \"https://host\"\nheaders = { X-Key = \"5e\"cret\" }", "");
    assert!(!said.contains("cret"), "{said}");
    let said = problems("[api]\nbase_url = \"https://host\"\n[api.headers]\nX-Key = \"5e\"cret\"", "");
    assert!(!said.contains("cret"), "{said}");
}

#[test]
fn a_grant_needs_an_api() {
    assert_snapshot!(problems("[[filter]]\nname = \"mail\"\ngrants = [\"api\"]", ""), @r#"
    trommel.toml:3:10: there is no API to grant
      add `[api]` with, say, `base_url = "https://api.example.com"`
    "#);
}

#[test]
fn calls_that_name_nothing() {
    let keys = r#"
[[key]]
key = "mail"
subject = "mail.>"
api = ["GET /users/*", "/users", "get /users", "GET /users/../admin", "GET /users?x", "GET /a*", "GET /**/a"]
"#;
    assert_snapshot!(problems("", keys), @r"
    keys/mail.toml:5:24: `api` can't be `/users`: it is a method and a path, such as `GET /users/*`, behind `NAME: ` for an API with a name
    keys/mail.toml:5:34: `api` can't be `get /users`: its method is not one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`
    keys/mail.toml:5:48: `api` can't be `GET /users/../admin`: its path can't be called: it has a segment `.` or `..`
    keys/mail.toml:5:71: `api` can't be `GET /users?x`: its path is compared without what follows a `?`
    keys/mail.toml:5:87: `api` can't be `GET /a*`: a wildcard must be a whole segment, as in `/users/*/mails`
    keys/mail.toml:5:98: `api` can't be `GET /**/a`: `**` stands for the rest and must come last
    ");
}

/// L16
#[test]
fn the_identity_must_be_of_a_type_that_the_key_takes() {
    assert_snapshot!(said("auth_types = [\"bot\"]", "auth_types = [\"user\"]"), @"keys/mail.toml:6:1: key `mail` needs the auth type `user`, the identity in `[api]` has `bot`");
    assert_snapshot!(said("", "auth_types = [\"user\", \"bot\"]"), @r"
    keys/mail.toml:6:1: key `mail` needs the auth type `user` or `bot`, and `[api]` names none
      say with `auth_types` in `[api]` what the identity is
    ");
    assert_eq!(said("auth_types = [\"bot\"]", "auth_types = [\"user\", \"bot\"]"), "");
    assert_eq!(said("auth_types = [\"bot\"]", "auth_types = []"), "", "no identity is needed");
    assert_eq!(said("", ""), "");
    assert_snapshot!(said("auth_types = [\"bot\"]", "auth_types = [\"tenant\"]"), @"keys/mail.toml:4:15: `auth_types` can't be `tenant`: it is `user` or `bot`");
}

/// L17
#[test]
fn scopes_that_are_missing_are_listed() {
    let wanted = "scopes = [\"mail:write\", \"contact:read\", \"mail:read\", \"contact:read\"]";
    assert_snapshot!(said("scopes = [\"mail:read\"]", wanted), @r"
    keys/mail.toml:6:1: key `mail` needs scopes that the identity in `[api]` does not have: `contact:read` and `mail:write`
      grant them to the identity, and add them to `scopes` in `[api]`
    ");
    assert_eq!(said("scopes = [\"mail:read\", \"mail:write\", \"contact:read\"]", wanted), "");
    assert_eq!(said("scopes = []", ""), "");
}

/// L17: a check that can't be made does not stand in the way.
#[test]
fn unknown_scopes_are_a_warning() {
    assert_snapshot!(said("", "scopes = [\"mail:write\", \"mail:read\"]"), @r"
    keys/mail.toml:6:1: warning: key `mail` needs the scopes `mail:read` and `mail:write`, and it is not known which the identity in `[api]` has
      say it with `scopes` in `[api]`
    ");
}

/// L17
#[test]
fn console_events_are_asked_for_as_scopes_are() {
    let wanted = "console_events = [\"mail.received\", \"mail.sent\"]";
    assert_snapshot!(said("console_events = [\"mail.sent\"]", wanted), @r"
    keys/mail.toml:6:1: key `mail` needs console events that the identity in `[api]` does not have: `mail.received`
      turn them on at the platform, and add them to `console_events` in `[api]`
    ");
    assert_snapshot!(said("", wanted), @r"
    keys/mail.toml:6:1: warning: key `mail` needs the console events `mail.received` and `mail.sent`, and it is not known which the identity in `[api]` has
      say it with `console_events` in `[api]`
    ");
    assert_eq!(said("console_events = [\"mail.sent\", \"mail.received\"]", wanted), "");
}

/// A folder may declare more keys than its identity could serve: what counts is what is routed.
#[test]
fn keys_that_nobody_routes_want_nothing() {
    let key = "[[key]]\nkey = \"mail\"\nsubject = \"mail.>\"\nauth_types = [\"user\"]\nscopes = [\"a\"]\n";
    assert_snapshot!(folder("", key).warnings(), @r#"
    keys/mail.toml:1:1: warning: key `mail` has no route: nothing of it reaches a sink
      add `[[route]]` with `key = "mail"` and `sinks`; without one, only `trommel consume` gets its events
    "#);
    assert_snapshot!(problems("", &format!("{key}{ROUTE}")), @r"
    keys/mail.toml:7:1: key `mail` needs the auth type `user`, and `[api]` names none
      say with `auth_types` in `[api]` what the identity is
    keys/mail.toml:7:1: warning: key `mail` needs the scopes `a`, and it is not known which the identity in `[api]` has
      say it with `scopes` in `[api]`
    ");
}

#[test]
fn a_mistake_in_the_settings_is_not_blamed_on_the_keys() {
    let keys = format!("[[key]]\nkey = \"mail\"\nsubject = \"mail.>\"\nauth_types = [\"user\"]\n{ROUTE}");
    assert_snapshot!(problems("[api]\nauth_types = [\"user\"]", &keys), @"trommel.toml:1:1: `base_url` is missing");
    let misspelt = "[api]\nbase_url = \"https://api.example.com\"\nauth_types = [\"usr\"]";
    assert_snapshot!(problems(misspelt, &keys), @"trommel.toml:3:15: `auth_types` can't be `usr`: it is `user` or `bot`");
}

/// Keys that come while the router runs are held against the identity too.
#[test]
fn reloaded_keys_are_checked() {
    let folder = folder("", "");
    let config = folder.load();
    let key = "[[key]]\nkey = \"mail\"\nsubject = \"mail.>\"\nauth_types = [\"user\"]\n";
    folder.write("keys/mail.toml", format!("{key}{ROUTE}"));
    assert_snapshot!(load_registry(&config).unwrap_err(), @r"
    keys/mail.toml:6:1: key `mail` needs the auth type `user`, and `[api]` names none
      say with `auth_types` in `[api]` what the identity is
    ");
}
