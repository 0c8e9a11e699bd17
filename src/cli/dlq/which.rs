//! Selection of the dead letters that a command applies to.

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        stretch::time,
    },
    config::{LetterChoice, LetterFilter},
};

/// Filters; dead letters have to match all that are given.
#[derive(Args, Debug)]
pub(super) struct LetterFilterArgs {
    /// Only dead letters with this reason, or with this code of a filter's author
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only dead letters that died in this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only dead letters of this time or later: `2026-03-14T08:00:00Z`, `2026-03-14`, or `90m` for
    /// 90 minutes ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only dead letters from before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl LetterFilterArgs {
    pub(super) fn alike(&self) -> LetterFilter {
        LetterFilter { reason: self.reason.clone(), key: self.key.clone(), since: self.since, until: self.until }
    }
}

/// Dead letters given by their ids or by filters, or all.
#[derive(Args, Debug)]
pub(super) struct LetterSelection {
    /// Ids, as `trommel dlq list` shows them
    #[arg(value_name = "ID", conflicts_with_all = ["reason", "key", "since", "until", "all"])]
    ids: Vec<u64>,
    #[command(flatten)]
    filters: LetterFilterArgs,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["reason", "key", "since", "until"])]
    all: bool,
}

impl LetterSelection {
    /// Resolves the selection.
    ///
    /// # Errors
    /// Returns an error if neither ids nor filters nor `--all` are given.
    pub(super) fn which(&self) -> Result<LetterChoice, CommandRefusal> {
        if !self.ids.is_empty() {
            return Ok(LetterChoice::These(self.ids.clone()));
        }
        let alike = self.filters.alike();
        if alike.is_any() && !self.all {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "which_letters", "it is not said which dead letters");
            return Err(refusal.param("ID").hint("give their ids, a filter such as `--reason trap`, or `--all`"));
        }
        Ok(LetterChoice::Like(alike))
    }
}
