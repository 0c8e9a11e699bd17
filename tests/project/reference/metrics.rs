//! `metrics.md`, made of what `/metrics` prints.

use std::{collections::BTreeSet, fmt::Write as _};

use trommel::metrics::{MeasureKind, Metrics};

use super::{cell, is_current};

const INTRODUCTION: &str = "# Metrics

`[admin] listen` serves them at `/metrics`, in the OpenMetrics text format. The label `name` is a name from the
configuration: of the source, key, filter, sink or webhook. An isolated key's source is called `SOURCE/KEY`, and
the sink of the dead letters `dead-letters`; a lane's name is its number. The label `reason` is a code of the
router's own. No label has a value from an event. Units are in the names; [Monitor a router](../how-to/monitor.md)
says how they are meant to be used, and what is measured of all, and what of a sample.

At rest, for each source, `received = emitted + filtered + duplicate + skipped + failed + dead_lettered`; while
it runs, the difference is `in_flight`.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// What `/metrics` prints when there is one of everything.
fn exposition() -> String {
    let metrics = Metrics::default();
    let _ = (metrics.lane(0), metrics.key("a"), metrics.sink("a"), metrics.webhook("a"));
    metrics.source("a").dead_letters.add("any");
    let kinds = MeasureKind::ALL.into_iter().map(|kind| (kind.word(), kind));
    metrics.filter("a").measured.of_key(&"a".into(), kinds);
    metrics.requests("a").refuse("any");
    metrics.exposition()
}

fn page() -> String {
    let text = exposition();
    let mut page = INTRODUCTION.to_owned();
    for line in text.lines() {
        let Some((family, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else { continue };
        let after = |keyword: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(keyword)?.strip_prefix(&format!(" {family} ")))
                .unwrap_or_default()
        };
        let kind = after("# TYPE");
        assert_eq!(after("# UNIT"), "", "`{family}` has a unit, for which the page has no column");
        let samples = text.lines().filter(|line| line.starts_with(family) && !line.starts_with('#'));
        // A histogram has samples of several names, and is known by that of the family.
        let suffixes: &[_] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &["_total", ""],
        };
        let of_family = |sample: &str| {
            let name = sample.split(['{', ' ']).next().unwrap();
            suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(family))
        };
        let samples: Vec<_> = samples.filter(|sample| of_family(sample)).collect();
        let name =
            samples.first().unwrap_or_else(|| panic!("`{family}` has no sample")).split(['{', ' ']).next().unwrap();
        let name = if kind == "histogram" { family } else { name };
        let labels: BTreeSet<_> = samples.iter().flat_map(|sample| labels(sample)).collect();
        let labels: Vec<_> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {} |", labels.join(", "), cell(help.trim_end_matches('.'))).unwrap();
    }
    page
}

fn labels(sample: &str) -> Vec<&str> {
    let inner = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
    inner.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect()
}

#[test]
fn the_metrics_are_those_of_the_registry() {
    is_current("metrics.md", &page());
}
