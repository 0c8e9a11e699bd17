//! Parts of a folder that are written well and can never do anything: keys that no event reaches,
//! sinks and components that nothing uses. Warnings only, as a folder may be half finished.

use std::collections::HashSet;

use crate::{
    config::{
        Config, ConfigPlace, EnvelopeFormat, JetStreamSource, KeyConfig, Problem, RegistryConfig, SinkKind,
        SourceConfig, SourceKind, StreamConfig, quoted,
    },
    event::Pattern,
    listing::AvailablePlugins,
    places::DeclaredPlaces,
    problem::ProblemReport,
};

/// Warns of all of them.
pub(crate) fn warn(
    config: &Config,
    registry: &RegistryConfig,
    plugins: Option<&AvailablePlugins>,
    report: &ProblemReport,
) {
    let places = DeclaredPlaces::read(config);
    warn_of_sources(config, &places, report);
    warn_of_keys(config, registry, report);
    warn_of_sinks(config, registry, &places, report);
    if let Some(plugins) = plugins {
        warn_of_components(registry, plugins, report);
    }
}

/// Warns of sources that ask their stream for subjects that it does not store.
fn warn_of_sources(config: &Config, places: &DeclaredPlaces, report: &ProblemReport) {
    for source in &config.sources {
        let SourceKind::JetStream(JetStreamSource { stream, subjects, .. }) = &source.kind else { continue };
        let Some(stored) = stored(config, stream) else { continue };
        for subject in subjects.iter().filter(|subject| !overlaps(subject, stored)) {
            let message =
                format!("source `{}` reads `{subject}`, and stream `{stream}` stores none of it", source.name);
            let hint =
                format!("the stream has {}: {}", listed(stored), way_out(subject, stored, "the source", "the stream"));
            report.add(Problem::warning(places.of("source", Some(&source.name)), message).hint(hint));
        }
    }
}

/// Warns of keys that can never match, and of keys that have no way out.
fn warn_of_keys(config: &Config, registry: &RegistryConfig, report: &ProblemReport) {
    let delivered: Option<Vec<&[Pattern]>> = config.sources.iter().map(|source| delivered(config, source)).collect();
    let delivered: Option<Vec<Pattern>> = delivered.map(|patterns| patterns.concat());
    let has_routes = !(registry.routes.is_empty() && registry.type_routes.is_empty() && registry.webhooks.is_empty());
    for key in registry.keys.iter().filter(|key| is_of_folder(key)) {
        let is_routed = registry.routes.iter().any(|route| route.key == key.name);
        if let (Some(subject), Some(delivered), true) = (&key.subject, &delivered, is_routed)
            && !overlaps(subject, delivered)
        {
            let message = format!("key `{}` can never match: no source delivers `{subject}`", key.name);
            let hint = format!(
                "what comes in is {}: {}",
                listed(delivered),
                way_out(subject, delivered, "the key", "a source or stream")
            );
            report.add(Problem::warning(key.place.clone(), message).hint(hint));
        }
        if !has_routes && !config.sinks.is_empty() {
            let message = format!("key `{}` has no route: nothing of it reaches a sink", key.name);
            let hint = format!(
                "add `[[route]]` with `key = \"{}\"` and `sinks`; without one, only `trommel consume` gets its events",
                key.name
            );
            report.add(Problem::warning(key.place.clone(), message).hint(hint));
        }
    }
}

/// Warns of sinks that no route names.
fn warn_of_sinks(config: &Config, registry: &RegistryConfig, places: &DeclaredPlaces, report: &ProblemReport) {
    if registry.routes.is_empty() && registry.type_routes.is_empty() {
        return;
    }
    let routes = registry.routes.iter().map(|route| &route.sinks);
    let used: HashSet<_> = routes.chain(registry.type_routes.iter().map(|route| &route.sinks)).flatten().collect();
    for sink in config.sinks.iter().filter(|sink| !used.contains(&sink.name)) {
        if matches!(sink.kind, SinkKind::Webhook(_)) {
            // Webhooks are added to a router that runs.
            continue;
        }
        let message = format!("sink `{}` gets nothing: no route names it", sink.name);
        let hint = format!("name it in the `sinks` of a `[[route]]`, or remove it; there are {}", named(config));
        report.add(Problem::warning(places.of("sink", Some(&sink.name)), message).hint(hint));
    }
}

