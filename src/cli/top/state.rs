//! What is known of the router, second by second, and which part of it hurts.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
};

use super::parts::{PartFacts, PartKindView, count};
use crate::{
    event::Pattern,
    feed::{FeedMessage, LiveSample, RouterTopology},
    health::{HealthLevel, HealthTrouble, PartHealth},
    recent::EndedEvent,
};

/// Seconds of a curve.
const CURVE: usize = 30;
/// Ended events that are kept.
const ENDED: usize = 1_000;
/// Steps of a curve.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The router as it was last.
#[derive(Default)]
pub(super) struct TopState {
    topology: RouterTopology,
    sample: LiveSample,
    samples: u64,
    /// Rows of each view, those that hurt first.
    rows: [Vec<PartRow>; 4],
    /// The newest first.
    ended: VecDeque<EndedEvent>,
}

/// A part in a table.
#[derive(Clone)]
pub(super) struct PartRow {
    pub(super) name: String,
    pub(super) level: HealthLevel,
    rate: f64,
    /// Rates of the last seconds.
    curve: VecDeque<f64>,
    /// Losses a second, and in all.
    losing: (u64, u64),
    waiting: u64,
    done: u64,
    cells: Vec<String>,
}

impl TopState {
    pub(super) fn take(&mut self, message: FeedMessage) {
        match message {
            FeedMessage::Topology(topology) => self.topology = topology,
            FeedMessage::Sample(sample) => self.sample(sample),
            FeedMessage::Ended { events, .. } => {
                events.into_iter().for_each(|event| self.ended.push_front(event));
                self.ended.truncate(ENDED);
            }
        }
    }

    /// Returns whether two samples are there, which a rate needs.
    pub(super) fn has_rates(&self) -> bool {
        self.samples > 1
    }

    fn sample(&mut self, sample: LiveSample) {
        let seconds = (sample.time - self.sample.time) as f64 / 1e3;
        for view in PartKindView::ALL {
            let known: HashMap<_, _> = self.rows[view as usize].drain(..).map(|row| (row.name.clone(), row)).collect();
            let rows = view.facts(&sample, &self.topology).into_iter().map(|facts| {
                let level = level(view, &facts, &sample.troubles);
                PartRow::new(known.get(&facts.name), facts, level, seconds)
            });
            let mut rows: Vec<_> = rows.collect();
            rows.sort_by(|one, other| one.cmp_pain(other));
            self.rows[view as usize] = rows;
        }
        self.sample = sample;
        self.samples += 1;
    }

    pub(super) fn rows(&self, view: PartKindView) -> &[PartRow] {
        &self.rows[view as usize]
    }

    pub(super) fn headline(&self) -> String {
        let LiveSample { level, generation, sources, .. } = &self.sample;
        let total = |pick: fn(&crate::feed::SourceSample) -> u64| count(sources.iter().map(pick).sum());
        let rate: f64 = self.rows(PartKindView::Sources).iter().map(|row| row.rate).sum();
        format!(
            "{level}, generation {generation}: {}/s, {} received, {} emitted, {} filtered, {} dead letters, {} failed",
            count(rate.round() as u64),
            total(|source| source.received),
            total(|source| source.emitted),
            total(|source| source.filtered),
            total(|source| source.dead_lettered),
            total(|source| source.failed),
        )
    }

    /// What is wrong, part by part.
    pub(super) fn troubles(&self) -> impl Iterator<Item = String> {
        self.sample.troubles.iter().filter_map(described)
    }

    /// Troubles of one part.
    pub(super) fn troubles_of(&self, view: PartKindView, name: &str) -> Vec<String> {
        let filter = self.filter_of(view, name);
        let is_its = |part: &&PartHealth| {
            (part.kind == view.health() && part.name == filter.unwrap_or(name))
                || (part.kind.word(), &*part.name) == (view.word(), name)
        };
        self.sample.troubles.iter().filter(is_its).filter_map(described).collect()
    }

    fn filter_of(&self, view: PartKindView, name: &str) -> Option<&str> {
        let keys = (view == PartKindView::Keys).then_some(&self.topology.keys)?;
        keys.iter().find(|key| key.name == name)?.filter.as_deref()
    }

    /// Events that ended last and concern a part, as far as that is known: those of a source, and
    /// those whose subject a key takes.
    pub(super) fn ended_of(&self, view: PartKindView, name: &str) -> impl Iterator<Item = &EndedEvent> {
        let key = self.topology.keys.iter().find(|key| view == PartKindView::Keys && key.name == name);
        let pattern: Option<Pattern> = key.and_then(|key| key.subject.as_deref()?.parse().ok());
        let source = (view == PartKindView::Sources).then(|| name.to_owned());
        self.ended.iter().filter(move |event| {
            source.as_ref().is_none_or(|source| event.source == *source)
                && pattern.as_ref().is_none_or(|pattern| pattern.matches(&event.subject))
        })
    }
}

impl PartRow {
    fn new(before: Option<&Self>, facts: PartFacts, level: HealthLevel, seconds: f64) -> Self {
        let PartFacts { name, done, lost, waiting, cells, .. } = facts;
        let rate = before.map_or(0.0, |before| done.saturating_sub(before.done) as f64 / seconds.max(0.001));
        let losing = before.map_or(0, |before| lost.saturating_sub(before.losing.1));
        let mut curve = before.map(|before| before.curve.clone()).unwrap_or_default();
        if before.is_some() {
            curve.push_back(rate);
        }
        if curve.len() > CURVE {
            curve.pop_front();
        }
        Self { name, level, rate, curve, losing: (losing, lost), waiting, done, cells }
    }

