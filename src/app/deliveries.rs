//! The sink that stores deliveries, and the dispatcher behind it.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::{
    app::RouterControls,
    config::{Config, MemoryPlan, Webhook, WebhookSink},
    sink::{
        blocking::BlockingSink,
        webhook::{self, DeliveryWriter},
    },
    webhook::{dispatch::Dispatcher, post::WebhookPoster, store::DeliveryStore},
};

/// Bursts that the dispatcher may not have received yet.
const FRESH: usize = 256;

/// The parts that share the store.
pub(super) struct DeliveryParts {
    pub(super) sink: BlockingSink<DeliveryWriter>,
    pub(super) dispatcher: Dispatcher,
    /// Tells the dispatcher of webhooks for which others have changed something, as long as the
    /// sink is there.
    pub(super) recall: mpsc::WeakSender<BTreeSet<String>>,
}

/// Opens both ends of the store. The dispatcher does not run yet.
pub(super) fn open(
    settings: &WebhookSink,
    (config, plan): (&Config, &MemoryPlan),
    controls: &RouterControls,
    webhooks: &watch::Receiver<Vec<Arc<Webhook>>>,
) -> anyhow::Result<DeliveryParts> {
    let store = Arc::new(DeliveryStore::make(&settings.database)?);
    let (sender, fresh) = mpsc::channel(FRESH);
    let recall = sender.downgrade();
    let sink = webhook::open(
        Arc::clone(&store),
        webhooks.clone(),
        settings.only.clone(),
        sender,
        Arc::clone(&controls.metrics),
    );
    let sink = sink.context("could not start the thread that stores deliveries")?;
    let poster = Arc::new(WebhookPoster::default());
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
    Ok(DeliveryParts { sink, dispatcher, recall })
}
