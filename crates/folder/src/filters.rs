//! `[[filter]]`, in `trommel.toml` and in the files of `filters/`, which are read again while the
//! router runs.

use std::path::Path;

use crate::{
    api::NO_API,
    config::{Config, FilterSettings, Grant, GuestLimits, InstanceScope, OnQuarantine, Problem},
    document::TomlDocument,
    limits::limits,
    listing::{AvailablePlugins, FolderFiles},
    problem::ProblemReport,
    table::TomlTable,
    unique::ClaimedValues,
};

pub(crate) const FILTERS: &str = "filters";

/// What the settings of filters are read against.
#[derive(Clone, Copy)]
pub(crate) struct FilterBasis<'a> {
    /// `[limits]`.
    pub(crate) limits: GuestLimits,
    pub(crate) has_api: bool,
    /// `None` if they can't be listed.
    pub(crate) plugins: Option<&'a AvailablePlugins>,
}

/// Reads the settings of a filter. Its component may come later.
pub(crate) fn filter(
    table: &mut TomlTable<'_>,
    names: &mut ClaimedValues,
    FilterBasis { limits: base, has_api, plugins }: FilterBasis<'_>,
) -> Option<FilterSettings> {
    let name = names.name(table, "filter");
    if let (Some(name), Some(plugins)) = (&name, plugins)
        && let Err(missing) = plugins.find(name)
    {
        table.report(Problem::warning(table.place_of("name"), missing.message).hint(missing.hint));
    }
    let grant = |text: &str| match text {
        "state" => Ok(Grant::State),
        "api" => Ok(Grant::Api),
        "identity" => Ok(Grant::Identity),
        _ => Err("what can be granted is `api`, `identity` and `state`"),
    };
    let grants = table.list("grants", grant).unwrap_or_default();
    if grants.contains(&Grant::Api) && !has_api {
        table.error(table.place_of("grants"), "there is no API to grant", Some(NO_API.into()));
    }
    let on_quarantine =
        table.choice("on_quarantine", &[("pause", OnQuarantine::Pause), ("dead_letter", OnQuarantine::DeadLetter)]);
    let instances = table.choice("instances", &[("key", InstanceScope::Key), ("filter", InstanceScope::Filter)]);
    let digest = table.parsed("digest", digest);
    let limits = table.table("limits", |table| limits(table, base, "memory")).unwrap_or(base);
    let (on_quarantine, instances) = (on_quarantine.unwrap_or_default(), instances.unwrap_or_default());
    Some(FilterSettings { name: name?, grants, on_quarantine, instances, digest, limits })
}

/// Reads `filters/*.toml`, beside the filters that `config` has of `trommel.toml`.
pub(crate) fn filter_files(
    files: &FolderFiles,
    config: &Config,
    plugins: Option<&AvailablePlugins>,
    report: &ProblemReport,
) -> Vec<FilterSettings> {
    let listed = files.list(&files.dir.join(FILTERS), "toml").unwrap_or_else(|error| {
        report.unlisted(Path::new(FILTERS), &error);
        Vec::new()
    });
    let basis =
        FilterBasis { limits: config.limits, has_api: config.api.is_some() || !config.apis.is_empty(), plugins };
    let mut names = ClaimedValues::default();
    let mut filters = Vec::new();
    for file in listed {
        let Some(document) = TomlDocument::open(files, &Path::new(FILTERS).join(file), report) else { continue };
        let read = document.read(|table| {
            table.tables("filter", |table| {
                let settings = filter(table, &mut names, basis)?;
                if config.filters.iter().any(|other| other.name == settings.name) {
                    let message = format!("filter `{}` has its settings in `trommel.toml`, too", settings.name);
                    let hint = "leave one of them: what stands here is read again without a restart";
                    table.error(table.place_of("name"), message, Some(hint.to_owned()));
                }
                Some(settings)
            })
        });
        filters.extend(read.into_iter().flatten().flatten());
    }
    filters
}

/// Parses `sha256:` and 64 hexadecimal digits.
fn digest(text: &str) -> Result<String, &'static str> {
    let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
    let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    hex.map(str::to_ascii_lowercase)
        .ok_or("it is `sha256:` and 64 hexadecimal digits, as `trommel plugin check` shows them")
}
