//! Attaching to a key while the router runs: a route that exists as long as its consumer.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    condition::ConditionLists, config::ParamProblem, filter::Params, registry::SubscriptionId, sink::outlet::SinkQueue,
};

/// A change for the loader to make.
#[derive(Debug)]
pub enum RegistryChange {
    Attach(AttachRequest),
    /// Detaches the consumer of this name. An unknown name is ignored.
    Detach(Arc<str>),
}

/// A consumer that wants events of a key.
#[derive(Debug)]
pub struct AttachRequest {
    /// Name that differs from those of all other consumers and routes.
    pub name: Arc<str>,
    pub key: String,
    /// Description of the consumer in messages to others.
    pub who: String,
    /// Params as given, unchecked.
    pub params: BTreeMap<String, String>,
    /// Conditions beside those of the key.
    pub conditions: ConditionLists,
    pub queue: SinkQueue,
    pub standing: watch::Sender<ConsumerStanding>,
}

/// State of a consumer. It begins with `Waiting` and ends with `Lost`, unless the consumer left.
#[derive(Clone, Debug)]
pub enum ConsumerStanding {
    Waiting,
    /// Events are delivered from now on. Repeated after every change of the registry.
    Serving(ServedConsumer),
    /// No events are delivered any more, or ever were.
    Lost(AttachError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedConsumer {
    /// Params as normalised by the key's filter.
    pub params: Params,
    pub subscription_id: SubscriptionId,
}

/// Reason why a consumer is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("there is no key `{0}`")]
    UnknownKey(String),
    /// All problems with the params, sorted by name.
    #[error("{} of the params can't be used", .0.len())]
    Params(Vec<ParamProblem>),
    /// The filter refused the params, or broke on them, or the API's identity is not the one that
    /// the key needs.
    #[error("{0}")]
    Refused(String),
}

impl AttachRequest {
    pub(super) fn is_served(&self) -> bool {
        matches!(*self.standing.borrow(), ConsumerStanding::Serving(_))
    }

    /// Tells the consumer that it is served. Returns true: it stays attached.
    pub(super) fn serve(&self, serving: ServedConsumer) -> bool {
        self.standing.send_replace(ConsumerStanding::Serving(serving));
        true
    }

    /// Tells the consumer that it is not served. Returns false: it does not stay attached.
    pub(super) fn lose(&self, error: AttachError) -> bool {
        self.standing.send_replace(ConsumerStanding::Lost(error));
        false
    }
}
