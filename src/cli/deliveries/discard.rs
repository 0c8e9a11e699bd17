//! `trommel deliveries drop DIR ID...`

use clap::Args;
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
    webhook::store::DeliveryQuery,
};

#[derive(Args, Debug)]
pub(super) struct DropDeliveries {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    chosen: DeliverySelection,
    /// All deliveries, whatever their state
    #[arg(long)]
    all: bool,
}

impl DropDeliveries {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let (config, store) = self.folder.open_deliveries()?;
        let choice = self.chosen.choice(&self.folder, store.as_ref())?;
        match (&choice, self.all) {
            (None, false) => return Err(which_deliveries()),
            (Some(_), true) => return Err(all_and_some()),
            _ => {}
        }
        let Some(store) = &store else { return self.tell(&[]) };
        let which = match choice {
            Some(DeliveryChoice::Named(which, _)) => which,
            Some(DeliveryChoice::Fitting(filters)) => filters.which(&self.folder, &config, store)?,
            None => DeliveryQuery::default(),
        };
        let dropped: Vec<_> = store.drop(&which)?.iter().map(ToString::to_string).collect();
        self.tell(&dropped)
    }

    fn tell(&self, dropped: &[String]) -> Result<(), CommandRefusal> {
        print(&match self.folder.json {
            true => keys::json(&json!({ "dropped": dropped }))?,
            false => format!("{} dropped", counted(dropped.len())),
        })
    }
}

fn which_deliveries() -> CommandRefusal {
    let refusal =
        CommandRefusal::new(RefusalKind::Validation, "which_deliveries", "it is not said which deliveries to drop");
    refusal.param("ID").hint("name them by their ids, by filters such as `--webhook` or `--failed`, or say `--all`")
}

fn all_and_some() -> CommandRefusal {
    let message = "`--all` means every delivery, and only some are named";
    CommandRefusal::new(RefusalKind::Validation, "all_and_some", message).param("--all")
}
