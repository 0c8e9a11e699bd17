//! Limits of the system: open files and memory.

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::{
    config::{Config, SourceConfig, SourceKind, machine_memory},
    folder::DeclaredPlaces,
};

/// Fewest open files that a router should be able to have.
const FILES: u64 = 1024;

pub(super) fn examine(config: &Config, places: &DeclaredPlaces) -> Vec<Finding> {
    // A start raises the limit to its maximum.
    let limit = getrlimit(Resource::Nofile).maximum;
    let mut findings = vec![open_files(limit)];
    findings.extend(limit.map(|limit| connections(config, limit)).unwrap_or_default());
    findings.extend(memory(config, places, machine_memory()));
    findings
}

fn open_files(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < FILES => {
            let message = format!("at most {limit} files and connections can be open");
            Finding::warning("open_files", message).hint(format!("raise the limit to {FILES} or more: `ulimit -Hn`"))
        }
        Some(limit) => Finding::ok(format!("{limit} open files")),
        None => Finding::ok("any number of open files"),
    }
}

/// Listeners that want more connections than they get.
fn connections(config: &Config, limit: u64) -> Vec<Finding> {
    let share = usize::try_from(limit / 4).unwrap_or(usize::MAX);
    let few = |source: &SourceConfig| {
        let SourceKind::Http(http) = &source.kind else { return None };
        let wanted = Some(http.connections).filter(|wanted| *wanted > share)?;
        let message = format!(
            "source `{}` takes {share} connections instead of {wanted}: a quarter of all open files",
            source.name
        );
        let hint = "raise the limit of open files: `ulimit -Hn`";
        Some(Finding::warning("open_files", message).hint(hint).at(http.place.clone()))
    };
    config.sources.iter().filter_map(few).collect()
}

/// `memory` is what the machine has, or the control group that the process is in.
fn memory(config: &Config, places: &DeclaredPlaces, memory: Option<u64>) -> Option<Finding> {
    let memory = memory?;
    Some(match config.memory {
        Some(wanted) if wanted > memory => {
            let (wanted, has) = (ByteSize::b(wanted), ByteSize::b(memory));
            let message = format!("`memory` is {wanted}, and the machine or the control group has {has}");
            let hint = "the router may be killed: lower `memory` under `[limits]`, or give it more";
            Finding::error("memory", message).hint(hint).at(places.of("limits", None))
        }
        Some(wanted) => Finding::ok(format!("{} of {} memory", ByteSize::b(wanted), ByteSize::b(memory))),
        None => Finding::ok(format!("{} memory, half of it for the router", ByteSize::b(memory))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::doctor::finding::FindingLevel, folder};

    #[test]
    fn a_router_that_may_have_more_than_there_is_is_told() {
        let text = "[limits]\nmemory = \"1 GiB\"\n[[source]]\nname = \"in\"\ntype = \"lines\"\n";
        let config = folder::parse(&std::env::temp_dir(), [("trommel.toml", text)]).unwrap();
        let places = DeclaredPlaces::read(&config);
        let level = |has| memory(&config, &places, has).map(|finding| finding.level);
        assert_eq!(level(Some(1 << 29)), Some(FindingLevel::Error));
        assert_eq!(level(Some(1 << 30)), Some(FindingLevel::Ok));
        assert_eq!(level(None), None);
    }

    #[test]
    fn few_open_files_are_told() {
        let levels = [Some(1023), Some(1024), None].map(|limit| open_files(limit).level);
        assert_eq!(levels, [FindingLevel::Warning, FindingLevel::Ok, FindingLevel::Ok]);
    }
}
