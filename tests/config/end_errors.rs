//! Sources, sinks and telemetry that can't be used are refused, with what was perhaps meant.

use crate::refusals::{beside_source, in_settings, problems};

use insta::assert_snapshot;

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
fn the_name_of_the_sink_of_dead_letters() {
    let text = "[[sink]]\nname = \"dead-letters\"\ntype = \"null\"\n";
    assert_snapshot!(beside_source(text), @"trommel.toml:2:8: `name` can't be `dead-letters`: the sink of the dead letters has this name");
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
    trommel.toml:6:17: `verify_header` compares with the message's headers, and what is in files has none
    trommel.toml:13:1: unknown field `id`
      known fields: `envelope`, `expect_every`, `name`, `path`, `type` and `verify_header`
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

#[test]
fn sinks_that_can_not_encode() {
    let sink = |text: &str| beside_source(&format!("[[sink]]\nname = \"out\"\n{text}"));
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nencode = \"avro\""), @r"
    trommel.toml:5:10: it is not said which Avro schema to write by
      name the schema with `writer_schema`, as in `schemas/order.avsc`: `order`; or with `writer_subject` its subject in the schema registry
    ");
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nwriter_schema = \"order\""), @r#"
    trommel.toml:5:17: `writer_schema` without `encode` means nothing
      add `encode = "avro"`, or `"confluent"` for that framing
    "#);
    assert_snapshot!(sink("type = \"stdout\"\nencode = \"avro\"\nwriter_schema = \"order\""), @r#"
    trommel.toml:4:10: Avro has no lines: this sink can't write it
      sinks of type `nats` and `folder` write each output by itself, and `file` takes `encode = "avro-file"`
    "#);
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\nencode = \"json\"\nwriter_schema = \"order\""), @r"
    trommel.toml:5:10: `encode` can't be `json`
      known words: `avro`, `avro-file` and `confluent`
    ");
}

