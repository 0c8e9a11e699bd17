//! `trommel check`: reports problems in a router's folder without starting anything.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use crate::{
    app,
    cli::{CacheArgs, exit, terminal},
    config::{ApiLogin, ApiToken, Config, Problem, Problems, Severity, SinkKind, SourceKind},
};

/// Check a router's folder without starting anything
#[derive(Args, Clone, Debug)]
pub struct CheckCommand {
    /// The router's folder, with `trommel.toml` in it
    pub dir: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Exit with 2 for warnings, too
    #[arg(long)]
    pub deny_warnings: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
}

impl CheckCommand {
    /// Prints a summary of the folder on stdout, or its problems on stderr; as JSON, either goes to
    /// stdout.
    ///
    /// # Errors
    /// Returns an error if the findings can't be printed.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let checked = runtime.block_on(async {
            let config = app::load(&self.dir).await?;
            app::rehearse(&config, self.cache.code()).await?;
            Ok(config)
        });
        self.print(&checked, &mut terminal::stdout(), &mut terminal::stderr())?;
        Ok(if self.accepts(&checked) { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
    }

    fn accepts(&self, checked: &Result<Config, Problems>) -> bool {
        checked.as_ref().is_ok_and(|config| config.warnings.is_empty() || !self.deny_warnings)
    }

    fn print(
        &self,
        checked: &Result<Config, Problems>,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
    ) -> io::Result<()> {
        let (found, problems) = match checked {
            Ok(config) => (Some(FolderCounts::in_config(config)), config.warnings.iter().collect()),
            Err(problems) => (None, problems.iter().collect::<Vec<_>>()),
        };
        if self.json {
            return writeln!(
                stdout,
                "{}",
                json!({ "ok": self.accepts(checked), "problems": problems, "found": found })
            );
        }
        for problem in &problems {
            writeln!(stderr, "{problem}")?;
        }
        let dir = self.dir.display();
        if checked.as_ref().is_ok_and(needs_program) {
            writeln!(stdout, "{dir}: runs in a program that embeds the router, and not with `trommel run`")?;
        }
        if let Some(ApiLogin { kind, id, .. }) = checked.as_ref().ok().and_then(login) {
            writeln!(stdout, "{dir}: logs in to the API as `{id}`, by `{}`", kind.word())?;
        }
        match found {
            Some(found) => writeln!(stdout, "{dir}: {found}"),
            None => writeln!(stderr, "{dir}: {}", tally(&problems)),
        }
    }
}

/// Returns whether the folder has sources or sinks that only an embedding program can give.
fn needs_program(config: &Config) -> bool {
    let mut sources = config.sources.iter();
    sources.any(|source| matches!(source.kind, SourceKind::Bus(_) | SourceKind::Program(_)))
        || config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Bus(_) | SinkKind::Program(_)))
}

/// The login for the API, if the folder has one.
fn login(config: &Config) -> Option<&ApiLogin> {
    match config.api.as_ref()?.token.as_ref()? {
        ApiToken::Login(login) => Some(login),
        ApiToken::Kept(_) => None,
    }
}

/// Counts of the folder's contents.
#[derive(serde::Serialize)]
pub(super) struct FolderCounts {
    keys: usize,
    routes: usize,
    sources: usize,
    sinks: usize,
    /// Filters that keys name.
    filters: usize,
}

impl FolderCounts {
    pub(super) fn in_config(config: &Config) -> Self {
        let filters: BTreeSet<_> = config.registry.keys.iter().filter_map(|key| key.filter.as_ref()).collect();
        Self {
            keys: config.registry.keys.len(),
            routes: config.registry.routes.len() + config.registry.type_routes.len(),
            sources: config.sources.len(),
            sinks: config.sinks.len(),
            filters: filters.len(),
        }
    }
}

impl std::fmt::Display for FolderCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { keys, routes, sources, sinks, filters } = *self;
        let parts = [(keys, "key"), (routes, "route"), (sources, "source"), (sinks, "sink"), (filters, "filter")];
        f.write_str(&parts.map(|(number, noun)| counted(number, noun)).join(", "))
    }
}

