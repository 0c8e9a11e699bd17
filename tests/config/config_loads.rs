//! A router's folder comes out as the checked configuration, defaults filled in.

use std::{collections::BTreeMap, fs, net::SocketAddr, num::NonZeroUsize, path::Path, time::Duration};

use insta::assert_snapshot;
use tempfile::TempDir;
use trommel::{
    avro::Framing,
    bus::Policy,
    config::{
        AckMode, Admin, AuthType, Bound, BusSource, Compression, Config, DeadLetter, Decode, Dedup, DedupBy, Deliver,
        Discard, Encode, Envelope, EventField, External, FileSink, FilterSettings, FolderSink, Fsync, Grant, Instances,
        JetStreamSource, Key, LimitOverrides, Limits, LinesSource, Nats, NatsAuth, NatsSink, OnFailure, OnQuarantine,
        OrderBy, OutputField, ParamDeclaration, ParamKind, Part, PathPart, PathTemplate, Pipeline, Place, Placement,
        Position, Record, Republish, Retention, Retry, Route, Sink, SinkKind, Source, SourceKind, Start, Storage,
        Stream, SubjectPlaceholder, Telemetry, Template, Transform, Types, Upkeep, Upstream, Validate, load,
        load_registry,
    },
    field::Field,
    json::SecretName,
    schema::{Declared, Form, Schema},
};

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    dir
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn params(params: &[(&str, &str)]) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const FULL: &str = r#"
[folders]
plugins = "components"
schemas = "shapes"

[nats]
url = ["nats://a:4222", "tls://b"]
name = "orders"
user = { env = "CARGO_PKG_NAME" }
password = { file = "secrets/password" }
tls_ca = "ca.pem"
tls_cert = "client.pem"
tls_key = "client.key"
connect_timeout = "2s"
domain = "hub"

[api]
base_url = "https://api.example.com"
auth_types = "bot"
scopes = "orders:read"
console_events = "order.created"

[[stream]]
name = "ORDERS"
subjects = ["orders.>"]
description = "Orders as they come in"
retention = "interest"
storage = "memory"
replicas = 3
max_age = "7d"
max_bytes = "1GiB"
max_msgs = 1_000_000
max_msg_size = "unlimited"
max_msgs_per_subject = 10
max_consumers = "unlimited"
discard = "new"
duplicate_window = "2m"
compression = "s2"
allow_direct = true
allow_atomic = true
allow_msg_ttl = false
subject_transform = { src = "orders.*", dest = "part.{{partition(4,1)}}.orders.{{wildcard(1)}}" }
deny_delete = true
deny_purge = false
republish = { src = "orders.*", dest = "seen.>", headers_only = true }
placement = { cluster = "east", tags = ["ssd", "big"] }

[[stream.sources]]
name = "PARTNERS"
filter_subject = "orders.>"
start_time = 2026-05-01T02:00:00+02:00

[[stream.sources]]
name = "ARCHIVE"
start_seq = 7
external = { api = "$JS.edge.API", deliver = "edge" }
subject_transforms = [{ src = "old.*", dest = "orders.{{wildcard(1)}}" }]

[[stream]]
name = "COPY"
mirror = { name = "ORDERS", start_time = "2026-05-01T00:00:00Z" }
max_age = "unlimited"

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"
subjects = ["orders.*.created", "orders.*.paid"]
ack = "all"
ack_wait = "10s"
deliver = "new"
batch = 100
envelope = "plain"
id = "header:Order-Id"
event_type = "/type"
subject = "/subject"
source_time = "/time"

[[source]]
name = "replay"
type = "lines"
path = "events.ndjson"
envelope = "cloudevents"

[[sink]]
name = "screen"
type = "stdout"
on_failure = "stop"

[[sink]]
name = "archive"
type = "file"
path = "out/orders.ndjson"
max_size = "64MiB"
max_age = "24h"
keep = 7
fsync = "batch"
redact = true
on_failure = "skip"

[[sink]]
name = "logstore"
type = "file"
path = "raw/date={date}/{header:Node}-{/node/id}.ndjson"
redact = "S-S-N"
max_field = "32KiB"
max_record = "64KiB"

[[sink]]
name = "single"
type = "folder"
path = "/var/spool/orders"
file_name = "{event_type}_{id}"
pretty = true
fsync = "batch"
on_failure = "dead_letter"

[[sink]]
name = "alerts"
type = "nats"
subject = "alerts.{key}.{header:Region}"
jetstream = false
message_id = false
encode = "avro"
writer_schema = "order"
window = 16
ack_timeout = "1s"
retry = { min = "1s", max = "1m", patience = "0s" }

[[sink]]
name = "nowhere"
type = "null"

[[filter]]
name = "orders"
grants = ["state"]
on_quarantine = "dead_letter"
instances = "filter"
digest = "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
limits = { memory = "256MiB", process_wall = "10s" }

