//! How long an event of `relay` takes from its storage in the first stream to that in the second,
//! at a steady rate. Both times are the server's own, so that nothing which measures is part of
//! them.

use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use crate::{Bench, Case, orders, runtime_of};

/// Events a second.
pub const PACE: usize = 10_000;
/// The most events of one run.
const MOST: usize = 50_000;

pub struct Latency {
    /// Milliseconds.
    pub median: f64,
    pub p99: f64,
    pub worst: f64,
    /// Events a second that were stored in the first stream.
    pub pace: f64,
}

impl Bench<'_> {
    /// Runs a case on events that come one after the other.
    pub fn latency(&self, case: &Case, size: usize) -> Latency {
        let events = self.events.min(MOST);
        self.runtime.block_on(async {
            self.recreate("IN", "in.>").await;
            self.recreate("OUT", "out.>").await;
        });
        let runtime = runtime_of(case);
        self.run(case, &runtime, async {
            // What is first pays for connections and first calls.
            self.pace(events / 10, 0, size).await;
            self.wait_for(case, events / 10).await;
            self.pace(events, events / 10, size).await;
            self.wait_for(case, events).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        self.runtime.block_on(async {
            let (came, left) = (self.times("IN", events).await, self.times("OUT", events).await);
            self.context.delete_consumer_from_stream("RELAY", "IN").await.unwrap();
            let stored: Vec<f64> = came.iter().zip(&left).skip(events / 10).map(|(came, left)| left - came).collect();
            let spread = came.last().unwrap() - came[events / 10];
            let mut sorted = stored;
            sorted.sort_by(f64::total_cmp);
            let at = |share: usize| 1e3 * sorted[(sorted.len() * share / 100).min(sorted.len() - 1)];
            Latency { median: at(50), p99: at(99), worst: at(100), pace: (sorted.len() - 1) as f64 / spread }
        })
    }

    /// Publishes the events from `first` to `end`, so many a second and without waiting for acks.
    async fn pace(&self, end: usize, first: usize, size: usize) {
        let client = self.context.client();
        let mut next = first;
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let start = Instant::now();
        while next < end {
            ticks.tick().await;
            let due = first + (start.elapsed().as_secs_f64() * PACE as f64) as usize;
            for number in next..due.min(end) {
                client.publish(orders::subject(number), orders::order(number, size).into()).await.unwrap();
            }
            next = next.max(due.min(end));
        }
        client.flush().await.unwrap();
    }

    /// When the stream has stored each number, in seconds.
    async fn times(&self, stream: &str, events: usize) -> Vec<f64> {
        let stream = self.context.get_stream(stream).await.unwrap();
        let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
        let mut messages = consumer.messages().await.unwrap().take(events);
        let mut times = vec![f64::NAN; events];
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            let order: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            let number = usize::try_from(order["number"].as_u64().unwrap()).unwrap();
            times[number] = message.info().unwrap().published.unix_timestamp_nanos() as f64 / 1e9;
        }
        times
    }
}
