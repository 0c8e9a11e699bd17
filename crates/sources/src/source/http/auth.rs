//! Authentication of clients.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;

use super::{lark::LarkApps, refusal::RequestRefusal};
use crate::{
    config::{ClientAuth, HttpClient, KeptIn},
    credential::{Credential, TenantTokens},
    listener::bearer,
    signature::{self, ID, SIGNATURE, Secret, SignatureHeaders, TIMESTAMP},
};

/// Longest time for which the content of a file is reused: a new secret counts after a second.
const MAX_AGE: Duration = Duration::from_secs(1);

pub(super) enum ClientGuard {
    Open,
    Tokens(Vec<TokenClient>),
    Tenants(Credential<TenantTokens>),
    Signature(Vec<Credential<Secret>>),
    /// Lark's own protocol, which is handled apart.
    Lark(LarkApps),
}

/// What a client's token says about it.
#[derive(Clone, Debug)]
pub(super) enum AdmittedClient<'a> {
    /// It may send for every tenant.
    Any,
    /// It may send for these alone.
    OneOf(&'a [String]),
    /// It is this tenant.
    Tenant(String),
}

/// Client that is identified by its token.
pub(super) struct TokenClient {
    token: Credential<Secret>,
    /// Tenants that it may send for; `None` for any.
    tenants: Option<Vec<String>>,
}

impl TokenClient {
    fn read(token: &KeptIn, tenants: Option<&[String]>) -> anyhow::Result<Self> {
        let parse = |text: &str| Ok(Secret::token(text)?);
        let token = Credential::read("the token", token, MAX_AGE, parse)?;
        Ok(Self { token, tenants: tenants.map(<[_]>::to_vec) })
    }
}

impl ClientGuard {
    /// # Errors
    /// Returns an error if a secret can't be read or is not valid. It names the place, never the
    /// secret.
    pub(super) fn read(auth: Option<&ClientAuth>) -> anyhow::Result<Self> {
        let secret = |text: &str| Ok(text.parse()?);
        let read = |kept: &KeptIn| Credential::read("the secret", kept, MAX_AGE, secret);
        Ok(match auth {
            Some(ClientAuth::Lark(apps)) => Self::Lark(LarkApps::read(apps)?),
            None => Self::Open,
            Some(ClientAuth::Token(kept)) => Self::Tokens(vec![TokenClient::read(kept, None)?]),
            Some(ClientAuth::Clients(clients)) => {
                let client = |HttpClient { token, tenants }: &HttpClient| TokenClient::read(token, tenants.as_deref());
                Self::Tokens(clients.iter().map(client).collect::<Result<_, _>>()?)
            }
            Some(ClientAuth::Tenants(kept)) => {
                Self::Tenants(Credential::read("the tokens of tenants", kept, MAX_AGE, TenantTokens::parse)?)
            }
            Some(ClientAuth::Signature(kept)) => Self::Signature(kept.iter().map(read).collect::<Result<_, _>>()?),
        })
    }

    /// Returns whether URL and headers are as trustworthy as the body. A signature covers an id, a
    /// time and the body: the rest may have been changed on the way.
    pub(super) fn covers_head(&self) -> bool {
        !matches!(self, Self::Signature(_) | Self::Lark(_))
    }

    /// Checks before there is a body whether the client may send, and returns for which tenants.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<AdmittedClient<'_>, RequestRefusal> {
        match self {
            Self::Open | Self::Lark(_) => Ok(AdmittedClient::Any),
            Self::Tokens(clients) => {
                let given = bearer(headers);
                for TokenClient { token, tenants } in clients {
                    if let Some(given) = given
                        && token.valid().await.is_some_and(|token| token.is(given))
                    {
                        return Ok(tenants.as_deref().map_or(AdmittedClient::Any, AdmittedClient::OneOf));
                    }
                }
                Err(wrong_token(given.is_some()))
            }
            Self::Tenants(tokens) => {
                let given = bearer(headers);
                let tokens = tokens.valid().await;
                let tenant = given.zip(tokens.as_ref()).and_then(|(given, tokens)| tokens.tenant(given));
                let tenant = tenant.ok_or_else(|| wrong_token(given.is_some()))?;
                Ok(AdmittedClient::Tenant(tenant.to_owned()))
            }
            Self::Signature(_) => signed(headers).map(|_| AdmittedClient::Any),
        }
    }

    /// Verifies the body in addition. Returns the id of a signed request.
    pub(super) async fn believe<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
    ) -> Result<Option<&'a str>, RequestRefusal> {
        let Self::Signature(credentials) = self else { return Ok(None) };
        let signed = signed(headers)?;
        let mut secrets = Vec::with_capacity(credentials.len());
        for credential in credentials {
            secrets.extend(credential.valid().await);
        }
        signature::verify(&secrets, signed, body, SystemTime::now()).map_err(wrong_signature)?;
        Ok(Some(signed.id))
    }
}

fn signed(headers: &HeaderMap) -> Result<SignatureHeaders<'_>, RequestRefusal> {
    let header = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
        value.ok_or_else(|| wrong_signature(format!("`{name}` is missing")))
    };
    Ok(SignatureHeaders { id: header(ID)?, timestamp: header(TIMESTAMP)?, signatures: header(SIGNATURE)? })
}

fn wrong_token(is_given: bool) -> RequestRefusal {
    let message = if is_given { "the token is not the one that is known here" } else { "there is no bearer token" };
    RequestRefusal::unauthorized("Bearer", "token", message, "send the header `Authorization: Bearer TOKEN`")
}

fn wrong_signature(why: impl std::fmt::Display) -> RequestRefusal {
    let hint = "sign as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`";
    RequestRefusal::unauthorized("Webhook-Signature", "signature", why, hint)
}
