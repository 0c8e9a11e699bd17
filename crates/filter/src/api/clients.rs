//! The APIs that filters may call, by name.

use std::{collections::BTreeMap, sync::Arc};

use super::ApiClient;

/// Clients of the router's APIs. The one of `[api]` has an empty name.
#[derive(Clone, Debug, Default)]
pub struct ApiClients {
    by_name: Arc<BTreeMap<String, ApiClient>>,
    /// Answers in the place of every API.
    stand_in: Option<ApiClient>,
}

impl ApiClients {
    pub fn new(clients: impl IntoIterator<Item = (String, ApiClient)>) -> Self {
        let named = |(name, client): (String, ApiClient)| (name.clone(), client.named(&name));
        Self { by_name: Arc::new(clients.into_iter().map(named).collect()), stand_in: None }
    }

    /// One client in the place of every API, whatever its name.
    pub fn stand_in(client: ApiClient) -> Self {
        Self { by_name: Arc::default(), stand_in: Some(client) }
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.stand_in.is_none()
    }

    /// Returns the client of an API.
    ///
    /// # Errors
    /// Says that there is none, for the filter.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<ApiClient, String> {
        let name = name.unwrap_or_default();
        if let Some(client) = &self.stand_in {
            return Ok(client.named(name));
        }
        self.by_name.get(name).cloned().ok_or_else(|| match name {
            "" => "there is no API to call".to_owned(),
            name => format!("there is no API `{}` to call", name.escape_debug()),
        })
    }
}

impl From<Option<ApiClient>> for ApiClients {
    fn from(client: Option<ApiClient>) -> Self {
        Self::new(client.map(|client| (String::new(), client)))
    }
}
