//! Calls of the APIs in `[api]` and `[apis.NAME]` on behalf of filters: address, token and headers
//! stay on this side of the border.
//!
//! A filter hands over a method, a path and an optional body. The path is checked
//! ([`RequestTarget`]), then compared with the endpoints that its key may call ([`Endpoint`]); only
//! then is a request made, and repeated while that may help.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::{
    Method,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
};
use tokio::{runtime::Handle, task::JoinSet, time::Instant};
use url::Url;

use self::token::ApiBearer;
use crate::{
    backoff::Backoff,
    config,
    endpoint::{Endpoint, RequestTarget},
    outgoing,
};

mod attempt;
mod clients;
mod login;
mod token;
mod tries;

pub use clients::ApiClients;

/// Client of an API. Clones share connections and the token.
#[derive(Clone)]
pub struct ApiClient {
    inner: Arc<ApiClientInner>,
    /// Name of the API, empty for the one without a name.
    name: Arc<str>,
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiClient(..)")
    }
}

struct ApiClientInner {
    http: reqwest::Client,
    /// Base URL, without a trailing slash.
    base: String,
    /// Names of the headers that the configuration sets.
    own_headers: Vec<HeaderName>,
    token: Option<ApiBearer>,
    timeout: Duration,
    retries: u32,
    backoff: Backoff,
    max_body: usize,
    /// Runtime with the sockets: callers may run on another.
    runtime: Handle,
}

/// One call requested by a filter.
#[derive(Clone, Debug)]
pub struct ApiCall {
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Headers besides those that the router sets, and the content type in place of JSON's.
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
}

/// An answer of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    pub status: u16,
    /// Those that are text.
    pub headers: Vec<(String, String)>,
    /// Cut to the limit, unless the status is a success.
    pub body: Bytes,
}

/// Reason why a call has no answer. The texts are for the filter: they name its own path, never the
/// API's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// The key may not make this call. Nothing was sent.
    #[error("{0}")]
    Denied(String),
    #[error("the API took too long")]
    Timeout,
    /// The answer is not a success.
    #[error("the API answered {}", .0.status)]
    Status(ApiAnswer),
    #[error("{0}")]
    Failed(String),
}

impl ApiClient {
    /// Creates a client. Must be called on the runtime that is to make the calls.
    ///
    /// # Errors
    /// If the token can't be read, the address is private and must not be, or TLS can't be set up.
    pub fn new(settings: &config::ApiConfig) -> anyhow::Result<Self> {
        if !settings.allow_private {
            let private = "`base_url` is a private address: say `allow_private = true` if that is meant";
            outgoing::check_literal(&settings.base_url).context(private)?;
        }
        let token = ApiBearer::new(settings)?;
        let inner = ApiClientInner {
            http: http(&settings.base_url, settings.allow_private, &settings.headers)?,
            own_headers: settings.headers.iter().filter_map(|(name, _)| name.parse().ok()).collect(),
            base: settings.base_url.as_str().trim_end_matches('/').to_owned(),
            token,
            timeout: settings.timeout,
            retries: settings.retries,
            backoff: settings.backoff,
            max_body: settings.max_body,
            runtime: Handle::try_current().context("there is no runtime to make calls on")?,
        };
        Ok(Self { inner: Arc::new(inner), name: "".into() })
    }

    /// The same client under the name of an API.
    fn named(&self, name: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), name: name.into() }
    }

    /// Makes a call if it is among the `allowed`, retries it where that may help, and returns
    /// before `until`. When the future is dropped the call is cancelled.
    ///
    /// # Errors
    /// See [`CallRefusal`].
    pub async fn call(
        &self,
        key: &str,
        allowed: &[Endpoint],
        call: ApiCall,
        until: Instant,
    ) -> Result<ApiAnswer, CallRefusal> {
        let request = self.inner.request(key, (&self.name, allowed), call)?;
        let shared = Arc::clone(&self.inner);
        let mut task = JoinSet::new();
        task.spawn_on(async move { shared.send(&request, until).await }, &self.inner.runtime);
        match task.join_next().await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => Err(CallRefusal::Failed("the router is stopping".to_owned())),
        }
    }
}

/// A client for requests to `url`, each with these headers.
fn http(url: &Url, allow_private: bool, fixed: &[(String, String)]) -> anyhow::Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    for (name, value) in fixed {
        // The value is not quoted, as it may be a secret.
        let mut value = HeaderValue::from_str(value).with_context(|| format!("the header `{name}` can't be sent"))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes())?, value);
    }
    let mut http = outgoing::client(allow_private).default_headers(headers);
    if url.scheme() == "http" {
        // HTTP needs no certificates, so it works where there are none.
        http = http.tls_certs_only([]);
    }
    http.build().context("could not set up the HTTP client")
}

/// An allowed call.
struct AllowedCall {
    key: String,
    method: Method,
    /// Path without the query: the only part that is ever shown.
    path: String,
    url: String,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl AllowedCall {
    /// Returns whether sending it twice has the same effect as once.
    fn is_idempotent(&self) -> bool {
        self.method != Method::POST && self.method != Method::PATCH
    }

    fn failed(&self, why: impl fmt::Display) -> CallRefusal {
        CallRefusal::Failed(format!("`{} {}`: {why}", self.method, self.path))
    }
}

impl ApiClientInner {
    fn request(
        &self,
        key: &str,
        (api, allowed): (&str, &[Endpoint]),
        call: ApiCall,
    ) -> Result<AllowedCall, CallRefusal> {
        let ApiCall { method, path, headers, body } = call;
        let target = RequestTarget::new(&path)
            .map_err(|error| CallRefusal::Denied(format!("the path can't be called: {error}")))?;
        let shown = target.path();
        let is_allowed = allowed.iter().any(|endpoint| endpoint.api() == api && endpoint.allows(&method, target));
        let of = if api.is_empty() { String::new() } else { format!("{}: ", api.escape_debug()) };
        let denied = || CallRefusal::Denied(format!("`{of}{method} {shown}` is not in the `api` of key `{key}`"));
        let known = Method::from_bytes(method.as_bytes()).ok().filter(|_| is_allowed).ok_or_else(denied)?;
        let url = format!("{}{}", self.base, target.as_str());
        let request = AllowedCall {
            key: key.to_owned(),
            method: known,
            path: shown.to_owned(),
            url,
            headers: headers.iter().map(|(name, value)| self.header(name, value)).collect::<Result<_, _>>()?,
            body,
        };
        let size = request.body.as_ref().map_or(0, Bytes::len);
        if size > self.max_body {
            let why = format_args!("the body has {size} bytes, more than the limit of {}", self.max_body);
            return Err(request.failed(why));
        }
        Ok(request)
    }

    /// Checks a header that a filter sets: those of the configuration and of the connection stay as
    /// they are.
    fn header(&self, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), CallRefusal> {
        let shown = name.escape_debug();
        let refused = |why: &str| CallRefusal::Denied(format!("the header `{shown}` can't be set: {why}"));
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("it is not a valid name"))?;
        if self.own_headers.contains(&known) || ROUTERS_HEADERS.contains(&known) {
            return Err(refused("it is the router's own"));
        }
        Ok((known, HeaderValue::from_str(value).map_err(|_| refused("its value is not valid"))?))
    }
}

/// Headers that say who calls, or how the message is framed.
const ROUTERS_HEADERS: [HeaderName; 9] =
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, TE, UPGRADE];
