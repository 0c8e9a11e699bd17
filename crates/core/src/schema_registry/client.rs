//! Requests to the registry.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use reqwest::{Response, StatusCode, header::ACCEPT};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use crate::{
    config::{RegistryAuth, SchemaRegistryConfig},
    credential::Credential,
    outgoing,
    text::{line, start},
};

const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// Largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;
/// Age at which a file with a password or a token is read again.
const CREDENTIAL_AGE: Duration = Duration::from_secs(5);
/// Longest message of a refusal that is quoted, in bytes.
const LONGEST_MESSAGE: usize = 300;

/// Error of a request to the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry has no such id, subject or version.
    #[error("{0}")]
    Absent(String),
    /// What it has is no schema that can be used.
    #[error("{0}")]
    Unusable(String),
    /// It could not be asked, or gave no answer of a registry.
    #[error("{0}")]
    Away(String),
}

/// Client of a registry. Asks the address first that answered last.
pub(super) struct RegistryClient {
    http: reqwest::Client,
    urls: Vec<Url>,
    last: AtomicUsize,
    auth: ClientAuth,
}

enum ClientAuth {
    None,
    Basic(String, Credential<String>),
    Bearer(Credential<String>),
}

/// Body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
    #[serde(default)]
    message: String,
}

impl RegistryClient {
    pub(super) fn new(settings: &SchemaRegistryConfig) -> anyhow::Result<Self> {
        let text = |text: &str| Ok(text.to_owned());
        let auth = match &settings.auth {
            None => ClientAuth::None,
            Some(RegistryAuth::Basic { user, password }) => {
                let what = "the password for the schema registry";
                ClientAuth::Basic(user.clone(), Credential::read(what, password, CREDENTIAL_AGE, text)?)
            }
            Some(RegistryAuth::Bearer(token)) => {
                let what = "the token for the schema registry";
                ClientAuth::Bearer(Credential::read(what, token, CREDENTIAL_AGE, text)?)
            }
        };
        // Most registries run nearby, so private addresses are allowed.
        let http = outgoing::client(true).timeout(settings.timeout).build().context("can't build the client")?;
        Ok(Self { http, urls: settings.urls.clone(), last: AtomicUsize::new(0), auth })
    }

    /// Asks for what is at this path.
    ///
    /// # Errors
    /// Returns an error if there is nothing, or no registry answers.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, RegistryError> {
        let (count, last) = (self.urls.len(), self.last.load(Ordering::Relaxed));
        let mut errors = Vec::new();
        for number in (0..count).map(|step| (last + step) % count) {
            let base = &self.urls[number];
            match self.ask(base, path).await {
                Err(RegistryError::Away(error)) => {
                    errors.push(format!("{}: {error}", base.host_str().unwrap_or_default()))
                }
                answer => {
                    self.last.store(number, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(RegistryError::Away(errors.join("; ")))
    }

    async fn ask<T: DeserializeOwned>(&self, base: &Url, path: &[&str]) -> Result<T, RegistryError> {
        let away = |error: reqwest::Error| {
            let error = anyhow::Error::from(error.without_url());
            RegistryError::Away(format!("{error:#}"))
        };
        let mut url = base.clone();
        // Only addresses without a path refuse one, and these have a host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.get(url).header(ACCEPT, MEDIA_TYPES);
        let request = match &self.auth {
            ClientAuth::None => request,
            ClientAuth::Basic(user, password) => request.basic_auth(user, Some(password.current().await)),
            ClientAuth::Bearer(token) => request.bearer_auth(token.current().await),
        };
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let body = read(&mut response).await.map_err(away)?;
        if body.len() > LARGEST_ANSWER {
            return Err(RegistryError::Unusable(format!("the registry's answer has more than {LARGEST_ANSWER} bytes")));
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                RegistryError::Away(format!("the answer is not one of a schema registry: {}", line(&error.to_string())))
            });
        }
        Err(refusal(status, &body))
    }
}

/// Tells apart what the registry does not have, and what is wrong with the request or with it. A
/// page that something else at this address does not find says nothing about schemas.
fn refusal(status: StatusCode, body: &[u8]) -> RegistryError {
    let Ok(Refusal { error_code, message }) = serde_json::from_slice(body) else {
        let hint =
            if status == StatusCode::NOT_FOUND { ", which is no answer of a schema registry: see `url`" } else { "" };
        return RegistryError::Away(format!("it answers `{status}`{hint}"));
    };
    let message = start(&message, LONGEST_MESSAGE);
    if status == StatusCode::NOT_FOUND {
        return RegistryError::Absent(format!("the schema registry says: {message} ({error_code})"));
    }
    RegistryError::Away(format!("it answers `{status}`: {message} ({error_code})"))
}

/// Reads an answer, up to the chunk that exceeds the limit.
async fn read(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while answer.len() <= LARGEST_ANSWER
        && let Some(chunk) = response.chunk().await?
    {
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}