fn tally(problems: &[&Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    match problems.len() - errors {
        0 => counted(errors, "error"),
        warnings => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    }
}

pub(super) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";

    /// Returns the output for a folder with this `trommel.toml` and this `keys/a.toml`: stdout,
    /// stderr.
    fn check(settings: &str, keys: &str, json: bool) -> [String; 2] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        fs::write(dir.path().join("trommel.toml"), settings).unwrap();
        fs::write(dir.path().join("keys/a.toml"), keys).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let checked = crate::folder::load(dir.path());
        CheckCommand { dir: "router".into(), json, deny_warnings: false, cache: CacheArgs::default() }
            .print(&checked, &mut stdout, &mut stderr)
            .unwrap();
        [stdout, stderr].map(|text| String::from_utf8(text).unwrap())
    }

    const KEY: &str = "[[key]]\nkey = \"a\"\nsubject = \"a\"\n";

    #[test]
    fn a_good_folder_is_summed_up() {
        let [stdout, stderr] = check(GOOD, KEY, false);
        assert_eq!(stdout, "router: 1 key, 0 routes, 1 source, 0 sinks, 0 filters\n");
        assert_eq!(stderr, "");
    }

    #[test]
    fn a_login_is_told() {
        let api = "[api]\nbase_url = \"https://open.example.com\"\n[api.login]\ntype = \"lark\"\nid = \"cli_a\"\n";
        let [stdout, stderr] = check(&format!("{api}secret_env = \"PATH\"\n{GOOD}"), KEY, false);
        let expected = "router: logs in to the API as `cli_a`, by `lark`\n";
        assert!(stdout.starts_with(expected) && stderr.is_empty(), "{stdout}{stderr}");
    }

    #[test]
    fn warnings_do_not_spoil_it() {
        let [stdout, stderr] = check(GOOD, &format!("{KEY}buffer_size = 2000\n"), false);
        assert_eq!(stdout, "router: 1 key, 0 routes, 1 source, 0 sinks, 0 filters\n");
        assert!(stderr.starts_with("keys/a.toml:4:15: warning: "), "{stderr}");
    }

    #[test]
    fn problems_are_counted() {
        let [stdout, stderr] = check("", &format!("{KEY}buffer_size = 2000\nfilters = 1\n"), false);
        assert_eq!(stdout, "");
        assert!(stderr.ends_with("\nrouter: 2 errors, 1 warning\n"), "{stderr}");
    }

    #[test]
    fn machines_get_one_object() {
        let [stdout, stderr] = check(GOOD, &format!("{KEY}filters = 1\n"), true);
        assert_eq!(stderr, "");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&stdout).unwrap(),
            json!({
                "ok": false,
                "found": null,
                "problems": [{
                    "file": "keys/a.toml",
                    "line": 4,
                    "column": 1,
                    "severity": "error",
                    "message": "unknown field `filters`",
                    "hint": "did you mean `filter`?",
                }],
            })
        );
        let [stdout, _] = check(GOOD, KEY, true);
        let found = json!({ "keys": 1, "routes": 0, "sources": 1, "sinks": 0, "filters": 0 });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&stdout).unwrap(),
            json!({ "ok": true, "problems": [], "found": found })
        );
    }

    #[test]
    fn the_exit_code_tells_them_apart() {
        let dir = tempfile::tempdir().unwrap();
        let check =
            CheckCommand { dir: dir.path().into(), json: true, deny_warnings: false, cache: CacheArgs::default() };
        assert_eq!(check.clone().execute().unwrap(), ExitCode::from(2));
        fs::write(dir.path().join("trommel.toml"), GOOD).unwrap();
        assert_eq!(check.clone().execute().unwrap(), ExitCode::SUCCESS);
        fs::create_dir(dir.path().join("keys")).unwrap();
        fs::write(dir.path().join("keys/a.toml"), format!("{KEY}buffer_size = 2000\n")).unwrap();
        assert_eq!(check.clone().execute().unwrap(), ExitCode::SUCCESS);
        let strict = CheckCommand { deny_warnings: true, ..check };
        assert_eq!(strict.clone().execute().unwrap(), ExitCode::from(2));
        fs::write(dir.path().join("keys/a.toml"), KEY).unwrap();
        assert_eq!(strict.execute().unwrap(), ExitCode::SUCCESS);
    }
}
