//! `trommel deliveries`: pending and finished deliveries to webhooks. Reads and writes the database
//! directly, whether a router runs or not; a running router picks up the changes.

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{
    cli::{
        FolderArgs,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{Config, SinkKind, nearest, quoted},
    folder,
    webhook::store::{DeliveryStore, StoreError},
};

mod chosen;
mod discard;
mod list;
mod retry;
mod show;

/// List, show, retry or drop deliveries to webhooks
#[derive(Args, Debug)]
pub struct DeliveriesCommand {
    #[command(subcommand)]
    command: DeliveriesSubcommand,
}

#[derive(Debug, Subcommand)]
enum DeliveriesSubcommand {
    /// List deliveries, the oldest first
    List(list::ListDeliveries),
    /// Show all details of a delivery
    Show(show::ShowDelivery),
    /// Send deliveries again, with as many tries as new ones
    Retry(retry::RetryDeliveries),
    /// Delete deliveries, whether they were sent or not
    Drop(discard::DropDeliveries),
}

impl DeliveriesCommand {
    pub fn execute(self) -> ExitCode {
        let (json, done) = match self.command {
            DeliveriesSubcommand::List(list) => (list.folder.json, list.run()),
            DeliveriesSubcommand::Show(show) => (show.folder.json, show.run()),
            DeliveriesSubcommand::Retry(retry) => (retry.folder.json, retry.run()),
            DeliveriesSubcommand::Drop(drop) => (drop.folder.json, drop.run()),
        };
        done.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(json))
    }
}

impl FolderArgs {
    /// Loads the configuration and opens the database; `None` if it has never been created.
    pub(super) fn open_deliveries(&self) -> Result<(Config, Option<DeliveryStore>), CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let store = match DeliveryStore::open(database(&config)?) {
            Err(StoreError::Missing(_)) => None,
            store => Some(store?),
        };
        Ok((config, store))
    }
}

/// Path of the database with the router's deliveries.
pub(super) fn database(config: &Config) -> Result<&Path, CommandRefusal> {
    let database = config.sinks.iter().find_map(|sink| match &sink.kind {
        SinkKind::Webhook(settings) => Some(settings.database.as_path()),
        _ => None,
    });
    database.ok_or_else(|| {
        let refusal = CommandRefusal::new(
            RefusalKind::Precondition,
            "no_webhook_sink",
            "this router has no sink of type `webhook`",
        );
        refusal.hint("add `[[sink]]` with a `name` and `type = \"webhook\"` to `trommel.toml`")
    })
}

/// Refusal for a webhook name that is not among the known ones.
pub(super) fn unknown_webhook<'a>(name: &str, known: impl Iterator<Item = &'a str>, dir: &Path) -> CommandRefusal {
    let near = nearest(name, known);
    let mean = if near.is_empty() { String::new() } else { format!("did you mean {}?\n", quoted(near, "or")) };
    let refusal =
        CommandRefusal::new(RefusalKind::Validation, "unknown_webhook", format!("there is no webhook `{name}`"));
    refusal.hint(format!("{mean}`trommel webhooks list {}` shows all", dir.display()))
}

/// Count with its noun: `1 delivery`, `2 deliveries`.
pub(super) fn counted(deliveries: usize) -> String {
    format!("{deliveries} {}", if deliveries == 1 { "delivery" } else { "deliveries" })
}

impl From<StoreError> for CommandRefusal {
    fn from(error: StoreError) -> Self {
        let (kind, subtype) = match &error {
            StoreError::Missing(_) => (RefusalKind::Precondition, "no_database"),
            StoreError::Foreign(_) => (RefusalKind::Precondition, "not_our_database"),
            StoreError::Newer { .. } => (RefusalKind::Precondition, "newer_database"),
            StoreError::Damaged { .. } => (RefusalKind::Internal, "database_damaged"),
            StoreError::Io { .. } | StoreError::Failed { .. } => (RefusalKind::Internal, "database"),
        };
        Self::new(kind, subtype, format!("{:#}", anyhow::Error::new(error)))
    }
}