[limits]
match_cpu = "5ms"
host_calls = 0

[avro]
ids = { "7" = "order" }

[dedup]
ttl = "1h"
capacity = 500
by = "header:Order-Id"

[pipeline]
lanes = 8
in_flight = 100
in_flight_bytes = "1MiB"
drain = "0s"

[dead_letter]
stream = "DEAD"
subject = "dead.orders"

[admin]
listen = "127.0.0.1:9464"

[telemetry]
otlp = "https://collector.example/otlp/"
headers = { X-Scope = "s-1" }
headers_file = "secrets/headers"
timeout = "3s"
sample = 0.25
service_name = "orders"
"#;

const FULL_KEYS: &str = r#"
[[key]]
key = "orders.large"
display_name = "Large orders"
description = "Orders above a threshold"
subject = "orders.*.created"
event_type = "order.created"
filter = "orders"
auth_types = ["user", "bot"]
scopes = ["orders:read"]
console_events = "order.created"
single_consumer = true
schema = { custom = { file = "order.json" } }
validate = "sample"
decode = "auto"
reader_schema = "order"
workers = 2
buffer_size = 50
order_by = "/customer/id"
retry = { patience = "1m" }
limits = { process_cpu = "1s", emissions = 10 }

[[key.params]]
name = "min_amount"
type = "int"
required = true
description = "Smallest amount that passes"
subscription_key = true

[[key.params]]
name = "regions"
type = "multi"
default = "us,eu"
values = { us = "America", eu = "Europe" }

[[route]]
name = "large-orders"
key = "orders.large"
params = { min_amount = 500, regions = ["us", "eu", "us"] }
sinks = ["alerts", "archive"]
"#;

