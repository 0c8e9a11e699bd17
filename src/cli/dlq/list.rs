//! `trommel dlq list DIR`

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    process::ExitCode,
};

use clap::Args;

use super::{FolderArgs, row, which::LetterFilterArgs};
use crate::{
    cli::{history::reader_left, refusal::CommandRefusal, terminal},
    config::LetterFilter,
    dead_letters::{LetterStore, StoredLetter},
    signature::{LetterProof, LetterSigner},
    text,
};

/// Largest number of reasons that are counted separately; there are fewer codes.
const REASONS: usize = 100;

/// List dead letters, oldest first
#[derive(Args, Debug)]
pub(super) struct ListLetters {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    filters: LetterFilterArgs,
    /// At most this many, the newest; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl ListLetters {
    /// Reads the dead letters twice instead of holding them in memory: to count them, and to show
    /// the selected ones.
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let (letters, signer) = self.folder.open_signed_letters().await?;
        let alike = self.filters.alike();
        let found = LetterCounts::count(&letters, &signer, &alike, self.limit).await?;
        let mut out = terminal::buffered();
        if found.total > 0 {
            let mut reader = letters.read(found.first).await?;
            let titled = if self.folder.json { Ok(()) } else { writeln!(out, "{}", row::TITLE) };
            if let Err(error) = titled {
                return reader_left(error);
            }
            while let Some(entry) = reader.next().await?.filter(|entry| entry.id <= found.last) {
                if !entry.is_like(&alike) {
                    continue;
                }
                let proof = signer.verify(&entry.record);
                let written = match self.folder.json {
                    true => row::json(&entry, proof, &mut out),
                    false => row::line(&entry, proof, &mut out),
                };
                if let Err(error) = written {
                    return reader_left(error);
                }
            }
        }
        let summary = found.summary(&alike, self.limit);
        let ended = if self.folder.json {
            // On stderr, since programs expect only dead letters on stdout. A failed write to it
            // can't be reported anywhere else.
            let _ = writeln!(terminal::stderr(), "{summary}");
            out.flush()
        } else {
            writeln!(out, "{summary}").and_then(|()| out.flush())
        };
        ended.map_or_else(reader_left, |()| Ok(ExitCode::SUCCESS))
    }
}

/// Number of dead letters, and the range of ids to show.
#[derive(Default)]
struct LetterCounts {
    total: u64,
    /// Dead letters that are not proven to be the router's.
    unproven: u64,
    reasons: BTreeMap<String, u64>,
    first: u64,
    last: u64,
}

impl LetterCounts {
    async fn count(
        letters: &LetterStore,
        signer: &LetterSigner,
        alike: &LetterFilter,
        limit: usize,
    ) -> Result<Self, CommandRefusal> {
        let (mut found, mut newest) = (Self::default(), VecDeque::new());
        let mut reader = letters.read(0).await?;
        while let Some(entry) = reader.next().await? {
            if !entry.is_like(alike) {
                continue;
            }
            found.add(&entry, signer.verify(&entry.record));
            if limit > 0 {
                if newest.len() == limit {
                    newest.pop_front();
                }
                newest.push_back(entry.id);
            }
        }
        found.first = newest.front().copied().unwrap_or_default();
        Ok(found)
    }

    fn add(&mut self, entry: &StoredLetter, proof: LetterProof) {
        self.total += 1;
        self.unproven += u64::from(entry.letter.is_ok() && proof != LetterProof::Proven);
        self.last = entry.id;
        let reason = entry.letter.as_ref().map_or(row::NO_LETTER, |letter| &letter.reason);
        let reason = if self.reasons.len() < REASONS || self.reasons.contains_key(reason) { reason } else { "others" };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// One-line summary; the most frequent reason comes first.
    fn summary(&self, alike: &LetterFilter, limit: usize) -> String {
        if self.total == 0 {
            return if alike.is_any() { "no dead letters" } else { "no such dead letters" }.to_owned();
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {}", text::line(reason))).collect();
        let shown = match limit {
            1.. if self.total > limit as u64 => format!("; the newest {limit} are shown"),
            _ => String::new(),
        };
        let unproven = match self.unproven {
            0 => String::new(),
            count => format!("; {count} unproven"),
        };
        format!("{}: {}{unproven}{shown}", row::counted(self.total), reasons.join(", "))
    }
}
