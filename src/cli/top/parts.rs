//! Kinds of parts, and what is shown of each.

use crate::{
    feed::{FilterSample, KeySample, LatencyQuantiles, LiveSample, RouterTopology, SinkSample, SourceSample},
    health::PartKind,
};

/// A table: all parts of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PartKindView {
    Sources,
    #[default]
    Keys,
    Filters,
    Sinks,
}

/// What is known of a part in one sample.
pub(super) struct PartFacts {
    pub(super) name: String,
    /// What it has done, for its rate.
    pub(super) done: u64,
    /// What was lost in it.
    pub(super) lost: u64,
    /// What waits in front of it.
    pub(super) waiting: u64,
    /// Filter of a key.
    pub(super) filter: Option<String>,
    /// Cells behind the rate and its curve.
    pub(super) cells: Vec<String>,
}

impl PartKindView {
    pub(super) const ALL: [Self; 4] = [Self::Sources, Self::Keys, Self::Filters, Self::Sinks];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Keys => "keys",
            Self::Filters => "filters",
            Self::Sinks => "sinks",
        }
    }

    /// Word for one of them, as the control socket has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sources => "source",
            Self::Keys => "key",
            Self::Filters => "filter",
            Self::Sinks => "sink",
        }
    }

    /// Kind of its health; a key has that of its filter.
    pub(super) fn health(self) -> PartKind {
        match self {
            Self::Sources => PartKind::Source,
            Self::Keys | Self::Filters => PartKind::Filter,
            Self::Sinks => PartKind::Sink,
        }
    }

    pub(super) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Sources => &[
                "SOURCE",
                "HEALTH",
                "RATE",
                "LAST SECONDS",
                "RECEIVED",
                "EMITTED",
                "FILTERED",
                "DEAD",
                "FAILED",
                "OPEN",
                "LAG",
                "P50",
                "P95",
                "P99",
            ],
            Self::Keys => &[
                "KEY",
                "HEALTH",
                "RATE",
                "LAST SECONDS",
                "MATCHED",
                "OUTPUTS",
                "FILTERED",
                "RETRIED",
                "DEAD",
                "WAITING",
                "FILTER",
            ],
            Self::Filters => &[
                "FILTER",
                "HEALTH",
                "RATE",
                "LAST SECONDS",
                "MATCHES",
                "A CALL",
                "PROCESSES",
                "A CALL",
                "BREAKS",
                "LOADED",
                "VERSION",
            ],
            Self::Sinks => &[
                "SINK",
                "HEALTH",
                "RATE",
                "LAST SECONDS",
                "WRITTEN",
                "OPEN",
                "RETRIED",
                "SKIPPED",
                "DEAD",
                "RETURNED",
                "P50",
                "P95",
                "P99",
            ],
        }
    }

    pub(super) fn facts(self, sample: &LiveSample, topology: &RouterTopology) -> Vec<PartFacts> {
        match self {
            Self::Sources => sample.sources.iter().map(source).collect(),
            Self::Keys => sample.keys.iter().map(|one| key(one, topology)).collect(),
            Self::Filters => sample.filters.iter().map(|one| filter(one, topology)).collect(),
            Self::Sinks => sample.sinks.iter().map(sink).collect(),
        }
    }
}

fn source(source: &SourceSample) -> PartFacts {
    let SourceSample { received, emitted, filtered, dead_lettered, failed, in_flight, lag, latency, .. } = source;
    let mut cells = [*received, *emitted, *filtered, *dead_lettered, *failed].map(count).to_vec();
    cells.extend([in_flight.to_string(), lag.to_string()]);
    cells.extend(quantiles(latency.as_ref()));
    PartFacts {
        name: source.name.clone(),
        done: *received,
        lost: dead_lettered + failed,
        waiting: u64::try_from(*lag).unwrap_or_default(),
        filter: None,
        cells,
    }
}

fn key(key: &KeySample, topology: &RouterTopology) -> PartFacts {
    let KeySample { matched, outputs, filtered, retried, dead_lettered, waiting, .. } = key;
    let filter = topology.keys.iter().find(|node| node.name == key.name).and_then(|node| node.filter.clone());
    let mut cells = [*matched, *outputs, *filtered, *retried, *dead_lettered].map(count).to_vec();
    cells.extend([bytesize::ByteSize(*waiting).to_string(), filter.clone().unwrap_or_else(|| "-".to_owned())]);
    PartFacts { name: key.name.clone(), done: *matched, lost: *dead_lettered, waiting: *waiting, filter, cells }
}

fn filter(filter: &FilterSample, topology: &RouterTopology) -> PartFacts {
    let FilterSample { name, matches, match_ns, processes, process_ns, breaks, reloads, .. } = filter;
    let version = topology.filters.iter().find(|node| node.name == *name).map_or("-", |node| &node.version);
    let cells = vec![
        count(*matches),
        nanos(*match_ns),
        count(*processes),
        nanos(*process_ns),
        count(*breaks),
        reloads.to_string(),
        version.to_owned(),
    ];
    PartFacts { name: name.clone(), done: matches + processes, lost: *breaks, waiting: 0, filter: None, cells }
}

fn sink(sink: &SinkSample) -> PartFacts {
    let SinkSample { name, written, retried, skipped, dead_lettered, returned, latency, .. } = sink;
    let mut cells = [*written, sink.waiting(), *retried, *skipped, *dead_lettered, *returned].map(count).to_vec();
    cells.extend(quantiles(latency.as_ref()));
    PartFacts {
        name: name.clone(),
        done: *written,
        lost: skipped + dead_lettered,
        waiting: sink.waiting(),
        filter: None,
        cells,
    }
}

fn quantiles(latency: Option<&LatencyQuantiles>) -> [String; 3] {
    let Some(LatencyQuantiles { p50, p95, p99 }) = latency else { return ["-", "-", "-"].map(str::to_owned) };
    [*p50, *p95, *p99].map(|time| nanos(Some(time)))
}

/// A count in at most five characters.
pub(super) fn count(number: u64) -> String {
    match number {
        0..=9_999 => number.to_string(),
        10_000..=9_999_999 => format!("{}k", number / 1_000),
        10_000_000..=9_999_999_999 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

fn nanos(time: Option<u64>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    // Precise enough for people, whatever its size.
    let seconds = time as f64 / 1e9;
    match time {
        0..=999 => format!("{time} ns"),
        1_000..=999_999 => format!("{:.1} µs", seconds * 1e6),
        1_000_000..=999_999_999 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}
