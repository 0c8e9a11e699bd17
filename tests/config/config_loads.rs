//! A router's folder comes out as the checked configuration, defaults filled in.

use crate::config_folder::ConfigFolder;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, time::Duration};

use trommel::{
    avro::{Framing, TimeForm, container::ContainerCodec},
    config::{
        AckMode, AdminConfig, AuthType, AvroEncoding, Compression, ConfigPlace, DeadLetterTarget, DedupBy, DedupConfig,
        DeliverPolicy, DiscardPolicy, EnvelopeFormat, EventField, ExternalApi, FileSink, FileUpkeep, FilterSettings,
        FolderSink, Fsync, Grant, GuestLimits, InstanceScope, JetStreamSource, KeyConfig, LimitOverrides, LinesSource,
        NatsAuth, NatsConfig, NatsSink, OnFailure, OnQuarantine, OrderBy, OutputField, ParamDeclaration, ParamKind,
        PathPart, PathTemplate, PipelineConfig, Placement, ReadyPolicy, RecordSettings, Republish, Retention,
        RetryPolicy, RouteConfig, SinkConfig, SinkKind, SourceConfig, SourceKind, Storage, StreamConfig, StreamLimit,
        SubjectPlaceholder, SubjectTransform, TelemetryConfig, TemplatePart, TextPosition, TextTemplate, UpstreamStart,
        UpstreamStream, ValidationMode, WireFormat,
    },
    field::Field,
    json::SecretName,
    schema::{DeclaredSchema, OutputSchema, SchemaForm},
};

