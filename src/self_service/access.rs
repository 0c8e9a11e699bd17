//! Who calls, by the token of the request, and what they may see.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::ApiProblem;
use crate::{
    config::{SelfServiceConfig, TenantSelection, Webhook},
    credential::{Credential, TenantTokens},
    listener::bearer,
    signature::Secret,
};

/// Longest time for which a file with tokens is not read again.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The tokens that are known.
pub(super) struct ApiAccess {
    operator: Option<Credential<Secret>>,
    tenants: Option<Credential<TenantTokens>>,
}

/// A client whose token is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiCaller {
    /// One who may see and change the webhooks of all tenants.
    Operator,
    Tenant(String),
}

impl ApiAccess {
    /// # Errors
    /// Returns an error if a token can't be read or is not valid. It names the place, never a
    /// token.
    pub(super) fn read(settings: &SelfServiceConfig) -> anyhow::Result<Self> {
        let token = |text: &str| Ok(Secret::token(text)?);
        let operator = settings.token.as_ref().map(|kept| Credential::read("the token", kept, MAX_AGE, token));
        let tenants = settings.tenants.as_ref();
        let tenants = tenants.map(|kept| Credential::read("the tokens of tenants", kept, MAX_AGE, TenantTokens::parse));
        Ok(Self { operator: operator.transpose()?, tenants: tenants.transpose()? })
    }

    async fn caller(&self, headers: &HeaderMap) -> Option<ApiCaller> {
        let given = bearer(headers)?;
        if let Some(operator) = &self.operator
            && operator.valid().await.is_some_and(|token| token.is(given))
        {
            return Some(ApiCaller::Operator);
        }
        let tenants = self.tenants.as_ref()?.valid().await?;
        tenants.tenant(given).map(|tenant| ApiCaller::Tenant(tenant.to_owned()))
    }
}

/// Lets a request with a known token through.
pub(super) async fn admit(State(access): State<Arc<ApiAccess>>, mut request: Request, next: Next) -> Response {
    match access.caller(request.headers()).await {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => ApiProblem::unauthorized().into_response(),
    }
}

impl ApiCaller {
    /// Returns whether the caller may know of a webhook.
    pub(super) fn sees(&self, webhook: &Webhook) -> bool {
        match self {
            Self::Operator => true,
            Self::Tenant(own) => matches!(&webhook.tenant, TenantSelection::Only(tenant) if tenant == own),
        }
    }

    pub(super) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Operator => None,
            Self::Tenant(own) => Some(own),
        }
    }
}
