//! `trommel.toml`: the settings that do not change while the router runs.

use std::{collections::HashSet, io, num::NonZeroUsize, path::Path, thread, time::Duration};

use crate::{
    api::{api, apis},
    config::{
        AdminConfig, AnswerPoint, Config, DeclaredIdentity, DedupBy, DedupConfig, MemoryPlan, PipelineConfig,
        ReadyPolicy, RegistryConfig, RouterRole, SelfServiceConfig, SinkKind, SourceKind, StreamConfig, TooLittle,
        values,
    },
    filters::{FilterBasis, filter},
    http, limits,
    listing::{AvailablePlugins, FolderFiles},
    loops,
    nats::nats,
    partitions,
    preset::preset,
    schema_registry::{AvroSettings, avro},
    schemas::SchemaFiles,
    sink::{self, dead_letter, default_dead_letter, sink},
    source::{self, source},
    state::state,
    stream::stream,
    table::{PlacedValue, TomlTable},
    telemetry::telemetry,
    unique::ClaimedValues,
};

pub(crate) const NO_SERVER: &str = "add `[nats]` with, say, `url = \"nats://127.0.0.1:4222\"`";

const DEDUP_TTL: Duration = Duration::from_mins(5);
const DEDUP_CAPACITY: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const IN_FLIGHT_BYTES: u64 = 256 << 20;
const DRAIN: Duration = Duration::from_secs(30);
const MIN_LANES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// Tables that other programs have, and what stands for them here.
const ELSEWHERE: [(&str, &str); 5] = [
    ("log", "the command line: `--log LEVEL` and `--log-format`, or `TROMMEL_LOG`"),
    ("logging", "the command line: `--log LEVEL` and `--log-format`, or `TROMMEL_LOG`"),
    ("metrics", "`[admin]`, whose `listen` serves `/metrics`"),
    ("transforms", "a key: `filter` names its component, in a file in `keys/`"),
    ("transform", "a key: `filter` names its component, in a file in `keys/`"),
];

pub(crate) struct RouterSettings {
    /// The configuration without keys and routes.
    pub(crate) config: Config,
    /// Names of all sinks, including those whose other settings are invalid.
    pub(crate) sinks: HashSet<String>,
    /// `None` if they can't be listed.
    pub(crate) plugins: Option<AvailablePlugins>,
    /// `None` if they can't be listed.
    pub(crate) schemas: Option<SchemaFiles>,
    /// `None` if its settings are invalid.
    pub(crate) identity: Option<DeclaredIdentity>,
}

