//! `trommel dlq drop DIR ID...`

use std::{mem, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{FolderArgs, row::counted, which::LetterSelection};
use crate::{
    cli::{
        keys::print,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{LetterChoice, LetterFilter},
    dead_letters::{LetterStore, NoLetter},
};

/// Number of ids that are dropped in one call.
const BATCH: usize = 1000;

/// Drop dead letters for good
#[derive(Args, Debug)]
pub(super) struct DropLetters {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    selected: LetterSelection,
}

impl DropLetters {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let which = self.selected.which()?;
        let letters = self.folder.open_letters().await?;
        let dropped = match which {
            LetterChoice::These(ids) => self.these(&letters, ids).await?,
            LetterChoice::Like(alike) => like(&letters, &alike).await?,
        };
        print(&match (self.folder.json, dropped) {
            (true, _) => json!({ "dropped": dropped }).to_string(),
            (false, _) => format!("{} dropped", counted(dropped)),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// Drops all of these, or none if one of them can't be dropped.
    async fn these(&self, letters: &LetterStore, mut ids: Vec<u64>) -> Result<u64, CommandRefusal> {
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            if let Err(why @ NoLetter::Unfinished) = self.folder.find_letter(letters, *id).await?.letter {
                let refusal =
                    CommandRefusal::new(RefusalKind::Precondition, "unfinished", format!("can't drop {id}: {why}"));
                return Err(refusal.param("ID").hint("the next start of the router makes a line of its own of it"));
            }
        }
        let dropped = ids.len() as u64;
        letters.drop(ids).await?;
        Ok(dropped)
    }
}

async fn like(letters: &LetterStore, alike: &LetterFilter) -> Result<u64, CommandRefusal> {
    let (mut dropped, mut batch) = (0, Vec::new());
    let mut reader = letters.read(0).await?;
    while let Some(entry) = reader.next().await? {
        // An unfinished record is not a dead letter yet.
        if entry.is_like(alike) && !matches!(entry.letter, Err(NoLetter::Unfinished)) {
            batch.push(entry.id);
        }
        if batch.len() == BATCH {
            letters.drop(mem::take(&mut batch)).await?;
            dropped += BATCH as u64;
        }
    }
    dropped += batch.len() as u64;
    letters.drop(batch).await?;
    Ok(dropped)
}
