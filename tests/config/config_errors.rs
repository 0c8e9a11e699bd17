//! A router's folder that can't be used is refused whole, with everything that is wrong in it,
//! where it is and what was perhaps meant.

use crate::config_folder::ConfigFolder;
use crate::refusals::{SETTINGS, beside_source, in_keys, in_settings, problems};

use std::fs;

use insta::assert_snapshot;
use trommel::folder::load;

#[test]
fn there_is_no_folder() {
    let folder = ConfigFolder::of(&[]);
    let error = load(&folder.file("router")).unwrap_err().to_string();
    assert_snapshot!(error.replace(&folder.path().display().to_string(), "DIR"), @r"
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
      text stands in quotes
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
      known fields: `allow_atomic`, `allow_direct`, `allow_msg_ttl`, `compression`, `deny_delete`, `deny_purge`, `description`, `discard`, `duplicate_window`, `max_age`, `max_bytes`, `max_consumers`, `max_msg_size`, `max_msgs`, `max_msgs_per_subject`, `mirror`, `name`, `partitions`, `placement`, `replicas`, `republish`, `retention`, `sources`, `storage`, `subject_transform` and `subjects`
    trommel.toml:15:1: unknown field `path`
      known fields: `codec`, `encode`, `name`, `on_failure`, `retry`, `type`, `writer_schema`, `writer_subject` and `writer_version`
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
      known words: `bus`, `exec`, `file`, `folder`, `nats`, `null`, `program`, `stdout` and `webhook`
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
    let folder = ConfigFolder::of(&[("trommel.toml", SETTINGS)]);
    folder.write("keys/latin.toml", b"# key\n# caf\xe9\n");
    fs::create_dir(folder.file("keys/folder.toml")).unwrap();
    assert_snapshot!(folder.problems(), @r"
    keys/folder.toml: this is a folder, not a file: nothing is read from it
    keys/latin.toml:2:6: the file is not UTF-8 from here on
    ");
}
