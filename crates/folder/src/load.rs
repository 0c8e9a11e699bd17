//! Reads a router's folder into a checked configuration.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    avro,
    config::{
        Config, ConfigPlace, DeclaredIdentity, MemoryPlan, Preset, Problem, Problems, RegistryConfig, RouterRole,
        SchemaRegistryConfig, TooLittle, WriterSubject, preflight, suggest,
    },
    document::TomlDocument,
    endpoint::Endpoint,
    filters::{FILTERS, filter_files},
    idle, isolation,
    keys::{self, FolderContents, NamedKey},
    listing::{self, AvailablePlugins, FolderFiles},
    partitions, preset,
    problem::ProblemReport,
    routes::{self, KnownNames},
    schemas::SchemaFiles,
    settings::{RouterSettings, settings},
    table::TomlTable,
    unique::ClaimedValues,
    webhook,
};

pub(crate) const SETTINGS: &str = "trommel.toml";
const KEYS: &str = "keys";

/// Reads `trommel.toml` and `keys/*.toml` of a router's folder and the schemas that they name, and
/// looks into `plugins/` for their filters. Paths and files that sources and the connection need
/// must exist; nothing is started or connected.
///
/// # Errors
/// Returns all problems of all files.
pub fn load(dir: &Path) -> Result<Config, Problems> {
    read(&FolderFiles { dir: dir.to_owned(), texts: None })
}

/// Reads texts in the place of a folder's files, each named by its path in the folder:
/// `trommel.toml`, `keys/NAME.toml`, `schemas/NAME.json` or `.avsc`. All other paths begin at
/// `dir`, as in a folder: components, secrets, inputs and outputs.
///
/// # Errors
/// Returns all problems of all texts.
pub fn parse<P: Into<PathBuf>, T: Into<String>>(
    dir: &Path,
    texts: impl IntoIterator<Item = (P, T)>,
) -> Result<Config, Problems> {
    let texts = texts.into_iter().map(|(path, text)| (path.into(), text.into())).collect();
    read(&FolderFiles { dir: dir.to_owned(), texts: Some(Arc::new(texts)) })
}

/// Returns the schema registry of a router's folder, and what its sinks write by from there. `None`
/// if it has none, or if [`load`] has problems to tell.
pub fn writer_subjects(dir: &Path) -> Option<(SchemaRegistryConfig, Vec<WriterSubject>)> {
    let report = ProblemReport::default();
    let files = FolderFiles { dir: dir.to_owned(), texts: None };
    let Config { sinks, schema_registry, .. } = open(&files, &report)?.config;
    let subjects = sinks.into_iter().filter_map(|sink| sink.encode?.subject);
    Some((schema_registry?, subjects.collect()))
}

fn read(files: &FolderFiles) -> Result<Config, Problems> {
    let report = ProblemReport::default();
    let settings = open(files, &report);
    let (mut config, sinks, plugins, schemas, identity) = match settings {
        Some(RouterSettings { config, sinks, plugins, schemas, identity }) => {
            (Some(config), Some(sinks), plugins, schemas, identity)
        }
        None => (None, None, None, None, None),
    };
    let avro = config.as_ref().and_then(|config| avro::schemas(files, config, &report));
    let ready = FolderContents { plugins: plugins.as_ref(), schemas: schemas.as_ref(), avro: avro.as_ref() };
    let presets = config.as_ref().map_or(&[][..], |config| &config.presets);
    let mut registry = registry(files, sinks.as_ref(), ready, presets, &BTreeSet::new(), &report);
    if let Some(config) = &config {
        registry.filters = filter_files(files, config, plugins.as_ref(), &report);
    }
    if let Some(identity) = identity {
        check_identity(&registry, &identity, &report);
    }
    if let (Some(config), Some(schemas)) = (&mut config, &avro) {
        avro::resolve_subjects(config, schemas, &report);
        avro::resolve_files(config, schemas, &report);
    }
    if let Some(config) = &config {
        check_texts(config, &report);
        avro::check_readers(&config.dir, &config.schemas, &registry, &report);
        isolation::check(&registry.keys, &config.sources, &report);
        partitions::check_keys(&registry.keys, &config.sources, &report);
        check_apis(&registry, config, &report);
        webhook::check_sink(&registry.webhooks, &config.sinks, &report);
    }
    if let (Some(config), false) = (&config, report.has_errors()) {
        idle::warn(config, &registry, plugins.as_ref(), &report);
        warn_of_passed_over(files, config, &report);
    }
    let (config, warnings) = report.conclude(config)?;
    Ok(Config { registry, warnings, ..config })
}

