//! Params of every type: how they are written, and what is said of those that can't be used.

use insta::assert_snapshot;
use trommel::config::KeptIn;

use crate::config_folder::ConfigFolder;
use crate::refusals::SETTINGS;

const KEY: &str = r#"
[[key]]
key = "orders"
subject = "orders.>"
params = [
    { name = "rate", type = "float" },
    { name = "window", type = "duration", default = "1m" },
    { name = "most", type = "size" },
    { name = "names", type = "list" },
    { name = "rules", type = "json" },
    { name = "pepper", type = "secret", required = true, default = { file = "secrets/pepper" } },
]
[[route]]
key = "orders"
sinks = ["out"]
"#;

fn folder(params: &str) -> ConfigFolder {
    let keys = format!("{KEY}params = {{ {params} }}\n");
    ConfigFolder::of(&[("trommel.toml", SETTINGS), ("secrets/pepper", "hot\n"), ("keys/orders.toml", &keys)])
}

/// Checks that each of these is said.
fn has(problems: &str, expected: &[&str]) {
    for text in expected {
        assert!(problems.contains(text), "no `{text}` in:\n{problems}");
    }
}

fn params(written: &str) -> String {
    let route = folder(written).load().registry.routes.remove(0);
    route.params.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

#[test]
fn each_type_is_written_as_toml_has_it() {
    let written = r#"rate = 0.5, window = "1h", most = "1kB", names = ["a, b", "c"], rules = [{ from = 1, to = "x" }]"#;
    assert_snapshot!(params(written), @r#"
    most = 1000
    names = ["a, b","c"]
    rate = 0.5
    rules = [{"from":1,"to":"x"}]
    window = 3600000ms
    "#);
    assert_snapshot!(params(r#"rate = 2, most = 64, names = "one", rules = '{"a": 1.50}'"#), @r#"
    most = 64
    names = ["one"]
    rate = 2.0
    rules = {"a": 1.50}
    window = 60000ms
    "#);
}

#[test]
fn a_secret_is_kept_elsewhere() {
    let route = folder("").load().registry.routes.remove(0);
    let (name, secret) = &route.secrets[0];
    assert_eq!(
        (&**name, matches!(&secret.kept, KeptIn::File(path) if path.ends_with("secrets/pepper"))),
        ("pepper", true)
    );
    let own = folder(r#"pepper = { env = "CARGO_PKG_NAME" }"#).load().registry.routes.remove(0);
    assert_eq!(own.secrets[0].1.kept, KeptIn::Env("CARGO_PKG_NAME".to_owned()));
    assert_ne!(own.name, route.name, "the name tells where it is kept");
    assert!(!format!("{route:?}").contains("hot"));
}

/// The value of a secret is in no message.
#[test]
fn what_can_not_be_used_is_named_with_the_way_out() {
    let written = r#"rate = "much", window = 5, most = "0", names = [1], rules = "{", pepper = "s3cret""#;
    let problems = folder(written).problems();
    assert!(!problems.contains("s3cret"), "{problems}");
    assert_eq!(problems.matches("keys/orders.toml:16:").count(), 6, "{problems}");
    has(
        &problems,
        &[
            "param `rate` can't be `much`\n  a float is a number such as `0.5` or `1e3`",
            "param `window` can't be `5`\n  a duration is such as `5m` or `1h 30m`: ",
            "param `most` can't be `0`\n  a size is a number of bytes, or such as `64MiB`: ",
            "param `names` is of type `list`, not such a list\n  tables and lists of any kind are declared with `type = \"json\"`",
            "param `rules` can't be `{`\n  it is not JSON: ",
            "param `pepper` is a secret, which is not written down\n  say where it is kept: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`",
        ],
    );
    let written = r#"rate = { env = "RATE" }, names = { a = 1 }, pepper = { file = "secrets/none" }"#;
    has(
        &folder(written).problems(),
        &[
            "param `rate` is of type `float`, not a table\n  a value that is kept elsewhere is declared with `type = \"secret\"`",
            "param `names` is of type `list`, not a table\n",
            "can't use the secret in `secrets/none`: ",
        ],
    );
}

#[test]
fn a_secret_is_not_declared_with_its_value() {
    let key = r#"
[[key]]
key = "orders"
subject = "orders.>"
[[key.params]]
name = "pepper"
type = "secret"
subscription_key = true
default = { emv = "PEPPER" }
"#;
    has(
        &ConfigFolder::of(&[("trommel.toml", SETTINGS), ("keys/orders.toml", key)]).problems(),
        &["a secret can't tell subscriptions apart", "a secret has its default in a place\n  say where it is kept: "],
    );
}

#[test]
fn state_settings_that_contradict_each_other() {
    let settings = format!("{SETTINGS}[state]\nmax_bytes = 5\nreplicas = 9\n");
    has(
        &ConfigFolder::of(&[("trommel.toml", &settings)]).problems(),
        &[
            "`max_bytes` is of a bucket on the server\n  add `store = \"nats\"`",
            "`replicas` can't be `9`: it must be at most 5",
        ],
    );
    let settings = format!("{SETTINGS}[state]\nstore = \"nats\"\n");
    has(
        &ConfigFolder::of(&[("trommel.toml", &settings)]).problems(),
        &["`store = \"nats\"` needs a server\n  add `[nats]` with"],
    );
}

#[test]
fn apis_have_names() {
    let settings = format!(
        "{SETTINGS}[apis.crm]\nbase_url = \"https://crm.example.com\"\n[apis.\"e r p\"]\nbase_url = \"https://erp.example.com\"\n\
         scopes = [\"a\"]\n"
    );
    has(
        &ConfigFolder::of(&[("trommel.toml", &settings)]).problems(),
        &["an API can't be named `e r p`: a name is made of", "unknown field `scopes`"],
    );
    let settings = format!("{SETTINGS}[apis.crm]\nbase_url = \"https://crm.example.com\"\n");
    let key = |api: &str| format!("[[key]]\nkey = \"orders\"\nsubject = \"orders.>\"\napi = \"{api}\"\n");
    let folder = |api| ConfigFolder::of(&[("trommel.toml", &settings), ("keys/orders.toml", &key(api))]);
    assert_eq!(folder("crm: GET /users/*").load().registry.keys[0].api[0].api(), "crm");
    has(
        &folder("crn: GET /users/*").problems(),
        &["key `orders` calls the API `crn`, which there is not\n  did you mean `crm`?"],
    );
}

#[test]
fn filters_have_files_of_their_own() {
    let inside = format!("{SETTINGS}[[filter]]\nname = \"select\"\n");
    let files = [
        ("trommel.toml", &*inside),
        ("plugins/select.wasm", ""),
        ("plugins/redact.wasm", ""),
        ("filters/a.toml", "[[filter]]\nname = \"redact\"\ngrants = [\"state\"]\n"),
        ("filters/b.toml", "[[filter]]\nname = \"select\"\n"),
        ("filters/c.toml", "[[filter]]\nname = \"redact\"\n[[key]]\nkey = \"a\"\n"),
    ];
    has(
        &ConfigFolder::of(&files).problems(),
        &[
            "filters/b.toml:2:8: filter `select` has its settings in `trommel.toml`, too",
            "filters/c.toml:2:8: filter `redact` appears twice\n  first at filters/a.toml:2:8",
            "unknown field `key`",
        ],
    );
    let config = ConfigFolder::of(&files[..4]).load();
    assert_eq!(config.filter("redact").grants, [trommel::config::Grant::State]);
}