#[test]
fn everything_that_can_be_said() {
    let dir = folder(&[
        ("trommel.toml", FULL),
        ("keys/orders.toml", FULL_KEYS),
        ("components/orders.wasm", ""),
        ("shapes/order.avsc", r#"{ "type": "record", "name": "Order", "fields": [{ "name": "n", "type": "long" }] }"#),
        ("shapes/order.json", r#"{ "type": "object" }"#),
        ("secrets/headers", "\nAuthorization: Basic a:b\n"),
        ("secrets/password", "p@ss word\n"),
        ("ca.pem", ""),
        ("client.pem", ""),
        ("client.key", ""),
        ("events.ndjson", ""),
    ]);
    let at = |path: &str| dir.path().join(path);
    let limits = Limits { match_cpu: Duration::from_millis(5), host_calls: 0, ..Limits::default() };
    let retry = Retry { min: Duration::from_millis(100), max: seconds(10), patience: seconds(60) };
    let config = load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.nats,
        Some(Nats {
            urls: vec!["nats://a:4222".into(), "tls://b".into()],
            name: "orders".into(),
            auth: NatsAuth::Password { user: "trommel".into(), password: "p@ss word".into() },
            tls_ca: Some(at("ca.pem")),
            tls_client: Some((at("client.pem"), at("client.key"))),
            tls_required: true,
            connect_timeout: seconds(2),
            api_prefix: "$JS.hub.API".to_owned(),
        })
    );
    let may = "2026-05-01T00:00:00Z".parse().unwrap();
    assert_eq!(
        config.streams,
        [
            Stream {
                name: "ORDERS".into(),
                subjects: vec!["orders.>".parse().unwrap()],
                description: Some("Orders as they come in".into()),
                retention: Some(Retention::Interest),
                storage: Some(Storage::Memory),
                replicas: Some(3),
                max_age: Some(Bound::Most(seconds(7 * 24 * 3600))),
                max_msgs: Some(Bound::Most(1_000_000)),
                max_bytes: Some(Bound::Most(1 << 30)),
                max_msg_size: Some(Bound::Unlimited),
                max_msgs_per_subject: Some(Bound::Most(10)),
                max_consumers: Some(Bound::Unlimited),
                discard: Some(Discard::New),
                duplicate_window: Some(seconds(120)),
                compression: Some(Compression::S2),
                allow_direct: Some(true),
                allow_atomic: Some(true),
                allow_msg_ttl: Some(false),
                subject_transform: Some(Transform {
                    src: "orders.*".parse().unwrap(),
                    dest: "part.{{partition(4,1)}}.orders.{{wildcard(1)}}".into(),
                }),
                deny_delete: Some(true),
                deny_purge: Some(false),
                republish: Some(Republish {
                    src: Some("orders.*".parse().unwrap()),
                    dest: "seen.>".into(),
                    headers_only: Some(true),
                }),
                mirror: None,
                sources: vec![
                    Upstream {
                        name: "PARTNERS".into(),
                        filter_subject: Some("orders.>".parse().unwrap()),
                        subject_transforms: Vec::new(),
                        start: Some(Start::Time(may)),
                        external: None,
                    },
                    Upstream {
                        name: "ARCHIVE".into(),
                        filter_subject: None,
                        subject_transforms: vec![Transform {
                            src: "old.*".parse().unwrap(),
                            dest: "orders.{{wildcard(1)}}".into(),
                        }],
                        start: Some(Start::Sequence(7)),
                        external: Some(External { api: "$JS.edge.API".into(), deliver: Some("edge".into()) }),
                    },
                ],
                placement: Some(Placement { cluster: Some("east".into()), tags: vec!["ssd".into(), "big".into()] }),
            },
            Stream {
                name: "COPY".into(),
                mirror: Some(Upstream {
                    name: "ORDERS".into(),
                    filter_subject: None,
                    subject_transforms: Vec::new(),
                    start: Some(Start::Time(may)),
                    external: None,
                }),
                max_age: Some(Bound::Unlimited),
                ..Stream::default()
            },
        ]
    );
    assert_eq!(
        config.sources,
        [
            Source {
                name: "orders".into(),
                envelope: Envelope::Plain {
                    id: Some(Field::Header("Order-Id".into())),
                    event_type: Some(Field::Pointer("/type".parse().unwrap())),
                    subject: Some(Field::Pointer("/subject".parse().unwrap())),
                    source_time: Some(Field::Pointer("/time".parse().unwrap())),
                },
                kind: SourceKind::JetStream(JetStreamSource {
                    stream: "ORDERS".into(),
                    durable: "trommel".into(),
                    subjects: vec!["orders.*.created".parse().unwrap(), "orders.*.paid".parse().unwrap()],
                    ack: AckMode::All,
                    ack_wait: seconds(10),
                    deliver: Deliver::New,
                    batch: 100,
                }),
            },
            Source {
                name: "replay".into(),
                envelope: Envelope::CloudEvents,
                kind: SourceKind::Lines(LinesSource { path: Some(at("events.ndjson")) }),
            },
        ]
    );
    assert_eq!(
        config.sinks,
        [
            Sink { name: "screen".into(), on_failure: OnFailure::Stop, retry, encode: None, kind: SinkKind::Stdout },
            Sink {
                name: "archive".into(),
                on_failure: OnFailure::Skip,
                retry,
                encode: None,
                kind: SinkKind::File(
                    at("out/orders.ndjson"),
                    FileSink {
                        upkeep: Upkeep {
                            max_size: Some(64 << 20),
                            max_age: Some(seconds(24 * 3600)),
                            keep: Some(count(7)),
                            fsync: Fsync::Batch,
                        },
                        record: Record { redact: SecretName::defaults(), max_field: None, max_record: None },
                    },
                ),
            },
            Sink {
                name: "logstore".into(),
                on_failure: OnFailure::Retry,
                retry,
                encode: None,
                kind: SinkKind::Files(
                    PathTemplate {
                        root: at("raw"),
                        names: vec![
                            vec![PathPart::Literal("date=".into()), PathPart::Date],
                            vec![
                                PathPart::Field(Field::Header("Node".into())),
                                PathPart::Literal("-".into()),
                                PathPart::Field(Field::Pointer("/node/id".parse().unwrap())),
                                PathPart::Literal(".ndjson".into()),
                            ],
                        ],
                    },
                    FileSink {
                        upkeep: Upkeep::default(),
                        record: Record {
                            redact: vec!["ssn".parse().unwrap()],
                            max_field: Some(32 << 10),
                            max_record: Some(64 << 10),
                        },
                    },
                ),
            },
            Sink {
                name: "single".into(),
                on_failure: OnFailure::DeadLetter,
                retry,
                encode: None,
                kind: SinkKind::Folder(FolderSink {
                    path: "/var/spool/orders".into(),
                    name: Some(Template(vec![
                        Part::Value(EventField::EventType.into()),
                        Part::Literal("_".into()),
                        Part::Value(EventField::Id.into()),
                    ])),
                    pretty: true,
                    fsync: Fsync::Batch,
                }),
            },
            Sink {
                name: "alerts".into(),
                on_failure: OnFailure::Retry,
                retry: Retry { min: seconds(1), max: seconds(60), patience: Duration::ZERO },
                encode: Some(Encode {
                    schema: "order".into(),
                    framing: Framing::SingleObject,
                    place: Place {
                        file: "trommel.toml".into(),
                        position: config.sinks[4].encode.clone().unwrap().place.position
                    },
                }),
                kind: SinkKind::Nats(NatsSink {
                    subject: Template(vec![
                        Part::Literal("alerts.".into()),
                        Part::Value(SubjectPlaceholder::plain(OutputField::Key)),
                        Part::Literal(".".into()),
                        Part::Value(SubjectPlaceholder::plain(EventField::Header("Region".into()).into())),
                    ]),
                    jetstream: false,
                    message_id: false,
                    window: 16,
                    ack_timeout: seconds(1),
                }),
            },
            Sink { name: "nowhere".into(), on_failure: OnFailure::Retry, retry, encode: None, kind: SinkKind::Null },
        ]
    );
    assert_eq!(
        config.filters,
        [FilterSettings {
            name: "orders".into(),
            grants: vec![Grant::State],
            on_quarantine: OnQuarantine::DeadLetter,
            instances: Instances::Filter,
            digest: Some("0123456789abcdef".repeat(4)),
            limits: Limits { memory: 256 << 20, process_wall: seconds(10), ..limits },
        }]
    );
    assert_eq!(
        config.dedup,
        Some(Dedup { ttl: seconds(3600), capacity: count(500), by: DedupBy::Field(Field::Header("Order-Id".into())) })
    );
    assert_eq!(
        config.pipeline,
        Pipeline { lanes: count(8), in_flight: count(100), in_flight_bytes: 1 << 20, drain: Duration::ZERO }
    );
    assert_eq!(config.limits, limits);
    assert_eq!(config.dead_letter, DeadLetter::Stream { stream: "DEAD".into(), subject: "dead.orders".into() });
    assert_eq!(
        config.admin,
        Some(Admin { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), token: None, is_this_machines: true })
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        config.telemetry,
        Some(Telemetry {
            otlp: "https://collector.example/otlp/".parse().unwrap(),
            headers: vec![header("X-Scope", "s-1"), header("Authorization", "Basic a:b")],
            timeout: seconds(3),
            sample: 0.25,
            service_name: "orders".into(),
        })
    );
    assert_eq!(config.plugins, at("components"));
    assert_eq!(config.keys, at("keys"));
    assert_eq!(config.schemas, at("shapes"));
    assert_eq!(config.warnings, []);
    assert_eq!(config.avro_ids, [(7, "order".to_owned())].into());
    assert_eq!(config.registry.avro.names().collect::<Vec<_>>(), ["order"]);
    assert_eq!(
        config.registry.keys,
        [Key {
            name: "orders.large".into(),
            display_name: "Large orders".into(),
            description: "Orders above a threshold".into(),
            subject: Some("orders.*.created".parse().unwrap()),
            event_type: Some("order.created".into()),
            filter: Some("orders".into()),
            api: vec![],
            params: vec![
                ParamDeclaration {
                    name: "min_amount".into(),
                    kind: ParamKind::Int,
                    required: true,
                    default: None,
                    description: "Smallest amount that passes".into(),
                    values: vec![],
                    subscription_key: true,
                },
                ParamDeclaration {
                    name: "regions".into(),
                    kind: ParamKind::Multi,
                    required: false,
                    default: Some("eu,us".into()),
                    description: String::new(),
                    values: params(&[("us", "America"), ("eu", "Europe")]),
                    subscription_key: false,
                },
            ],
            auth_types: vec![AuthType::User, AuthType::Bot],
            scopes: vec!["orders:read".into()],
            console_events: vec!["order.created".into()],
            single_consumer: true,
            is_isolated: false,
            decode: Decode::Auto(config.registry.avro.get("order")),
            schema: Some(Schema::new(Form::Custom, Declared::object(), &BTreeMap::new()).unwrap()),
            validate: Validate::Sample,
            workers: count(2),
            buffer_size: count(50),
            order_by: OrderBy::Field(Field::Pointer("/customer/id".parse().unwrap())),
            retry: Retry { min: Duration::from_millis(100), max: seconds(5), patience: seconds(60) },
            limits: LimitOverrides { process_cpu: Some(seconds(1)), emissions: Some(10), ..LimitOverrides::default() },
            place: Place { file: "keys/orders.toml".into(), position: Some(Position { line: 2, column: 1 }) },
        }]
    );
    assert_eq!(
        config.registry.routes,
        [Route {
            name: "large-orders".into(),
            key: "orders.large".into(),
            params: params(&[("min_amount", "500"), ("regions", "eu,us")]),
            sinks: vec!["alerts".into(), "archive".into()],
            place: config.registry.routes[0].place.clone(),
        }]
    );
}

