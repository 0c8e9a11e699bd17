//! Alarm for sources from which nothing has come for longer than expected.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    config::Config,
    health::HealthLevel,
    metrics::{Metrics, SourceMetrics},
};

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);
const REMEDY: &str = "it ends with the next event; see to what publishes them, or to `expect_every`";

/// A source that is expected to bring events.
struct ExpectedSource {
    name: String,
    every: Duration,
    metrics: Arc<SourceMetrics>,
    received: u64,
    /// Time of the last look that found a new event, or at which the source was paused.
    heard: Instant,
}

/// Watches the sources with `expect_every`; `None` if there is none.
pub(super) fn watch(config: &Config, metrics: &Metrics) -> Option<impl Future<Output = anyhow::Result<()>> + use<>> {
    let expected = config.sources.iter().filter_map(|source| {
        let (every, metrics) = (source.expect_every?, metrics.source(&source.name));
        Some(ExpectedSource { name: source.name.clone(), every, received: 0, heard: Instant::now(), metrics })
    });
    let mut expected: Vec<_> = expected.collect();
    let shortest = expected.iter().map(|source| source.every).min()?;
    Some(async move {
        let mut looks = interval((shortest / 4).clamp(Duration::from_millis(10), LOOK));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            expected.iter_mut().for_each(ExpectedSource::look);
        }
    })
}

impl ExpectedSource {
    fn look(&mut self) {
        let received = self.metrics.received.get();
        if received != self.received || self.metrics.switch.is_on() {
            (self.received, self.heard) = (received, Instant::now());
            if let Some(lasted) = self.metrics.silence.recover() {
                tracing::info!(source = self.name, after = format!("{} s", lasted.as_secs()), "events come again");
            }
        } else if self.heard.elapsed() >= self.every {
            let why = format!("no event for {} s, expected every {:?}", self.heard.elapsed().as_secs(), self.every);
            if self.metrics.silence.report(HealthLevel::Degraded, why.clone(), REMEDY) {
                tracing::warn!(source = self.name, "{why}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::health::PartKind;

    #[tokio::test(start_paused = true)]
    async fn silence_is_trouble_until_an_event_comes_or_the_source_is_paused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = "[[source]]\nname = \"in\"\ntype = \"lines\"\nexpect_every = \"10m\"\n";
        std::fs::write(folder.path().join("trommel.toml"), settings).unwrap();
        let (config, metrics) = (crate::folder::load(folder.path()).unwrap(), Metrics::default());
        let source = metrics.source("in");
        tokio::spawn(watch(&config, &metrics).unwrap());
        let level = || source.silence.of(PartKind::Source, "in").level;
        sleep(Duration::from_secs(590)).await;
        assert_eq!(level(), HealthLevel::Ok);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(level(), HealthLevel::Degraded);
        source.received.inc();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(level(), HealthLevel::Ok);
        source.switch.pause();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(level(), HealthLevel::Ok);
        source.switch.resume();
        sleep(Duration::from_secs(610)).await;
        assert_eq!(level(), HealthLevel::Degraded);
    }
}
