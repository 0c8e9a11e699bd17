//! Key that a call is for, and what the guest may use for it.

use std::sync::Arc;

use super::{measures::KeyMeasures, state::StateScope};
use crate::{api::ApiClients, endpoint::Endpoint};

/// Key that a filter is called for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub key: &'a str,
    /// Route of the key; empty where the call is for none.
    pub route: &'a str,
    /// Endpoints of the API that the filter may call for this key.
    pub endpoints: &'a [Endpoint],
}

/// A key whose filter may not call the API.
impl<'a> From<&'a str> for Caller<'a> {
    fn from(key: &'a str) -> Self {
        Self { key, route: "", endpoints: &[] }
    }
}

/// Resources that a filter may use for one key. The default is none, for no key.
#[derive(Debug, Default)]
pub(super) struct GrantedResources {
    pub(super) key: Arc<str>,
    /// Values that the guest keeps for that key.
    pub(super) state: Option<Arc<StateScope>>,
    pub(super) api: Option<ApiClients>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Metrics of the filter's own for that key.
    pub(super) measures: KeyMeasures,
}
