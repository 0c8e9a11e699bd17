//! `trommel webhooks add DIR NAME --url URL`

use clap::Args;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        deliveries::database,
        keys::{self, print},
        refusal::{CommandRefusal, RefusalKind},
    },
    folder::{self, AddedWebhook, WebhookBook},
    webhook::store::{DeliveryStore, StoreError},
};

#[derive(Args, Debug)]
pub(super) struct AddWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// URL to POST events to
    #[arg(long)]
    url: String,
    /// Types of events, or patterns over them such as `instance.*`; may be repeated [default: all]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    events: Vec<String>,
    /// Tenant whose events it gets, or `*` for all tenants [default: events without a tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// Body to send instead of the payload: `slack`, `teams`, `discord`, `pagerduty`, or a JSON
    /// text with placeholders such as `{/order/id}`
    #[arg(long, value_name = "TEMPLATE")]
    body: Option<String>,
    /// File with its secret, relative to the router's folder [default: a new one, `secrets/NAME`]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Allow a loopback, private or otherwise special address
    #[arg(long)]
    allow_private: bool,
}

impl AddWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        let database = database(&config)?;
        if let Some(known) = config.registry.webhooks.iter().find(|webhook| webhook.name == *name) {
            let message = format!("there is a webhook `{name}` already, at {}", known.place);
            return Err(CommandRefusal::new(RefusalKind::Validation, "webhook_exists", message).param("NAME"));
        }
        let events = (!self.events.is_empty()).then_some(&self.events);
        let fields = vec![
            ("url", json!(self.url)),
            ("tenant", json!(self.tenant)),
            ("events", json!(events)),
            ("body", json!(self.body)),
            ("secret_file", json!(self.secret_file)),
            ("allow_private", json!(self.allow_private.then_some(true))),
        ];
        let book = WebhookBook { dir: &folder.dir, keys: &config.keys };
        let AddedWebhook { file, secret_file, .. } = book.add(name, fields)?;
        match DeliveryStore::open(database) {
            // Left over from a webhook of this name that was removed.
            Ok(store) => drop(store.enable(name)?),
            Err(StoreError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let file = file.display();
        if folder.json {
            let (file, secret_file) = (file.to_string(), &secret_file);
            return print(&keys::json(&json!({ "webhook": name, "file": file, "secret_file": secret_file }))?);
        }
        let dir = folder.dir.display();
        print(&format!(
            "`{name}` is declared in `{file}`; a router that runs takes it up at once\n  \
             its secret is in `{secret_file}`: give it to the receiver, who needs it to verify signatures\n  \
             `trommel webhooks test {dir} {name}` sends a signed event to try it with"
        ))
    }
}