/// Reads `keys/*.toml` and their schemas again, against a configuration that stays unchanged except
/// for its registry. A file that declared something before and declares nothing now is refused, as
/// a file is empty for a moment while it is copied. Warnings are logged.
///
/// # Errors
/// Returns all problems of all files.
pub fn load_registry(config: &Config) -> Result<RegistryConfig, Problems> {
    let report = ProblemReport::default();
    let files = FolderFiles { dir: config.dir.clone(), texts: config.texts.clone() };
    let plugins = AvailablePlugins::list(&config.dir, &config.plugins)
        .map_err(|error| report.unlisted(&config.plugins, &error))
        .ok();
    let schemas = SchemaFiles::list(&files, &config.schemas)
        .map(|schemas| schemas.with(&config.presets))
        .map_err(|error| report.unlisted(&config.schemas, &error))
        .ok();
    let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let avro = avro::schemas(&files, config, &report);
    let ready = FolderContents { plugins: plugins.as_ref(), schemas: schemas.as_ref(), avro: avro.as_ref() };
    let mut registry = registry(&files, Some(&sinks), ready, &config.presets, &config.registry.files, &report);
    registry.filters = filter_files(&files, config, plugins.as_ref(), &report);
    fit(config, &mut registry, &report);
    check_identity(&registry, &config.identity(), &report);
    avro::check_readers(&config.dir, &config.schemas, &registry, &report);
    avro::check_files(config, &registry.avro, &report);
    isolation::check(&registry.keys, &config.sources, &report);
    check_apis(&registry, config, &report);
    if config.role == RouterRole::Router {
        webhook::check_sink(&registry.webhooks, &config.sinks, &report);
    }
    let (registry, warnings) = report.conclude(Some(registry))?;
    warnings.iter().for_each(Problem::warn);
    Ok(registry)
}

/// Warns of files that look like those of a router's folder and are none.
fn warn_of_passed_over(files: &FolderFiles, config: &Config, report: &ProblemReport) {
    if files.texts.is_some() {
        return;
    }
    const OTHERS: [&str; 3] = ["yaml", "yml", "json"];
    let folders: [(_, _, &[&str]); 3] = [
        (&files.dir.join(KEYS), "toml", &OTHERS),
        (&files.dir.join(FILTERS), "toml", &OTHERS),
        (&config.plugins, "wasm", &["wat"]),
    ];
    for (folder, extension, others) in folders {
        for path in listing::passed_over(folder, extension, others) {
            let (message, hint) = if path.is_dir() {
                let hint = format!("move them to `{}`", folder.strip_prefix(&files.dir).unwrap_or(folder).display());
                (format!("nothing in this folder is read, `*.{extension}` in it neither"), hint)
            } else {
                (
                    format!("the file is passed over: it does not end in `.{extension}`"),
                    "rename it, or move it away".to_owned(),
                )
            };
            let place = ConfigPlace::file(path.strip_prefix(&files.dir).unwrap_or(&path));
            report.add(Problem::warning(place, message).hint(hint));
        }
    }
}

/// Reports keys that let their filters call an API whose name there is not.
fn check_apis(registry: &RegistryConfig, config: &Config, report: &ProblemReport) {
    let known = || config.apis.iter().map(|(name, _)| name.as_str());
    for key in &registry.keys {
        let unknown =
            key.api.iter().map(Endpoint::api).find(|name| !name.is_empty() && known().all(|api| api != *name));
        if let Some(name) = unknown {
            let message = format!("key `{}` calls the API `{name}`, which there is not", key.name);
            let hint = suggest(name, known(), "known APIs", &format!("add `[apis.{name}]` with its `base_url`"));
            report.add(Problem::error(key.place.clone(), message).hint(hint));
        }
    }
}

/// Shares the router's memory out to the filters that were read again.
fn fit(config: &Config, registry: &mut RegistryConfig, report: &ProblemReport) {
    let filters = RegistryConfig { filters: registry.filters.clone(), ..RegistryConfig::default() };
    match MemoryPlan::new(&Config { registry: filters, ..config.clone() }) {
        Ok(plan) => plan.fit(&mut registry.filters),
        Err(too_little) => {
            let problem = Problem::error(ConfigPlace::file(FILTERS), too_little.to_string());
            report.add(problem.hint(TooLittle::HINT));
        }
    }
}

/// Checks the identity for routed keys only: a folder may declare keys for another identity as long
/// as it does not use them.
fn check_identity(registry: &RegistryConfig, identity: &DeclaredIdentity, report: &ProblemReport) {
    for key in &registry.keys {
        if let Some(route) = registry.routes.iter().find(|route| route.key == key.name) {
            preflight(key, identity, &route.place).into_iter().for_each(|lack| report.add(lack.problem));
        }
    }
}