pub(crate) fn settings(table: &mut TomlTable<'_>, files: &FolderFiles) -> RouterSettings {
    let dir = files.dir.as_path();
    for name in ["key", "route", "webhook"] {
        table.misplaced(name, "a file in `keys/`");
    }
    for (name, place) in ELSEWHERE {
        table.misplaced(name, place);
    }
    let folders = |table: &mut TomlTable<'_>| (table.path("plugins"), table.path("schemas"));
    let (plugins_folder, schemas_folder) = table.table("folders", folders).unwrap_or_default();
    let plugins_folder = plugins_folder.unwrap_or_else(|| dir.join("plugins"));
    let schemas_folder = schemas_folder.unwrap_or_else(|| dir.join("schemas"));
    let unlisted = |folder: &Path, error: io::Error| {
        let message = format!("can't list the folder `{}`: {error}", folder.display());
        table.error(table.place_of("folders"), message, None);
    };
    let plugins = AvailablePlugins::list(dir, &plugins_folder).map_err(|error| unlisted(&plugins_folder, error)).ok();
    let schemas = SchemaFiles::list(files, &schemas_folder).map_err(|error| unlisted(&schemas_folder, error)).ok();

    let nats = table.table("nats", nats).flatten();
    let has_server = table.has("nats");
    let api = table.table("api", api).flatten();
    let apis = apis(table);
    let identity = match &api {
        Some(api) => Some(api.identity.clone()),
        None => (!table.has("api")).then(DeclaredIdentity::default),
    };
    let mut names = ClaimedValues::default();
    let presets = table.tables("preset", |table| preset(table, &mut names));
    let (presets, inherited): (Vec<_>, Vec<_>) = presets.into_iter().flatten().unzip();
    let inherited: Vec<_> = inherited.into_iter().flatten().collect();
    let schemas = schemas.map(|schemas| schemas.with(&presets));
    let mut names = ClaimedValues::default();
    let streams = table.tables("stream", |table| {
        if !has_server {
            table.error(table.place(), "a stream needs a server", Some(NO_SERVER.into()));
        }
        stream(table, &mut names, &inherited)
    });

    let mut taken = source::SourceClaims::default();
    let sources: Vec<_> = table.tables("source", |table| source(table, &mut taken)).into_iter().flatten().collect();
    if !table.has("source") {
        let hint = "add a `[[source]]` with `name` and `type = \"jetstream\"`, `type = \"lines\"` or `type = \"http\"`"
            .to_owned();
        table.error(table.place(), "there is no source to read from", Some(hint));
    }
    let mut taken = sink::SinkClaims::default();
    let sinks: Vec<_> = table.tables("sink", |table| sink(table, &mut taken)).into_iter().flatten().collect();
    let letters = table.table("dead_letter", |table| dead_letter(table, has_server, &mut taken));
    let (dead_letter, letter_secrets) = letters.unwrap_or_default();
    let dead_letter = dead_letter.unwrap_or_else(|| default_dead_letter(dir, has_server));

    let (memory, limits) = table.table("limits", limits::router).unwrap_or_default();
    let mut names = ClaimedValues::default();
    let has_api = table.has("api") || table.has("apis");
    let given = FilterBasis { limits, has_api, plugins: plugins.as_ref() };
    let filters = table.tables("filter", |table| filter(table, &mut names, given));

    if !has_server {
        for PlacedValue { place, .. } in
            sources.iter().filter(|source| matches!(source.value.kind, SourceKind::JetStream(_)))
        {
            table.error(place.clone(), "a source of type `jetstream` needs a server", Some(NO_SERVER.into()));
        }
        for PlacedValue { place, .. } in sources.iter().filter(|it| matches!(it.value.kind, SourceKind::Nats(_))) {
            table.error(place.clone(), "a source of type `nats` needs a server", Some(NO_SERVER.into()));
        }
        for PlacedValue { value, place } in &sources {
            if let SourceKind::Http(http) = &value.kind
                && matches!(http.answer, AnswerPoint::Stored(_))
            {
                table.error(place.clone(), "a source with `stream_subject` needs a server", Some(NO_SERVER.into()));
            }
        }
        for PlacedValue { place, .. } in sinks.iter().filter(|sink| matches!(sink.value.kind, SinkKind::Nats(_))) {
            table.error(place.clone(), "a sink of type `nats` needs a server", Some(NO_SERVER.into()));
        }
    }
    let mut streams: Vec<_> = streams.into_iter().flatten().collect();
    if has_server {
        // Those of the folder are merged with a preset's already (H07).
        let known =
            |stream: &PlacedValue<StreamConfig>| streams.iter().any(|other| other.value.name == stream.value.name);
        let more: Vec<_> = inherited.into_iter().filter(|stream| !known(stream)).collect();
        streams.extend(more);
    }
    sink::check_dead_stream(table, &streams, &dead_letter);
    check_overlap(table, &streams);
    partitions::check_sources(table, &streams, &sources);
    let streams: Vec<_> = streams.into_iter().map(|stream| stream.value).collect();
    loops::warn(table, &streams, &sources, &sinks);

    let has_webhooks = sinks.iter().any(|sink| matches!(sink.value.kind, SinkKind::Webhook(_)));
    let AvroSettings { ids: avro_ids, registry: schema_registry } = table.table("avro", avro).unwrap_or_default();
    let config = Config {
        dir: dir.to_owned(),
        texts: files.texts.clone(),
        plugins: plugins_folder,
        keys: dir.join("keys"),
        schemas: schemas_folder,
        nats,
        api,
        apis,
        presets,
        streams,
        sources: sources.into_iter().map(|source| source.value).collect(),
        sinks: sinks.into_iter().map(|sink| sink.value).collect(),
        filters: filters.into_iter().flatten().collect(),
        dedup: table.table("dedup", dedup).unwrap_or_else(|| Some(default_dedup())),
        pipeline: pipeline(table),
        memory: memory.as_ref().map(|memory| memory.value),
        limits,
        state: table.table("state", |table| state(table, has_server)).unwrap_or_default(),
        dead_letter,
        letter_secrets,
        avro_ids,
        schema_registry,
        admin: table.table("admin", admin).flatten(),
        self_service: table.table("webhooks", |table| self_service(table, has_webhooks)).flatten(),
        telemetry: table.table("telemetry", telemetry).flatten(),
        registry: RegistryConfig::default(),
        role: RouterRole::default(),
        warnings: Vec::new(),
    };
    if let (Some(memory), Err(too_little)) = (memory, MemoryPlan::new(&config)) {
        table.error(memory.place, too_little.to_string(), Some(TooLittle::HINT.into()));
    }
    RouterSettings { config, sinks: taken.names.into_values().collect(), plugins, schemas, identity }
}