/// Warns of components that no key names.
fn warn_of_components(registry: &RegistryConfig, plugins: &AvailablePlugins, report: &ProblemReport) {
    let used: HashSet<_> = registry.keys.iter().filter_map(|key| key.filter.as_deref()).collect();
    // Where no key has a filter at all, the folder's components are there for later.
    if used.is_empty() || !plugins.are_own() {
        return;
    }
    for name in plugins.names().filter(|name| !used.contains(name)) {
        let message = format!("no key uses the component `{name}`");
        let hint = format!("name it with `filter = \"{name}\"` in a `[[key]]`, or remove the file");
        report.add(Problem::warning(ConfigPlace::file(plugins.file(name)), message).hint(hint));
    }
}

/// Returns whether a key is one of the folder's files: those of presets need not be used.
fn is_of_folder(key: &KeyConfig) -> bool {
    key.place.file.starts_with("keys")
}

/// Returns the subjects under which a source's events come, if they are known.
fn delivered<'a>(config: &'a Config, source: &'a SourceConfig) -> Option<&'a [Pattern]> {
    if !matches!(source.envelope, EnvelopeFormat::Plain { subject: None, .. }) {
        return None;
    }
    match &source.kind {
        SourceKind::JetStream(JetStreamSource { stream, subjects, .. }) if subjects.is_empty() => {
            stored(config, stream)
        }
        SourceKind::JetStream(JetStreamSource { subjects, .. }) => Some(subjects),
        SourceKind::Nats(nats) => Some(&nats.subjects),
        _ => None,
    }
}

/// Returns the subjects that a declared stream stores, if the declaration says all of them.
fn stored<'a>(config: &'a Config, name: &str) -> Option<&'a [Pattern]> {
    let stream = config.streams.iter().find(|stream| stream.name == name)?;
    let StreamConfig { subjects, subject_transform, mirror, sources, at_creation, .. } = stream;
    let has_all = subject_transform.is_none() && mirror.is_none() && sources.is_empty() && at_creation.is_none();
    (has_all && !subjects.is_empty()).then_some(subjects)
}

fn overlaps(subject: &Pattern, others: &[Pattern]) -> bool {
    others.iter().any(|other| other.intersection(subject).is_some())
}

/// Says what to do about a subject that nothing delivers.
fn way_out(subject: &Pattern, others: &[Pattern], what: &str, there: &str) -> String {
    let respelled = |change: fn(&str) -> String| change(subject.as_str()).parse::<Pattern>().ok();
    let fits = |pattern: &Pattern| overlaps(pattern, others);
    if let Some(parted) = respelled(|text| text.replace('/', ".")).filter(fits) {
        return format!("tokens are parted by `.`, so this would be `{parted}`");
    }
    let lower: Vec<Pattern> = others.iter().filter_map(|other| other.as_str().to_lowercase().parse().ok()).collect();
    if respelled(str::to_lowercase).is_some_and(|subject| overlaps(&subject, &lower)) {
        return "subjects are told apart by upper and lower case".to_owned();
    }
    format!("change the subject of {what}, or add this one to {there}")
}

fn listed(patterns: &[Pattern]) -> String {
    quoted(patterns.iter().map(Pattern::as_str), "and")
}

