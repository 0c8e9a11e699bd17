//! `trommel webhooks remove DIR NAME`

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        deliveries::counted,
        keys::{self, print},
        refusal::CommandRefusal,
    },
    folder::WebhookBook,
};

#[derive(Args, Debug)]
pub(super) struct RemoveWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
}

impl RemoveWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let (config, store) = folder.open_deliveries()?;
        let webhook = self.webhook.find(&config)?;
        // First: until the router has reloaded, it would store more for it.
        let cancelled = store.map(|store| store.disable(name, REMOVED, Timestamp::now())).transpose()?;
        WebhookBook { dir: &folder.dir, keys: &config.keys }.remove(webhook)?;
        let (file, cancelled) = (webhook.place.file.display(), cancelled.unwrap_or_default());
        print(&match folder.json {
            true => keys::json(&json!({ "webhook": name, "file": file.to_string(), "cancelled": cancelled }))?,
            false => format!("`{name}` is removed from `{file}`; {} cancelled", counted(cancelled)),
        })
    }
}

const REMOVED: &str = "by `trommel webhooks remove`";
