//! The checked configuration, the only form of it that the rest of the program uses. It says what a
//! route, a sink or a limit is; how a folder spells it is the matter of the crate that reads one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    avro::{self as wire, AvroSchemas},
    backoff::Backoff,
    condition::ConditionLists,
    endpoint::Endpoint,
    event::Pattern,
    field::Field,
    schema::OutputSchema,
    signature::Secret,
};

mod api;
mod avro;
mod body;
mod bus;
mod exec;
mod file;
mod filters;
mod http;
mod letters;
mod limits;
mod machine;
mod memory;
mod nearest;
mod param_secret;
mod params;
mod path;
mod preflight;
mod preset;
mod problem;
mod range;
mod read;
mod routes;
mod schema_cache;
mod schema_registry;
mod secret;
mod sink;
mod source;
mod state;
mod stream;
mod telemetry;
pub mod template;
pub mod values;
mod webhook;

pub use self::source::{
    AckMode, AvroFileSource, DeliverPolicy, EnvelopeFormat, JetStreamSource, LinesSource, NatsSource, SourceConfig,
    SourceKind, SourcePartitions,
};
pub use api::{ApiConfig, ApiLogin, ApiToken, AuthType, DeclaredIdentity, KeptIn, LoginKind};
pub use avro::{avro_schema, known_schema};
pub use body::{BodyFacts, BodyTemplate, UnrenderableBody};
pub use bus::{BusSink, BusSource};
pub use exec::{ExecConfirm, ExecSink};
pub use file::{FileSink, FileUpkeep, Fsync, RecordSettings};
pub use filters::{FilterSettings, Grant, InstanceScope, OnQuarantine};
pub use http::{AnswerPoint, ClientAuth, HttpClient, HttpSource, LarkApp, RateLimit};
pub use letters::{LetterChoice, LetterFilter, LetterSource};
pub use limits::{GuestLimits, KEY_RETRY, LimitOverrides, SINK_RETRY};
pub use machine::memory as machine_memory;
pub use memory::{ComponentMemory, MemoryPlan, TooLittle};
pub use nearest::{nearest, quoted, suggest};
pub use param_secret::ParamSecret;
pub use params::{ParamProblem, check_params, handed, normalize};
pub use path::{FilePath, PathPart, PathTemplate};
pub use preflight::{NeedKind, UnmetNeed, preflight};
pub use preset::Preset;
pub use problem::{ConfigPlace, Problem, Problems, Severity, TextPosition, UnknownName};
pub use range::{RangeBegin, ReplaySource, StreamRange};
pub use read::{LARGEST_SCHEMA, LARGEST_SECRET, LARGEST_TOML, UnreadableFile, read, read_text};
pub use routes::{TypeRoute, TypeSelection};
pub use schema_cache::SchemaCache;
pub use schema_registry::{RegistryAuth, SchemaRegistryConfig, WriterSubject};
pub use sink::{AvroEncoding, DEAD_FILE, DEAD_LETTERS, FolderSink, NatsSink, OnFailure, SinkConfig, SinkKind};
pub use state::{StateBucket, StateConfig, StateKeeping};
pub use stream::{
    Compression, DiscardPolicy, ExternalApi, Placement, Republish, Retention, Storage, StreamConfig, StreamLimit,
    SubjectTransform, UpstreamStart, UpstreamStream,
};
pub use telemetry::TelemetryConfig;
pub use template::{EventField, OutputField, SubjectForm, SubjectPlaceholder, TemplatePart, TextTemplate};
pub use values::{duration, name, server_name};
pub use webhook::{SelfServiceConfig, TenantSelection, Webhook, WebhookSink};

/// The checked configuration of a router's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub dir: PathBuf,
    /// Texts that take the place of the folder's files, if a program gives them.
    pub texts: Option<Arc<FolderTexts>>,
    /// Folder of the components.
    pub plugins: PathBuf,
    /// Folder of the key files.
    pub keys: PathBuf,
    /// Folder of the schemas that keys refer to.
    pub schemas: PathBuf,
    pub nats: Option<NatsConfig>,
    pub api: Option<ApiConfig>,
    /// Further APIs, by name.
    pub apis: Vec<(String, ApiConfig)>,
    /// Enabled presets, which are built into trommel.
    pub presets: Vec<Preset>,
    pub streams: Vec<StreamConfig>,
    pub sources: Vec<SourceConfig>,
    pub sinks: Vec<SinkConfig>,
    /// Settings of components in `trommel.toml`.
    pub filters: Vec<FilterSettings>,
    pub dedup: Option<DedupConfig>,
    pub pipeline: PipelineConfig,
    /// Memory limit of the whole process, in bytes. If left out, it depends on the machine.
    pub memory: Option<u64>,
    pub limits: GuestLimits,
    /// Where filters keep values.
    pub state: StateConfig,
    pub dead_letter: DeadLetterTarget,
    /// Secrets that sign dead letters, as proof that the router wrote them; the first one signs. If
    /// there are none, the router uses a key of its own.
    pub letter_secrets: Vec<Secret>,
    /// Names of Avro schemas by the ids that another registry assigned to them.
    pub avro_ids: BTreeMap<u32, String>,
    /// Where Avro schemas come from that are not in the folder.
    pub schema_registry: Option<SchemaRegistryConfig>,
    pub admin: Option<AdminConfig>,
    /// `None` if webhooks are seen to in files alone.
    pub self_service: Option<SelfServiceConfig>,
    /// `None` if spans are not exported.
    pub telemetry: Option<TelemetryConfig>,
    pub registry: RegistryConfig,
    /// Set by callers that start a router for another purpose than its folder describes.
    pub role: RouterRole,
    /// Valid settings that are probably mistakes.
    pub warnings: Vec<Problem>,
}

