//! `trommel webhooks`: receivers of events over HTTP, and the state of their deliveries.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{
    cli::{FolderArgs, deliveries::unknown_webhook, refusal::CommandRefusal},
    config::{self, Config, Webhook},
};

mod add;
mod list;
mod switch;
mod test;

/// Show, add, try, disable and enable webhooks
#[derive(Args, Debug)]
pub struct WebhooksCommand {
    #[command(subcommand)]
    command: WebhooksSubcommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksSubcommand {
    /// List webhooks, with the numbers of their pending and failed deliveries
    List(list::ListWebhooks),
    /// Add a webhook, with a secret of its own
    Add(add::AddWebhook),
    /// Send a webhook a signed event, once and at once
    Test(test::TestWebhook),
    /// Stop deliveries to a webhook and cancel its pending ones
    Disable(switch::DisableWebhook),
    /// Resume deliveries of new events to a webhook, also after it has answered 410
    Enable(switch::EnableWebhook),
}

/// One webhook of a router.
#[derive(Args, Debug)]
struct WebhookArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the webhook
    #[arg(value_parser = config::name)]
    name: String,
}

impl WebhooksCommand {
    pub fn execute(self) -> ExitCode {
        let (json, done) = match self.command {
            WebhooksSubcommand::List(list) => (list.folder.json, list.run()),
            WebhooksSubcommand::Add(add) => (add.webhook.folder.json, add.run()),
            WebhooksSubcommand::Test(test) => (test.webhook.folder.json, test.run()),
            WebhooksSubcommand::Disable(disable) => (disable.webhook.folder.json, disable.run()),
            WebhooksSubcommand::Enable(enable) => (enable.webhook.folder.json, enable.run()),
        };
        done.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(json))
    }
}

impl WebhookArgs {
    /// Finds the webhook in the configuration.
    fn find<'a>(&self, config: &'a Config) -> Result<&'a Webhook, CommandRefusal> {
        let webhooks = &config.registry.webhooks;
        let found = webhooks.iter().find(|webhook| webhook.name == self.name);
        found.map(|webhook| &**webhook).ok_or_else(|| {
            let names = webhooks.iter().map(|webhook| webhook.name.as_str());
            unknown_webhook(&self.name, names, &self.folder.dir).param("NAME")
        })
    }
}