/// Reports texts that no file of a folder stands for: a mistyped path would be left out in silence.
fn check_texts(config: &Config, report: &ProblemReport) {
    let Some(texts) = &config.texts else { return };
    let schemas = config.schemas.strip_prefix(&config.dir).unwrap_or(&config.schemas);
    for path in texts.keys() {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_known = match (path.parent(), extension) {
            _ if path == Path::new(SETTINGS) => true,
            (Some(folder), Some("toml")) => folder == Path::new(KEYS) || folder == Path::new(FILTERS),
            (Some(folder), Some("json" | "avsc")) => folder == schemas,
            _ => false,
        };
        if !is_known {
            let shown = schemas.display();
            let hint = format!(
                "name it `{SETTINGS}`, `{KEYS}/NAME.toml`, `{FILTERS}/NAME.toml`, `{shown}/NAME.json` or `{shown}/NAME.avsc`"
            );
            report.add(Problem::error(ConfigPlace::file(path), "a router's folder has no such file").hint(hint));
        }
    }
}

fn open(files: &FolderFiles, report: &ProblemReport) -> Option<RouterSettings> {
    let dir = files.dir.as_path();
    let example =
        "a router's folder holds `trommel.toml`, `keys/*.toml` and `plugins/*.wasm`: see `examples/quickstart`";
    let has_settings = match &files.texts {
        Some(texts) => texts.contains_key(Path::new(SETTINGS)),
        None => dir.join(SETTINGS).exists(),
    };
    let missing = match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Some((dir, "this is not a folder".to_owned())),
        Ok(_) if !has_settings => Some((Path::new(SETTINGS), format!("there is no such file in `{}`", dir.display()))),
        Ok(_) => None,
        Err(error) => Some((dir, format!("can't open the folder: {error}"))),
    };
    if let Some((place, message)) = missing {
        report.add(Problem::error(ConfigPlace::file(place), message).hint(example));
        return None;
    }
    TomlDocument::open(files, Path::new(SETTINGS), report)?.read(|table| settings(table, files))
}

/// Reads the keys and routes of all files. Invalid ones are left out and reported. `before` holds
/// the files that declared something until now.
fn registry(
    folder: &FolderFiles,
    sinks: Option<&HashSet<String>>,
    ready: FolderContents<'_>,
    presets: &[Preset],
    before: &BTreeSet<PathBuf>,
    report: &ProblemReport,
) -> RegistryConfig {
    let dir = folder.dir.as_path();
    let files = folder.list(&dir.join(KEYS), "toml").unwrap_or_else(|error| {
        report.unlisted(Path::new(KEYS), &error);
        Vec::new()
    });
    let mut names = ClaimedValues::default();
    let mut webhook_names = ClaimedValues::default();
    let mut keys = Vec::new();
    let mut written = Vec::new();
    let mut webhooks = Vec::new();
    let mut all_keys = true;
    let mut declaring = BTreeSet::new();
    for file in files {
        let file = Path::new(KEYS).join(file);
        let document = TomlDocument::open(folder, &file, report);
        let read = document.as_ref().and_then(|document| {
            document.read(|table| {
                if ["key", "route", "webhook"].iter().any(|name| table.has(name)) {
                    declaring.insert(file.clone());
                } else if before.contains(&file) {
                    let message = "the file declares nothing any more, as if it were still being written";
                    let hint = "delete it if what it declared is to go";
                    report.add(Problem::error(ConfigPlace::file(&file), message).hint(hint));
                }
                for name in ["nats", "api", "apis", "avro", "preset", "stream", "source", "sink", "state"] {
                    table.misplaced(name, "`trommel.toml`");
                }
                table.misplaced("filter", "a file in `filters/`, or in `trommel.toml`");
                let key = |table: &mut TomlTable<'_>| keys::key(table, &mut names, ready);
                keys.extend(table.tables("key", key).into_iter().flatten());
                written.extend(table.tables("route", routes::written).into_iter().flatten());
                let webhook = |table: &mut TomlTable<'_>| webhook::webhook(table, &mut webhook_names).map(Arc::new);
                webhooks.extend(table.tables("webhook", webhook).into_iter().flatten());
            })
        });
        all_keys &= read.is_some();
    }
    for preset in presets {
        preset::document(preset, dir, report).read(|table| {
            table.ignore_rest();
            let declared = table.tables("key", |table| keys::key(table, &mut ClaimedValues::default(), ready));
            // Keys of the folder take precedence over those of a preset.
            let more = declared.into_iter().flatten().filter(|key| keys.iter().all(|known| known.name != key.name));
            let more: Vec<_> = more.collect();
            keys.extend(more);
        });
    }
    let mut names = ClaimedValues::default();
    let index = keys.iter().map(|key| (key.name.as_str(), key)).collect();
    let known = KnownNames { keys: index, all_keys, sinks, dir };
    let mut registry = RegistryConfig { webhooks, files: declaring, ..RegistryConfig::default() };
    for route in written {
        known.check(route, &mut names, report, &mut registry);
    }
    registry.avro = ready.avro.cloned().unwrap_or_default();
    registry.keys = keys.into_iter().filter_map(|NamedKey { key, .. }| key).collect();
    registry
}
