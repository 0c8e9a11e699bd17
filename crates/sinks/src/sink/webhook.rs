//! Webhooks as a sink: an output is taken when a delivery is stored for each webhook that wants it.
//! The dispatcher sends them.

use std::{collections::BTreeSet, io, sync::Arc};

use anyhow::Error;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use self::waiting::PendingCap;
use super::{
    Output, SinkRefusal, Slot,
    blocking::{BlockingDestination, BlockingSink, StoppedBatch},
};
use crate::{
    config::Webhook,
    event::identity,
    metrics::Metrics,
    webhook::store::{DeliveryStore, NewOutput},
};

mod waiting;

/// Deliveries that are stored at once, so that other writers wait no longer than for so many.
const BURST: usize = 1_000;

/// Opens the sink, which stores deliveries in `store`, for all webhooks or for `only` one, and
/// sends the names of their webhooks to `fresh`.
///
/// # Errors
/// Returns an error if the thread that stores can't be started.
pub fn open(
    store: Arc<DeliveryStore>,
    webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    only: Option<String>,
    fresh: mpsc::Sender<BTreeSet<String>>,
    metrics: Arc<Metrics>,
) -> io::Result<BlockingSink<DeliveryWriter>> {
    BlockingSink::new(DeliveryWriter { store, webhooks, only, fresh, waiting: PendingCap::new(metrics) })
}

pub struct DeliveryWriter {
    store: Arc<DeliveryStore>,
    webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    only: Option<String>,
    fresh: mpsc::Sender<BTreeSet<String>>,
    waiting: PendingCap,
}

impl BlockingDestination for DeliveryWriter {
    type Item = NewOutput;

    fn item(output: &Output) -> NewOutput {
        let event = output.ticket.event();
        let header = |name| output.headers().get(name).filter(|value| !value.is_empty()).cloned();
        NewOutput {
            id: output.id().to_string(),
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            subject: output.subject().clone(),
            tenant: header(identity::TENANT),
            content_type: header("content-type"),
            traceparent: header(identity::TRACEPARENT),
            payload: output.payload.clone(),
        }
    }

    /// Stores the deliveries of a batch. An output that no webhook wants has none.
    fn store(&mut self, batch: &[(Slot, NewOutput)]) -> Result<(), StoppedBatch> {
        let mut webhooks = self.webhooks.borrow().clone();
        webhooks.retain(|webhook| self.only.as_ref().is_none_or(|only| *only == webhook.name));
        let later = |at| move |error| StoppedBatch::at(at, SinkRefusal::Later(Error::new(error)));
        self.waiting.expect(batch.len(), &webhooks, &self.store).map_err(later(0))?;
        let outputs = batch.iter().map(|(_, output)| output);
        let wanted: Vec<_> = outputs.map(|output| (output, wanting(&webhooks, output, &mut self.waiting))).collect();
        let mut from = 0;
        while from < wanted.len() {
            let mut deliveries = 0;
            let burst = wanted[from..].iter().take_while(|(_, names)| {
                let has_room = deliveries < BURST;
                deliveries += names.len();
                has_room
            });
            let to = from + burst.count();
            let outputs = wanted[from..to].iter().filter(|(_, names)| !names.is_empty());
            let mut outputs = outputs.map(|(output, names)| (*output, names.as_slice())).peekable();
            if outputs.peek().is_some() {
                let fresh = self.store.insert(outputs, Timestamp::now());
                let fresh = fresh.map_err(later(from))?;
                // Fails only when the dispatcher has ended: the next run finds what is stored.
                let _ = self.fresh.blocking_send(fresh);
            }
            from = to;
        }
        Ok(())
    }
}

/// Returns the names of the webhooks that want an output.
pub(super) fn wanted_by(webhooks: &[Arc<Webhook>], output: &Output) -> Vec<String> {
    let NewOutput { tenant, event_type, subject, .. } = DeliveryWriter::item(output);
    let wanting = webhooks.iter().filter(|webhook| webhook.wants(tenant.as_deref(), &event_type, &subject));
    wanting.map(|webhook| webhook.name.clone()).collect()
}

fn wanting<'a>(webhooks: &'a [Arc<Webhook>], output: &NewOutput, waiting: &mut PendingCap) -> Vec<&'a str> {
    let NewOutput { tenant, event_type, subject, .. } = output;
    let wants = |webhook: &&Arc<Webhook>| webhook.wants(tenant.as_deref(), event_type, subject);
    let wanting = webhooks.iter().filter(wants).filter(|webhook| waiting.admits(webhook));
    wanting.map(|webhook| webhook.name.as_str()).collect()
}

#[cfg(test)]
mod tests;
