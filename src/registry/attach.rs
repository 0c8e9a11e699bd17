//! Attaching to a key while the router runs: a route that is there as long as its consumer is.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::{config::ParamProblem, filter::Params, registry::SubscriptionId, sink::outlet::Queue};

/// What the loader is asked to change.
#[derive(Debug)]
pub enum Change {
    Attach(Attach),
    /// By name. One that is not there is none any more.
    Detach(Arc<str>),
}

/// A consumer that wants events of a key.
#[derive(Debug)]
pub struct Attach {
    /// Unlike any other consumer's and any route's.
    pub name: Arc<str>,
    pub key: String,
    /// What to call the consumer before others.
    pub who: String,
    /// As given, unchecked.
    pub params: BTreeMap<String, String>,
    pub queue: Queue,
    pub standing: watch::Sender<Standing>,
}

/// How it stands with a consumer. It begins with `Waiting` and ends with `Lost`, if it was not the consumer that left.
#[derive(Clone, Debug)]
pub enum Standing {
    Waiting,
    /// Events come from now on. Again after every change of the registry.
    Serving(Serving),
    /// No event comes any more, or ever did.
    Lost(AttachError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// As the key's filter has normalised them.
    pub params: Params,
    pub subscription_id: SubscriptionId,
}

/// Why a consumer is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("there is no key `{0}`")]
    UnknownKey(String),
    /// All of what is wrong with the params, sorted by name.
    #[error("{} of the params can't be used", .0.len())]
    Params(Vec<ParamProblem>),
    /// The filter has refused the params, or broke on them, or the API's identity is not what the key needs.
    #[error("{0}")]
    Refused(String),
}

impl Attach {
    pub(super) fn is_served(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Serving(_))
    }

    /// Tells the consumer that it is served, and that it stays.
    pub(super) fn serve(&self, serving: Serving) -> bool {
        self.standing.send_replace(Standing::Serving(serving));
        true
    }

    /// Tells the consumer that it is not served, and that it does not stay.
    pub(super) fn lose(&self, error: AttachError) -> bool {
        self.standing.send_replace(Standing::Lost(error));
        false
    }
}
