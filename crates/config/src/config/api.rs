//! The API that filters may call, and the router's identity there.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use super::{Config, problem::ConfigPlace};
use crate::backoff::Backoff;

/// The API that filters may call, and the router's identity there. Values of headers are not shown
/// by `Debug`.
#[derive(Clone, PartialEq)]
pub struct ApiConfig {
    /// `http` or `https`, a host and optionally a path: no user, query or fragment.
    pub base_url: Url,
    pub token: Option<ApiToken>,
    /// Sent with every call.
    pub headers: Vec<(String, String)>,
    /// Timeout of one try.
    pub timeout: Duration,
    /// Number of tries after the first.
    pub retries: u32,
    /// Waits before another try.
    pub backoff: Backoff,
    /// Bytes of a body, sent or received.
    pub max_body: usize,
    /// True if the API may have an address that is not of the public Internet.
    pub allow_private: bool,
    pub identity: DeclaredIdentity,
    /// Position of its declaration, for problems found later.
    pub place: ConfigPlace,
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ApiConfig")
            .field("base_url", &self.base_url.as_str())
            .field("token", &self.token)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// Origin of the bearer token that is sent with every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiToken {
    /// Made by others, who renew it.
    Kept(KeptIn),
    /// Fetched, and renewed before it ends.
    Login(ApiLogin),
}

/// A login at the API: what a token is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLogin {
    pub kind: LoginKind,
    /// The id of this router's app, or client.
    pub id: String,
    pub secret: KeptIn,
}

/// Protocol of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// Lark's tenant access tokens of a custom app; the server is that of `base_url`.
    Lark,
    /// The client credentials grant of OAuth 2.0 (RFC 6749, 4.4).
    OAuth2 {
        /// The token endpoint.
        url: Url,
        /// Scopes, parted by spaces.
        scope: Option<String>,
    },
}

impl LoginKind {
    /// The word for it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Lark => "lark",
            Self::OAuth2 { .. } => "oauth2",
        }
    }
}

/// Location of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeptIn {
    /// Read again while the router runs, so that it can be renewed.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// An identity that calls an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    User,
    Bot,
}

impl AuthType {
    /// The word for it in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Bot => "bot",
        }
    }
}

/// The identity that the router has at the API, as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredIdentity {
    pub auth_types: Vec<AuthType>,
    /// `None` if they are unknown.
    pub scopes: Option<Vec<String>>,
    /// Events that are turned on at the platform. `None` if they are unknown.
    pub console_events: Option<Vec<String>>,
}

impl Config {
    /// The identity declared in `[api]`, or an empty one.
    pub fn identity(&self) -> DeclaredIdentity {
        self.api.as_ref().map(|api| api.identity.clone()).unwrap_or_default()
    }
}
