//! One POST to a webhook: signing it, sending it once, and reading the answer.

use std::{
    collections::HashMap,
    error::Error as StdError,
    iter,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use reqwest::{
    Client, Response,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::request::WebhookRequest;
use crate::{
    config::Webhook,
    event::identity::TRACEPARENT,
    outgoing::{self, PrivateAddress, retry_after},
    poison::ignore_poison,
    signature,
};

const CONNECT: Duration = Duration::from_secs(5);
/// Limit for the whole exchange.
const TOTAL: Duration = Duration::from_secs(15);
/// Time for which an idle connection is kept for the next POST.
const IDLE: Duration = Duration::from_secs(15);
/// Bytes read of an answer's body.
const BODY: usize = 1 << 10;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The receiver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAnswer {
    pub status: u16,
    /// Pause that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

impl WebhookAnswer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends webhook requests. Webhooks that may go to the same addresses share connections.
#[derive(Debug, Default)]
pub struct WebhookPoster(Mutex<HashMap<ClientReach, Client>>);

/// Addresses that a client may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClientReach {
    private: bool,
    tls: bool,
}

impl WebhookPoster {
    /// Sends a letter to a webhook, signed with this time. If the future is dropped, the letter may
    /// have arrived all the same.
    ///
    /// # Errors
    /// Returns the reason if there is no answer. It leaves out the address and the headers, which
    /// may hold secrets.
    pub async fn post(
        &self,
        webhook: &Webhook,
        letter: WebhookRequest,
        at: Timestamp,
    ) -> Result<WebhookAnswer, String> {
        let WebhookRequest { id, content_type, traceparent, payload } = letter;
        let client = self.client(webhook)?;
        // A value that is not valid in a header is left out.
        let header = |text: Option<String>| text.and_then(|text| HeaderValue::try_from(text).ok());
        let (content_type, traceparent) = (header(content_type).unwrap_or(JSON), header(traceparent));
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let sign = |secret| signature::sign(secret, &id, seconds, &payload);
        let signatures: Vec<_> = webhook.signing(at).iter().map(sign).collect();
        let mut request = client
            .post(webhook.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header(signature::ID, &id)
            .header(signature::TIMESTAMP, seconds)
            .header(signature::SIGNATURE, signatures.join(" "))
            .body(payload);
        if let Some(traceparent) = traceparent {
            request = request.header(TRACEPARENT, traceparent);
        }
        for (name, value) in &webhook.headers {
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, mut value) = header.ok_or_else(|| format!("its header `{name}` can't be sent"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(why)?;
        let status = response.status().as_u16();
        let retry_after = retry_after::pause(response.headers(), SystemTime::now());
        Ok(WebhookAnswer { status, retry_after, body: begin(&mut response).await })
    }

    fn client(&self, webhook: &Webhook) -> Result<Client, String> {
        let reach = ClientReach { private: webhook.allow_private, tls: webhook.url.scheme() == "https" };
        let mut clients = ignore_poison(self.0.lock());
        if let Some(client) = clients.get(&reach) {
            return Ok(client.clone());
        }
        let client = client(reach).map_err(|error| format!("could not set up the HTTP client: {}", last(&error)))?;
        Ok(clients.entry(reach).or_insert(client).clone())
    }
}

fn client(reach: ClientReach) -> reqwest::Result<Client> {
    let http = outgoing::client(reach.private).connect_timeout(CONNECT).timeout(TOTAL).pool_idle_timeout(IDLE);
    // No certificates are loaded without TLS, so plain HTTP works on machines that have none.
    if reach.tls { http.build() } else { http.tls_certs_only([]).build() }
}

/// Reads the beginning of the body. The status is known by now, so a body that breaks off is not an
/// error.
async fn begin(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < BODY
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY - body.len())]);
    }
    body
}

fn why(error: reqwest::Error) -> String {
    let causes = || iter::successors(error.source(), |cause| (*cause).source());
    if causes().any(|cause| cause.is::<PrivateAddress>()) {
        return "its name leads to a private address, and `allow_private` is not set".to_owned();
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => format!("could not connect within {CONNECT:?}"),
        (true, false) => format!("could not connect: {}", last(&error)),
        (false, true) => format!("no answer within {TOTAL:?}"),
        (false, false) => format!("the connection broke: {}", last(&error)),
    }
}

/// Returns the last cause, which is the actual fault; those before it are context, and the
/// outermost would contain the address.
fn last(error: &reqwest::Error) -> String {
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.last().map_or_else(|| "no cause is known".to_owned(), ToString::to_string)
}
