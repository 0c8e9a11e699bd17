//! Deliveries in the database of webhooks.

use jiff::{SignedDuration, Timestamp};

use super::{OutputDigest, OutputTable};
use crate::{
    config::WebhookSink,
    webhook::store::{DeliveryStore, StoreError},
};

/// Looks for outputs among the deliveries that a sink has stored, in any state. Blocks.
///
/// # Errors
/// Returns an error if the database can't be read.
pub fn find_in_database(sink: &str, settings: &WebhookSink, table: &mut OutputTable) -> Result<(), StoreError> {
    let store = match DeliveryStore::open(&settings.database) {
        // Nothing was ever stored.
        Err(StoreError::Missing(_)) => return Ok(()),
        opened => opened?,
    };
    store.each_delivery(|output_id, webhook| table.find(OutputDigest::delivery(output_id, webhook)))?;
    for disabled in store.disabled()? {
        let why = format!("webhook `{}`: it is disabled, and nothing is stored for it", disabled.webhook);
        table.keeps_since(&disabled.webhook, u32::MAX, why);
    }
    let retention = SignedDuration::try_from(settings.retention).unwrap_or(SignedDuration::MAX);
    let kept = Timestamp::now().checked_sub(retention).map(Timestamp::as_second).unwrap_or_default();
    let why = format!("sink `{sink}`: deliveries that are done are forgotten after its `retention`");
    table.keeps_since(sink, u32::try_from(kept).unwrap_or_default(), why);
    Ok(())
}
