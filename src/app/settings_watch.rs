//! Watch on `trommel.toml`: grants and limits of filters are taken over while the router runs, and
//! of the rest it says what the next start would do otherwise.

use std::{path::PathBuf, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
    config::{
        self, Config, ConfigPlace, FilterSettings, GuestLimits, LARGEST_TOML, Problem, RegistryConfig, RouterRole,
        TooLittle,
    },
    folder,
    health::HealthLevel,
    metrics::Metrics,
};

const SETTINGS: &str = "trommel.toml";
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Names that the health lists; of more it has the number.
const LISTED: usize = 8;

/// The settings that run, and what is known of their file.
pub(super) struct SettingsWatch {
    /// `None` if the router does not run what the file declares.
    running: Option<Box<RunningSettings>>,
    /// What the next start takes into service, as looked at last.
    pub(super) at_next_start: Vec<String>,
    /// Problems for which the next start would fail, likewise.
    pub(super) problems: Vec<Problem>,
    next_look: Instant,
}

struct RunningSettings {
    /// Without its registry.
    config: Config,
    path: PathBuf,
    /// The file as looked at last.
    seen: Vec<u8>,
}

impl SettingsWatch {
    /// Begins to watch the file of a configuration that was read from its folder just now.
    pub(super) fn new(config: &Config) -> Self {
        let path = config.dir.join(SETTINGS);
        let is_declared = config.role == RouterRole::Router && config.texts.is_none();
        let seen = config::read(&path, LARGEST_TOML).ok().filter(|_| is_declared);
        let running = seen.map(|seen| {
            let config = Config { registry: RegistryConfig::default(), ..config.clone() };
            Box::new(RunningSettings { config, path, seen })
        });
        Self { running, at_next_start: Vec::new(), problems: Vec::new(), next_look: Instant::now() + LOOK }
    }

    /// Resolves when it is time for a look. Cancel safe.
    pub(super) async fn changed(&self) {
        sleep_until(self.next_look).await;
    }

    /// Looks at the file. If it has changed, compares it with what runs, and tells of it. Returns
    /// settings of filters that go into service now.
    pub(super) async fn look(&mut self, metrics: &Metrics) -> Option<(Vec<FilterSettings>, GuestLimits)> {
        self.next_look = Instant::now() + LOOK;
        let running = self.running.as_mut()?;
        let path = running.path.clone();
        // A file that can't be read now is looked at again soon.
        let found = spawn_blocking(move || config::read(&path, LARGEST_TOML)).await.ok()?.ok()?;
        if found == running.seen {
            return None;
        }
        let dir = running.config.dir.clone();
        let (read, mut now) = (spawn_blocking(move || folder::load(&dir)).await.ok()?, None);
        (self.at_next_start, self.problems) = match read {
            Ok(next) => {
                running.seen = found;
                now = adoptable(&mut running.config, &next);
                (differences(&running.config, &next), Vec::new())
            }
            Err(problems) => {
                let of_settings = |problem: &&Problem| problem.place.file.ends_with(SETTINGS);
                let problems: Vec<_> = problems.iter().filter(of_settings).cloned().collect();
                if problems.is_empty() {
                    // Another file is broken, and hides what this one says until it is mended.
                    return None;
                }
                running.seen = found;
                (Vec::new(), problems)
            }
        };
        self.tell(metrics);
        now
    }

    /// Tells of settings that were to go into service, and were refused.
    pub(super) fn refused(&mut self, too_little: &TooLittle, metrics: &Metrics) {
        self.problems.push(Problem::error(ConfigPlace::file(SETTINGS), too_little.to_string()).hint(TooLittle::HINT));
        self.tell(metrics);
    }

    fn tell(&self, metrics: &Metrics) {
        let (why, remedy) = match (&self.problems[..], &self.at_next_start[..]) {
            ([first, rest @ ..], _) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let why = format!("the next start would fail: {}: {}{more}", first.place, first.message);
                (why, "mend the file; what was read at the start is in force")
            }
            ([], []) => {
                if metrics.settings.is_troubled() {
                    metrics.settings.recover();
                    tracing::info!("`{SETTINGS}` has what runs again");
                }
                return;
            }
            ([], changed) => {
                let (first, rest) = changed.split_at(changed.len().min(LISTED));
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let why =
                    format!("`{SETTINGS}` has changed, which counts at the next start: {}{more}", first.join(", "));
                (why, "start the router anew; keys, filters, schemas and components need no start")
            }
        };
        // Each change is told once, however fast they follow each other.
        tracing::warn!(remedy, "{why}");
        metrics.settings.report(HealthLevel::Degraded, why, remedy);
    }
}

/// Takes grants and limits over that need no start, since the APIs that they may be about are the
/// same. `None` if they have not changed.
fn adoptable(running: &mut Config, next: &Config) -> Option<(Vec<FilterSettings>, GuestLimits)> {
    let is_new = (&running.filters, running.limits) != (&next.filters, next.limits);
    let same_apis = (&running.api, &running.apis) == (&next.api, &next.apis);
    (is_new && same_apis).then(|| {
        (running.filters, running.limits) = (next.filters.clone(), next.limits);
        (next.filters.clone(), next.limits)
    })
}

