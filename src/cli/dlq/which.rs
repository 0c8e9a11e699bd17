//! Selection of the dead letters that a command applies to.

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{
        refusal::{Kind, Refusal},
        stretch::time,
    },
    config::{Alike, Which},
};

/// Filters; dead letters have to match all that are given.
#[derive(Args, Debug)]
pub(super) struct Filters {
    /// Only dead letters with this reason code
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

impl Filters {
    pub(super) fn alike(&self) -> Alike {
        Alike { reason: self.reason.clone(), key: self.key.clone(), since: self.since, until: self.until }
    }
}

/// Dead letters given by their ids or by filters, or all.
#[derive(Args, Debug)]
pub(super) struct Selected {
    /// Ids, as `trommel dlq list` shows them
    #[arg(value_name = "ID", conflicts_with_all = ["reason", "key", "since", "until", "all"])]
    ids: Vec<u64>,
    #[command(flatten)]
    filters: Filters,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["reason", "key", "since", "until"])]
    all: bool,
}

impl Selected {
    /// Resolves the selection.
    ///
    /// # Errors
    /// Returns an error if neither ids nor filters nor `--all` are given.
    pub(super) fn which(&self) -> Result<Which, Refusal> {
        if !self.ids.is_empty() {
            return Ok(Which::These(self.ids.clone()));
        }
        let alike = self.filters.alike();
        if alike.is_any() && !self.all {
            let refusal = Refusal::new(Kind::Validation, "which_letters", "it is not said which dead letters");
            return Err(refusal.param("ID").hint("give their ids, a filter such as `--reason trap`, or `--all`"));
        }
        Ok(Which::Like(alike))
    }
}
