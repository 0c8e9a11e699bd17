//! Selection of the deliveries that a command applies to.

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;

use super::{FolderArgs, unknown_webhook};
use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        stretch::time,
    },
    config::{Config, quoted},
    webhook::store::{Delivery, DeliveryId, DeliveryQuery, DeliveryState, DeliveryStore},
};

/// Filters; deliveries have to match all that are given.
#[derive(Args, Debug)]
pub(super) struct DeliveryFilterArgs {
    /// Only deliveries for this webhook
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Only deliveries in this state: `pending`, `delivered`, `failed` or `cancelled`
    #[arg(long, value_name = "STATE")]
    state: Option<DeliveryState>,
    /// The same as `--state failed`
    #[arg(long, conflicts_with = "state")]
    failed: bool,
    /// Only deliveries of events of this type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only deliveries created at this time or later: `2026-03-14T08:00:00Z`, `2026-03-14`, or
    /// `90m` for 90 minutes ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
}

/// Deliveries given by their ids, or by filters.
#[derive(Args, Debug)]
pub(super) struct DeliverySelection {
    /// Ids, as `list` shows them
    #[arg(value_name = "ID", value_parser = delivery_id)]
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    filters: DeliveryFilterArgs,
}

impl DeliveryFilterArgs {
    pub(super) fn state(&self) -> Option<DeliveryState> {
        if self.failed { Some(DeliveryState::Failed) } else { self.state }
    }

    /// Translates the filters into a query.
    ///
    /// # Errors
    /// Returns an error if no webhook of this name is declared, and no deliveries of a removed one
    /// are left.
    pub(super) fn which(
        &self,
        folder: &FolderArgs,
        config: &Config,
        store: &DeliveryStore,
    ) -> Result<DeliveryQuery, CommandRefusal> {
        if let Some(name) = &self.webhook {
            let counts = store.counts()?;
            let declared = config.registry.webhooks.iter().map(|webhook| webhook.name.as_str());
            let known: BTreeSet<_> = declared.chain(counts.iter().map(|count| count.webhook.as_str())).collect();
            if !known.contains(name.as_str()) {
                return Err(unknown_webhook(name, known.into_iter(), &folder.dir).param("--webhook"));
            }
        }
        let (webhook, event_type) = (self.webhook.clone(), self.event_type.clone());
        Ok(DeliveryQuery { ids: None, webhook, state: self.state(), event_type, since: self.since })
    }

    fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.state().is_none() && self.event_type.is_none() && self.since.is_none()
    }
}

/// Kind of selection.
pub(super) enum DeliveryChoice<'a> {
    /// Deliveries given by their ids, all of which exist.
    Named(DeliveryQuery, Vec<Delivery>),
    Fitting(&'a DeliveryFilterArgs),
}

impl DeliverySelection {
    /// Resolves the selection; `None` if neither ids nor filters were given.
    ///
    /// # Errors
    /// Returns an error if one of the ids does not exist: then the command applies to none.
    pub(super) fn choice(
        &self,
        folder: &FolderArgs,
        store: Option<&DeliveryStore>,
    ) -> Result<Option<DeliveryChoice<'_>>, CommandRefusal> {
        if self.ids.is_empty() {
            return Ok((!self.filters.is_empty()).then_some(DeliveryChoice::Fitting(&self.filters)));
        }
        if !self.filters.is_empty() {
            let message = "deliveries are named by their ids or by what they have in common, not by both";
            return Err(CommandRefusal::new(RefusalKind::Validation, "ids_and_filters", message).param("ID"));
        }
        let which = DeliveryQuery { ids: Some(self.ids.clone()), ..DeliveryQuery::default() };
        let found = store.map_or_else(|| Ok(Vec::new()), |store| store.list(&which, u32::MAX))?;
        let is_there = |id: &DeliveryId| found.iter().any(|delivery| delivery.id == *id);
        let unknown: Vec<_> = self.ids.iter().filter(|id| !is_there(id)).map(ToString::to_string).collect();
        if unknown.is_empty() {
            Ok(Some(DeliveryChoice::Named(which, found)))
        } else {
            Err(unknown_ids(&unknown, folder))
        }
    }
}

/// Refusal for ids that do not exist. Finished deliveries are deleted after a while, so one that
/// existed may be gone.
pub(super) fn unknown_ids(ids: &[String], folder: &FolderArgs) -> CommandRefusal {
    let message = format!("there is no delivery {}", quoted(ids.iter().map(String::as_str), "or"));
    let hint = format!("`trommel deliveries list {}` shows those that there are", folder.dir.display());
    CommandRefusal::new(RefusalKind::Validation, "unknown_delivery", message).param("ID").hint(hint)
}

/// Parses the id of a delivery.
///
/// # Errors
/// Returns a description of a valid id.
pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, &'static str> {
    text.parse().map_err(|_| "a delivery's id looks like `deli_01h2xcejqtf2nbrexx3vqjhp41`")
}
