//! A router's folder that can't be used is refused whole, with everything that is wrong in it, where it is and what
//! was perhaps meant.

use std::fs;

use insta::assert_snapshot;
use tempfile::TempDir;
use trommel::config::load;

/// A folder with one component, `plugins/orders.wasm`, and these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("plugins/orders.wasm", "")].iter().chain(files) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// All that is said about the folder, which itself appears as `DIR`.
fn problems(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    load(dir.path()).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
}

/// What is said about `trommel.toml`.
fn in_settings(text: &str) -> String {
    problems(&[("trommel.toml", text)])
}

/// What is said about `trommel.toml` with this beside a source.
fn beside_source(text: &str) -> String {
    in_settings(&format!("{text}\n[[source]]\nname = \"in\"\ntype = \"lines\"\n"))
}

const SETTINGS: &str = "
[[source]]
name = \"in\"
type = \"lines\"

[[sink]]
name = \"out\"
type = \"stdout\"

[[sink]]
name = \"large\"
type = \"null\"
";

/// What is said about `keys/orders.toml` beside good settings.
fn in_keys(text: &str) -> String {
    problems(&[("trommel.toml", SETTINGS), ("keys/orders.toml", text)])
}

/// What is said about a route, beside a key with params.
fn in_route(text: &str) -> String {
    in_keys(&format!(
        r#"[[key]]
key = "orders.large"
subject = "orders.>"
filter = "orders"
params = [
    {{ name = "min_amount", type = "int", required = true, description = "Smallest amount that passes" }},
    {{ name = "regions", type = "multi", values = {{ eu = "Europe", us = "America", asia = "Asia" }} }},
    {{ name = "currency", type = "enum", values = {{ eur = "Euro", usd = "Dollar" }}, default = "eur" }},
    {{ name = "paid", type = "bool" }},
]

[[key]]
key = "orders.all"
subject = "orders.>"

[[route]]
{text}"#
    ))
}

#[test]
fn there_is_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&dir.path().join("router")).unwrap_err().to_string();
    assert_snapshot!(error.replace(&dir.path().display().to_string(), "DIR"), @r"
    DIR/router: can't open the folder: No such file or directory (os error 2)
      a router's folder holds `trommel.toml`, `keys/*.toml` and `plugins/*.wasm`: see `examples/quickstart`
    ");
}

