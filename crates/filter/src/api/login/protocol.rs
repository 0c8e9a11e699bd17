//! Protocols of logins: what is sent, and what the answers mean.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{RequestBuilder, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::answer::{IssuedToken, LoginFailure};
use crate::{api::token, config::LoginKind, json::JsonPointer};

const LARK_PATH: &str = "/open-apis/auth/v3/tenant_access_token/internal";
/// Codes of Lark's answers to calls whose token is missing, invalid, ended or not of the form that
/// it wants.
const LARK_INVALID_TOKEN: [&str; 4] = ["99991661", "99991663", "99991668", "99991671"];

/// Protocol of a login, and where it is spoken.
pub(super) enum LoginProtocol {
    Lark { url: Url, code: JsonPointer },
    OAuth2 { url: Url, scope: Option<String> },
}

impl LoginProtocol {
    pub(super) fn new(kind: &LoginKind, base_url: &Url) -> anyhow::Result<Self> {
        Ok(match kind {
            LoginKind::Lark => {
                let url = format!("{}{LARK_PATH}", base_url.as_str().trim_end_matches('/'));
                Self::Lark { url: url.parse().context("the login has no address")?, code: "/code".parse()? }
            }
            LoginKind::OAuth2 { url, scope } => Self::OAuth2 { url: url.clone(), scope: scope.clone() },
        })
    }

    /// The word for it in the configuration.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Lark { .. } => "lark",
            Self::OAuth2 { .. } => "oauth2",
        }
    }

    pub(super) fn url(&self) -> &Url {
        match self {
            Self::Lark { url, .. } | Self::OAuth2 { url, .. } => url,
        }
    }

    pub(super) fn request(&self, http: &reqwest::Client, id: &str, secret: &str) -> RequestBuilder {
        let (kind, body) = match self {
            Self::Lark { .. } => {
                ("application/json; charset=utf-8", json!({ "app_id": id, "app_secret": secret }).to_string())
            }
            Self::OAuth2 { scope, .. } => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "client_credentials");
                form.append_pair("client_id", id).append_pair("client_secret", secret);
                if let Some(scope) = scope {
                    form.append_pair("scope", scope);
                }
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        http.post(self.url().clone()).header(CONTENT_TYPE, kind).header("accept", "application/json").body(body)
    }

    /// Reads the answer to a login.
    pub(super) fn token(&self, status: StatusCode, body: &[u8], asked: Instant) -> Result<IssuedToken, LoginFailure> {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let refused = |words: String| Err(LoginFailure::Refused(status, words));
        let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty());
        let (token, life, refusal) = match self {
            Self::Lark { .. } => {
                let code = answer["code"].as_i64().filter(|code| *code != 0);
                let refusal = code.map(|code| format!("code {code}: {}", text("msg").unwrap_or_default()));
                (text("tenant_access_token"), &answer["expire"], refusal)
            }
            Self::OAuth2 { .. } => {
                let description = text("error_description").map(|text| format!(": {text}")).unwrap_or_default();
                let refusal = text("error").map(|error| format!("{error}{description}"));
                let other = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer"));
                let refusal = refusal.or_else(|| other.map(|kind| format!("`{kind}` is not a bearer token's type")));
                (text("access_token"), &answer["expires_in"], refusal)
            }
        };
        match (refusal, token) {
            (Some(refusal), _) => refused(refusal),
            // What is no success holds no token that must not be shown.
            (None, _) if body.is_empty() => refused("nothing more".to_owned()),
            (None, _) if !status.is_success() => refused(String::from_utf8_lossy(body).into_owned()),
            (None, None) => refused("the answer has no token".to_owned()),
            (None, Some(token)) => match token::bearer(token) {
                Ok(bearer) => Ok(IssuedToken { bearer, asked, life: seconds(life) }),
                Err(error) => refused(format!("the answer has no token that can be sent: {error}")),
            },
        }
    }

    /// Returns whether the body of an answer to a call says that its token does not count.
    pub(super) fn is_invalid_token(&self, body: &[u8]) -> bool {
        let Self::Lark { code, .. } = self else { return false };
        let code = code.find(body).ok().flatten();
        code.is_some_and(|code| LARK_INVALID_TOKEN.contains(&code))
    }
}

/// A number of seconds, which some servers write as a text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}
