//! A router that runs beside other work of its program.

use std::{future::ready, pin::Pin, sync::Arc};

use anyhow::Context;
use tokio::sync::Notify;

use super::{RouterControls, RunError, run};
use crate::{config::Config, metrics::Metrics, stop::Stopper, summary::RunSummary};

/// A router that runs. It runs on when this is dropped.
#[must_use]
pub struct RunningRouter {
    stopper: Stopper,
    reload: Arc<Notify>,
    metrics: Arc<Metrics>,
    ended: Pin<Box<dyn Future<Output = Result<RunSummary, RunError>> + Send>>,
}

/// Starts a router on a task of its own. When this returns its sources are open: nothing that is
/// published to them from now on is missed.
///
/// # Errors
/// Returns an error if the router can't start.
pub async fn start(config: Config, controls: RouterControls) -> Result<RunningRouter, RunError> {
    let (stopper, reload, metrics) =
        (controls.stopper.clone(), Arc::clone(&controls.reload), Arc::clone(&controls.metrics));
    let mut started = controls.started.subscribe();
    let task = tokio::spawn(run(config, controls));
    let ended = async { task.await.context("the router's task panicked").map_err(RunError::Failed).flatten() };
    // The sender is gone if the run ended before its sources were open.
    let ended: Pin<Box<dyn Future<Output = _> + Send>> = match started.wait_for(|started| *started).await {
        Ok(_) => Box::pin(ended),
        Err(_) => Box::pin(ready(Ok(ended.await?))),
    };
    Ok(RunningRouter { stopper, reload, metrics, ended })
}

impl RunningRouter {
    /// Stops the router: its sources take nothing new, and what they took is done, at most for the
    /// time of `[pipeline] drain`.
    ///
    /// # Errors
    /// Returns an error if the router has failed.
    pub async fn stop(self) -> Result<RunSummary, RunError> {
        self.stopper.drain();
        self.ended.await
    }

    /// Waits until the sources have ended and what they took is done.
    ///
    /// # Errors
    /// Returns an error if the router has failed.
    pub async fn wait(self) -> Result<RunSummary, RunError> {
        self.ended.await
    }

    /// Reads keys, schemas and components again.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Returns the counters of the router.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
