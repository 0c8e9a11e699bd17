//! `trommel deliveries list DIR`

use clap::Args;

use super::{FolderArgs, chosen::DeliveryFilterArgs};
use crate::{
    cli::{
        columns::TableColumns,
        keys::print,
        refusal::{CommandRefusal, RefusalKind},
    },
    webhook::store::Delivery,
};

#[derive(Args, Debug)]
pub(super) struct ListDeliveries {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    filters: DeliveryFilterArgs,
    /// At most this many, the newest; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

impl ListDeliveries {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let (config, store) = self.folder.open_deliveries()?;
        let mut deliveries = match &store {
            Some(store) => {
                let limit = if self.limit == 0 { u32::MAX } else { self.limit };
                store.list(&self.filters.which(&self.folder, &config, store)?, limit)?
            }
            None => Vec::new(),
        };
        deliveries.reverse();
        if self.folder.json {
            let lines = deliveries.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
            let lines = lines.map_err(|error| CommandRefusal::new(RefusalKind::Internal, "json", error.to_string()))?;
            return if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) };
        }
        if deliveries.is_empty() {
            return print("there are no such deliveries");
        }
        let title = ["ID", "MADE", "WEBHOOK", "EVENT TYPE", "STATE", "TRIES", "STATUS", "NEXT TRY"].map(str::to_owned);
        let rows: Vec<_> = [title].into_iter().chain(deliveries.iter().map(row)).collect();
        let columns = TableColumns::fit(&rows);
        let mut lines: Vec<_> = rows.iter().map(|row| columns.line(row)).collect();
        let dir = self.folder.dir.display();
        lines.push(format!("\n`trommel deliveries show {dir} ID` shows what became of one"));
        if u32::try_from(deliveries.len()) == Ok(self.limit) {
            lines.push(format!("these are the newest {}; `--limit` shows more", self.limit));
        }
        print(&lines.join("\n"))
    }
}

fn row(delivery: &Delivery) -> [String; 8] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let time = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    [
        delivery.id.to_string(),
        time(delivery.created),
        delivery.webhook.clone(),
        delivery.event_type.clone(),
        delivery.state.to_string(),
        delivery.attempts.to_string(),
        or_dash(delivery.status_code.map(|status| status.to_string())),
        or_dash(delivery.next_retry.map(time)),
    ]
}
