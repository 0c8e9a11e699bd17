//! Bearer token, as it is sent. A file is read anew for every call.

use std::time::Duration;

use anyhow::ensure;
use reqwest::header::HeaderValue;

use crate::{config::KeptIn, credential::Credential};

/// Reads the token.
///
/// # Errors
/// If there is none, or it can't be sent. The message names the location, never the token.
pub(super) fn read(kept: &KeptIn) -> anyhow::Result<Credential<HeaderValue>> {
    Credential::read("the token", kept, Duration::ZERO, header)
}

fn header(token: &str) -> anyhow::Result<HeaderValue> {
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
        let value = header(" abc\n").unwrap();
        assert_eq!((value.to_str().unwrap(), format!("{value:?}")), ("Bearer abc", "Sensitive".to_owned()));
        for (broken, expected) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("two words", "a token is printable ASCII without spaces"),
            ("a\nb", "a token is printable ASCII without spaces"),
        ] {
            assert_eq!(header(broken).unwrap_err().to_string(), expected, "{broken:?}");
        }
    }
}