    /// Orders what hurts first: illness, then losses, then what waits, then what is busy.
    fn cmp_pain(&self, other: &Self) -> std::cmp::Ordering {
        let pain = |row: &Self| Reverse((row.level, row.losing, row.waiting, row.business()));
        pain(self).cmp(&pain(other)).then_with(|| self.name.cmp(&other.name))
    }

    /// Mean of its rates, rounded: lest rows change places every second.
    fn business(&self) -> u64 {
        (self.curve.iter().sum::<f64>() / self.curve.len().max(1) as f64).round() as u64
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let rate = if self.rate > 0.0 && self.rate < 10.0 {
            format!("{:.1}/s", self.rate)
        } else {
            format!("{}/s", count(self.rate.round() as u64))
        };
        let most = self.curve.iter().fold(0.0_f64, |most, rate| most.max(*rate));
        let step = |rate: &f64| {
            let share = if most > 0.0 { rate / most } else { 0.0 };
            // Between 0 and 7.
            STEPS[(share * 7.0).round() as usize % STEPS.len()]
        };
        let curve = self.curve.iter().map(step).collect();
        [self.name.clone(), self.level.to_string(), rate, curve].into_iter().chain(self.cells.iter().cloned()).collect()
    }
}

/// Health of a part, a key's with that of its filter.
fn level(view: PartKindView, facts: &PartFacts, troubles: &[PartHealth]) -> HealthLevel {
    let is_its = |part: &&PartHealth| {
        (part.kind == view.health() && part.name == *facts.filter.as_ref().unwrap_or(&facts.name))
            || (part.kind.word(), &part.name) == (view.word(), &facts.name)
    };
    troubles.iter().filter(is_its).map(|part| part.level).max().unwrap_or_default()
}

fn described(part: &PartHealth) -> Option<String> {
    let HealthTrouble { since, why, remedy } = part.trouble.as_ref()?;
    let space = if part.name.is_empty() { "" } else { " " };
    Some(format!("{}{space}{}: {} since {since:.0}: {why}; {remedy}", part.kind.word(), part.name, part.level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feed::{KeyNode, KeySample, SinkSample},
        health::PartKind,
    };

    fn key(name: &str, matched: u64, dead_lettered: u64) -> KeySample {
        KeySample { name: name.to_owned(), matched, dead_lettered, ..KeySample::default() }
    }

    fn sample(time: i64, keys: Vec<KeySample>) -> FeedMessage {
        FeedMessage::Sample(LiveSample { time, keys, ..LiveSample::default() })
    }

    fn names(state: &TopState) -> Vec<&str> {
        state.rows(PartKindView::Keys).iter().map(|row| &*row.name).collect()
    }

    #[test]
    fn what_hurts_comes_first() {
        let mut state = TopState::default();
        state.take(sample(1_000, vec![key("busy", 0, 0), key("dying", 0, 1), key("idle", 0, 0), key("ill", 0, 0)]));
        let node = |name: &str, filter: Option<&str>| KeyNode {
            name: name.to_owned(),
            subject: None,
            filter: filter.map(str::to_owned),
            isolated: false,
            routes: Vec::new(),
        };
        let keys = vec![node("ill", Some("f")), node("busy", None)];
        state.take(FeedMessage::Topology(RouterTopology { keys, ..RouterTopology::default() }));
        let trouble =
            HealthTrouble { since: "2026-01-01T00:00:00Z".parse().unwrap(), why: "w".into(), remedy: "r".into() };
        let troubles = vec![PartHealth {
            kind: PartKind::Filter,
            name: "f".into(),
            level: HealthLevel::Down,
            trouble: Some(trouble),
            paused: false,
        }];
        let keys = vec![key("busy", 3_000, 0), key("dying", 10, 2), key("idle", 0, 0), key("ill", 0, 0)];
        state.take(FeedMessage::Sample(LiveSample { time: 3_000, keys, troubles, ..LiveSample::default() }));
        assert_eq!(names(&state), ["ill", "dying", "busy", "idle"]);
        assert_eq!(state.rows(PartKindView::Keys)[2].cells()[2], "1500/s");
        let told = state.troubles_of(PartKindView::Keys, "ill");
        assert_eq!(told, ["filter f: down since 2026-01-01T00:00:00Z: w; r"]);
        assert!(state.troubles_of(PartKindView::Keys, "busy").is_empty());
    }

    #[test]
    fn a_counter_that_begins_anew_has_no_rate() {
        let mut state = TopState::default();
        let sinks = |written| {
            FeedMessage::Sample(LiveSample {
                sinks: vec![SinkSample { name: "out".into(), written, ..SinkSample::default() }],
                ..LiveSample::default()
            })
        };
        state.take(sinks(500));
        assert!(!state.has_rates());
        state.take(sinks(20));
        assert!(state.has_rates());
        assert_eq!(state.rows(PartKindView::Sinks)[0].cells()[2], "0/s");
    }
}
