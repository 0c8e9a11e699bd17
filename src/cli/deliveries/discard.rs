//! `trommel deliveries drop DIR ID...`

use clap::Args;
use serde_json::json;

use super::{
    Folder,
    chosen::{Choice, Chosen},
    counted,
};
use crate::{
    cli::{
        keys::{self, print},
        refusal::{Kind, Refusal},
    },
    webhook::store::Which,
};

#[derive(Args, Debug)]
pub(super) struct Discard {
    #[command(flatten)]
    pub(super) folder: Folder,
    #[command(flatten)]
    chosen: Chosen,
    /// All deliveries, whatever their state
    #[arg(long)]
    all: bool,
}

impl Discard {
    pub(super) fn run(&self) -> Result<(), Refusal> {
        let (config, store) = self.folder.open_deliveries()?;
        let choice = self.chosen.choice(&self.folder, store.as_ref())?;
        match (&choice, self.all) {
            (None, false) => return Err(which_deliveries()),
            (Some(_), true) => return Err(all_and_some()),
            _ => {}
        }
        let Some(store) = &store else { return self.tell(&[]) };
        let which = match choice {
            Some(Choice::Named(which, _)) => which,
            Some(Choice::Fitting(filters)) => filters.which(&self.folder, &config, store)?,
            None => Which::default(),
        };
        let dropped: Vec<_> = store.drop(&which)?.iter().map(ToString::to_string).collect();
        self.tell(&dropped)
    }

    fn tell(&self, dropped: &[String]) -> Result<(), Refusal> {
        print(&match self.folder.json {
            true => keys::json(&json!({ "dropped": dropped }))?,
            false => format!("{} dropped", counted(dropped.len())),
        })
    }
}

fn which_deliveries() -> Refusal {
    let refusal = Refusal::new(Kind::Validation, "which_deliveries", "it is not said which deliveries to drop");
    refusal.param("ID").hint("name them by their ids, by filters such as `--webhook` or `--failed`, or say `--all`")
}

fn all_and_some() -> Refusal {
    let message = "`--all` means every delivery, and only some are named";
    Refusal::new(Kind::Validation, "all_and_some", message).param("--all")
}
