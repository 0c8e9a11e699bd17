//! Where it stands which subscriptions are held upstream, and with which tokens.

use serde::{Deserialize, Serialize};

use super::{file::FileLedger, shared::SharedLedger};
use crate::{filter::Params, registry::SubscriptionId};

/// A subscription, as far as its upstream side is concerned: two filters share nothing, even under the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Scope {
    pub(super) filter: String,
    pub(super) subscription: SubscriptionId,
}

/// What it takes to clean up after a subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub(super) scope: Scope,
    pub(super) key: String,
    pub(super) params: Params,
    /// `None` when the filter gave none, and there is nothing to clean up.
    pub(super) token: Option<String>,
}

/// What the one who wants to hold a subscription has to do.
#[derive(Debug)]
pub(super) enum Claim {
    /// Subscribe, and say so with [`Ledger::hold`] or give up with [`Ledger::end`]. Somebody may have died while they
    /// cleaned up, which is then to be done first.
    First { unfinished: Option<Record> },
    /// Nothing: it is held upstream, as this says.
    Held(Record),
}

/// What the one who no longer holds a subscription has to do.
#[derive(Debug, PartialEq)]
pub(super) enum Release {
    /// Clean up as this says, and say so with [`Ledger::end`].
    Last(Record),
    /// Nothing: others hold it, or somebody else sees to it.
    NotLast,
}

/// A subscription that is held upstream and by nobody who lives.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) record: Record,
    /// Of the entry in a bucket.
    pub(super) revision: u64,
}

#[derive(Debug)]
pub(super) enum Ledger {
    /// This router is alone.
    File(FileLedger),
    /// Replicas share the subscriptions.
    Shared(Box<SharedLedger>),
}

/// Whoever calls these sees to it that only one of them runs for a scope at a time in this process. When a future is
/// dropped, the ledger may be ahead of what its caller knows; the next claim of the scope mends it.
impl Ledger {
    /// The record says what is wanted; it has no token yet.
    pub(super) async fn claim(&self, wanted: &Record) -> anyhow::Result<Claim> {
        match self {
            Self::File(file) => Ok(file.claim(&wanted.scope)),
            Self::Shared(shared) => shared.claim(wanted).await,
        }
    }

    /// After [`Claim::First`]: this is held now.
    pub(super) async fn hold(&self, record: &Record) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.hold(record).await,
            Self::Shared(shared) => shared.hold(record).await,
        }
    }

    pub(super) async fn release(&self, record: Record) -> anyhow::Result<Release> {
        match self {
            Self::File(_) => Ok(Release::Last(record)),
            Self::Shared(shared) => shared.release(&record.scope).await,
        }
    }

    /// After [`Release::Last`]: it is no longer held upstream. After [`Claim::First`]: it never was.
    pub(super) async fn end(&self, scope: &Scope) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.end(scope).await,
            Self::Shared(shared) => shared.end(scope).await,
        }
    }

    /// After [`Release::Last`]: it could not be cleaned up here and now, and stays for whoever can.
    pub(super) async fn abandon(&self, scope: &Scope) -> anyhow::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Shared(shared) => shared.abandon(scope).await,
        }
    }

    /// What is held upstream and by nobody. `is_mine` tells what this process holds.
    pub(super) async fn orphans(&self, is_mine: impl Fn(&Scope) -> bool) -> anyhow::Result<Vec<Orphan>> {
        match self {
            Self::File(file) => Ok(file.orphans(is_mine)),
            Self::Shared(shared) => shared.orphans(is_mine).await,
        }
    }

    /// Whether it falls to the caller to clean up after this orphan, and then to say so with [`Self::end`].
    pub(super) async fn take_over(&self, orphan: &Orphan) -> anyhow::Result<bool> {
        match self {
            Self::File(file) => Ok(file.take_over(orphan)),
            Self::Shared(shared) => shared.take_over(orphan).await,
        }
    }
}
