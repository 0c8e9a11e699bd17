//! The checked configuration, the only one that the rest of the program sees. [`load`] reads a router's folder and
//! answers either with a [`Config`] or with every problem of every file at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    avro::{self as wire, Schemas},
    endpoint::Endpoint,
    event::Pattern,
    field::Field,
    schema::Schema,
    signature::Secret,
};

mod api;
mod avro;
mod bus;
mod document;
mod file;
mod folder;
mod http;
mod isolation;
mod keys;
mod letters;
mod limits;
mod load;
mod loops;
mod machine;
mod memory;
mod nats;
mod nearest;
mod params;
mod path;
mod preflight;
mod preset;
mod problem;
mod range;
mod read;
mod routes;
mod schema;
mod schemas;
mod secret;
mod settings;
mod sink;
mod source;
mod stream;
mod table;
mod telemetry;
mod template;
mod unique;
mod values;
mod webhook;
mod written;

pub use self::source::{AckMode, Deliver, Envelope, JetStreamSource, LinesSource, Source, SourceKind};
pub use self::{
    api::{Api, AuthType, Identity, KeptIn},
    avro::avro_schema,
    bus::BusSource,
};
pub use file::{FileSink, Fsync, Record, Upkeep};
pub use http::{Answer, Auth, HttpClient, HttpSource, Rate};
pub use letters::{Alike, LetterSource, Which};
pub use limits::{LimitOverrides, Limits};
pub use load::{load, load_registry};
pub use memory::{Components, MemoryPlan, TooLittle};
pub use nearest::{nearest, quoted};
pub use params::{ParamProblem, check_params};
pub use path::{PathPart, PathTemplate};
pub use preflight::{Lack, Needed, preflight};
pub use preset::Preset;
pub use problem::{Place, Position, Problem, Problems, Severity};
pub use range::{Begin, Range, ReplaySource};
pub use read::{Unreadable, read};
pub use routes::{TypeRoute, Types};
pub use sink::{DEAD_FILE, Encode, FolderSink, NatsSink, OnFailure, Sink, SinkKind};
pub use stream::{
    Bound, Compression, Discard, External, Placement, Republish, Retention, Start, Storage, Stream, Transform, Upstream,
};
pub use telemetry::Telemetry;
pub use template::{Part, Template};
pub use values::{duration, name, server_name};
pub use webhook::{Tenant, Webhook, WebhookSink};
pub use written::NewWebhook;

/// A router's folder, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub dir: PathBuf,
    /// Where the components are.
    pub plugins: PathBuf,
    /// Where the keys are declared.
    pub keys: PathBuf,
    /// Where the schemas are that keys name.
    pub schemas: PathBuf,
    pub nats: Option<Nats>,
    pub api: Option<Api>,
    /// What comes with trommel and was asked for.
    pub presets: Vec<Preset>,
    pub streams: Vec<Stream>,
    pub sources: Vec<Source>,
    pub sinks: Vec<Sink>,
    pub filters: Vec<FilterSettings>,
    pub dedup: Option<Dedup>,
    pub pipeline: Pipeline,
    /// What the whole process may have, in bytes. Left out, it depends on the machine.
    pub memory: Option<u64>,
    pub limits: Limits,
    pub dead_letter: DeadLetter,
    /// What proves that the router wrote a dead letter; the first one signs. None leaves it to a key of the router's own.
    pub letter_secrets: Vec<Secret>,
    /// Names of Avro schemas by the ids that another registry gave them.
    pub avro_ids: BTreeMap<u32, String>,
    pub admin: Option<Admin>,
    /// `None` when spans go nowhere.
    pub telemetry: Option<Telemetry>,
    pub registry: Registry,
    /// Set by whoever starts a router for something else than its folder says.
    pub role: Role,
    /// Valid settings that are probably mistakes.
    pub warnings: Vec<Problem>,
}

/// What a router is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// What its folder says.
    #[default]
    Router,
    /// Consumers that attach, and nothing else.
    Observer,
    /// One stretch of a stream or of the dead letters, once. Nothing is reloaded, nothing is held upstream.
    Replay,
}

/// What `keys/*.toml` declare: the part that is reloaded while the router runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    pub keys: Vec<Key>,
    pub routes: Vec<Route>,
    pub type_routes: Vec<TypeRoute>,
    pub webhooks: Vec<Arc<Webhook>>,
    /// `schemas/*.avsc` and those of the presets.
    pub avro: Schemas,
    /// Those of `keys/*.toml` that declare something.
    pub files: BTreeSet<PathBuf>,
}

impl Registry {
    pub fn without_routes(self) -> Self {
        Self { routes: Vec::new(), type_routes: Vec::new(), ..self }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Nats {
    pub urls: Vec<String>,
    /// Shown in the server's connection list.
    pub name: String,
    pub auth: NatsAuth,
    pub tls_ca: Option<PathBuf>,
    /// Certificate and key of the client.
    pub tls_client: Option<(PathBuf, PathBuf)>,
    pub tls_required: bool,
    pub connect_timeout: Duration,
    /// What the subjects of the JetStream API begin with.
    pub api_prefix: String,
}

/// At most one way to say who we are. Secrets are not shown by `Debug`.
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

/// How a refused output or event is tried again: waits grow from `min` to `max`, doubled and jittered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub min: Duration,
    pub max: Duration,
    /// How long after the first try to give up.
    pub patience: Duration,
}

/// Settings of one component in `plugins/`; those without an entry have the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSettings {
    pub name: String,
    /// Capabilities that the component may have if it asks for them.
    pub grants: Vec<Grant>,
    pub on_quarantine: OnQuarantine,
    pub instances: Instances,
    /// SHA-256 of the only content that is taken, in hex; `None` takes any.
    pub digest: Option<String>,
    pub limits: Limits,
}