/// Reports streams that take the same subjects: a server refuses the second.
fn check_overlap(table: &TomlTable<'_>, streams: &[PlacedValue<StreamConfig>]) {
    for (number, PlacedValue { value: stream, place }) in streams.iter().enumerate() {
        for PlacedValue { value: other, .. } in &streams[..number] {
            let pairs = other.subjects.iter().flat_map(|one| stream.subjects.iter().map(move |two| (one, two)));
            if let Some(both) = pairs.filter_map(|(one, two)| one.intersection(two)).next() {
                let message = format!("streams `{}` and `{}` both take `{both}`", other.name, stream.name);
                let hint = "a subject belongs to one stream: leave it out of one of them".to_owned();
                table.error(place.clone(), message, Some(hint));
            }
        }
    }
}

fn default_dedup() -> DedupConfig {
    DedupConfig { ttl: DEDUP_TTL, capacity: DEDUP_CAPACITY, by: DedupBy::Sequence }
}

/// Reads the deduplication window, which is on unless it is turned off (L61).
fn dedup(table: &mut TomlTable<'_>) -> Option<DedupConfig> {
    let enabled = table.flag("enabled").unwrap_or(true);
    let ttl = table.duration("ttl").unwrap_or(DEDUP_TTL);
    let capacity = table.positive("capacity", usize::MAX).unwrap_or(DEDUP_CAPACITY);
    let by = |text: &str| match text {
        "id" => Ok(DedupBy::Id),
        "sequence" => Ok(DedupBy::Sequence),
        _ => values::inner_field(text)
            .map(DedupBy::Field)
            .map_err(|_| "it is `id`, `sequence`, `header:NAME` or a JSON pointer such as `/order/id`"),
    };
    let by = table.parsed("by", by).unwrap_or(DedupBy::Sequence);
    enabled.then_some(DedupConfig { ttl, capacity, by })
}

fn pipeline(table: &mut TomlTable<'_>) -> PipelineConfig {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let default = PipelineConfig {
        lanes: cores.saturating_add(cores.get()).max(MIN_LANES),
        in_flight: IN_FLIGHT,
        in_flight_bytes: IN_FLIGHT_BYTES,
        drain: DRAIN,
    };
    let read = |table: &mut TomlTable<'_>| PipelineConfig {
        lanes: table.positive("lanes", 1024).unwrap_or(default.lanes),
        in_flight: table.positive("in_flight", 1_000_000).unwrap_or(default.in_flight),
        in_flight_bytes: table.size("in_flight_bytes").unwrap_or(default.in_flight_bytes),
        drain: table.duration_or_zero("drain").unwrap_or(default.drain),
    };
    table.table("pipeline", read).unwrap_or(default)
}

fn admin(table: &mut TomlTable<'_>) -> Option<AdminConfig> {
    let listen = table.required("listen", |table, field| table.parsed(field, values::listen));
    let token = http::token(table);
    let proofs = ["token_file", "token_env"];
    let is_this_machines = http::is_this_machines(table, listen, &proofs, "see what happens here");
    let ready = table.choice("ready", &[("process", ReadyPolicy::Process), ("connected", ReadyPolicy::Connected)]);
    Some(AdminConfig { listen: listen?, token, is_this_machines, ready: ready.unwrap_or_default() })
}

#[cfg(test)]
mod tests;

/// Reads the listener for webhooks over HTTP, which changes files and so always asks for a token.
fn self_service(table: &mut TomlTable<'_>, has_webhooks: bool) -> Option<SelfServiceConfig> {
    let listen = table.required("listen", |table, field| table.parsed(field, values::listen));
    let token = http::token(table);
    let tenants = http::tenant_tokens(table);
    let proofs = ["token_file", "token_env", "tenants_file", "tenants_env"];
    if !proofs.iter().any(|field| table.has(field)) {
        let hint = "give it a `token_file` for an operator, a `tenants_file` for tenants, or both".to_owned();
        table.error(table.place(), "who may change webhooks is known by a token, and none is named", Some(hint));
    }
    if !has_webhooks {
        let hint = "add `[[sink]]` with `name` and `type = \"webhook\"`".to_owned();
        table.error(table.place(), "nothing is ever sent to webhooks: there is no sink of type `webhook`", Some(hint));
    }
    Some(SelfServiceConfig { listen: listen?, token, tenants, place: table.place() })
}
