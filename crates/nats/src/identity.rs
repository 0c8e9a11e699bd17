//! The identity that a client presents to a server on every connect. Files are read again each
//! time, so credentials can be renewed while the router runs.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, anyhow};
use async_nats::{Auth, AuthError, ServerAddr};
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;

use crate::{
    ConnectError, ConnectionLife,
    config::{self, NatsAuth},
};

/// Largest file with credentials, in bytes.
const LARGEST: u64 = 1 << 20;

pub(super) struct NatsIdentity(IdentityKind);

enum IdentityKind {
    /// Credentials that do not change.
    Fixed {
        user: Option<String>,
        password: Option<String>,
        token: Option<String>,
    },
    Credentials(PathBuf),
    Nkey(PathBuf),
}

impl NatsIdentity {
    /// Uses the credentials of the settings; if there are none, those in the first URL that has
    /// some.
    pub(super) fn new(settings: &config::NatsConfig, servers: &[ServerAddr]) -> Result<Self, ConnectError> {
        let kind = match &settings.auth {
            NatsAuth::None => in_url(servers)?,
            NatsAuth::Token(token) => IdentityKind::Fixed { user: None, password: None, token: Some(token.clone()) },
            NatsAuth::Password { user, password } => {
                IdentityKind::Fixed { user: Some(user.clone()), password: Some(password.clone()), token: None }
            }
            NatsAuth::Credentials(path) => IdentityKind::Credentials(path.clone()),
            NatsAuth::Nkey(path) => IdentityKind::Nkey(path.clone()),
        };
        let identity = Self(kind);
        // A file that can't be used is an error in the settings, not a refusal by the server.
        identity.answer(b"").map_err(|error| ConnectError::settings(super::error::shown(servers), error))?;
        Ok(identity)
    }

    fn answer(&self, nonce: &[u8]) -> anyhow::Result<Auth> {
        let mut auth = Auth::new();
        match &self.0 {
            IdentityKind::Fixed { user, password, token } => {
                (auth.username, auth.password, auth.token) = (user.clone(), password.clone(), token.clone());
            }
            IdentityKind::Credentials(path) => {
                let file = read(path)?;
                let jwt = section(&file, "NATS USER JWT");
                let seed = section(&file, "USER NKEY SEED");
                let (Some(jwt), Some(seed)) = (jwt, seed) else {
                    return Err(anyhow!(
                        "`{}` is not a NATS credentials file: it lacks a JWT or a seed",
                        path.display()
                    ));
                };
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(key(seed, path)?.sign(nonce)?);
            }
            IdentityKind::Nkey(path) => {
                let file = read(path)?;
                let seed = section(&file, "SEED").unwrap_or(file.trim());
                let key = key(seed, path)?;
                auth.nkey = Some(key.public_key());
                auth.signature = Some(key.sign(nonce)?);
            }
        }
        Ok(auth)
    }
}

fn in_url(servers: &[ServerAddr]) -> Result<IdentityKind, ConnectError> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(|text| Some(text.into_owned())).map_err(|error| {
            ConnectError::settings(super::error::shown(servers), anyhow!(error).context("credentials in the URL"))
        })
    };
    let found = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    Ok(match found {
        None => IdentityKind::Fixed { user: None, password: None, token: None },
        Some((token, None)) => IdentityKind::Fixed { user: None, password: None, token: decoded(token)? },
        Some((user, Some(password))) => {
            IdentityKind::Fixed { user: decoded(user)?, password: decoded(password)?, token: None }
        }
    })
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let at = || format!("can't read `{}`", path.display());
    let bytes = config::read(path, LARGEST).map_err(|error| anyhow!(error.cause())).with_context(at)?;
    String::from_utf8(bytes).with_context(at)
}

/// The JWT of a credentials file.
///
/// # Errors
/// Returns an error if the file can't be read, or has none.
pub(super) fn user_jwt(path: &Path) -> anyhow::Result<String> {
    let file = read(path)?;
    let jwt = section(&file, "NATS USER JWT").map(str::to_owned);
    jwt.ok_or_else(|| anyhow!("`{}` is not a NATS credentials file: it lacks a JWT", path.display()))
}