fn named(config: &Config) -> String {
    quoted(config.sinks.iter().map(|sink| sink.name.as_str()), "and")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    const SETTINGS: &str = r#"
[nats]
url = "nats://127.0.0.1:4222"
[[stream]]
name = "ORDERS"
subjects = ["orders.>"]
[[source]]
name = "in"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"
[[sink]]
name = "out"
type = "nats"
subject = "alerts.{event_type}"
"#;
    const KEYS: &str =
        "[[key]]\nname = \"a\"\nsubject = \"orders.created\"\n[[route]]\nkey = \"a\"\nsinks = [\"out\"]\n";

    /// All that is said about a folder with these texts.
    fn said(settings: &str, keys: &str) -> String {
        let texts = [("trommel.toml", settings.to_owned()), ("keys/a.toml", keys.to_owned())];
        let problems = match crate::parse(Path::new("."), texts) {
            Ok(config) => config.warnings,
            Err(problems) => problems.into(),
        };
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn a_folder_whose_parts_are_all_used_is_passed_in_silence() {
        assert_eq!(said(SETTINGS, KEYS), "");
        // What a source delivers is not known without its stream's declaration, or if events say
        // their subjects themselves.
        let undeclared = SETTINGS.replace("[[stream]]\nname = \"ORDERS\"\nsubjects = [\"orders.>\"]\n", "");
        let named = SETTINGS.replace("durable", "subject = \"/subject\"\ndurable");
        let copied =
            SETTINGS.replace("subjects = [\"orders.>\"]", "subjects = [\"x.>\"]\nsources = [{ name = \"ALL\" }]");
        for settings in [undeclared, named, copied] {
            assert_eq!(said(&settings, KEYS), "");
        }
    }

    #[test]
    fn what_can_never_do_anything_is_told_with_its_place_and_a_way_out() {
        let cases = [
            (
                ("orders.created", "payments.>"),
                "keys/a.toml:1:1",
                "key `a` can never match",
                "what comes in is `orders.>`",
            ),
            (("orders.created", "orders/created"), "keys/a.toml:1:1", "can never match", "would be `orders.created`"),
            (("orders.created", "Orders.>"), "keys/a.toml:1:1", "can never match", "upper and lower case"),
            (("[[route]]\nkey = \"a\"\nsinks = [\"out\"]\n", ""), "keys/a.toml:1:1", "has no route", "add `[[route]]`"),
            (
                ("durable", "subjects = [\"orders.>\", \"bills.*\"]\ndurable"),
                "trommel.toml:7:1",
                "reads `bills.*`",
                "`orders.>`",
            ),
            (
                ("[[sink]]", "[[sink]]\nname = \"spare\"\ntype = \"null\"\n[[sink]]"),
                "trommel.toml:12:1",
                "`spare` gets nothing",
                "name it in",
            ),
        ];
        for ((old, new), place, message, hint) in cases {
            let said = said(&SETTINGS.replace(old, new), &KEYS.replace(old, new));
            let (first, rest) = said.split_once('\n').unwrap_or_default();
            assert!(first.starts_with(&format!("{place}: warning: ")) && first.contains(message), "{new}: {said}");
            assert!(rest.starts_with("  ") && rest.contains(hint) && rest.lines().count() == 1, "{new}: {said}");
        }
    }

    #[test]
    fn what_contradicts_itself_or_another_program_has_is_refused_with_a_way_out() {
        let cases = [
            (
                ("[[source]]", "[[stream]]\nname = \"B\"\nsubjects = [\"orders.*.x\"]\n[[source]]"),
                "trommel.toml:7:1: ",
                "both take `orders.*.x`",
            ),
            (("nats://127.0.0.1:4222", "${NATS_URL}"), "trommel.toml:3:7: ", "in the place of `${…}`"),
            (("type = \"jetstream\"", "type = \"file\""), "trommel.toml:9:8: ", "it is called `lines` here"),
            (("type = \"nats\"", "type = \"jetstream\""), "trommel.toml:14:8: ", "it is called `nats` here"),
            (("[nats]", "[log]\nlevel = \"info\"\n[nats]"), "trommel.toml:2:2: ", "`--log LEVEL`"),
            (("[nats]", "[metrics]\n[nats]"), "trommel.toml:2:2: ", "`[admin]`"),
            (("name = \"in\"", "name = in"), "trommel.toml:8:8: ", "text stands in quotes"),
        ];
        for ((old, new), place, words) in cases {
            let said = said(&SETTINGS.replacen(old, new, 1), KEYS);
            assert!(said.starts_with(place) && said.contains(words), "{new}: {said}");
        }
    }

    #[test]
    fn files_that_are_passed_over_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let [keys, filters, plugins] = ["keys", "filters", "plugins"].map(|name| dir.path().join(name));
        fs::create_dir_all(keys.join("more")).unwrap();
        [&filters, &plugins].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        fs::write(dir.path().join("trommel.toml"), SETTINGS).unwrap();
        fs::write(keys.join("a.toml"), KEYS).unwrap();
        let passed = [
            keys.join("more/b.toml"),
            keys.join("c.yaml"),
            keys.join("d.TOML"),
            filters.join("a.yml"),
            plugins.join("x.WASM"),
        ];
        let others = [keys.join("README.md"), keys.join(".b.yaml"), plugins.join("x.rs")];
        for path in passed.iter().chain(&others) {
            fs::write(path, "").unwrap();
        }
        let warnings = crate::load(dir.path()).unwrap().warnings;
        let places: Vec<_> = warnings.iter().map(|warning| warning.place.to_string()).collect();
        assert_eq!(places, ["filters/a.yml", "keys/c.yaml", "keys/d.TOML", "keys/more", "plugins/x.WASM"]);
        assert!(warnings.iter().all(|warning| warning.hint.is_some()));
    }
}
