//! `trommel webhooks disable DIR NAME` and `trommel webhooks enable DIR NAME`

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        deliveries::{counted, database},
        keys::{self, print},
        refusal::CommandRefusal,
    },
    folder,
    webhook::store::DeliveryStore,
};

#[derive(Args, Debug)]
pub(super) struct DisableWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
}

#[derive(Args, Debug)]
pub(super) struct EnableWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
}

impl DisableWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        self.webhook.find(&config)?;
        // Creates the database if the router has never run.
        let store = DeliveryStore::make(database(&config)?)?;
        let was_disabled = store.disabled()?.iter().any(|disabled| disabled.webhook == *name);
        let cancelled = store.disable(name, "by `trommel webhooks disable`", Timestamp::now())?;
        print(&match folder.json {
            true => keys::json(&json!({ "webhook": name, "was_disabled": was_disabled, "cancelled": cancelled }))?,
            false => {
                let already = if was_disabled { "was disabled already" } else { "is disabled" };
                format!("`{name}` {already}; {} cancelled", counted(cancelled))
            }
        })
    }
}

impl EnableWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let (config, store) = folder.open_deliveries()?;
        let webhook = self.webhook.find(&config)?;
        let was_disabled = store.map(|store| store.enable(name)).transpose()?.unwrap_or(false);
        if folder.json {
            return print(&keys::json(
                &json!({ "webhook": name, "was_disabled": was_disabled, "active": webhook.active }),
            )?);
        }
        let mut lines = vec![match was_disabled {
            true => format!("`{name}` is enabled and gets what comes from now on"),
            false => format!("`{name}` was not disabled"),
        }];
        if was_disabled {
            let dir = folder.dir.display();
            lines.push(format!(
                "  `trommel deliveries retry {dir} --state cancelled --webhook {name}` sends what it has missed"
            ));
        }
        if !webhook.active {
            lines.push(format!("  it still gets nothing: {} says `active = false`", webhook.place));
        }
        print(&lines.join("\n"))
    }
}
