//! `trommel webhooks`: receivers of events over HTTP, and the state of their deliveries.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{
    cli::{
        FolderArgs,
        deliveries::unknown_webhook,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{self, Config, Webhook},
    folder::WebhookBookError,
};

mod add;
mod change;
mod list;
mod remove;
mod rotate;
mod switch;
mod test;

/// Show, add, try, change and remove webhooks
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
    /// Change the URL or the events of a webhook
    Change(change::ChangeWebhook),
    /// Give a webhook a new secret, beside the former one until that is given up
    Rotate(rotate::RotateWebhook),
    /// Remove a webhook and cancel its pending deliveries
    Remove(remove::RemoveWebhook),
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
            WebhooksSubcommand::Change(change) => (change.webhook.folder.json, change.run()),
            WebhooksSubcommand::Rotate(rotate) => (rotate.webhook.folder.json, rotate.run()),
            WebhooksSubcommand::Remove(remove) => (remove.webhook.folder.json, remove.run()),
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

impl From<WebhookBookError> for CommandRefusal {
    fn from(error: WebhookBookError) -> Self {
        let (kind, subtype, hint) = match &error {
            WebhookBookError::Invalid(problems) => return Self::from(problems.clone()).hint("nothing was changed"),
            WebhookBookError::FileExists(_) => {
                let hint = "nothing is written over: choose another name, or name the secret with `--secret-file`";
                (RefusalKind::Precondition, "file_exists", hint)
            }
            WebhookBookError::Io { .. } => return Self::new(RefusalKind::Internal, "file", error.to_string()),
            WebhookBookError::Vanished { .. } => (RefusalKind::Precondition, "vanished", "nothing was changed"),
            WebhookBookError::Rotating(_) => {
                (RefusalKind::Precondition, "rotating", "`--finish` gives up the former secret")
            }
            WebhookBookError::NotRotating(_) => {
                (RefusalKind::Precondition, "not_rotating", "without `--finish` it gets a new secret")
            }
        };
        Self::new(kind, subtype, error.to_string()).hint(hint)
    }
}
