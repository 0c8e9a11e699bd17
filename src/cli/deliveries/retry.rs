//! `trommel deliveries retry DIR ID...`

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{
    FolderArgs,
    chosen::{DeliveryChoice, DeliverySelection},
    counted,
};
use crate::{
    cli::{
        keys::{self, print},
        refusal::{CommandRefusal, RefusalKind},
    },
    config::Config,
    webhook::store::{Delivery, DeliveryQuery, DeliveryStore, DisabledWebhook},
};

#[derive(Args, Debug)]
pub(super) struct RetryDeliveries {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    chosen: DeliverySelection,
}

impl RetryDeliveries {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let (config, store) = self.folder.open_deliveries()?;
        let choice = self.chosen.choice(&self.folder, store.as_ref())?.ok_or_else(which_deliveries)?;
        if let DeliveryChoice::Fitting(filters) = &choice
            && filters.state().is_none()
        {
            return Err(which_state());
        }
        let Some(store) = &store else { return self.tell(&[], &BTreeMap::new()) };
        let recipients = RecipientStates { dir: &self.folder.dir, config: &config, disabled: store.disabled()? };
        let (which, found) = match choice {
            DeliveryChoice::Named(which, found) => {
                recipients.check_all(&found)?;
                (which, found)
            }
            DeliveryChoice::Fitting(filters) => {
                let which = filters.which(&self.folder, &config, store)?;
                let found = store.list(&which, u32::MAX)?;
                (which, found)
            }
        };
        let (can_be_sent, left) =
            found.iter().partition::<Vec<_>, _>(|one| recipients.obstacle(&one.webhook).is_none());
        let retried = retry(store, which, &can_be_sent)?;
        let mut obstacles = BTreeMap::<_, (usize, DeliveryObstacle)>::new();
        for Delivery { webhook, .. } in left {
            if let Some(obstacle) = recipients.obstacle(webhook) {
                obstacles.entry(webhook.as_str()).or_insert((0, obstacle)).0 += 1;
            }
        }
        self.tell(&retried, &obstacles)
    }

    fn tell(&self, retried: &[String], left: &BTreeMap<&str, (usize, DeliveryObstacle)>) -> Result<(), CommandRefusal> {
        if self.folder.json {
            let left: BTreeMap<_, _> = left.iter().map(|(webhook, (count, _))| (webhook, count)).collect();
            return print(&keys::json(&json!({ "retried": retried, "left": left }))?);
        }
        let mut lines = vec![match retried.len() {
            0 => "there is nothing to send again".to_owned(),
            count => {
                format!("{} to send again: a router that runs does so at once, another when it starts", counted(count))
            }
        }];
        lines.extend(left.iter().map(|(webhook, (count, DeliveryObstacle { what, way_out }))| {
            format!("{} left as before: webhook `{webhook}` {what}\n  {way_out}", counted(*count))
        }));
        print(&lines.join("\n"))
    }
}

/// Retries those deliveries that still match: their state may have changed since they were found.
fn retry(store: &DeliveryStore, which: DeliveryQuery, those: &[&Delivery]) -> Result<Vec<String>, CommandRefusal> {
    let ids = those.iter().map(|delivery| delivery.id).collect();
    let retried = store.retry(&DeliveryQuery { ids: Some(ids), ..which }, Timestamp::now())?;
    Ok(retried.iter().map(ToString::to_string).collect())
}

/// State of the webhooks that retried deliveries would go to.
struct RecipientStates<'a> {
    dir: &'a Path,
    config: &'a Config,
    disabled: Vec<DisabledWebhook>,
}

/// Reason for which nothing is sent to a webhook, and the way out.
struct DeliveryObstacle {
    what: String,
    way_out: String,
}

impl RecipientStates<'_> {
    fn obstacle(&self, name: &str) -> Option<DeliveryObstacle> {
        let declared = self.config.registry.webhooks.iter().find(|webhook| webhook.name == name);
        let disabled = self.disabled.iter().find(|disabled| disabled.webhook == name);
        let (what, way_out) = match (declared, disabled) {
            (None, _) => ("is declared no more".to_owned(), "declare it again in `keys/`".to_owned()),
            (Some(webhook), _) if !webhook.active => {
                ("is not active".to_owned(), format!("take `active = false` out of {}", webhook.place))
            }
            (_, Some(DisabledWebhook { reason, .. })) => {
                let way_out = format!("`trommel webhooks enable {} {name}` lets it get more", self.dir.display());
                (format!("is disabled: {reason}"), way_out)
            }
            (Some(_), None) => return None,
        };
        Some(DeliveryObstacle { what, way_out })
    }

    /// Refuses the command if one of the named deliveries can't be sent again: either all are, or
    /// none.
    fn check_all(&self, named: &[Delivery]) -> Result<(), CommandRefusal> {
        for Delivery { id, webhook, .. } in named {
            if let Some(DeliveryObstacle { what, way_out }) = self.obstacle(webhook) {
                let message = format!("delivery `{id}` can't be sent again: webhook `{webhook}` {what}");
                let refusal = CommandRefusal::new(RefusalKind::Precondition, "webhook_gets_nothing", message);
                return Err(refusal.param("ID").hint(way_out));
            }
        }
        Ok(())
    }
}

fn which_deliveries() -> CommandRefusal {
    let refusal = CommandRefusal::new(
        RefusalKind::Validation,
        "which_deliveries",
        "it is not said which deliveries to send again",
    );
    refusal.param("ID").hint("name them by their ids, or say `--failed`, perhaps with `--webhook` or `--since`")
}

/// Refusal for filters without a state, which would also send deliveries again that have arrived.
fn which_state() -> CommandRefusal {
    let message = "it is not said in which state the deliveries are that are sent again";
    let refusal = CommandRefusal::new(RefusalKind::Validation, "which_state", message).param("--state");
    refusal.hint("add `--failed`, or `--state` with another state")
}
