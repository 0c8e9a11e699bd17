//! Whom a call is for, and what the guest may use for it.

use std::sync::Arc;

use super::state::Scope;
use crate::{api::Client, endpoint::Endpoint};

/// The key that a filter is called for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub key: &'a str,
    /// What the filter may call of the API for this key.
    pub endpoints: &'a [Endpoint],
}

/// A key that lets its filter call nothing of the API.
impl<'a> From<&'a str> for Caller<'a> {
    fn from(key: &'a str) -> Self {
        Self { key, endpoints: &[] }
    }
}

/// What a filter may use for one key. The default is nothing, for no key.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) key: Arc<str>,
    /// What the guest keeps for that key.
    pub(super) state: Option<Arc<Scope>>,
    pub(super) api: Option<Client>,
    pub(super) endpoints: Vec<Endpoint>,
}