#[test]
fn a_folder_without_settings_still_has_its_keys_checked() {
    assert_snapshot!(problems(&[("keys/orders.toml", "[[key]]\nkey = \"orders\"\n")]), @r"
    keys/orders.toml:1:1: the key does not say which events it takes
      give it a `subject`, an `event_type` or both
    trommel.toml: there is no such file in `DIR`
      a router's folder holds `trommel.toml`, `keys/*.toml` and `plugins/*.wasm`: see `examples/quickstart`
    ");
}

#[test]
fn an_empty_file_says_what_it_lacks() {
    assert_snapshot!(in_settings(""), @r#"
    trommel.toml:1:1: there is no source to read from
      add a `[[source]]` with `name` and `type = "jetstream"`, `type = "lines"` or `type = "http"`
    "#);
}

/// One mistake does not hide another, in whichever file.
#[test]
fn every_problem_of_every_file_comes_at_once() {
    let files = [
        (
            "trommel.toml",
            r#"
[pipelines]
lanes = 4

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durrable = "trommel"

[[sink]]
name = "large"
type = "nats"
subject = "alerts..{event_type}"
windw = 10

[dedup]
ttl = "5 parsecs"
"#,
        ),
        (
            "keys/orders.toml",
            r#"
[[key]]
key = "orders.large"
subject = "orders.>.created"
filter = "ordes"
workes = 2

[[key.params]]
name = "min_amount"
type = "integer"

[[route]]
key = "orders.lrage"
sinks = ["lagre"]
"#,
        ),
        ("keys/refunds.toml", "[[key]]\nname = orders\n"),
    ];
    assert_snapshot!(problems(&files), @r"
    keys/orders.toml:4:11: `subject` can't be `orders.>.created`: `>` stands for the rest and must come last
    keys/orders.toml:5:10: filter `ordes` has no component: there is no `plugins/ordes.wasm`
      did you mean `orders`?
    keys/orders.toml:6:1: unknown field `workes`
      did you mean `workers`?
    keys/orders.toml:10:8: `type` can't be `integer`
      did you mean `int`?
    keys/orders.toml:14:10: there is no sink `lagre`
      did you mean `large`?
    keys/refunds.toml:2:8: string values must be quoted, expected literal string
      name = …
    trommel.toml:2:2: unknown field `pipelines`
      did you mean `pipeline`?
    trommel.toml:5:1: `durable` is missing
    trommel.toml:9:1: unknown field `durrable`
      did you mean `durable`?
    trommel.toml:14:11: `subject` can't be `alerts..{event_type}`: it has an empty token: dots separate tokens, one at a time, never first or last
    trommel.toml:15:1: unknown field `windw`
      did you mean `window`?
    trommel.toml:18:7: `ttl` can't be `5 parsecs`: a duration looks like `5s`, `250ms`, `1h 30m` or `7d`
    ");
}

#[test]
fn broken_syntax_shows_the_line() {
    assert_snapshot!(in_keys("[[key]\nkey = \"orders\nsubject == \"orders.>\"\nsubject = \"ö\" x\n"), @r#"
    keys/orders.toml:1:7: unclosed array table, expected `]`
      [[key]
            ^
    keys/orders.toml:3:10: extra `=`, expected nothing
      subject = …
    keys/orders.toml:4:15: unexpected key or value, expected newline, `#`
      subject = …
    "#);
}

/// A log is no place for a password.
#[test]
fn broken_syntax_in_a_secret_is_not_shown() {
    let error = beside_source("[nats]\nurl = \"nats://localhost\"\nuser = \"bob\"\npassword = \"pass\"word\"\n");
    assert_snapshot!(error, @"
    trommel.toml:4:18: unexpected key or value, expected newline, `#`
      password = …
    ");
}

#[test]
fn a_field_appears_twice() {
    assert_snapshot!(in_keys("[[key]]\nkey = \"a\"\nsubject = \"a\"\nsubject = \"b\"\n"), @r#"
    keys/orders.toml:4:1: duplicate key
      subject = …
      ^
    "#);
}

#[test]
fn unknown_fields_are_reported_at_any_depth() {
    let text = r#"
[nats]
url = "nats://localhost"
usr = "bob"

[[stream]]
name = "ORDERS"
subjects = ["orders.>"]
max_ages = "24h"
colour = "red"

[[sink]]
name = "out"
type = "stdout"
path = "out.ndjson"
retry = { min = "1s", maximum = "5s" }

[[filter]]
name = "orders"
limits = { process_cpus = "1s" }
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:4:1: unknown field `usr`
      did you mean `user` or `url`?
    trommel.toml:9:1: unknown field `max_ages`
      did you mean `max_age`?
    trommel.toml:10:1: unknown field `colour`
      known fields: `allow_atomic`, `allow_direct`, `allow_msg_ttl`, `compression`, `deny_delete`, `deny_purge`, `description`, `discard`, `duplicate_window`, `max_age`, `max_bytes`, `max_consumers`, `max_msg_size`, `max_msgs`, `max_msgs_per_subject`, `mirror`, `name`, `placement`, `replicas`, `republish`, `retention`, `sources`, `storage`, `subject_transform` and `subjects`
    trommel.toml:15:1: unknown field `path`
      known fields: `encode`, `name`, `on_failure`, `retry`, `type` and `writer_schema`
    trommel.toml:16:23: unknown field `maximum`
      did you mean `max`?
    trommel.toml:20:12: unknown field `process_cpus`
      did you mean `process_cpu`?
    ");
}

#[test]
fn wrong_types_say_what_was_found_and_meant() {
    let text = r#"
[pipeline]
lanes = "four"
drain = 30
in_flight_bytes = 1.5
in_flight = true

[dedup]
enabled = "yes"

[admin]
listen = 9464

[limits]
memory = [64]

[sink]
name = "out"

[nats]
url = ["nats://localhost", 4222]
token = 12345
"#;
    assert_snapshot!(beside_source(text), @r#"
    trommel.toml:3:9: `lanes` must be an integer, found a string
    trommel.toml:4:9: `drain` must be a duration in quotes, such as `"5s"`, found an integer
    trommel.toml:5:19: `in_flight_bytes` must be a number of bytes or a size such as `"64MiB"`, found a float
    trommel.toml:6:13: `in_flight` must be an integer, found a boolean
    trommel.toml:9:11: `enabled` must be `true` or `false`, found a string
    trommel.toml:12:10: `listen` must be a string, found an integer
    trommel.toml:15:10: `memory` must be a number of bytes or a size such as `"64MiB"`, found an array
    trommel.toml:17:1: `sink` must be a list of tables, each written `[[sink]]`, found a table
    trommel.toml:21:28: `url` must be a list of strings, found an integer
    trommel.toml:22:9: `token` must be a string, `{ env = "NAME" }` or `{ file = "path" }`, found an integer
    "#);
}

#[test]
fn values_out_of_range() {
    let text = r#"
[pipeline]
lanes = 5000
in_flight = 0
in_flight_bytes = "0MiB"

[dedup]
ttl = "0s"
capacity = -1
by = "payload"

[admin]
listen = "localhost:9464"

[limits]
match_cpu = "0ms"
memory = "64 apples"
output = 0
emissions = 0
log_lines = -1

[[sink]]
name = "out"
type = "stdout"
retry = { min = "10s", max = "1s" }
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:3:9: `lanes` can't be `5000`: it must be at most 1024
    trommel.toml:4:13: `in_flight` can't be `0`: it must be at least 1
    trommel.toml:5:19: `in_flight_bytes` can't be `0MiB`: it must be at least 1
    trommel.toml:8:7: `ttl` can't be zero
    trommel.toml:9:12: `capacity` can't be `-1`: it must be at least 1
    trommel.toml:10:6: `by` can't be `payload`: it is `id`, `sequence`, `header:NAME` or a JSON pointer such as `/order/id`
    trommel.toml:13:10: `listen` can't be `localhost:9464`: it is an address and a port, such as `127.0.0.1:9464`
    trommel.toml:16:13: `match_cpu` can't be zero
    trommel.toml:17:10: `memory` can't be `64 apples`: a size is a number of bytes, or looks like `64MiB` or `500kB`
    trommel.toml:18:10: `output` can't be `0`: it must be at least 1
    trommel.toml:19:13: `emissions` can't be `0`: it must be at least 1
    trommel.toml:20:13: `log_lines` can't be `-1`: it must be at least 0
    trommel.toml:25:17: `min` is longer than `max`
    ");
}

#[test]
fn words_that_are_not_among_the_choices() {
    let text = r#"
[[source]]
name = "orders"
type = "jetsream"
stream = "ORDERS"

[[source]]
name = "more"
type = "lines"
envelope = "cloud-events"

[[sink]]
name = "out"
type = "kafka"
brokers = ["localhost:9092"]
on_failure = "deadletter"

[[filter]]
name = "orders"
grants = ["state", "network"]
on_quarantine = "stop"
instances = "keys"
digest = "sha256:abc"
"#;
    assert_snapshot!(in_settings(text), @r"
    trommel.toml:4:8: `type` can't be `jetsream`
      did you mean `jetstream`?
    trommel.toml:10:12: `envelope` can't be `cloud-events`
      did you mean `cloudevents`?
    trommel.toml:14:8: `type` can't be `kafka`
      known words: `file`, `folder`, `nats`, `null`, `stdout` and `webhook`
    trommel.toml:16:14: `on_failure` can't be `deadletter`
      did you mean `dead_letter`?
    trommel.toml:20:20: `grants` can't be `network`: what can be granted is `api`, `identity` and `state`
    trommel.toml:21:17: `on_quarantine` can't be `stop`
      known words: `dead_letter` and `pause`
    trommel.toml:22:13: `instances` can't be `keys`
      did you mean `key`?
    trommel.toml:23:10: `digest` can't be `sha256:abc`: it is `sha256:` and 64 hexadecimal digits, as `trommel plugin check` shows them
    ");
}

#[test]
fn names_that_can_not_be() {
    let text = r#"
[nats]
url = "nats://localhost"

[[stream]]
name = "ORDERS.EU"
subjects = ["orders eu.>", "orders.*x"]

[[sink]]
name = "../out"
type = "null"

[[sink]]
type = "null"

[[sink]]
name = ""
type = "null"
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:6:8: `name` can't be `ORDERS.EU`: the server wants at most 255 bytes without spaces, `.`, `*`, `>`, `/` and `\`
    trommel.toml:7:13: `subjects` can't be `orders eu.>`: the server takes no spaces in subjects
    trommel.toml:7:28: `subjects` can't be `orders.*x`: a wildcard must be a whole token, as in `a.*.c`
    trommel.toml:10:8: `name` can't be `../out`: a name is made of letters, digits, `-`, `_` and `.`, and does not begin with `.`
    trommel.toml:13:1: `name` is missing
    trommel.toml:17:8: `name` can't be ``: a name is made of letters, digits, `-`, `_` and `.`, and does not begin with `.`
    ");
}

#[test]
fn what_is_there_twice() {
    let text = r#"
[nats]
url = "nats://localhost"

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"

[[source]]
name = "first"
type = "lines"

[[source]]
name = "second"
type = "lines"

[[sink]]
name = "a"
type = "file"
path = "out.ndjson"

[[sink]]
name = "b"
type = "file"
path = "out.ndjson"

[[filter]]
name = "orders"

[[filter]]
name = "orders"

[dead_letter]
file = "out.ndjson"
"#;
    assert_snapshot!(in_settings(text), @r"
    trommel.toml:12:8: source `orders` appears twice
      first at trommel.toml:6:8
    trommel.toml:15:11: consumer `trommel` of stream `ORDERS` appears twice
      first at trommel.toml:9:11
    trommel.toml:21:1: a source that reads standard input appears twice
      first at trommel.toml:17:1
    trommel.toml:33:8: the file `DIR/out.ndjson` appears twice
      first at trommel.toml:28:8
    trommel.toml:39:8: filter `orders` appears twice
      first at trommel.toml:36:8
    trommel.toml:42:8: the file `DIR/out.ndjson` appears twice
      first at trommel.toml:28:8
    ");
}

#[test]
fn what_needs_a_server_has_none() {
    let text = r#"
[[stream]]
name = "ORDERS"
subjects = ["orders.>"]

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"

[[sink]]
name = "large"
type = "nats"
subject = "alerts.{id}"

[dead_letter]
stream = "DEAD"
"#;
    assert_snapshot!(in_settings(text), @r#"
    trommel.toml:2:1: a stream needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    trommel.toml:6:1: a source of type `jetstream` needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    trommel.toml:12:1: a sink of type `nats` needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    trommel.toml:17:1: a stream of dead letters needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    "#);
}

#[test]
fn there_is_more_than_one_way_to_sign_in() {
    let text = r#"
[nats]
url = ["nats://bob:secret@a", "nats://eve:secret@b"]
token = "secret"
user = "bob"
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:3:31: the servers in `url` are given different users
    trommel.toml:4:9: there is more than one way to sign in: `url` and `token`
    trommel.toml:5:8: `user` and `password` go together
    ");
}

#[test]
fn secrets_and_files_that_are_not_there() {
    let text = r#"
[nats]
url = "http://bob:secret@localhost"
credentials = "router.creds"
token = { env = "TROMMEL_NO_SUCH_VARIABLE" }
user = { file = "secrets/user" }
password = { env = "A", file = "b" }
tls_ca = "plugins"
tls_cert = "plugins/orders.wasm"

[[source]]
name = "in"
type = "lines"
path = "events.ndjson"
"#;
    assert_snapshot!(in_settings(text), @r"
    trommel.toml:3:7: `url` is not a server's address: it begins with `http:` instead of `nats:` or `tls:`
      an address looks like `nats://127.0.0.1:4222`
    trommel.toml:4:15: can't read `DIR/router.creds`: No such file or directory (os error 2)
    trommel.toml:5:17: can't read the environment variable `TROMMEL_NO_SUCH_VARIABLE`: it is not set
    trommel.toml:6:17: can't read `DIR/secrets/user`: No such file or directory (os error 2)
    trommel.toml:7:12: `password` needs one of `env` and `file`
    trommel.toml:8:10: `DIR/plugins` is a folder, not a file
    trommel.toml:9:12: `tls_cert` and `tls_key` go together
    trommel.toml:14:8: can't read `DIR/events.ndjson`: No such file or directory (os error 2)
    ");
}

/// Whoever says what to trust means TLS.
#[test]
fn a_server_with_settings_that_contradict_each_other() {
    let text = r#"
[nats]
url = "nats://localhost"
tls_ca = "trommel.toml"
tls_required = false
domain = "a.b"
api_prefix = "$JS.edge.API"

[[stream]]
name = "ORDERS"
sources = [{ name = "A", filter_subject = "a.>", subject_transforms = [{ src = "a.*", dest = "b.*" }], external = {} }]
subject_transform = { src = "a.*" }

[[source]]
name = "in"
type = "lines"

[[sink]]
name = "out"
type = "stdout"
"#;
    assert_snapshot!(in_settings(text), @r"
    trommel.toml:5:16: `tls_ca` is of no use without TLS
      leave out `tls_required` or `tls_ca`
    trommel.toml:6:10: `domain` can't be `a.b`: the server wants at most 255 bytes without spaces, `.`, `*`, `>`, `/` and `\`
    trommel.toml:7:14: `domain` and `api_prefix` say the same
      a domain is `$JS.DOMAIN.API`: give one of them
    trommel.toml:11:43: `filter_subject` and `subject_transforms` both say what is copied
      each transform picks by its `src`: leave one of them out
    trommel.toml:11:115: `api` is missing
    trommel.toml:12:21: `dest` is missing
    ");
}

#[test]
fn streams_and_sinks_that_contradict_themselves() {
    let text = r#"
[nats]
url = "nats://localhost"

[[stream]]
name = "ORDERS"
subjects = ["orders.>"]
max_age = "1m"
duplicate_window = "2m"

[[sink]]
name = "out"
type = "file"
path = "out.ndjson"
keep = 3

[dead_letter]
file = "dead.ndjson"
subject = "dead.>"
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:9:20: `duplicate_window` is longer than `max_age`
      a message that is gone is not looked for: give it at most as long
    trommel.toml:15:8: `keep` means nothing for a file that is never rotated
      say when to rotate with `max_size` or `max_age`
    trommel.toml:18:8: dead letters go to a `file` or to a `stream`, not to both
    trommel.toml:19:11: `subject` can't be `dead.>`: `*` and `>` belong in patterns, not in subjects
    ");
}

#[test]
fn streams_that_can_not_be() {
    let text = r#"
[nats]
url = "nats://localhost"

[[stream]]
name = "A"
subjects = ["a.>"]
sources = [{ name = "B" }]
mirror = { name = "A", filter_subject = "a b", start_seq = 1, start_time = "May" }

[[stream]]
name = "B"

[[stream]]
name = "C"
subjects = []
retention = "limit"
storage = "disk"
max_age = 5
max_msgs = 0
max_bytes = "no limit"
max_msg_size = "2GiB"
max_consumers = "all"
discard = "oldest"
compression = "zstd"
deny_purge = "yes"
republish = { src = ">", headers = true }
placement = {}

[[stream]]
name = "D"
sources = [{ name = "A" }, { name = "A", filter_subject = "x" }, { name = "A" }, { filter_subject = "y" }]

[[stream]]
name = "E"
mirror = { name = "A", start_seq = 7, start_time = 2026-05-01T00:00:00Z }
max_age = "unlimited"
duplicate_window = "1h"

[[stream]]
name = "TROMMEL_DEAD"
subjects = ["dead.>"]

[[stream]]
name = "F"
sources = []
placement = { tags = [] }
"#;
    assert_snapshot!(beside_source(text), @r#"
    trommel.toml:5:1: stream `A` copies itself
      name another stream
    trommel.toml:7:12: a mirror has no `subjects`
      leave one of them out, or copy the stream with `sources`, which may be beside `subjects`
    trommel.toml:8:11: a mirror has no `sources`
      leave one of them out, or copy the stream with `sources`, which may be beside `subjects`
    trommel.toml:9:41: `filter_subject` can't be `a b`: the server takes no spaces in subjects
    trommel.toml:9:76: `start_time` can't be `May`: a time looks like `2026-05-01T00:00:00Z` or `2026-05-01T02:00:00+02:00`
    trommel.toml:9:76: a copy starts in one place
      give `start_seq` or `start_time`
    trommel.toml:11:1: `subjects` is missing
      name what it keeps, or the stream to copy with `mirror` or `sources`
    trommel.toml:16:12: the stream keeps nothing
      name what it keeps, as in `subjects = ["orders.>"]`
    trommel.toml:17:13: `retention` can't be `limit`
      did you mean `limits`?
    trommel.toml:18:11: `storage` can't be `disk`
      known words: `file` and `memory`
    trommel.toml:19:11: `max_age` must be a duration in quotes, such as `"5s"`, found an integer
    trommel.toml:20:12: `max_msgs` can't be `0`: it must be at least 1
    trommel.toml:21:13: `max_bytes` can't be `no limit`: a size is a number of bytes, or looks like `64MiB` or `500kB`
    trommel.toml:22:16: `max_msg_size` is at most 2147483647 bytes
    trommel.toml:23:17: `max_consumers` must be an integer, found a string
    trommel.toml:24:11: `discard` can't be `oldest`
      did you mean `old`?
    trommel.toml:25:15: `compression` can't be `zstd`
      known words: `none` and `s2`
    trommel.toml:26:14: `deny_purge` must be `true` or `false`, found a string
    trommel.toml:27:13: `dest` is missing
    trommel.toml:27:26: unknown field `headers`
      did you mean `headers_only`?
    trommel.toml:28:13: the placement names no server
      give it a `cluster`, `tags`, or both
    trommel.toml:32:66: source `A` appears twice
      first at trommel.toml:32:12
    trommel.toml:32:82: `name` is missing
    trommel.toml:36:52: a copy starts in one place
      give `start_seq` or `start_time`
    trommel.toml:40:1: dead letters go to `TROMMEL_DEAD`, which does not keep them
      add `trommel.dead.>` to its `subjects`
    trommel.toml:44:1: `subjects` is missing
      name what it keeps, or the stream to copy with `mirror` or `sources`
    trommel.toml:47:13: the placement names no server
      give it a `cluster`, `tags`, or both
    "#);
}

#[test]
fn subjects_with_placeholders() {
    let text = r#"
[nats]
url = "nats://localhost"

[[sink]]
name = "a"
type = "nats"
subject = "alerts.{eventtype}"

[[sink]]
name = "b"
type = "nats"
subject = "alerts.{id"

[[sink]]
name = "c"
type = "nats"
subject = "alerts.{header:a b}"

[[sink]]
name = "d"
type = "nats"
subject = "alerts.>"
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:8:11: `subject` can't be `alerts.{eventtype}`: there is no placeholder `{eventtype}`, only `{event_type}`, `{subject}`, `{id}`, `{source_time}`, `{key}`, `{header:NAME}`, and each as `{token:…}`
    trommel.toml:13:11: `subject` can't be `alerts.{id`: a `{` or a `}` stands alone
    trommel.toml:18:11: `subject` can't be `alerts.{header:a b}`: a header's name is printable ASCII without spaces and `:`
    trommel.toml:23:11: `subject` can't be `alerts.>`: `*` and `>` belong in patterns, not in subjects
    ");
}

#[test]
fn tables_in_the_wrong_file() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\n";
    let files = [("trommel.toml", &*format!("{SETTINGS}{key}")), ("keys/sinks.toml", SETTINGS)];
    assert_snapshot!(problems(&files), @r"
    keys/sinks.toml:2:3: `source` does not belong here
      it belongs in `trommel.toml`
    keys/sinks.toml:6:3: `sink` does not belong here
      it belongs in `trommel.toml`
    trommel.toml:13:3: `key` does not belong here
      it belongs in a file in `keys/`
    ");
}

#[test]
fn a_component_is_not_there() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\nfilter = \"redact\"\n";
    assert_snapshot!(in_keys(key), @r"
    keys/orders.toml:4:10: filter `redact` has no component: there is no `plugins/redact.wasm`
      components in `plugins/`: `orders`
    ");
    let elsewhere = format!("[folders]\nplugins = \"../plugins\"\n{SETTINGS}");
    assert_snapshot!(problems(&[("trommel.toml", &elsewhere), ("keys/orders.toml", key)]), @r"
    keys/orders.toml:4:10: filter `redact` has no component: there is no `../plugins/redact.wasm`
      there is no component in `../plugins/`
    ");
    assert_snapshot!(beside_source("[[filter]]\nname = \"order\"\n"), @r"
    trommel.toml:2:8: filter `order` has no component: there is no `plugins/order.wasm`
      did you mean `orders`?
    ");
}

/// L07
#[test]
fn a_domain_that_is_not_the_names() {
    let text = "[[key]]\nkey = \"orders.large\"\nsubject = \"a\"\ndomain = \"order\"\n\
                [[key]]\nkey = \"orders\"\nsubject = \"a\"\ndomain = \"orders\"\n";
    assert_snapshot!(in_keys(text), @r"
    keys/orders.toml:4:10: the domain of key `orders.large` is `orders`, not `order`
      it is what comes before the first dot of the name: leave `domain` out, or name the key otherwise
    ");
}

/// X10, L03, F07
#[test]
fn keys_that_match_nothing() {
    let text = r#"
[[key]]
key = "a"

[[key]]
key = "b"
event_type = ""

[[key]]
key = "c"
subject = "orders.>.x"

[[key]]
key = "d"
subject = ".orders"

[[key]]
subject = "orders"

[[key]]
key = "e"
name = "f"
subject = "orders"
order_by = "payload"
"#;
    assert_snapshot!(in_keys(text), @r"
    keys/orders.toml:2:1: the key does not say which events it takes
      give it a `subject`, an `event_type` or both
    keys/orders.toml:7:14: `event_type` can't be ``: it is empty
    keys/orders.toml:11:11: `subject` can't be `orders.>.x`: `>` stands for the rest and must come last
    keys/orders.toml:15:11: `subject` can't be `.orders`: it has an empty token: dots separate tokens, one at a time, never first or last
    keys/orders.toml:17:1: `key` is missing
    keys/orders.toml:20:1: `key` and `name` are two words for the same: give one
    keys/orders.toml:24:12: `order_by` can't be `payload`: it is `subject`, `event_type`, `header:NAME`, a JSON pointer such as `/order/id`, or `none`
    ");
}

/// L02: the place of both.
#[test]
fn one_key_in_two_files() {
    let key = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\n";
    let files = [("trommel.toml", SETTINGS), ("keys/a.toml", key), ("keys/b.toml", key)];
    assert_snapshot!(problems(&files), @r"
    keys/b.toml:2:7: key `orders` appears twice
      first at keys/a.toml:2:7
    ");
}

/// L21, L22
#[test]
fn params_declared_wrongly() {
    let text = r#"
[[key]]
key = "orders"
subject = "orders.>"

[[key.params]]
name = "size"
type = "enum"

[[key.params]]
name = "sizes"
type = "multi"
values = { "a,b" = "both", large = "" }

[[key.params]]
name = "region"
type = "enum"
values = ["eu", "us"]

[[key.params]]
name = "zone"
values = { eu = "Europe" }

[[key.params]]
name = "amount"
type = "int"
default = "many"

[[key.params]]
name = "colour"
type = "enum"
values = { red = "Red", blue = "Blue" }
default = "rde"

[[key.params]]
name = "amount"
type = "float"
"#;
    assert_snapshot!(in_keys(text), @r#"
    keys/orders.toml:6:1: an enum or multi needs `values`
      write them with what they mean: `values = { eu = "Europe", us = "America" }`
    keys/orders.toml:13:12: the value `a,b` can't be told apart in a comma-separated list
    keys/orders.toml:13:28: the value `large` does not say what it means
    keys/orders.toml:18:10: `values` must be a table, found an array
    keys/orders.toml:22:10: only enums and multis have `values`
      give it `type = "enum"` or `type = "multi"`
    keys/orders.toml:27:11: param `amount` can't be `many`
      an int is a whole number of 64 bits: invalid digit found in string
    keys/orders.toml:33:11: param `colour` can't be `rde`
      did you mean `red`?
    keys/orders.toml:36:8: param `amount` appears twice
      first at keys/orders.toml:25:8
    keys/orders.toml:37:8: `type` can't be `float`
      known words: `bool`, `enum`, `int`, `multi` and `string`
    "#);
}

#[test]
fn routes_to_what_is_not_there() {
    assert_snapshot!(in_route("key = \"orders.lrage\"\nsinks = [\"lage\", \"xyz\", \"out\", \"out\"]\n"), @r"
    keys/orders.toml:17:7: there is no key `orders.lrage`
      did you mean `orders.large`?
    keys/orders.toml:18:10: there is no sink `lage`
      did you mean `large`?
    keys/orders.toml:18:18: there is no sink `xyz`
      known sinks: `large` and `out`
    keys/orders.toml:18:32: sink `out` appears twice
      first at keys/orders.toml:18:25
    ");
    assert_snapshot!(in_route("sinks = []\n"), @r"
    keys/orders.toml:16:1: `key` is missing
      without a key it takes events by a `match_regex` over their type, or `fallthrough = true`
    keys/orders.toml:17:9: the route feeds no sink
      to look at a filter's counters alone, add a sink of type `null`
    ");
    assert_snapshot!(in_route("key = \"orders.all\"\n"), @"keys/orders.toml:16:1: `sinks` is missing");
}

/// L129
#[test]
fn routes_without_a_key_that_take_nothing() {
    assert_snapshot!(in_route("match_regex = \"im.(message\"\nsinks = [\"out\"]\n"), @"keys/orders.toml:17:15: `match_regex` can't be `im.(message`: unclosed group");
    assert_snapshot!(in_route("match_regex = \"im\"\nfallthrough = true\nsinks = [\"out\"]\n"), @"keys/orders.toml:16:1: a route takes its events by `key`, by `match_regex` or as `fallthrough`: give one");
    assert_snapshot!(in_route("fallthrough = \"yes\"\nsinks = [\"out\"]\n"), @"keys/orders.toml:17:15: `fallthrough` must be `true` or `false`, found a string");
    assert_snapshot!(in_route("match_regexp = \"im\"\nfallthrough = false\nsinks = [\"out\"]\n"), @r"
    keys/orders.toml:16:1: `key` is missing
      without a key it takes events by a `match_regex` over their type, or `fallthrough = true`
    keys/orders.toml:17:1: unknown field `match_regexp`
      did you mean `match_regex`?
    ");
    let text = r#"name = "orders.all"
match_regex = "^im"
sinks = ["ou"]
params = { min_amount = 1 }

[[route]]
name = "orders.all"
fallthrough = true
sinks = ["out"]
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:19:10: there is no sink `ou`
      did you mean `out`?
    keys/orders.toml:20:10: only a route of a key has `params`
    keys/orders.toml:23:8: `orders.all` is a key
      outputs and counters bear the route's name as their key's: give it another
    ");
}

/// L46, L130
#[test]
fn envelopes_and_file_names_that_mean_nothing() {
    let text = r#"
[[source]]
name = "in"
type = "lines"
envelope = "lark"
verify_header = true

[[source]]
name = "other"
type = "lines"
path = "trommel.toml"
envelope = "lark"
id = "/id"

[[sink]]
name = "out"
type = "folder"
path = "out"
file_name = "{event_type}.json"
"#;
    assert_snapshot!(in_settings(text), @r"
    trommel.toml:6:17: `verify_header` compares with the message's headers, and lines have none
    trommel.toml:13:1: unknown field `id`
      known fields: `envelope`, `name`, `path`, `type` and `verify_header`
    trommel.toml:19:13: `file_name` can't be `{event_type}.json`: without `{id}` events would take each other's names
    ");
}

/// J22, J23
#[test]
fn files_that_outputs_can_not_be_shared_out_over() {
    let text = r#"
[[sink]]
name = "a"
type = "file"
path = "raw/{id}.ndjson"

[[sink]]
name = "b"
type = "file"
path = "raw/{date}/../{key}.ndjson"
redact = []
max_field = 100
max_record = "1kB"

[[sink]]
name = "c"
type = "file"
path = "raw/{key}.ndjson"
redact = ["token", "-"]
max_field = "64KiB"
max_record = "32KiB"

[[sink]]
name = "d"
type = "file"
path = "raw/d.ndjson"
redact = 1

[[sink]]
name = "e"
type = "file"
path = "raw/{header:Node}.ndjson"
redact = "true"

[[sink]]
name = "f"
type = "file"
path = ""

[dead_letter]
file = "raw/dead.ndjson"
"#;
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:5:8: `path` can't be `raw/{id}.ndjson`: there is no placeholder `{id}` in paths, only `{date}`, `{event_type}`, `{subject}`, `{key}`, `{header:NAME}` and JSON pointers such as `{/order/id}`
    trommel.toml:10:8: `path` can't be `raw/{date}/../{key}.ndjson`: from its first placeholder on, a path is made of names parted by `/`, none of them empty, `.` or `..`
    trommel.toml:11:10: `redact` names nothing
      leave it out, or write `true` for the names that are mostly meant
    trommel.toml:12:13: `max_field` can't be `100`: it must be at least 256
    trommel.toml:19:20: `redact` can't be `-`: it has nothing to look for, `-` and `_` are ignored
    trommel.toml:20:13: `max_field` is larger than `max_record`
      a member of that size would make its whole record too large
    trommel.toml:26:8: an output may have the same file here and in another sink
      name another folder than at trommel.toml:18:8
    trommel.toml:27:10: `redact` must be a list of strings, found an integer
    trommel.toml:32:8: an output may have the same file here and in another sink
      name another folder than at trommel.toml:18:8
    trommel.toml:33:10: `redact` can't be `true`: write `true` without quotes
    trommel.toml:38:8: `path` can't be ``: it is empty
    trommel.toml:41:8: an output may have the same file here and in another sink
      name another folder than at trommel.toml:18:8
    ");
}

/// L24, L26, L27, X8
#[test]
fn routes_with_the_wrong_params() {
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { region = ["eu"], currency = "eru", paid = "yes", regions = ["eu", "mars"], zzz = 1 }
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:16:1: param `min_amount` of key `orders.large` is required
      Smallest amount that passes
    keys/orders.toml:19:12: key `orders.large` has no param `region`
      did you mean `regions`?
    keys/orders.toml:19:40: param `currency` can't be `eru`
      did you mean `eur`?
    keys/orders.toml:19:54: param `paid` can't be `yes`
      a bool is `true` or `false`
    keys/orders.toml:19:71: param `regions` can't be `mars`
      known values: `asia`, `eu` and `us`
    keys/orders.toml:19:87: key `orders.large` has no param `zzz`
      known params: `currency`, `min_amount`, `paid` and `regions`
    ");
    assert_snapshot!(in_route("key = \"orders.all\"\nsinks = [\"out\"]\nparams = { min_amount = 5 }\n"), @r"
    keys/orders.toml:19:12: key `orders.all` has no param `min_amount`
      key `orders.all` takes no params
    ");
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { min_amount = 1.5, paid = { yes = true } }
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:19:25: `min_amount` must be a string, an integer, a boolean or a list of strings, found a float
    keys/orders.toml:19:37: `paid` must be a string, an integer, a boolean or a list of strings, found a table
    ");
    let text = r#"key = "orders.large"
sinks = ["out"]
params = { min_amount = ["1", "2"], paid = 1 }
"#;
    assert_snapshot!(in_route(text), @r"
    keys/orders.toml:19:25: param `min_amount` takes one value, not a list
    keys/orders.toml:19:44: param `paid` can't be `1`
      a bool is `true` or `false`
    ");
}

#[test]
fn one_route_twice() {
    let route = "key = \"orders.all\"\nsinks = [\"out\", \"large\"]\n";
    let reordered = "[[route]]\nkey = \"orders.all\"\nsinks = [\"large\", \"out\"]\n";
    assert_snapshot!(in_route(&format!("{route}{reordered}")), @r"
    keys/orders.toml:19:1: a route of key `orders.all` with these params and sinks appears twice
      first at keys/orders.toml:16:1
    ");
    assert_snapshot!(in_route(&format!("name = \"a\"\n{route}{reordered}name = \"a\"\n")), @r"
    keys/orders.toml:23:8: route `a` appears twice
      first at keys/orders.toml:17:8
    ");
}

/// A file that could not be read may hold the key that a route asks for: no problem is made up.
#[test]
fn nothing_follows_from_a_file_that_can_not_be_read() {
    let files = [
        ("trommel.toml", "[[sink]\n"),
        ("keys/a.toml", "[[key]\nkey = \"orders\"\n"),
        ("keys/b.toml", "[[route]]\nkey = \"orders\"\nsinks = [\"out\"]\n"),
    ];
    assert_snapshot!(problems(&files), @r"
    keys/a.toml:1:7: unclosed array table, expected `]`
      [[key]
            ^
    trommel.toml:1:8: unclosed array table, expected `]`
      [[sink]
             ^
    ");
}

/// A sink whose settings are wrong is there all the same, and so is a key.
#[test]
fn nothing_follows_from_a_table_that_is_wrong() {
    let settings = SETTINGS.replace("\"stdout\"", "\"stdot\"");
    let keys = "[[key]]\nkey = \"a\"\n[[route]]\nkey = \"a\"\nsinks = [\"out\"]\nparams = { x = 1 }\n";
    assert_snapshot!(problems(&[("trommel.toml", &settings), ("keys/a.toml", keys)]), @r"
    keys/a.toml:1:1: the key does not say which events it takes
      give it a `subject`, an `event_type` or both
    keys/a.toml:6:12: key `a` has no param `x`
      key `a` takes no params
    trommel.toml:8:8: `type` can't be `stdot`
      did you mean `stdout`?
    ");
}

#[test]
fn a_file_that_is_not_text() {
    let dir = folder(&[("trommel.toml", SETTINGS)]);
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/latin.toml"), b"# key\n# caf\xe9\n").unwrap();
    fs::create_dir(dir.path().join("keys/folder.toml")).unwrap();
    assert_snapshot!(load(dir.path()).unwrap_err(), @r"
    keys/folder.toml: this is a folder, not a file: nothing is read from it
    keys/latin.toml:2:6: the file is not UTF-8 from here on
    ");
}

/// What is said about a key with these fields, beside these schemas.
fn in_schema(fields: &str, schemas: &[(&str, &str)]) -> String {
    let key = format!("[[key]]\nkey = \"orders\"\nsubject = \"orders.>\"\n{fields}\n");
    problems(&[&[("trommel.toml", SETTINGS), ("keys/orders.toml", key.as_str())], schemas].concat())
}

const ORDER: (&str, &str) = (
    "schemas/order.json",
    r#"{ "type": "object", "properties": { "amount": { "type": "integer" }, "customer": { "type": "object" } } }"#,
);

/// L09 and L11
#[test]
fn a_schema_is_given_in_one_way() {
    assert_snapshot!(in_schema("[key.schema]", &[ORDER]), @r"
    keys/orders.toml:4:1: the schema is neither `native` nor `custom`
      `custom` is the shape of the output, `native` that of the event in the standard envelope
    ");
    assert_snapshot!(in_schema("[key.schema]\nnative = true\ncustom = { file = \"order.json\" }", &[ORDER]), @r"
    keys/orders.toml:4:1: the schema is both `native` and `custom`: give one
      `custom` is the shape of the output, `native` that of the event in the standard envelope
    ");
    assert_snapshot!(in_schema("[key.schema]\nnative = false", &[ORDER]), @r"
    keys/orders.toml:5:10: `native` can't be `false`
      leave it out
    ");
    assert_snapshot!(in_schema("[key.schema.custom]", &[ORDER]), @r#"
    keys/orders.toml:4:1: the schema is not given
      give it a `file` in `schemas/`, or the schema itself as `inline = { type = "object" }`
    "#);
    assert_snapshot!(
        in_schema("[key.schema.native]\nfile = \"order.json\"\ninline = { type = \"object\" }", &[ORDER]),
        @"keys/orders.toml:4:1: `file` and `inline` both give the schema: give one"
    );
    assert_snapshot!(in_schema("[key.schema.custom]\npath = \"order.json\"", &[ORDER]), @r#"
    keys/orders.toml:4:1: the schema is not given
      give it a `file` in `schemas/`, or the schema itself as `inline = { type = "object" }`
    keys/orders.toml:5:1: unknown field `path`
      known fields: `file` and `inline`
    "#);
}

#[test]
fn a_schema_file_that_is_not_there() {
    assert_snapshot!(in_schema("[key.schema.custom]\nfile = \"oder.json\"", &[ORDER]), @r"
    keys/orders.toml:5:8: there is no schema `schemas/oder.json`
      did you mean `order.json`?
    ");
    assert_snapshot!(in_schema("[key.schema.custom]\nfile = \"../order.json\"", &[]), @r"
    keys/orders.toml:5:8: there is no schema `schemas/../order.json`
      there is no schema in `schemas/`
    ");
}

/// L12: said once, however many keys name the file.
#[test]
fn a_schema_file_that_is_no_schema() {
    let twice = r#"schema = { custom = { file = "order.json" } }
[[key]]
key = "more"
subject = "a"
schema = { native = { file = "order.json" } }"#;
    for text in ["", "null", "{}", "true", "{\n  \"type\": \"object\",\n}", "{ \"type\": \"objekt\" }"] {
        let found = in_schema(twice, &[("schemas/order.json", text)]);
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let one = |text| in_schema(twice, &[("schemas/order.json", text)]);
    assert_snapshot!(one(""), @"schemas/order.json:1:1: the file is not JSON: EOF while parsing a value");
    assert_snapshot!(one("{}"), @r"
    schemas/order.json: it is a placeholder: a schema is a JSON object that says something
    ");
    assert_snapshot!(one("{\n  \"type\": \"object\",\n}"), @r"
    schemas/order.json:3:1: the file is not JSON: trailing comma
    ");
    assert_snapshot!(one("{ \"type\": \"objekt\" }"), @r#"
    schemas/order.json: it is not a valid JSON Schema at `/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword
    "#);
}

/// L11 and L12
#[test]
fn an_inline_schema_that_is_none() {
    assert_snapshot!(in_schema("schema = { custom = { inline = {} } }", &[]), @r"
    keys/orders.toml:4:32: it is a placeholder: a schema is a JSON object that says something
    ");
    assert_snapshot!(in_schema("schema = { custom = { inline = { type = \"objekt\" } } }", &[]), @r#"
    keys/orders.toml:4:32: it is not a valid JSON Schema at `/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword
    "#);
    assert_snapshot!(in_schema("schema = { custom = { inline = { const = 2026-01-01, maximum = nan } } }", &[]), @r"
    keys/orders.toml:4:42: `const` must be something that JSON has too, found a date or time
    keys/orders.toml:4:64: `maximum` must be something that JSON has too, found a float
    ");
    assert_snapshot!(in_schema("schema = { custom = { inline = \"{}\" } }", &[]), @r"
    keys/orders.toml:4:32: `inline` must be a table, found a string
    ");
}

/// L13
#[test]
fn overrides_of_fields_that_there_are_not() {
    let schema = "[key.schema.custom]\nfile = \"order.json\"\n[key.field_overrides]\n";
    let overrides = r#""/customer" = { description = "who" }
"/zone" = { description = "where" }
"amount" = { kind = "money" }
"/customer/*" = { enum = ["a"] }
"#;
    assert_snapshot!(in_schema(&format!("{schema}{overrides}"), &[ORDER]), @r"
    keys/orders.toml:8:1: the schema has no field `/zone`
      `/a/b` is a property of a property, `/a/*` an array's elements; `$ref`s are not followed
    keys/orders.toml:9:1: the schema has no field `amount`
      did you mean `/amount`?
    keys/orders.toml:10:1: the schema has no field `/customer/*`
      did you mean `/customer`?
    ");
    assert_snapshot!(in_schema(&format!("{schema}\"/amount\" = {{ format = \"money\" }}"), &[ORDER]), @r"
    keys/orders.toml:7:15: unknown field `format`
      known fields: `description`, `enum` and `kind`
    ");
    assert_snapshot!(in_schema(&format!("{schema}\"/amount\" = \"money\""), &[ORDER]), @r"
    keys/orders.toml:7:13: `/amount` must be a table, found a string
    ");
    assert_snapshot!(in_schema("[key.field_overrides.\"/amount\"]\nkind = \"money\"", &[ORDER]), @r"
    keys/orders.toml:4:6: `field_overrides` need a schema
      they are laid over the fields of `[key.schema]`
    ");
}

/// L16
#[test]
fn fields_about_validation_and_identity() {
    assert_snapshot!(in_schema("validate = \"all\"", &[]), @r"
    keys/orders.toml:4:12: there is no schema to validate against
      declare the shape of the outputs in `[key.schema]`
    ");
    assert_snapshot!(in_schema("schema = { native = true }\nvalidate = \"some\"", &[]), @r"
    keys/orders.toml:5:12: `validate` can't be `some`
      known words: `all`, `off` and `sample`
    ");
    assert_snapshot!(in_schema("auth_types = [\"user\", \"robot\"]\nscopes = [\"\"]\nsingle_consumer = 1", &[]), @r"
    keys/orders.toml:4:23: `auth_types` can't be `robot`: it is `user` or `bot`
    keys/orders.toml:5:11: `scopes` can't be ``: it is empty
    keys/orders.toml:6:19: `single_consumer` must be `true` or `false`, found an integer
    ");
}

const AVRO: (&str, &str) =
    ("schemas/order.avsc", r#"{ "type": "record", "name": "Order", "fields": [{ "name": "n", "type": "long" }] }"#);

/// H47, H53
#[test]
fn avro_that_is_not_as_it_should_be() {
    assert_snapshot!(in_schema("decode = \"avr\"", &[]), @r"
    keys/orders.toml:4:10: `decode` can't be `avr`
      did you mean `avro`?
    ");
    assert_snapshot!(in_schema("reader_schema = \"order\"", &[AVRO]), @r#"
    keys/orders.toml:4:17: `reader_schema` is for Avro
      add `decode = "avro"`, or `"auto"` where JSON comes too
    "#);
    assert_snapshot!(in_schema("decode = \"avro\"\nreader_schema = \"oder\"", &[AVRO]), @r"
    keys/orders.toml:5:17: there is no Avro schema `oder`
      did you mean `order`?
    ");
    assert_snapshot!(in_schema("", &[("schemas/order.avsc", "{ \"type\": \"record\" }")]), @"schemas/order.avsc: a type of kind `record` has no `name`");
    assert_snapshot!(in_schema("", &[("schemas/order.avsc", "{ \"type\": ")]), @"schemas/order.avsc: it is not JSON: EOF while parsing a value at line 1 column 10");
    let line = r#"{ "type": "record", "name": "Line", "fields": [{ "name": "order", "type": "Ordr" }] }"#;
    assert_snapshot!(in_schema("", &[AVRO, ("schemas/line.avsc", line)]), @"schemas/line.avsc: there is no type `Ordr`");
    assert_snapshot!(in_settings("[avro]\nids = { \"x\" = \"order\", \"7\" = \"order\" }\n[[source]]\nname = \"in\"\ntype = \"lines\"\n"), @r"
    trommel.toml: id 7 in `[avro]`: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    trommel.toml:2:9: `x` is not a valid id: it is a number of 32 bits
    ");
}

#[test]
fn sinks_that_can_not_encode() {
    let sink = |text: &str| beside_source(&format!("[[sink]]\nname = \"out\"\n{text}"));
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nencode = \"avro\""), @r"
    trommel.toml:5:10: it is not said which Avro schema to write by
      name the schema with `writer_schema`, as in `schemas/order.avsc`: `order`
    ");
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nwriter_schema = \"order\""), @r#"
    trommel.toml:5:17: `writer_schema` without `encode` means nothing
      add `encode = "avro"`, or `"confluent"` for that framing
    "#);
    assert_snapshot!(sink("type = \"stdout\"\nencode = \"avro\"\nwriter_schema = \"order\""), @r"
    trommel.toml:4:10: Avro has no lines: this sink can't write it
      sinks of type `nats` and `folder` write each output by itself
    ");
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nencode = \"json\"\nwriter_schema = \"order\""), @r"
    trommel.toml:5:10: `encode` can't be `json`
      known words: `avro` and `confluent`
    ");
}

/// X1
#[test]
fn presets_that_can_not_be() {
    let text = "[[preset]]\nname = \"helx\"\n[[preset]]\nname = \"helix\"\nsubject_prefix = \"a..b\"\n\
                [[preset]]\nname = \"jb-mesh\"\naudit = true\n[[preset]]\nname = \"jb-mesh\"\n";
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:2:8: `name` can't be `helx`
      did you mean `helix`?
    trommel.toml:5:18: `subject_prefix` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
    trommel.toml:8:1: unknown field `audit`
      known fields: `name`
    trommel.toml:10:8: preset `jb-mesh` appears twice
      first at trommel.toml:7:8
    ");
}

/// Neither an address nor a header is quoted: they may hold secrets.
#[test]
fn telemetry_that_can_not_be_sent() {
    let source = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let problems = |telemetry: &str| {
        let settings = format!("[telemetry]\n{telemetry}\n{source}");
        problems(&[("trommel.toml", &settings), ("secrets/headers", "X-Ok: 1\nno header\n\nHost: h-5ecret\nx-ok: 2\n")])
    };
    assert_snapshot!(problems("otlp = \"http://bob:s3cret@host\"\nsample = 1.5\ntimeout = 3\nprotocol = \"grpc\""), @r#"
    trommel.toml:2:8: `otlp` is not a collector's address: it holds a user, who belongs in `headers`
      an address looks like `http://127.0.0.1:4318`; `/v1/traces` is added
    trommel.toml:3:10: `sample` can't be `1.5`: it is a share, from 0 to 1
    trommel.toml:4:11: `timeout` must be a duration in quotes, such as `"5s"`, found an integer
    trommel.toml:5:1: unknown field `protocol`
      known fields: `headers`, `headers_file`, `otlp`, `sample`, `service_name` and `timeout`
    "#);
    assert_snapshot!(problems("otlp = \"https://host/v1/traces\"\nsample = \"all\"\nheaders_file = \"secrets/headers\""), @r"
    secrets/headers:2:1: a line of this file is `NAME: VALUE`
    secrets/headers:4:1: the router sets the header `Host` itself
    secrets/headers:5:1: header `x-ok` appears twice
      first at secrets/headers:1:1
    trommel.toml:2:8: `otlp` is not a collector's address: it ends with `/v1/traces`
      an address looks like `http://127.0.0.1:4318`; `/v1/traces` is added
    trommel.toml:3:10: `sample` must be a number, found a string
    ");
    assert_snapshot!(problems("otlp = \"host:4317\"\nsample = -0.1\nheaders = { X = [1] }\nheaders_file = \"none\""), @r"
    trommel.toml:2:8: `otlp` is not a collector's address: it begins with `host:` instead of `https:` or `http:`
      an address looks like `http://127.0.0.1:4318`; `/v1/traces` is added
    trommel.toml:3:10: `sample` can't be `-0.1`: it is a share, from 0 to 1
    trommel.toml:4:17: `X` must be a string, an integer, a boolean or a list of strings, found an array
    trommel.toml:5:16: can't read `DIR/none`: No such file or directory (os error 2)
    ");
}

/// F38: what a source on a bus is given, and what it is not.
#[test]
fn bus_sources_are_given_what_they_have() {
    let text = r#"
[[source]]
name = "a"
type = "bus"
pattern = "orders.>.created"
buffer = 2097152
policy = "drop-newest"
route_cache_size = 10

[[source]]
name = "b"
type = "bus"
policy = "sample"

[[source]]
name = "c"
type = "bus"
policy = "block"
sample = 0.5

[[source]]
name = "d"
type = "bus"
policy = "sample"
sample = 1.5

[[source]]
name = "e"
type = "bus"
buffer = 0
policy = "sample"
sample = "half"
"#;
    assert_snapshot!(in_settings(text), @r#"
    trommel.toml:5:11: `pattern` can't be `orders.>.created`: `>` stands for the rest and must come last
    trommel.toml:6:10: `buffer` can't be `2097152`: it must be at most 1048576
    trommel.toml:7:10: `policy` can't be `drop-newest`
      did you mean `drop_newest`?
    trommel.toml:8:1: unknown field `route_cache_size`
      known fields: `buffer`, `envelope`, `event_type`, `id`, `name`, `pattern`, `policy`, `sample`, `source_time`, `subject` and `type`
    trommel.toml:10:1: `sample` is missing
    trommel.toml:19:10: `sample` means nothing with this `policy`
      add `policy = "sample"`, or leave it out
    trommel.toml:25:10: `sample` can't be `1.5`: it is a share, from 0 to 1
    trommel.toml:30:10: `buffer` can't be `0`: it must be at least 1
    trommel.toml:32:10: `sample` must be a number, found a string
    "#);
}
