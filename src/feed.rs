//! Live picture of a running router, for those who watch it: what it is made of, once a generation;
//! what its parts have counted, once a second; and the events that ended since. It only reads what
//! is counted anyway, and nothing while there is no reader.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{metrics::Metrics, poison::ignore_poison, recent::EndedEvent, registry::Snapshots, stop::Stop};

mod latency;
mod sample;
mod topology;

pub use latency::{LatencyQuantiles, LatencyWindow, event_durations};
use sample::RecentTimes;
pub use sample::{FilterSample, KeySample, LiveSample, SinkSample, SourceSample};
pub use topology::{FilterNode, KeyNode, RouteNode, RouterTopology};

/// Readers at once.
const READERS: usize = 16;
/// Time between two samples.
const PAUSE: Duration = Duration::from_secs(1);
/// Ended events of one source in a message.
const ENDED: u64 = 50;

/// The router, as readers see it.
pub struct LiveFeed {
    metrics: Arc<Metrics>,
    stop: Stop,
    /// Weak: it would keep the routes alive, and with them the sinks.
    snapshots: Mutex<Weak<Snapshots>>,
    places: Arc<Semaphore>,
}

/// A message to a reader.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedMessage {
    Topology(RouterTopology),
    Sample(LiveSample),
    Ended {
        /// The oldest first.
        events: Vec<EndedEvent>,
        /// Number of events that ended besides, and were too many to be shown.
        missed: u64,
    },
}

/// Messages for one reader. What it does not ask for is not made.
pub struct FeedReader {
    feed: Arc<LiveFeed>,
    stop: Stop,
    ticks: Interval,
    /// Generation of the topology that it has.
    generation: Option<u64>,
    /// Number of each source's ended events that it has seen.
    seen: BTreeMap<String, u64>,
    recent: RecentTimes,
    due: VecDeque<FeedMessage>,
    _place: OwnedSemaphorePermit,
}

impl LiveFeed {
    pub fn new(metrics: Arc<Metrics>, stop: Stop) -> Arc<Self> {
        Arc::new(Self { metrics, stop, snapshots: Mutex::default(), places: Arc::new(Semaphore::new(READERS)) })
    }

    /// Shows the keys of these snapshots for as long as this is polled.
    pub async fn follow(self: Arc<Self>, snapshots: Snapshots) -> anyhow::Result<()> {
        let snapshots = Arc::new(snapshots);
        *ignore_poison(self.snapshots.lock()) = Arc::downgrade(&snapshots);
        std::future::pending().await
    }

    /// Begins to read. `None` while there are as many readers as may be.
    pub fn subscribe(self: &Arc<Self>) -> Option<FeedReader> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(FeedReader {
            feed: Arc::clone(self),
            stop: self.stop.clone(),
            ticks,
            generation: None,
            seen: BTreeMap::new(),
            recent: RecentTimes::default(),
            due: VecDeque::new(),
            _place: place,
        })
    }
}

impl FeedReader {
    /// Waits for the next message; `None` once the router has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<FeedMessage> {
        while self.due.is_empty() {
            tokio::select! {
                biased;
                () = self.stop.ended() => return None,
                _ = self.ticks.tick() => self.look(),
            }
        }
        self.due.pop_front()
    }

    fn look(&mut self) {
        let snapshots = ignore_poison(self.feed.snapshots.lock()).upgrade();
        let snapshot = snapshots.map(|snapshots| Arc::clone(&snapshots.borrow()));
        if let Some(snapshot) = &snapshot
            && self.generation != Some(snapshot.generation)
        {
            self.generation = Some(snapshot.generation);
            self.due.push_back(FeedMessage::Topology(RouterTopology::of(snapshot, &self.feed.metrics)));
        }
        self.due.push_back(FeedMessage::Sample(LiveSample::of(
            snapshot.as_deref(),
            &self.feed.metrics,
            &mut self.recent,
        )));
        let (mut events, mut missed) = (Vec::new(), 0);
        for (name, source) in self.feed.metrics.sources() {
            let before = self.seen.get(&name).copied();
            let (seen, mut ended) = source.recent.since(&name, before.unwrap_or_default(), ENDED);
            // What ended before it came is no loss.
            missed += before.map_or(0, |before| (seen - before).saturating_sub(ended.len() as u64));
            events.append(&mut ended);
            self.seen.insert(name, seen);
        }
        if !events.is_empty() {
            events.sort_by_key(|ended| ended.time);
            self.due.push_back(FeedMessage::Ended { events, missed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::stop;

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_told_of_each_second_until_the_router_ends() {
        let (stopper, stop) = stop();
        let metrics = Arc::<Metrics>::default();
        let feed = LiveFeed::new(Arc::clone(&metrics), stop);
        let mut reader = feed.subscribe().unwrap();
        for received in 0..3 {
            let Some(FeedMessage::Sample(sample)) = reader.next().await else { panic!("a sample is due") };
            assert_eq!(sample.sources.iter().map(|source| source.received).sum::<u64>(), received);
            metrics.source("in").received.inc();
        }
        stopper.end();
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn readers_have_a_bounded_number_of_places() {
        let feed = LiveFeed::new(Arc::default(), stop().1);
        let mut readers: Vec<_> = (0..READERS).map(|_| feed.subscribe().unwrap()).collect();
        assert!(feed.subscribe().is_none());
        readers.pop();
        assert!(feed.subscribe().is_some());
    }
}