/// Texts in the place of a folder's files, by their paths in it.
pub type FolderTexts = BTreeMap<PathBuf, String>;

/// The purpose of a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterRole {
    /// The routes that its folder declares.
    #[default]
    Router,
    /// Attached consumers only.
    Observer,
    /// One range of a stream or of the dead letters, once. Nothing is reloaded, nothing is held
    /// upstream.
    Replay,
}

/// Declarations of `keys/*.toml` and `filters/*.toml`: the part that is reloaded while the router
/// runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistryConfig {
    pub keys: Vec<KeyConfig>,
    pub routes: Vec<RouteConfig>,
    pub type_routes: Vec<TypeRoute>,
    pub webhooks: Vec<Arc<Webhook>>,
    /// Settings of components in `filters/*.toml`.
    pub filters: Vec<FilterSettings>,
    /// Schemas of `schemas/*.avsc`, of the presets, and of the schema registry as far as they are
    /// known.
    pub avro: AvroSchemas,
    /// Files of `keys/*.toml` that declare something.
    pub files: BTreeSet<PathBuf>,
}

impl RegistryConfig {
    pub fn without_routes(self) -> Self {
        Self { routes: Vec::new(), type_routes: Vec::new(), ..self }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct NatsConfig {
    pub urls: Vec<String>,
    /// Client name in the server's connection list.
    pub name: String,
    pub auth: NatsAuth,
    pub tls_ca: Option<PathBuf>,
    /// Certificate and key of the client.
    pub tls_client: Option<(PathBuf, PathBuf)>,
    pub tls_required: bool,
    pub connect_timeout: Duration,
    /// Prefix of the subjects of the JetStream API.
    pub api_prefix: String,
}

/// Authentication of the client, by one method at most. Secrets are not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub enum NatsAuth {
    None,
    Credentials(PathBuf),
    /// File that holds an nkey seed.
    Nkey(PathBuf),
    Token(String),
    Password {
        user: String,
        password: String,
    },
}

impl std::fmt::Debug for NatsAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Credentials(_) => "Credentials(..)",
            Self::Nkey(_) => "Nkey(..)",
            Self::Token(_) => "Token(..)",
            Self::Password { .. } => "Password { .. }",
        })
    }
}

/// Tries again after a refused output or event, with waits from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub min: Duration,
    pub max: Duration,
    /// Time after the first try at which to give up.
    pub patience: Duration,
}

impl RetryPolicy {
    pub fn backoff(self) -> Backoff {
        Backoff::new(self.min, self.max)
    }
}

/// The window in which a repeated event is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    pub ttl: Duration,
    pub capacity: NonZeroUsize,
    pub by: DedupBy,
}

/// The property by which two events are the same (X11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupBy {
    Id,
    /// Stream and sequence.
    Sequence,
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    pub lanes: NonZeroUsize,
    /// Events that one source may have open; also the consumer's `max_ack_pending`.
    pub in_flight: NonZeroUsize,
    /// Payload bytes that one source may have open.
    pub in_flight_bytes: u64,
    /// Longest time that open events may take to finish after a stop.
    pub drain: Duration,
}

/// Destination of events that can never succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterTarget {
    /// Nowhere: dead letters are only logged. Can't be configured in a file.
    Discard,
    /// An NDJSON file.
    File(PathBuf),
    /// A JetStream stream, created when absent, that keeps `SUBJECT.>`.
    Stream { stream: String, subject: String },
}

/// The listener that shows the router's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    /// Token of clients that may see more than readiness.
    pub token: Option<KeptIn>,
    /// True if every local client may see it, and no client of another machine.
    pub is_this_machines: bool,
    pub ready: ReadyPolicy,
}

/// What `/ready` demands beside a start that is over and a stop that has not begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadyPolicy {
    Process,
    /// Every source is fed, and none is paused because no sink takes anything.
    #[default]
    Connected,
}

