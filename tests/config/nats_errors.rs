//! Servers, streams and presets that can't be used are refused, with what was perhaps meant.

use crate::refusals::{beside_source, in_settings};

use insta::assert_snapshot;

/// H11
#[test]
fn a_server_has_an_address() {
    assert_snapshot!(beside_source("[nats]\n"), @"trommel.toml:1:1: `url` is missing");
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

/// X1
#[test]
fn presets_that_can_not_be() {
    let text = "[[preset]]\nname = \"helx\"\n[[preset]]\nname = \"helix\"\nsubject_prefix = \"a..b\"\n\
                [[preset]]\nname = \"jb-mesh\"\naudit = true\n[[preset]]\nname = \"jb-mesh\"\n\
                [[preset]]\nname = \"ctrlplane\"\nreplicas = 3\nstreams = false\n";
    assert_snapshot!(beside_source(text), @r"
    trommel.toml:2:8: `name` can't be `helx`
      did you mean `helix`?
    trommel.toml:5:18: `subject_prefix` can't be `a..b`: it has an empty token: dots separate tokens, one at a time, never first or last
    trommel.toml:8:1: unknown field `audit`
      known fields: `max_age`, `name`, `replicas` and `streams`
    trommel.toml:10:8: preset `jb-mesh` appears twice
      first at trommel.toml:7:8
    trommel.toml:13:12: preset `ctrlplane` declares no streams that `replicas` could be for
      leave it out
    trommel.toml:14:11: preset `ctrlplane` declares no streams that `streams` could be for
      leave it out
    ");
    let other = "[[preset]]\nname = \"helix\"\nwire = \"nats-backend\"\nsubject_prefix = \"a\"\nmax_age = \"7d\"\n";
    assert_snapshot!(beside_source(other), @r#"
    trommel.toml:4:18: the subjects follow from `wire`
      leave one of them out: `subject_prefix` is for `wire = "helix"`
    "#);
    let without = "[[preset]]\nname = \"helix\"\nstreams = false\nmax_age = \"7d\"\n";
    assert_snapshot!(beside_source(without), @r"
    trommel.toml:4:11: preset `helix` declares no streams that `max_age` could be for
      leave it out
    ");
}

/// What core NATS is asked for is complete, and comes once.
#[test]
fn a_source_of_core_nats_needs_subjects_that_do_not_overlap() {
    let source = |fields: &str| format!("[[source]]\nname = \"mesh\"\ntype = \"nats\"\n{fields}\n");
    for (fields, part) in [
        ("", "`subjects` is missing"),
        ("subjects = []", "`subjects` names none"),
        ("subjects = [\"a b\"]", "no spaces"),
        ("subjects = [\"events.>\", \"events.*.crashed\"]", "`events.>` and `events.*.crashed` overlap"),
        ("subjects = [\"a.>\"]\nqueue = \"\"", "queue"),
        ("subjects = [\"a.>\"]", "a source of type `nats` needs a server"),
    ] {
        let said = in_settings(&source(fields));
        assert!(said.contains(part), "{fields}: {said}");
    }
}