fn key(seed: &str, path: &Path) -> anyhow::Result<KeyPair> {
    KeyPair::from_seed(seed).map_err(|error| anyhow!("the nkey seed in `{}` is not valid: {error}", path.display()))
}

/// The first line between `-----BEGIN name-----` and its end.
fn section<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = file.lines().map(str::trim);
    lines.find(|line| line.starts_with("--") && line.contains("BEGIN") && line.contains(name))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with("--"))
}

type AuthAnswer = Pin<Box<dyn Future<Output = Result<Auth, AuthError>> + Send + Sync>>;

/// The client's callback on every connect. With [`ConnectionLife::Single`] it refuses all but the
/// first, which ends the client.
pub(super) fn callback(
    identity: Arc<NatsIdentity>,
    life: ConnectionLife,
) -> impl Fn(Vec<u8>) -> AuthAnswer + Send + Sync + 'static {
    let accepted = Arc::new(AtomicBool::new(false));
    move |nonce| {
        let (identity, accepted) = (Arc::clone(&identity), Arc::clone(&accepted));
        Box::pin(async move {
            let is_first = !accepted.swap(true, Ordering::Relaxed);
            if life == ConnectionLife::Single && !is_first {
                return Err(AuthError::new("this connection ends when it is lost"));
            }
            let answer = tokio::task::spawn_blocking(move || identity.answer(&nonce)).await;
            answer.map_err(AuthError::new)?.map_err(|error| AuthError::new(format!("{error:#}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    fn answer(auth: NatsAuth, url: &str) -> anyhow::Result<Auth> {
        let settings = config::NatsConfig {
            urls: vec![url.to_owned()],
            name: "test".to_owned(),
            auth,
            tls_ca: None,
            tls_client: None,
            tls_required: false,
            connect_timeout: std::time::Duration::from_secs(1),
            api_prefix: "$JS.API".to_owned(),
        };
        NatsIdentity::new(&settings, &[url.parse()?])?.answer(b"nonce")
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn credentials_in_the_url_count_where_the_settings_name_none() {
        let auth = answer(NatsAuth::None, "nats://ann:p%40ss@localhost").unwrap();
        assert_eq!((auth.username.as_deref(), auth.password.as_deref()), (Some("ann"), Some("p@ss")));
        let auth = answer(NatsAuth::None, "nats://secret@localhost").unwrap();
        assert_eq!((auth.token.as_deref(), auth.username), (Some("secret"), None));
        let auth = answer(NatsAuth::Token("other".to_owned()), "nats://secret@localhost").unwrap();
        assert_eq!(auth.token.as_deref(), Some("other"));
    }

    #[test]
    fn a_credentials_file_gives_its_jwt_and_signs_with_its_seed() {
        let file = file(&format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.abc-_\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
        ));
        let auth = answer(NatsAuth::Credentials(file.path().to_owned()), "nats://localhost").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0.abc-_"));
        let key = KeyPair::from_seed(SEED).unwrap();
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn an_nkey_file_is_a_seed_alone() {
        let file = file(&format!("{SEED}\n"));
        let auth = answer(NatsAuth::Nkey(file.path().to_owned()), "nats://localhost").unwrap();
        let key = KeyPair::from_seed(SEED).unwrap();
        assert_eq!(auth.nkey, Some(key.public_key()));
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn files_that_can_not_be_used_are_named_and_their_content_is_not() {
        let garbage = file("topsecret");
        for (auth, expected) in [
            (NatsAuth::Credentials("/nowhere/x.creds".into()), "can't read `/nowhere/x.creds`"),
            (NatsAuth::Credentials(garbage.path().to_owned()), "is not a NATS credentials file"),
            (NatsAuth::Nkey(garbage.path().to_owned()), "is not valid"),
        ] {
            let error = answer(auth, "nats://localhost").map(|_| ()).unwrap_err();
            let connect = error.downcast_ref::<ConnectError>().unwrap();
            assert_eq!(connect.trouble, super::super::ConnectTrouble::Settings);
            let text = format!("{error:#}");
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("topsecret"), "{text}");
        }
    }
}