impl FilterSettings {
    /// Those of a component of which nothing is said.
    pub fn new(name: String) -> Self {
        Self {
            name,
            grants: Vec::new(),
            on_quarantine: OnQuarantine::default(),
            instances: Instances::default(),
            digest: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// What is said of a filter, or of every one.
    pub fn filter(&self, name: &str) -> FilterSettings {
        let given = self.filters.iter().find(|settings| settings.name == name).cloned();
        given.unwrap_or_else(|| FilterSettings { limits: self.limits, ..FilterSettings::new(name.to_owned()) })
    }
}

/// For whom an instance that processes events is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// The key that it served before: no key sees what a guest keeps of another's events.
    #[default]
    Key,
    /// Any key of the filter.
    Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    State,
    /// Calls of the API in `[api]`.
    Api,
    /// Saying in its outputs for whom and as part of what an event happened.
    Identity,
}

/// What happens to the events of a filter that keeps breaking and has no last good version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnQuarantine {
    /// Hold events until the filter has been fixed.
    #[default]
    Pause,
    DeadLetter,
}

/// The window in which a repeated event is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    pub ttl: Duration,
    pub capacity: NonZeroUsize,
    pub by: DedupBy,
}

/// What makes two events the same (X11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupBy {
    Id,
    /// Stream and sequence.
    Sequence,
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline {
    pub lanes: NonZeroUsize,
    /// Events that one source may have open; also the consumer's `max_ack_pending`.
    pub in_flight: NonZeroUsize,
    /// Payload bytes that one source may have open.
    pub in_flight_bytes: u64,
    /// How long open events may take to finish after a stop.
    pub drain: Duration,
}

/// Where events go that can never succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetter {
    /// Only the log tells. Not for the file.
    Discard,
    /// An NDJSON file.
    File(PathBuf),
    /// A JetStream stream, created when absent, that keeps `SUBJECT.>`.
    Stream { stream: String, subject: String },
}

/// The listener that shows what the router does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub listen: SocketAddr,
    /// What clients are known by that may see more than whether it is ready.
    pub token: Option<KeptIn>,
    /// Anybody on this machine may see it, and nobody else.
    pub is_this_machines: bool,
}

/// One entry of the key registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: String,
    /// For people; empty when the name will do.
    pub display_name: String,
    pub description: String,
    /// At least one of subject and event type is given, and those given must both match (X10).
    pub subject: Option<Pattern>,
    pub event_type: Option<String>,
    /// The component's file name in `plugins/` without `.wasm`; without one every event passes as it is.
    pub filter: Option<String>,
    /// What the filter may call of the API for this key.
    pub api: Vec<Endpoint>,
    pub params: Vec<ParamDeclaration>,
    /// Who may consume it; empty when no identity is needed (L16).
    pub auth_types: Vec<AuthType>,
    /// Scopes that the identity must have (L17).
    pub scopes: Vec<String>,
    /// Events that must be turned on at the platform (L17).
    pub console_events: Vec<String>,
    /// A second consumer of the same subscription is refused (L19).
    pub single_consumer: bool,
    /// Its events come from a consumer of its own.
    pub is_isolated: bool,
    /// What its events look like on the wire.
    pub decode: Decode,
    /// What its outputs look like.
    pub schema: Option<Schema>,
    /// Which of its outputs are held against the schema.
    pub validate: Validate,
    /// Lanes that may be inside `process` at once.
    pub workers: NonZeroUsize,
    /// Events of the key that may wait for a lane.
    pub buffer_size: NonZeroUsize,
    pub order_by: OrderBy,
    pub retry: Retry,
    /// Limits that differ from the filter's.
    pub limits: LimitOverrides,
    /// Where it is declared.
    pub place: Place,
}

impl Key {
    pub fn domain(&self) -> &str {
        Self::domain_of(&self.name)
    }

    /// What comes before the first dot of a key's name, or the whole name (L07).
    pub fn domain_of(name: &str) -> &str {
        name.split_once('.').map_or(name, |(domain, _)| domain)
    }
}

/// What a key's events look like on the wire. Filters see JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Decode {
    /// Payloads are taken as they come.
    #[default]
    Raw,
    /// What is not JSON is a dead letter.
    Json,
    /// With the schema to read by; without one, that of the writer.
    Avro(Option<wire::Schema>),
    /// Avro when it begins as such, else JSON.
    Auto(Option<wire::Schema>),
}

/// Which outputs of a key are held against its schema. One that does not fit makes its event a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    Off,
    /// Those of one event in a hundred, chosen by its id.
    Sample,
    #[default]
    All,
}

/// Events that agree in this keep their order.
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
    /// The values that an enum or multi may have, each with what it means.
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
}

/// A key, values for its params, and the sinks it feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Given, or `KEY-` and eight hexadecimal digits that depend on key, params and sinks alone; unique.
    pub name: String,
    pub key: String,
    /// Checked, defaults filled in, sorted by name.
    pub params: Vec<(String, String)>,
    pub sinks: Vec<String>,
    /// Where it is declared, for what its filter has to say.
    pub place: Place,
}
