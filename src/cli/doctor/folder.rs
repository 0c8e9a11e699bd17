//! The folder itself, as `trommel check` sees it, and the router that may run from it.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::{
    cli::check::FolderCounts,
    config::{Config, Problems},
    control::{
        SocketPlace,
        client::{self, RouterLookup},
    },
};

/// The state folder of the router, and whether one runs from it.
pub(super) struct RunningPlace {
    pub(super) is_running: bool,
    /// Its state folder; `None` if there can be none.
    pub(super) state: Option<PathBuf>,
    finding: Finding,
}

impl RunningPlace {
    pub(super) async fn of(dir: &Path) -> Self {
        let place = match SocketPlace::of(dir) {
            Ok(place) => place,
            Err(error) => {
                let finding = Finding::error("state_folder", error.to_string());
                return Self { is_running: false, state: None, finding };
            }
        };
        let process =
            client::pid(&place).map_or_else(|| "an unknown process".to_owned(), |pid| format!("process {pid}"));
        let (is_running, finding) = match client::find(&place).await {
            Ok(RouterLookup::Running(_)) => (true, Finding::ok(format!("a router runs from it as {process}"))),
            Ok(RouterLookup::NotRunning) => (false, Finding::ok("no router runs from it")),
            Ok(RouterLookup::Orphan(_)) | Err(_) => {
                let finding =
                    Finding::warning("orphan", format!("a router runs from it as {process}, and does not answer"));
                (true, finding.hint(format!("`trommel stop --force {}` ends it", dir.display())))
            }
        };
        Self { is_running, state: Some(place.dir().to_owned()), finding }
    }
}

/// Returns all that `trommel check` finds, and whether a router runs.
pub(super) fn examine(config: &Config, problems: Option<&Problems>, place: &RunningPlace) -> Vec<Finding> {
    let counts = problems.is_none().then(|| Finding::ok(FolderCounts::in_config(config).to_string()));
    let problems = problems.into_iter().flat_map(|problems| problems.iter());
    let problems = config.warnings.iter().chain(problems).map(Finding::from);
    counts.into_iter().chain([place.finding.clone()]).chain(problems).collect()
}
