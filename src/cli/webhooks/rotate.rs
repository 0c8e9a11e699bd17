//! `trommel webhooks rotate DIR NAME`: gives a webhook a new secret without a gap. Until the
//! rotation is finished, both secrets sign.

use clap::Args;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        keys::{self, print},
        refusal::CommandRefusal,
    },
    folder::{self, WebhookBook},
};

#[derive(Args, Debug)]
pub(super) struct RotateWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// Give up the former secret, once the receiver knows the new one
    #[arg(long)]
    finish: bool,
}

impl RotateWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        let webhook = self.webhook.find(&config)?;
        let book = WebhookBook { dir: &folder.dir, keys: &config.keys };
        let dir = folder.dir.display();
        if self.finish {
            book.finish_rotation(webhook)?;
            return print(&match folder.json {
                true => keys::json(&json!({ "webhook": name, "finished": true }))?,
                false => format!("`{name}` signs with its new secret alone"),
            });
        }
        let (_, secret_file) = book.rotate(webhook)?;
        print(&match folder.json {
            true => keys::json(&json!({ "webhook": name, "finished": false, "secret_file": secret_file }))?,
            false => format!(
                "`{name}` signs with a new secret and with the former one\n  \
                 the new one is in `{secret_file}`: give it to the receiver\n  \
                 `trommel webhooks rotate {dir} {name} --finish` gives up the former one after that"
            ),
        })
    }
}
