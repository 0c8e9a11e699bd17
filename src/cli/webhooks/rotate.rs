//! `trommel webhooks rotate DIR NAME`: gives a webhook a new secret without a gap. Until the
//! rotation is finished, both secrets sign.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        keys::{self, print},
        refusal::CommandRefusal,
    },
    config,
    folder::{self, WebhookBook},
};

#[derive(Args, Debug)]
pub(super) struct RotateWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// Give up the former secret, once the receiver knows the new one
    #[arg(long)]
    finish: bool,
    /// Give up the former secret by itself after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration, conflicts_with = "finish")]
    lasts: Option<Duration>,
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
        let (rotated, secret_file) = book.rotate(webhook, self.lasts)?;
        let until = rotated.former_until;
        if folder.json {
            let rotated = json!({
                "webhook": name, "finished": false, "secret_file": secret_file, "former_until": until,
            });
            return print(&keys::json(&rotated)?);
        }
        let end = match until {
            Some(until) => format!("the former one is given up by itself at {until}"),
            None => format!("`trommel webhooks rotate {dir} {name} --finish` gives up the former one after that"),
        };
        print(&format!(
            "`{name}` signs with a new secret and with the former one\n  \
             the new one is in `{secret_file}`: give it to the receiver\n  {end}"
        ))
    }
}