/// One entry of the key registry.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyConfig {
    pub name: String,
    /// Name for people; empty if `name` is enough.
    pub display_name: String,
    pub description: String,
    /// At least one of subject and event type is given, and those given must both match (X10).
    pub subject: Option<Pattern>,
    pub event_type: Option<String>,
    /// Conditions of `where`, which an event must fulfil before any route sees it.
    pub conditions: ConditionLists,
    /// The component's file name in `plugins/` without `.wasm`; without one every event passes as
    /// it is.
    pub filter: Option<String>,
    /// Calls of the API that the filter may make for this key.
    pub api: Vec<Endpoint>,
    pub params: Vec<ParamDeclaration>,
    /// Identities that may consume it; empty if none is needed (L16).
    pub auth_types: Vec<AuthType>,
    /// Scopes that the identity must have (L17).
    pub scopes: Vec<String>,
    /// Events that must be turned on at the platform (L17).
    pub console_events: Vec<String>,
    /// A second consumer of the same subscription is refused (L19).
    pub single_consumer: bool,
    /// True if its events come from a consumer of its own.
    pub is_isolated: bool,
    /// Wire format of its events.
    pub decode: WireFormat,
    /// Form of the timestamps in events that were Avro.
    pub times: wire::TimeForm,
    /// Schema of its outputs.
    pub schema: Option<OutputSchema>,
    /// Selection of its outputs that are validated against the schema.
    pub validate: ValidationMode,
    /// Lanes that may be inside `process` at once.
    pub workers: NonZeroUsize,
    /// Events of the key that may wait for a lane.
    pub buffer_size: NonZeroUsize,
    pub order_by: OrderBy,
    pub retry: RetryPolicy,
    /// Limits that differ from the filter's.
    pub limits: LimitOverrides,
    /// Position of its declaration.
    pub place: ConfigPlace,
}

impl KeyConfig {
    /// The secrets of routes that name none of their own, sorted by name.
    pub fn secrets(&self) -> Vec<(String, ParamSecret)> {
        let secret = |param: &ParamDeclaration| Some((param.name.clone(), param.secret.clone()?));
        let mut secrets: Vec<_> = self.params.iter().filter_map(secret).collect();
        secrets.sort_by(|(one, _), (other, _)| one.cmp(other));
        secrets
    }

    pub fn domain(&self) -> &str {
        Self::domain_of(&self.name)
    }

    /// The part of a key's name before the first dot, or the whole name (L07).
    pub fn domain_of(name: &str) -> &str {
        name.split_once('.').map_or(name, |(domain, _)| domain)
    }
}

/// Wire format of a key's events. Filters see JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WireFormat {
    /// Payloads are passed on as received.
    #[default]
    Raw,
    /// JSON. A payload that is not JSON becomes a dead letter.
    Json,
    /// Avro, read by this schema; without one, by the writer's.
    Avro(Option<wire::AvroSchema>),
    /// Avro if the payload begins like it, else JSON.
    Auto(Option<wire::AvroSchema>),
}

/// Selection of a key's outputs that are validated against its schema. An invalid output makes its
/// event a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValidationMode {
    Off,
    /// The outputs of one event in a hundred, chosen by its id.
    Sample,
    #[default]
    All,
}

/// Value by which a key's events are ordered: events with the same value keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderBy {
    None,
    Field(Field),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ParamDeclaration {
    pub name: String,
    pub kind: ParamKind,
    pub required: bool,
    pub default: Option<String>,
    pub description: String,
    /// Place of a secret's value in routes that name none, in place of a default.
    pub secret: Option<ParamSecret>,
    /// Allowed values of an enum or multi, each with its meaning.
    pub values: Vec<(String, String)>,
    /// Part of the subscription's identity (L30).
    pub subscription_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    String,
    Enum,
    /// A comma-separated list of values.
    Multi,
    Bool,
    Int,
    Float,
    /// A length of time with its unit; filters are handed milliseconds.
    Duration,
    /// A number of bytes, with or without a unit; filters are handed bytes.
    Size,
    /// Any JSON.
    Json,
    /// A list of texts, which filters are handed as JSON.
    List,
    /// Kept in the environment or in a file, and shown to filters alone.
    Secret,
}

/// A key, values for its params, and the sinks it feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Declared, or `KEY-` and eight hexadecimal digits that depend on key, params and sinks alone;
    /// unique.
    pub name: String,
    pub key: String,
    /// Conditions of `where`, beside those of the key.
    pub conditions: ConditionLists,
    /// Checked, defaults filled in, sorted by name.
    pub params: Vec<(String, String)>,
    /// Params whose values are secret, and where those are kept, sorted by name.
    pub secrets: Vec<(String, ParamSecret)>,
    pub sinks: Vec<String>,
    /// Position of its declaration, for messages about its filter.
    pub place: ConfigPlace,
}
