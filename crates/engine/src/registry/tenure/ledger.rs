//! Ledger of the subscriptions held upstream, with their tokens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{file::FileLedger, shared::SharedLedger};
use crate::{config::KeptIn, filter::Params, registry::SubscriptionId};

/// A subscription as far as its upstream side is concerned: two filters share nothing, even under
/// the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct TenureScope {
    pub(super) filter: String,
    pub(super) subscription: SubscriptionId,
}

/// Everything needed to clean up after a subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TenureRecord {
    #[serde(flatten)]
    pub(super) scope: TenureScope,
    pub(super) key: String,
    pub(super) params: Params,
    /// Params whose values are secret: they are read when a hook is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<RecordedSecret>,
    /// `None` if the filter gave none: there is nothing to clean up.
    pub(super) token: Option<String>,
}

/// Place of a param's secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedSecret {
    param: String,
    #[serde(flatten)]
    place: SecretPlace,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretPlace {
    Env(String),
    File(PathBuf),
}

impl RecordedSecret {
    pub(super) fn new((param, kept): (String, KeptIn)) -> Self {
        let place = match kept {
            KeptIn::Env(variable) => SecretPlace::Env(variable),
            KeptIn::File(path) => SecretPlace::File(path),
        };
        Self { param, place }
    }
}

impl TenureRecord {
    /// The params that a hook is handed. A secret that can't be read is logged and left out.
    pub(super) fn handed(&self) -> Params {
        let value = |RecordedSecret { param, place }: &RecordedSecret| {
            let kept = match place.clone() {
                SecretPlace::Env(variable) => KeptIn::Env(variable),
                SecretPlace::File(path) => KeptIn::File(path),
            };
            let unread = |error| tracing::warn!(key = self.key, param, error, "the secret of a param can't be used");
            Some((param.clone(), kept.read().map_err(unread).ok()?))
        };
        let mut params: Params = self.params.iter().cloned().chain(self.secrets.iter().filter_map(value)).collect();
        params.sort();
        params
    }
}

/// Answer to a claim: the next step of the claimant.
#[derive(Debug)]
pub(super) enum ClaimAnswer {
    /// Subscribe, then record that with [`TenureLedger::hold`] or give up with
    /// [`TenureLedger::end`]. If another holder died before its cleanup was done, clean up first.
    First { unfinished: Option<TenureRecord> },
    /// Nothing: it is held upstream, by this record.
    Held(TenureRecord),
}

/// Answer to a release: the next step of the former holder.
#[derive(Debug, PartialEq)]
pub(super) enum ReleaseAnswer {
    /// Clean up by this record, then record that with [`TenureLedger::end`].
    Last(TenureRecord),
    /// Nothing: it has other holders, or another replica takes care of it.
    NotLast,
}

/// A subscription that is held upstream but has no live holder.
#[derive(Debug)]
pub(super) struct OrphanTenure {
    pub(super) record: TenureRecord,
    /// Revision of the entry in a bucket.
    pub(super) revision: u64,
}

#[derive(Debug)]
pub(super) enum TenureLedger {
    /// For a router without replicas.
    File(FileLedger),
    /// For replicas, which share the subscriptions.
    Shared(Box<SharedLedger>),
}

/// The caller makes sure that only one of these runs for a scope at a time in this process. When a
/// future is dropped, the ledger may be ahead of its caller; the next claim of the scope corrects
/// that.
impl TenureLedger {
    /// Claims a subscription. The record has no token yet.
    pub(super) async fn claim(&self, wanted: &TenureRecord) -> anyhow::Result<ClaimAnswer> {
        match self {
            Self::File(file) => Ok(file.claim(&wanted.scope)),
            Self::Shared(shared) => shared.claim(wanted).await,
        }
    }

    /// Records, after [`ClaimAnswer::First`], that the subscription is held now.
    pub(super) async fn hold(&self, record: &TenureRecord) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.hold(record).await,
            Self::Shared(shared) => shared.hold(record).await,
        }
    }

    pub(super) async fn release(&self, record: TenureRecord) -> anyhow::Result<ReleaseAnswer> {
        match self {
            Self::File(_) => Ok(ReleaseAnswer::Last(record)),
            Self::Shared(shared) => shared.release(&record.scope).await,
        }
    }

    /// Records, after [`ReleaseAnswer::Last`], that it is no longer held upstream, or, after
    /// [`ClaimAnswer::First`], that it never was.
    pub(super) async fn end(&self, scope: &TenureScope) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.end(scope).await,
            Self::Shared(shared) => shared.end(scope).await,
        }
    }

    /// Leaves the record, after [`ReleaseAnswer::Last`], to a process that can clean up, if this
    /// one can't.
    pub(super) async fn abandon(&self, scope: &TenureScope) -> anyhow::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Shared(shared) => shared.abandon(scope).await,
        }
    }

    /// Returns the subscriptions that are held upstream but have no live holder. `is_mine` returns
    /// whether this process holds a scope.
    pub(super) async fn orphans(&self, is_mine: impl Fn(&TenureScope) -> bool) -> anyhow::Result<Vec<OrphanTenure>> {
        match self {
            Self::File(file) => Ok(file.orphans(is_mine)),
            Self::Shared(shared) => shared.orphans(is_mine).await,
        }
    }

    /// Takes an orphan over. Returns whether the caller has to clean up after it, and then to
    /// record that with [`Self::end`].
    pub(super) async fn take_over(&self, orphan: &OrphanTenure) -> anyhow::Result<bool> {
        match self {
            Self::File(file) => Ok(file.take_over(orphan)),
            Self::Shared(shared) => shared.take_over(orphan).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_where_a_secret_is_kept_and_not_what_it_is() {
        let subscription = SubscriptionId::new("key", &[], &Vec::new());
        let secret = ("pepper".to_owned(), KeptIn::Env("CARGO_PKG_NAME".to_owned()));
        let record = TenureRecord {
            scope: TenureScope { filter: "filter".to_owned(), subscription },
            key: "key".to_owned(),
            params: vec![("z".to_owned(), "1".to_owned())],
            secrets: vec![RecordedSecret::new(secret)],
            token: None,
        };
        let written = serde_json::to_string(&record).unwrap();
        assert!(written.contains(r#""secrets":[{"param":"pepper","env":"CARGO_PKG_NAME"}]"#), "{written}");
        assert_eq!(serde_json::from_str::<TenureRecord>(&written).unwrap(), record);
        let handed = [("pepper", "trommel-engine"), ("z", "1")];
        assert_eq!(record.handed(), handed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