/// What a start with `next` would do otherwise, by tables and names.
fn differences(running: &Config, next: &Config) -> Vec<String> {
    let mut all = named("source", &running.sources, &next.sources, |one| &one.name);
    all.extend(named("sink", &running.sinks, &next.sinks, |one| &one.name));
    all.extend(named("filter", &running.filters, &next.filters, |one| &one.name));
    all.extend(named("stream", &running.streams, &next.streams, |one| &one.name));
    all.extend(named("apis", &running.apis, &next.apis, |(name, _)| name));
    let tables = [
        ("folders", (&running.plugins, &running.schemas) != (&next.plugins, &next.schemas)),
        ("nats", running.nats != next.nats),
        ("api", running.api != next.api),
        ("preset", running.presets != next.presets),
        ("dedup", running.dedup != next.dedup),
        ("pipeline", running.pipeline != next.pipeline),
        ("limits", (running.memory, running.limits) != (next.memory, next.limits)),
        ("state", running.state != next.state),
        ("dead_letter", (&running.dead_letter, &running.letter_secrets) != (&next.dead_letter, &next.letter_secrets)),
        ("avro", (&running.avro_ids, &running.schema_registry) != (&next.avro_ids, &next.schema_registry)),
        ("admin", running.admin != next.admin),
        ("webhooks", running.self_service != next.self_service),
        ("telemetry", running.telemetry != next.telemetry),
    ];
    all.extend(tables.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("`[{name}]`")));
    all
}

fn named<T: PartialEq>(what: &str, running: &[T], next: &[T], name: fn(&T) -> &String) -> Vec<String> {
    let find = |all: &[T], wanted: &str| all.iter().position(|one| name(one) == wanted);
    let mut all = Vec::new();
    for one in next {
        match find(running, name(one)).map(|found| &running[found]) {
            None => all.push(format!("new {what} `{}`", name(one))),
            Some(before) if before != one => all.push(format!("{what} `{}`", name(one))),
            Some(_) => {}
        }
    }
    let gone = running.iter().filter(|one| find(next, name(one)).is_none());
    all.extend(gone.map(|one| format!("no {what} `{}`", name(one))));
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::health::PartKind;

    const SOURCE: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";

    #[tokio::test]
    async fn a_change_is_told_with_what_it_changes_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let put = |text: &str| fs::write(folder.path().join(SETTINGS), text).unwrap();
        put(SOURCE);
        let config = folder::load(folder.path()).unwrap();
        let (mut watch, metrics) = (SettingsWatch::new(&config), Metrics::default());
        let why =
            |metrics: &Metrics| metrics.settings.of(PartKind::Configuration, "").trouble.map(|trouble| trouble.why);
        put(&format!("# Only a word.\n{SOURCE}"));
        assert_eq!(watch.look(&metrics).await, None);
        assert_eq!(why(&metrics), None);
        put(&format!("{SOURCE}[[sink]]\nname = \"out\"\ntype = \"null\"\n[pipeline]\nin_flight = 5\n"));
        assert_eq!(watch.look(&metrics).await, None);
        assert_eq!(watch.at_next_start, ["new sink `out`", "`[pipeline]`"]);
        let told = "`trommel.toml` has changed, which counts at the next start: new sink `out`, `[pipeline]`";
        assert_eq!(why(&metrics).as_deref(), Some(told));
        put(&format!(
            "{SOURCE}[[filter]]\nname = \"f\"\nlimits = {{ process_cpu = \"1s\" }}\n[limits]\nmatch_cpu = \"5ms\"\n"
        ));
        let (filters, limits) = watch.look(&metrics).await.unwrap();
        assert_eq!((filters.len(), limits.match_cpu), (1, Duration::from_millis(5)));
        assert_eq!((watch.at_next_start.len(), why(&metrics)), (0, None), "it needs no start");
        put("[[source]]\nname = \"in\"\ntype = \"lined\"\n");
        assert_eq!(watch.look(&metrics).await, None);
        assert!(
            why(&metrics).unwrap().starts_with("the next start would fail: trommel.toml:3:"),
            "{:?}",
            why(&metrics)
        );
        // A broken file beside it hides a change, and does not lose it.
        fs::create_dir_all(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys/k.toml"), "[[").unwrap();
        put(&format!("{SOURCE}[limits]\nmatch_cpu = \"7ms\"\n"));
        assert_eq!(watch.look(&metrics).await, None);
        fs::remove_file(folder.path().join("keys/k.toml")).unwrap();
        assert_eq!(watch.look(&metrics).await.unwrap().1.match_cpu, Duration::from_millis(7));
        put(SOURCE);
        assert!(watch.look(&metrics).await.is_some(), "the limits are those of the start again");
        assert_eq!(why(&metrics), None);
    }
}