/// Everything that can be said in the settings.
pub const FULL: &str = include_str!("full/trommel.toml");
/// Keys and routes beside [`FULL`].
pub const FULL_KEYS: &str = include_str!("full/keys/orders.toml");

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn params(params: &[(&str, &str)]) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn everything_that_can_be_said() {
    let folder = ConfigFolder::of(&[
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
    let at = |path: &str| folder.file(path);
    let limits = GuestLimits { match_cpu: Duration::from_millis(5), host_calls: 0, ..GuestLimits::default() };
    let retry = RetryPolicy { min: Duration::from_millis(100), max: seconds(10), patience: seconds(60) };
    let config = folder.load();
    assert_eq!(
        config.nats,
        Some(NatsConfig {
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
            StreamConfig {
                name: "ORDERS".into(),
                subjects: vec!["orders.>".parse().unwrap()],
                description: Some("Orders as they come in".into()),
                retention: Some(Retention::Interest),
                storage: Some(Storage::Memory),
                replicas: Some(3),
                max_age: Some(StreamLimit::Most(seconds(7 * 24 * 3600))),
                max_msgs: Some(StreamLimit::Most(1_000_000)),
                max_bytes: Some(StreamLimit::Most(1 << 30)),
                max_msg_size: Some(StreamLimit::Unlimited),
                max_msgs_per_subject: Some(StreamLimit::Most(10)),
                max_consumers: Some(StreamLimit::Unlimited),
                discard: Some(DiscardPolicy::New),
                duplicate_window: Some(seconds(120)),
                compression: Some(Compression::S2),
                allow_direct: Some(true),
                allow_atomic: Some(true),
                allow_msg_ttl: Some(false),
                partitions: None,
                subject_transform: Some(SubjectTransform {
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
                    UpstreamStream {
                        name: "PARTNERS".into(),
                        filter_subject: Some("orders.>".parse().unwrap()),
                        subject_transforms: Vec::new(),
                        start: Some(UpstreamStart::Time(may)),
                        external: None,
                    },
                    UpstreamStream {
                        name: "ARCHIVE".into(),
                        filter_subject: None,
                        subject_transforms: vec![SubjectTransform {
                            src: "old.*".parse().unwrap(),
                            dest: "orders.{{wildcard(1)}}".into(),
                        }],
                        start: Some(UpstreamStart::Sequence(7)),
                        external: Some(ExternalApi { api: "$JS.edge.API".into(), deliver: Some("edge".into()) }),
                    },
                ],
                placement: Some(Placement { cluster: Some("east".into()), tags: vec!["ssd".into(), "big".into()] }),
                at_creation: None,
            },
            StreamConfig {
                name: "COPY".into(),
                mirror: Some(UpstreamStream {
                    name: "ORDERS".into(),
                    filter_subject: None,
                    subject_transforms: Vec::new(),
                    start: Some(UpstreamStart::Time(may)),
                    external: None,
                }),
                max_age: Some(StreamLimit::Unlimited),
                ..StreamConfig::default()
            },
        ]
    );
    assert_eq!(
        config.sources,
        [
            SourceConfig {
                name: "orders".into(),
                expect_every: None,
                envelope: EnvelopeFormat::Plain {
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
                    deliver: DeliverPolicy::New,
                    batch: 100,
                    partitions: None,
                }),
            },
            SourceConfig {
                name: "replay".into(),
                expect_every: None,
                envelope: EnvelopeFormat::CloudEvents,
                kind: SourceKind::Lines(LinesSource { path: Some(at("events.ndjson")) }),
            },
        ]
    );
    assert_eq!(
        config.sinks,
        [
            SinkConfig {
                name: "screen".into(),
                on_failure: OnFailure::Stop,
                retry,
                encode: None,
                kind: SinkKind::Stdout
            },
            SinkConfig {
                name: "archive".into(),
                on_failure: OnFailure::Skip,
                retry,
                encode: None,
                kind: SinkKind::File(
                    at("out/orders.ndjson"),
                    FileSink {
                        upkeep: FileUpkeep {
                            max_size: Some(64 << 20),
                            max_age: Some(seconds(24 * 3600)),
                            keep: Some(count(7)),
                            fsync: Fsync::Batch,
                        },
                        record: RecordSettings { redact: SecretName::defaults(), max_field: None, max_record: None },
                        container: None,
                    },
                ),
            },
            SinkConfig {
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
                                PathPart::Header("Node".into()),
                                PathPart::Literal("-".into()),
                                PathPart::Pointer("/node/id".parse().unwrap()),
                                PathPart::Literal(".ndjson".into()),
                            ],
                        ],
                    },
                    FileSink {
                        upkeep: FileUpkeep::default(),
                        record: RecordSettings {
                            redact: vec!["ssn".parse().unwrap()],
                            max_field: Some(32 << 10),
                            max_record: Some(64 << 10),
                        },
                        container: None,
                    },
                ),
            },
            SinkConfig {
                name: "single".into(),
                on_failure: OnFailure::DeadLetter,
                retry,
                encode: None,
                kind: SinkKind::Folder(FolderSink {
                    path: "/var/spool/orders".into(),
                    name: Some(TextTemplate(vec![
                        TemplatePart::Value(EventField::EventType.into()),
                        TemplatePart::Literal("_".into()),
                        TemplatePart::Value(EventField::Id.into()),
                    ])),
                    pretty: true,
                    fsync: Fsync::Batch,
                    container: None,
                }),
            },
            SinkConfig {
                name: "alerts".into(),
                on_failure: OnFailure::Retry,
                retry: RetryPolicy { min: seconds(1), max: seconds(60), patience: Duration::ZERO },
                encode: Some(AvroEncoding {
                    schema: "order".into(),
                    subject: None,
                    framing: Framing::SingleObject,
                    codec: ContainerCodec::Null,
                    place: ConfigPlace {
                        file: "trommel.toml".into(),
                        position: config.sinks[4].encode.clone().unwrap().place.position
                    },
                }),
                kind: SinkKind::Nats(NatsSink {
                    subject: TextTemplate(vec![
                        TemplatePart::Literal("alerts.".into()),
                        TemplatePart::Value(SubjectPlaceholder::plain(OutputField::Key)),
                        TemplatePart::Literal(".".into()),
                        TemplatePart::Value(SubjectPlaceholder::plain(EventField::Header("Region".into()).into())),
                    ]),
                    jetstream: false,
                    message_id: false,
                    window: 16,
                    ack_timeout: seconds(1),
                }),
            },
            SinkConfig {
                name: "nowhere".into(),
                on_failure: OnFailure::Retry,
                retry,
                encode: None,
                kind: SinkKind::Null
            },
        ]
    );
    assert_eq!(
        config.filters,
        [FilterSettings {
            name: "orders".into(),
            grants: vec![Grant::State],
            on_quarantine: OnQuarantine::DeadLetter,
            instances: InstanceScope::Filter,
            digest: Some("0123456789abcdef".repeat(4)),
            limits: GuestLimits { memory: 256 << 20, process_wall: seconds(10), ..limits },
        }]
    );
    assert_eq!(
        config.dedup,
        Some(DedupConfig {
            ttl: seconds(3600),
            capacity: count(500),
            by: DedupBy::Field(Field::Header("Order-Id".into()))
        })
    );
    assert_eq!(
        config.pipeline,
        PipelineConfig { lanes: count(8), in_flight: count(100), in_flight_bytes: 1 << 20, drain: Duration::ZERO }
    );
    assert_eq!(config.limits, limits);
    assert_eq!(config.dead_letter, DeadLetterTarget::Stream { stream: "DEAD".into(), subject: "dead.orders".into() });
    assert_eq!(
        config.admin,
        Some(AdminConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            token: None,
            is_this_machines: true,
            ready: ReadyPolicy::Connected
        })
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        config.telemetry,
        Some(TelemetryConfig {
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
    let idle = ["screen", "logstore", "single", "nowhere"]
        .map(|sink| format!("sink `{sink}` gets nothing: no route names it"));
    assert!(config.warnings.iter().map(|warning| &warning.message).eq(&idle), "{:?}", config.warnings);
    assert_eq!(config.avro_ids, [(7, "order".to_owned())].into());
    assert_eq!(config.registry.avro.names().collect::<Vec<_>>(), ["order"]);
    assert_eq!(
        config.registry.keys,
        [KeyConfig {
            name: "orders.large".into(),
            display_name: "Large orders".into(),
            description: "Orders above a threshold".into(),
            subject: Some("orders.*.created".parse().unwrap()),
            event_type: Some("order.created".into()),
            conditions: vec![],
            filter: Some("orders".into()),
            api: vec![],
            params: vec![
                ParamDeclaration {
                    name: "min_amount".into(),
                    kind: ParamKind::Int,
                    required: true,
                    default: None,
                    secret: None,
                    description: "Smallest amount that passes".into(),
                    values: vec![],
                    subscription_key: true,
                },
                ParamDeclaration {
                    name: "regions".into(),
                    kind: ParamKind::Multi,
                    required: false,
                    default: Some("eu,us".into()),
                    secret: None,
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
            decode: WireFormat::Auto(config.registry.avro.get("order")),
            times: TimeForm::Rfc3339,
            schema: Some(OutputSchema::new(SchemaForm::Custom, DeclaredSchema::object(), &BTreeMap::new()).unwrap()),
            validate: ValidationMode::Sample,
            workers: count(2),
            buffer_size: count(50),
            order_by: OrderBy::Field(Field::Pointer("/customer/id".parse().unwrap())),
            retry: RetryPolicy { min: Duration::from_millis(100), max: seconds(5), patience: seconds(60) },
            limits: LimitOverrides { process_cpu: Some(seconds(1)), emissions: Some(10), ..LimitOverrides::default() },
            place: ConfigPlace { file: "keys/orders.toml".into(), position: Some(TextPosition { line: 1, column: 1 }) },
        }]
    );
    assert_eq!(
        config.registry.routes,
        [RouteConfig {
            name: "large-orders".into(),
            key: "orders.large".into(),
            conditions: vec![],
            params: params(&[("min_amount", "500"), ("regions", "eu,us")]),
            secrets: vec![],
            sinks: vec!["alerts".into(), "archive".into()],
            place: config.registry.routes[0].place.clone(),
        }]
    );
}
