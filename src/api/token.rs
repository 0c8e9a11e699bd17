//! The bearer token. A file is read anew for every call, so the token can be renewed while the router runs.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, anyhow, ensure};
use reqwest::header::HeaderValue;

use crate::config::ApiToken;

pub(super) enum Token {
    Fixed(HeaderValue),
    File { path: PathBuf, last: Mutex<Last> },
}

/// The last good token of a file.
pub(super) struct Last {
    token: HeaderValue,
    /// Whether the file could not be read since, which was said.
    is_stale: bool,
}

impl Token {
    /// # Errors
    /// When there is none, or it can't be sent. They name the place, never the token.
    pub(super) fn read(settings: &ApiToken) -> anyhow::Result<Self> {
        match settings {
            ApiToken::Env(variable) => {
                let at = || format!("could not use the token in the environment variable `{variable}`");
                // The variable's own error would quote what is no UTF-8.
                let text = std::env::var_os(variable).ok_or_else(|| anyhow!("it is not set")).with_context(at)?;
                let text = text.to_str().ok_or_else(|| anyhow!("it is not UTF-8")).with_context(at)?;
                Ok(Self::Fixed(header(text).with_context(at)?))
            }
            ApiToken::File(path) => {
                let token = std::fs::read_to_string(path).map_err(anyhow::Error::from).and_then(|text| header(&text));
                let token = token.with_context(|| format!("could not use the token in `{}`", path.display()))?;
                Ok(Self::File { path: path.clone(), last: Mutex::new(Last { token, is_stale: false }) })
            }
        }
    }

    /// What to send now. While the file can't be used the last good token stays.
    pub(super) async fn current(&self) -> HeaderValue {
        let (path, last) = match self {
            Self::Fixed(token) => return token.clone(),
            Self::File { path, last } => (path, last),
        };
        let read = read(path).await;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(token) => *last = Last { token, is_stale: false },
            Err(error) if !mem::replace(&mut last.is_stale, true) => {
                let (path, error) = (path.display(), format!("{error:#}"));
                tracing::warn!(%path, error, "the API's token can't be read, the last good one stays in use");
            }
            Err(_) => {}
        }
        last.token.clone()
    }
}

async fn read(path: &Path) -> anyhow::Result<HeaderValue> {
    header(&tokio::fs::read_to_string(path).await?)
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
    use std::fs;

    use super::*;

    fn shown(token: HeaderValue) -> String {
        token.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_last_good_token_stays_while_the_file_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let token = Token::read(&ApiToken::File(path.clone())).unwrap();
        assert_eq!(shown(token.current().await), "Bearer first");
        // The same length at the same time is another token all the same.
        fs::write(&path, "other\n").unwrap();
        assert_eq!(shown(token.current().await), "Bearer other");
        for broken in [&b""[..], b"\n", b"two words", b"a\nb", b"\xff"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(shown(token.current().await), "Bearer other", "{broken:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(shown(token.current().await), "Bearer other");
        fs::write(&path, "third").unwrap();
        assert_eq!(shown(token.current().await), "Bearer third");
    }

    #[test]
    fn a_token_that_is_of_no_use_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "top secret").unwrap();
        let unset = ApiToken::Env("TROMMEL_NO_SUCH_VARIABLE".to_owned());
        for (settings, expected) in [
            (ApiToken::File(path.clone()), "a token is printable ASCII without spaces"),
            (ApiToken::File(dir.path().join("none")), "No such file"),
            (unset, "`TROMMEL_NO_SUCH_VARIABLE`: it is not set"),
        ] {
            let Err(error) = Token::read(&settings) else { panic!("{settings:?} is of no use") };
            let error = format!("{error:#}");
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        let fixed = Token::read(&ApiToken::Env("CARGO_PKG_NAME".to_owned())).unwrap();
        assert!(matches!(fixed, Token::Fixed(token) if shown(token.clone()) == "Bearer trommel"));
    }
}
