//! `trommel webhooks list DIR`

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        FolderArgs,
        columns::TableColumns,
        keys::{self, print},
        refusal::CommandRefusal,
    },
    config::{TenantSelection, Webhook},
    webhook::store::{DeliveryCount, DeliveryState, DisableCause, DisabledWebhook},
};

#[derive(Args, Debug)]
pub(super) struct ListWebhooks {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
}

/// A webhook that is declared, or was until it was removed.
#[derive(Serialize)]
struct WebhookRow<'a> {
    webhook: &'a str,
    state: &'static str,
    /// Time since which it is disabled; `reason` tells why.
    since: Option<Timestamp>,
    reason: Option<&'a str>,
    #[serde(flatten)]
    declared: Option<DeclaredWebhook<'a>>,
    deliveries: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct DeclaredWebhook<'a> {
    /// Without the path and query, which may be a secret.
    url: String,
    /// `null` for events without a tenant, `*` for all tenants.
    tenant: Option<&'a str>,
    /// Empty means all.
    events: Vec<&'a str>,
    /// True while a former secret signs, too.
    rotating: bool,
    /// Time at which that ends by itself, or has ended.
    former_until: Option<Timestamp>,
}

impl ListWebhooks {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let (config, store) = self.folder.open_deliveries()?;
        let (counts, disabled) = match &store {
            Some(store) => (store.counts()?, store.disabled()?),
            None => Default::default(),
        };
        let webhooks = &config.registry.webhooks;
        let declared = webhooks.iter().map(|webhook| (webhook.name.as_str(), Some(&**webhook)));
        let names: BTreeSet<_> = webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
        // Removed webhooks that still have deliveries.
        let left: BTreeSet<_> = counts.iter().map(|count| count.webhook.as_str()).collect();
        let left = left.difference(&names).map(|name| (*name, None));
        let rows = declared.chain(left).map(|(name, webhook)| WebhookRow::new(name, webhook, &counts, &disabled));
        let rows: Vec<_> = rows.collect();
        print(&match self.folder.json {
            true => keys::json(&json!({ "webhooks": rows }))?,
            false if rows.is_empty() => self.none(),
            false => self.table(&rows),
        })
    }

    fn none(&self) -> String {
        let dir = self.folder.dir.display();
        format!("{dir} declares no webhooks: they go into `keys/*.toml`, and `trommel webhooks add {dir}` writes them")
    }

    fn table(&self, rows: &[WebhookRow<'_>]) -> String {
        let title = ["NAME", "URL", "TENANT", "EVENTS", "STATE", "PENDING", "FAILED"].map(str::to_owned);
        let cells: Vec<_> = [title].into_iter().chain(rows.iter().map(WebhookRow::cells)).collect();
        let columns = TableColumns::fit(&cells);
        let mut lines: Vec<_> = cells.iter().map(|row| columns.line(row)).collect();
        let dir = self.folder.dir.display();
        for WebhookRow { webhook, since, reason, .. } in rows {
            if let (Some(since), Some(reason)) = (since, reason) {
                lines.push(format!(
                    "`{webhook}` is disabled since {since}: {reason}; `trommel webhooks enable {dir} {webhook}` \
                     lets it get more"
                ));
            }
        }
        for WebhookRow { webhook, .. } in rows.iter().filter(|row| row.state == "full") {
            lines.push(format!(
                "`{webhook}` is full: as many deliveries wait for it as its `max_pending` allows, and what comes is \
                 not stored for it"
            ));
        }
        for WebhookRow { webhook, declared, .. } in rows {
            if let Some(DeclaredWebhook { rotating: true, former_until, .. }) = declared {
                let end = match former_until {
                    Some(until) => format!("{until}"),
                    None => format!("`trommel webhooks rotate {dir} {webhook} --finish`"),
                };
                lines.push(format!("`{webhook}` signs with its former secret, too, until {end}"));
            }
        }
        if rows.iter().any(|row| row.declared.is_none()) {
            lines.push(format!(
                "those removed are in no file any more: what is pending waits until they are, or for `trommel \
                 deliveries drop {dir} --webhook NAME`"
            ));
        }
        lines.join("\n")
    }
}

impl<'a> WebhookRow<'a> {
    fn new(
        name: &'a str,
        webhook: Option<&'a Webhook>,
        counts: &[DeliveryCount],
        disabled: &'a [DisabledWebhook],
    ) -> Self {
        let disabled = disabled.iter().find(|disabled| disabled.webhook == name);
        let own = |state| {
            let own = counts.iter().find(|count| count.webhook == name && count.state == state);
            own.map_or(0, |count| count.deliveries)
        };
        let state = match (webhook, disabled.map(|disabled| disabled.cause)) {
            (None, _) => "removed",
            (Some(Webhook { active: false, .. }), _) => "inactive",
            (_, Some(DisableCause::Gone)) => "gone",
            (_, Some(DisableCause::Hand)) => "disabled",
            (Some(Webhook { max_pending, .. }), None) if own(DeliveryState::Pending) >= *max_pending => "full",
            (_, None) => "active",
        };
        let count = |state: DeliveryState| (state.word(), own(state));
        Self {
            webhook: name,
            state,
            since: disabled.map(|disabled| disabled.since),
            reason: disabled.map(|disabled| disabled.reason.as_str()),
            declared: webhook.map(DeclaredWebhook::of),
            deliveries: DeliveryState::ALL.map(count).into(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let [url, tenant, events] = match &self.declared {
            None => ["-", "-", "-"].map(str::to_owned),
            Some(DeclaredWebhook { url, tenant, events, .. }) => {
                let events = if events.is_empty() { "*".to_owned() } else { events.join(", ") };
                [url.clone(), tenant.unwrap_or("-").to_owned(), events]
            }
        };
        let [pending, failed] =
            [DeliveryState::Pending, DeliveryState::Failed].map(|state| self.deliveries[state.word()].to_string());
        [self.webhook.to_owned(), url, tenant, events, self.state.to_owned(), pending, failed]
    }
}

impl<'a> DeclaredWebhook<'a> {
    fn of(webhook: &'a Webhook) -> Self {
        let rest = if webhook.url.path() == "/" && webhook.url.query().is_none() { "" } else { "/…" };
        let tenant = match &webhook.tenant {
            TenantSelection::None => None,
            TenantSelection::Only(tenant) => Some(tenant.as_str()),
            TenantSelection::Any => Some("*"),
        };
        Self {
            url: format!("{}{rest}", webhook.url.origin().ascii_serialization()),
            tenant,
            events: webhook.events.iter().map(|pattern| pattern.as_str()).collect(),
            rotating: webhook.is_rotating(Timestamp::now()),
            former_until: webhook.former_until,
        }
    }
}
