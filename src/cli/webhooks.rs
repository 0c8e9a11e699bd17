//! `trommel webhooks`: receivers of events over HTTP, and the state of their deliveries.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{
    cli::{Folder, deliveries::unknown_webhook, refusal::Refusal},
    config::{self, Config, Webhook},
};

mod add;
mod list;
mod switch;
mod test;

/// Show, add, try, disable and enable webhooks
#[derive(Args, Debug)]
pub struct Webhooks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List webhooks, with the numbers of their pending and failed deliveries
    List(list::List),
    /// Add a webhook, with a secret of its own
    Add(add::Add),
    /// Send a webhook a signed event, once and at once
    Test(test::Test),
    /// Stop deliveries to a webhook and cancel its pending ones
    Disable(switch::Disable),
    /// Resume deliveries of new events to a webhook, also after it has answered 410
    Enable(switch::Enable),
}

/// One webhook of a router.
#[derive(Args, Debug)]
struct Named {
    #[command(flatten)]
    folder: Folder,
    /// Name of the webhook
    #[arg(value_parser = config::name)]
    name: String,
}

impl Webhooks {
    pub fn execute(self) -> ExitCode {
        let (json, done) = match self.command {
            Command::List(list) => (list.folder.json, list.run()),
            Command::Add(add) => (add.webhook.folder.json, add.run()),
            Command::Test(test) => (test.webhook.folder.json, test.run()),
            Command::Disable(disable) => (disable.webhook.folder.json, disable.run()),
            Command::Enable(enable) => (enable.webhook.folder.json, enable.run()),
        };
        done.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(json))
    }
}

impl Named {
    /// Finds the webhook in the configuration.
    fn find<'a>(&self, config: &'a Config) -> Result<&'a Webhook, Refusal> {
        let webhooks = &config.registry.webhooks;
        let found = webhooks.iter().find(|webhook| webhook.name == self.name);
        found.map(|webhook| &**webhook).ok_or_else(|| {
            let names = webhooks.iter().map(|webhook| webhook.name.as_str());
            unknown_webhook(&self.name, names, &self.folder.dir).param("NAME")
        })
    }
}
