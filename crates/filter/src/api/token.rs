//! Bearer token, as it is sent.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use reqwest::header::HeaderValue;

use super::login::TokenLogin;
use crate::{
    config::{ApiConfig, ApiToken},
    credential::Credential,
};

/// Origin of the header that carries the token.
pub(super) enum ApiBearer {
    /// A file is read anew for every call.
    Kept(Credential<HeaderValue>),
    Login(Arc<TokenLogin>),
}

impl ApiBearer {
    /// Reads the token, or what it is asked for with.
    ///
    /// # Errors
    /// If there is none, or it can't be used. The message names the location, never the secret.
    pub(super) fn new(settings: &ApiConfig) -> anyhow::Result<Option<Self>> {
        match &settings.token {
            None => Ok(None),
            Some(ApiToken::Kept(kept)) => {
                Credential::read("the token", kept, Duration::ZERO, bearer).map(|kept| Some(Self::Kept(kept)))
            }
            Some(ApiToken::Login(login)) => {
                TokenLogin::new(login, settings).map(|login| Some(Self::Login(Arc::new(login))))
            }
        }
    }
}

/// The header's value for a token.
///
/// # Errors
/// If it can't be sent. The message contains none of it.
pub(super) fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let token = token.trim();
    ensure!(!token.is_empty(), "it is empty");
    ensure!(token.bytes().all(|byte| byte.is_ascii_graphic()), "a token is printable ASCII without spaces");
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_a_bearer_and_not_shown() {
        let value = bearer(" abc\n").unwrap();
        assert_eq!((value.to_str().unwrap(), format!("{value:?}")), ("Bearer abc", "Sensitive".to_owned()));
        for (broken, expected) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("two words", "a token is printable ASCII without spaces"),
            ("a\nb", "a token is printable ASCII without spaces"),
        ] {
            assert_eq!(bearer(broken).unwrap_err().to_string(), expected, "{broken:?}");
        }
    }
}