#[test]
fn schemas_of_a_registry_that_can_not_be_had() {
    let sink =
        |text: &str| beside_source(&format!("[[sink]]\nname = \"out\"\ntype = \"folder\"\npath = \"out\"\n{text}"));
    assert_snapshot!(sink("encode = \"avro\"\nwriter_subject = \"orders\""), @r#"
    trommel.toml:6:18: there is no schema registry that has the latest version of subject `orders`
      add `[avro.registry]` with, say, `url = "http://127.0.0.1:8081"`
    "#);
    assert_snapshot!(sink("writer_subject = \"orders\"\nwriter_version = 0"), @r#"
    trommel.toml:5:18: `writer_subject` without `encode` means nothing
      add `encode = "avro"`, or `"confluent"` for that framing
    trommel.toml:6:18: `writer_version` can't be `0`: it must be at least 1
    "#);
    assert_snapshot!(sink("encode = \"avro\"\nwriter_subject = \"orders\"\nwriter_schema = \"orders\""), @r"
    trommel.toml:6:18: the schema to write by is `writer_schema` or that of `writer_subject`, not both
      leave out one of them
    ");
    assert_snapshot!(sink("encode = \"avro\"\nwriter_schema = \"orders\"\nwriter_version = 2"), @r"trommel.toml:7:18: `writer_version` is a version of `writer_subject`, which is not given");
    let registry = |text: &str| beside_source(&format!("[avro.registry]\n{text}"));
    assert_snapshot!(registry(""), @r"trommel.toml:1:1: `url` is missing");
    assert_snapshot!(registry("url = \"http://ada:secret@host\"\ntoken_env = \"T\"\ntoken_file = \"trommel.toml\""), @r"
    trommel.toml:2:7: `url` is not a registry's address: it holds a user, who belongs in `user` and `password_file`, or in `token_file`
      an address looks like `https://registry.example.com:8081`
    trommel.toml:3:13: the token comes from `token_file` or from `token_env`, not from both
    ");
    assert_snapshot!(registry("url = []\nuser = \"ada\""), @r"
    trommel.toml:2:7: `url` names no registry
    trommel.toml:3:8: `user` goes together with `password_file` or `password_env`
      give both, or neither
    ");
    assert_snapshot!(
        registry("url = \"http://host\"\nuser = \"ada\"\npassword_env = \"P\"\ntoken_env = \"T\""),
        @"trommel.toml:3:8: the registry is told a token or a user, not both"
    );
}

#[test]
fn container_files_that_can_not_be_written() {
    let sink = |text: &str| {
        beside_source(&format!("[[sink]]\nname = \"out\"\nencode = \"avro-file\"\nwriter_schema = \"order\"\n{text}"))
    };
    assert_snapshot!(sink("type = \"nats\"\nsubject = \"out\""), @r#"
    trommel.toml:1:1: a sink of type `nats` needs a server
      add `[nats]` with, say, `url = "nats://127.0.0.1:4222"`
    trommel.toml:3:10: a message is no file
      write `encode = "avro"`, or `"confluent"`
    trommel.toml:4:17: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    "#);
    assert_snapshot!(sink("type = \"file\"\npath = \"{/id}.avro\"\nredact = true\nmax_record = \"1kB\""), @r"
    trommel.toml:4:17: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    trommel.toml:6:8: JSON pointers look into JSON, and this sink writes Avro
      use `{subject}`, `{event_type}`, `{key}`, `{date}` or `{header:NAME}`
    trommel.toml:7:10: `redact` changes lines of JSON, and this sink writes records of Avro
      leave it out, or let a filter change the outputs
    trommel.toml:8:14: `max_record` changes lines of JSON, and this sink writes records of Avro
      leave it out, or let a filter change the outputs
    ");
    assert_snapshot!(sink("type = \"folder\"\npath = \"out\"\ncodec = \"lzo\""), @r"
    trommel.toml:4:17: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    trommel.toml:7:9: `codec` can't be `lzo`
      did you mean `xz`?
    ");
    assert_snapshot!(beside_source("[[sink]]\nname = \"out\"\ntype = \"file\"\npath = \"out\"\ncodec = \"xz\""), @r#"
    trommel.toml:5:9: `codec` compresses the blocks of Avro files
      add `encode = "avro-file"`, or leave it out
    "#);
    assert_snapshot!(sink("type = \"file\"\npath = \"out.avro\""), @r"
    trommel.toml:4:17: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
    ");
}

#[test]
fn container_files_that_can_not_be_read() {
    let source = |text: &str| beside_source(&format!("[[source]]\nname = \"files\"\ntype = \"avro-file\"\n{text}"));
    assert_snapshot!(source(""), @"trommel.toml:1:1: `path` is missing");
    assert_snapshot!(source("path = []"), @"trommel.toml:4:8: `path` names no file");
    assert_snapshot!(source("path = [\"a.avro\", \"\"]"), @r"
    trommel.toml:4:9: can't read `DIR/a.avro`: No such file or directory (os error 2)
    trommel.toml:4:19: `path` is empty
    ");
    assert_snapshot!(source("path = \"trommel.toml\"\nreader_schema = \"order\""), @r"
    trommel.toml:5:17: there is no Avro schema `order`
      there is no `.avsc` in `schemas/`
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
      known fields: `buffer`, `bus`, `envelope`, `event_type`, `expect_every`, `id`, `name`, `pattern`, `policy`, `sample`, `source_time`, `subject` and `type`
    trommel.toml:10:1: `sample` is missing
    trommel.toml:19:10: `sample` means nothing with this `policy`
      add `policy = "sample"`, or leave it out
    trommel.toml:25:10: `sample` can't be `1.5`: it is a share, from 0 to 1
    trommel.toml:30:10: `buffer` can't be `0`: it must be at least 1
    trommel.toml:32:10: `sample` must be a number, found a string
    "#);
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
