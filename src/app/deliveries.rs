//! The sink that stores deliveries, and the dispatcher behind it.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::{
    app::Controls,
    config::{Config, MemoryPlan, Webhook, WebhookSink},
    sink::{
        blocking::Blocking,
        webhook::{self, Deliveries},
    },
    webhook::{dispatch::Dispatcher, post::Poster, store::Store},
};

/// Bursts that the dispatcher may not have received yet.
const FRESH: usize = 256;

/// Opens both ends of the store. The dispatcher does not run yet.
pub(super) fn open(
    settings: &WebhookSink,
    (config, plan): (&Config, &MemoryPlan),
    controls: &Controls,
    webhooks: &watch::Receiver<Vec<Arc<Webhook>>>,
) -> anyhow::Result<(Blocking<Deliveries>, Dispatcher)> {
    let store = Arc::new(Store::make(&settings.database)?);
    let (sender, fresh) = mpsc::channel(FRESH);
    let sink = webhook::open(Arc::clone(&store), webhooks.clone(), sender, Arc::clone(&controls.metrics));
    let sink = sink.context("could not start the thread that stores deliveries")?;
    let poster = Arc::new(Poster::default());
    let dispatcher = Dispatcher {
        store,
        webhooks: webhooks.clone(),
        fresh,
        retention: settings.retention,
        drain: config.pipeline.drain,
        room: plan.webhooks,
        metrics: Arc::clone(&controls.metrics),
        post: Arc::new(move |webhook, letter, at| {
            let poster = Arc::clone(&poster);
            Box::pin(async move { poster.post(&webhook, letter, at).await })
        }),
        clock: Arc::new(Timestamp::now),
    };
    Ok((sink, dispatcher))
}