const SMALL: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\n";
const KEY: &str = "[[key]]\nkey = \"orders\"\nsubject = \"orders.>\"\n";
const ROUTE: &str = "[[route]]\nkey = \"orders\"\nsinks = [\"out\"]\n";

fn small(keys: &str) -> Config {
    let dir = folder(&[("trommel.toml", SMALL), ("keys/orders.toml", keys)]);
    load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_least_that_can_be_said() {
    let config = small(KEY);
    assert_eq!(config.dead_letter, DeadLetter::File(config.dir.join("dead-letters.ndjson")));
    assert_eq!(config.plugins, config.dir.join("plugins"));
    assert_eq!(config.dedup, Some(Dedup { ttl: seconds(300), capacity: count(10_000), by: DedupBy::Sequence }));
    assert!(config.pipeline.lanes >= count(4));
    assert_eq!(config.pipeline.in_flight, count(4096));
    assert_eq!(config.sources[0].kind, SourceKind::Lines(LinesSource { path: None }));
    let key = &config.registry.keys[0];
    assert_eq!((key.workers, key.buffer_size), (count(1), count(100)));
    assert_eq!(key.order_by, OrderBy::Field(Field::Subject));
    assert_eq!(key.filter, None);
}

#[test]
fn dead_letters_go_to_a_stream_where_there_is_a_server() {
    let dir = folder(&[("trommel.toml", &format!("[nats]\nurl = \"nats://bob:pw@localhost\"\n{SMALL}"))]);
    let config = load(dir.path()).unwrap();
    let stream = DeadLetter::Stream { stream: "TROMMEL_DEAD".into(), subject: "trommel.dead".into() };
    assert_eq!(config.dead_letter, stream);
    let nats = config.nats.unwrap();
    assert_eq!(nats.urls, ["nats://localhost"]);
    assert_eq!(nats.auth, NatsAuth::Password { user: "bob".into(), password: "pw".into() });
    assert!(!nats.tls_required);
}

#[test]
fn the_dedup_window_can_be_turned_off() {
    let dir = folder(&[("trommel.toml", &format!("[dedup]\nenabled = false\n{SMALL}"))]);
    assert_eq!(load(dir.path()).unwrap().dedup, None);
}

/// L05 and L06
#[test]
fn workers_and_buffer_size_are_brought_into_range() {
    for (written, workers, buffer) in [("0", 1, 100), ("-3", 1, 100), ("1000", 1000, 1000), ("1001", 1001, 1000)] {
        let config = small(&format!("{KEY}workers = {written}\nbuffer_size = {written}\n"));
        let key = &config.registry.keys[0];
        assert_eq!((key.workers, key.buffer_size), (count(workers), count(buffer)), "{written}");
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        if written == "1001" {
            assert_snapshot!(warnings.join("\n"), @"keys/orders.toml:5:15: warning: `buffer_size` is at most 1000: 1000 is used instead of 1001");
        } else {
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}

#[test]
fn what_is_perhaps_not_meant_is_a_warning() {
    let settings = r#"
[nats]
url = "nats://localhost"

[[stream]]
name = "ORDERS"
subjects = ["orders.>"]

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"

[[source]]
name = "alerts"
type = "jetstream"
stream = "ALERTS"
durable = "trommel"
subjects = ["alerts.>"]

[[source]]
name = "whole"
type = "jetstream"
stream = "DECLARED-ELSEWHERE"
durable = "trommel"

[[sink]]
name = "again"
type = "nats"
subject = "orders.large"

[[sink]]
name = "alerts"
type = "nats"
subject = "alerts.large"

[[sink]]
name = "elsewhere"
type = "nats"
subject = "large.orders"

[[sink]]
name = "same"
type = "nats"
subject = "{subject}"

[[sink]]
name = "below"
type = "nats"
subject = "large.{subject}"
"#;
    let key = "[[key]]\nkey = \"orders\"\nevent_type = \"order.*\"\n";
    let dir = folder(&[("trommel.toml", settings), ("keys/orders.toml", key)]);
    let warnings: Vec<_> = load(dir.path()).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    keys/orders.toml:3:14: warning: `event_type` is compared as it stands: wildcards mean nothing there
      patterns belong in `subject`
    trommel.toml:28:1: warning: sink `again` publishes what source `orders` reads
      events may go round for ever, unless every key turns the router's own outputs away
    trommel.toml:33:1: warning: sink `alerts` publishes what source `alerts` reads
      events may go round for ever, unless every key turns the router's own outputs away
    trommel.toml:43:1: warning: sink `same` publishes what source `orders` reads
      events may go round for ever, unless every key turns the router's own outputs away
    ");
}

#[test]
fn a_route_keeps_its_derived_name() {
    let declared = format!("{KEY}params = [{{ name = \"min\", type = \"int\", default = \"1\" }}]\n");
    let names = |routes: &str| -> Vec<String> {
        small(&format!("{declared}{routes}")).registry.routes.into_iter().map(|route| route.name).collect()
    };
    let alone = names(ROUTE);
    assert_snapshot!(alone[0], @"orders-9ca896a3");
    let other = format!("{ROUTE}params = {{ min = 2 }}\n");
    let both = names(&format!("{other}{ROUTE}"));
    assert_eq!(both[1], alone[0], "other routes do not matter");
    assert_ne!(both[0], both[1]);
    assert_eq!(names(&format!("{ROUTE}params = {{ min = \"01\" }}\n")), alone, "nor how a value is written");
}

/// L129: routes that take events by their type have no key, and the name of one.
#[test]
fn routes_without_a_key() {
    let routes = r#"
[[route]]
match_regex = '^im\.message\.'
sinks = ["out"]

[[route]]
name = "others"
fallthrough = true
sinks = ["out"]
"#;
    let registry = small(&format!("{KEY}{routes}")).registry;
    assert_eq!((registry.keys.len(), registry.routes.len()), (1, 0));
    let [regex, rest] = &registry.type_routes[..] else { panic!("{registry:?}") };
    assert_snapshot!(regex.key.name, @"match_regex-89496538");
    assert_eq!(regex.types, Types::Matching(r"^im\.message\.".parse().unwrap()));
    assert_eq!((rest.key.name.as_str(), &rest.types, &rest.sinks), ("others", &Types::Rest, &vec!["out".to_owned()]));
    let key = &registry.keys[0];
    let place = rest.key.place.clone();
    assert_eq!(rest.key, Key { name: "others".into(), subject: None, place, ..key.clone() }, "with a key's defaults");
}

#[test]
fn lark_is_an_envelope() {
    let source = "[nats]\nurl = \"nats://localhost\"\n[[source]]\nname = \"in\"\ntype = \"jetstream\"\nstream = \"S\"\n\
        durable = \"d\"\nenvelope = \"lark\"\n";
    for (more, verify_header) in [("", false), ("verify_header = true\n", true)] {
        let dir = folder(&[("trommel.toml", &format!("{source}{more}"))]);
        assert_eq!(load(dir.path()).unwrap().sources[0].envelope, Envelope::Lark { verify_header });
    }
}

/// Editors and Kubernetes put files beside the real ones.
/// H01, H02, H16, X1
#[test]
fn a_preset_brings_streams_and_keys() {
    let preset = |fields: &str| {
        let settings =
            format!("[nats]\nurl = \"nats://a\"\n[[preset]]\n{fields}\n[[source]]\nname = \"in\"\ntype = \"lines\"\n");
        load(folder(&[("trommel.toml", &settings)]).path()).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let subjects = |config: &Config| {
        let streams = config.streams.iter();
        streams.map(|stream| format!("{} {}", stream.name, stream.subjects[0].as_str())).collect::<Vec<_>>()
    };
    let keys = |config: &Config| config.registry.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let helix = preset("name = \"helix\"");
    assert_eq!(
        subjects(&helix),
        [
            "HELIX_NODES helix.nodes.>",
            "HELIX_SESSIONS helix.sessions.>",
            "HELIX_SCHEDULER helix.scheduler.>",
            "HELIX_HEALTH helix.health.>",
            "HELIX_ALERTS helix.alerts.>",
        ]
    );
    assert_eq!(keys(&helix), ["helix.node", "helix.session", "helix.scheduler"]);
    let other = preset("name = \"helix\"\nsubject_prefix = \"acme.eu\"\naudit = true");
    assert_eq!(subjects(&other)[0], "HELIX_NODES acme.eu.nodes.>");
    assert_eq!(subjects(&other)[5], "HELIX_AUDIT acme.eu.audit.>");
    assert_eq!(keys(&other).last().unwrap(), "helix.audit");
    assert_eq!(other.registry.keys[0].subject, Some("acme.eu.nodes.>".parse().unwrap()));
    assert_eq!(keys(&preset("name = \"jb-mesh\"")).len(), 10);
    assert_eq!(keys(&preset("name = \"flowcraft\"")), ["graph.run", "graph.node", "kanban"]);
}

/// C04, C05: a key for each type, by its own name.
#[test]
fn the_preset_of_a_ctrlplane_has_a_key_for_each_type() {
    let settings = "[[preset]]\nname = \"ctrlplane\"\n[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let config = load(folder(&[("trommel.toml", settings)]).path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.streams.is_empty());
    let mut families = BTreeMap::<_, Vec<_>>::new();
    for key in &config.registry.keys {
        assert_eq!(key.event_type.as_deref(), Some(&*key.name));
        let (family, what) = key.name.split_once('.').unwrap();
        families.entry(family).or_default().push(what);
    }
    let instance = ["created", "started", "stopped", "failed", "deleted", "scaled", "suspended", "unsuspended"];
    assert_eq!(families["instance"], instance);
    assert_eq!(families["deploy"], ["started", "succeeded", "failed", "rolled_back"]);
    assert_eq!(families["health"], ["passed", "failed", "degraded", "recovered"]);
    let counts: Vec<_> = families.iter().map(|(family, types)| (*family, types.len())).collect();
    let [networks, admin] = [[("cert", 2), ("domain", 3)], [("quota", 1), ("tenant", 3)]];
    let others = [("datacenter", 4), ("route", 3), ("template", 3), ("workload", 9)];
    let mut expected = [&[("instance", 8), ("deploy", 4), ("health", 4)][..], &networks, &admin, &others].concat();
    expected.sort();
    assert_eq!(counts, expected);
}

#[test]
fn other_files_are_passed_over() {
    let broken = "[[key\n";
    let dir = folder(&[
        ("trommel.toml", SMALL),
        ("keys/orders.toml", KEY),
        ("keys/orders.toml~", broken),
        ("keys/.orders.toml.swp", broken),
        ("keys/.#orders.toml", broken),
        ("keys/#orders.toml#", broken),
        ("keys/orders.toml.tmp", broken),
        ("keys/.hidden.toml", broken),
        ("keys/README.md", broken),
        ("keys/..data/orders.toml", broken),
    ]);
    let config = load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.registry.keys.len(), 1);
}

#[test]
fn the_registry_is_read_again() {
    let dir = folder(&[("trommel.toml", SMALL), ("keys/orders.toml", KEY)]);
    let config = load(dir.path()).unwrap();
    assert_eq!(load_registry(&config).as_ref(), Ok(&config.registry));

    write(dir.path(), &[("keys/routes.toml", ROUTE)]);
    let registry = load_registry(&config).unwrap();
    assert_eq!((registry.keys.len(), registry.routes.len()), (1, 1));

    write(dir.path(), &[("keys/routes.toml", &ROUTE.replace("\"out\"", "\"gone\""))]);
    assert_snapshot!(load_registry(&config).unwrap_err(), @r"
    keys/routes.toml:3:10: there is no sink `gone`
      known sinks: `out`
    ");

    write(dir.path(), &[("keys/routes.toml", &format!("{KEY}filter = \"orders\"\n").replace("orders\"", "more\""))]);
    assert_snapshot!(load_registry(&config).unwrap_err(), @r"
    keys/routes.toml:4:10: filter `more` has no component: there is no `plugins/more.wasm`
      there is no component in `plugins/`
    ");
    write(dir.path(), &[("plugins/more.wasm", "")]);
    assert_eq!(load_registry(&config).unwrap().keys.len(), 2);
}

/// Who copies a file over another first makes it empty.
#[test]
fn a_file_that_declares_nothing_any_more_is_refused_until_it_is_deleted() {
    let dir = folder(&[("trommel.toml", SMALL), ("keys/orders.toml", KEY), ("keys/notes.toml", "# nothing yet\n")]);
    let config = load(dir.path()).unwrap();
    for text in ["", "\n", "# to be written\n"] {
        write(dir.path(), &[("keys/orders.toml", text), ("keys/notes.toml", text)]);
        let expected = "keys/orders.toml: the file declares nothing any more, as if it were still being written\n  \
                        delete it if what it declared is to go";
        assert_eq!(load_registry(&config).unwrap_err().to_string(), expected, "{text:?}");
    }
    fs::remove_file(dir.path().join("keys/orders.toml")).unwrap();
    assert_eq!(load_registry(&config).unwrap().keys.len(), 0);
    assert_eq!(load(dir.path()).unwrap().registry.keys.len(), 0, "nothing was there before");
}

/// Nothing that lies in a folder holds up who reads it, or fills the memory.
#[test]
fn what_is_no_file_or_too_large_is_named_and_not_read() {
    let key = format!("{KEY}[key.schema.custom]\nfile = \"order.json\"\n");
    let dir = folder(&[("trommel.toml", SMALL), ("keys/orders.toml", &key), ("schemas/none", "")]);
    let mkfifo = |name| {
        let status = std::process::Command::new("mkfifo").arg(dir.path().join(name)).status();
        assert!(status.unwrap().success(), "{name}");
    };
    mkfifo("keys/pipe.toml");
    mkfifo("schemas/order.json");
    for name in ["keys/sparse.toml", "schemas/sparse.avsc"] {
        fs::File::create(dir.path().join(name)).unwrap().set_len(3 << 30).unwrap();
    }
    assert_snapshot!(load(dir.path()).unwrap_err(), @r"
    keys/pipe.toml: this is a named pipe, not a file: nothing is read from it
    keys/sparse.toml: the file has 3221225472 bytes, more than the limit of 4194304
    schemas/order.json: this is a named pipe, not a file: nothing is read from it
    schemas/sparse.avsc: the file has 3221225472 bytes, more than the limit of 16777216
    ");
    fs::remove_file(dir.path().join("trommel.toml")).unwrap();
    mkfifo("trommel.toml");
    let problems = load(dir.path()).unwrap_err().to_string();
    assert!(problems.contains("trommel.toml: this is a named pipe"), "{problems}");
}

/// Some editors begin a file with a mark.
#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let marked = |text: &str| format!("\u{feff}{text}");
    let key = format!("{KEY}decode = \"json\"\n[key.schema.custom]\nfile = \"order.json\"\n");
    let dir = folder(&[
        ("trommel.toml", &marked(SMALL)),
        ("keys/orders.toml", &marked(&key)),
        ("schemas/order.json", &marked(r#"{"type":"object"}"#)),
        ("schemas/order.avsc", &marked(r#""string""#)),
    ]);
    let config = load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.registry.keys.len(), 1);
}

proptest::proptest! {
    /// Whatever a file holds, the answer names it or takes it.
    #[test]
    fn bytes_of_any_kind_are_refused_with_their_place(
        bytes: Vec<u8>,
        text in "[\\[\\]{}\"'=.,#\n\\\\ a-z0-9\u{feff}\u{0}ü]{0,80}",
        which in 0..4_usize,
    ) {
        let name = ["trommel.toml", "keys/a.toml", "schemas/order.json", "schemas/a.avsc"][which];
        let key = format!("{KEY}[key.schema.custom]\nfile = \"order.json\"\n");
        for content in [&bytes[..], text.as_bytes()] {
            let dir = folder(&[("trommel.toml", SMALL), ("keys/orders.toml", &key), ("schemas/order.json", "{\"a\":1}")]);
            fs::write(dir.path().join(name), content).unwrap();
            if let Err(problems) = load(dir.path()) {
                let places: Vec<_> = problems.iter().map(|problem| problem.place.to_string()).collect();
                assert!(places.iter().any(|place| place.starts_with(name)), "{places:?} {}", content.escape_ascii());
            }
        }
    }

    /// Whatever is cut from a file or put into it, the answer is a configuration or a list of problems.
    #[test]
    fn damaged_files_are_refused_and_nothing_worse(
        settings in damaged(FULL),
        keys in damaged(FULL_KEYS),
    ) {
        let dir = folder(&[("trommel.toml", &settings), ("keys/orders.toml", &keys)]);
        let problems = load(dir.path()).unwrap_err();
        assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        assert!(!problems.to_string().is_empty());
    }
}

/// `text` with one stretch replaced by something else.
fn damaged(text: &'static str) -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    (0..text.len(), 0..20_usize, "[\\[\\]{}\"'=.,#\n 0-9a-zü]{0,6}").prop_map(move |(start, length, inserted)| {
        let end = (start + length).min(text.len());
        [&text[..start], &inserted, &text[end..]].concat()
    })
}

/// F20, F24 and X2: on a bus the newest is dropped, unless a source says otherwise.
#[test]
fn a_bus_source_has_a_pattern_a_buffer_and_a_policy() {
    let text = r#"
[[source]]
name = "a"
type = "bus"

[[source]]
name = "b"
type = "bus"
pattern = "orders.*"
buffer = 10
policy = "sample"
sample = 0.1

[[source]]
name = "c"
type = "bus"
policy = "drop_oldest"
"#;
    let dir = folder(&[("trommel.toml", text)]);
    let sources = load(dir.path()).unwrap().sources;
    let expected =
        [(">", 64, Policy::DropNewest), ("orders.*", 10, Policy::Sample(0.1)), (">", 64, Policy::DropOldest)];
    for (source, (pattern, buffer, policy)) in sources.iter().zip(expected) {
        let SourceKind::Bus(BusSource { pattern: has, buffer: holds, policy: does, .. }) = &source.kind else {
            panic!("{source:?}")
        };
        assert_eq!((has.as_str(), *holds, *does), (pattern, buffer, policy), "{}", source.name);
    }
    assert_eq!(sources.len(), expected.len());
}

#[test]
fn whoever_says_what_to_trust_means_tls() {
    for (settings, required) in
        [("", false), ("tls_ca = \"ca.pem\"", true), ("tls_cert = \"ca.pem\"\ntls_key = \"ca.pem\"", true)]
    {
        let text = format!("[nats]\nurl = \"nats://a\"\n{settings}\n{SMALL}");
        let dir = folder(&[("trommel.toml", &text), ("ca.pem", "")]);
        assert_eq!(load(dir.path()).unwrap().nats.unwrap().tls_required, required, "{settings}");
    }
}

/// As `echo` leaves it in a file, or in what becomes a variable.
#[test]
fn space_around_a_secret_is_no_part_of_it() {
    let text = format!("[nats]\nurl = \"nats://a\"\ntoken = {{ file = \"token\" }}\n{SMALL}");
    let dir = folder(&[("trommel.toml", &text), ("token", " s3cret\r\n\n")]);
    assert_eq!(load(dir.path()).unwrap().nats.unwrap().auth, NatsAuth::Token("s3cret".into()));
}
