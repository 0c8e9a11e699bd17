//! `trommel webhooks change DIR NAME`

use clap::{ArgGroup, Args};
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
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["url", "events"])))]
pub(super) struct ChangeWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// URL to POST events to from now on, those that wait as well
    #[arg(long)]
    url: Option<String>,
    /// Types of events, or patterns over them, in place of the former ones; `*` for all
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    events: Option<Vec<String>>,
}

impl ChangeWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        let webhook = self.webhook.find(&config)?;
        let url = self.url.iter().map(|url| ("url", json!(url)));
        let fields = url.chain(self.events.iter().map(|events| ("events", json!(events)))).collect();
        WebhookBook { dir: &folder.dir, keys: &config.keys }.change(webhook, &fields)?;
        let file = webhook.place.file.display();
        print(&match folder.json {
            true => keys::json(&json!({ "webhook": name, "file": file.to_string() }))?,
            false => format!("`{name}` is changed in `{file}`; a router that runs takes it up at once"),
        })
    }
}
