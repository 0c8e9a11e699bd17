//! Requests of Lark (Feishu) as its open platform sends them: verification of the URL, encrypted
//! bodies, signatures, and the verification token of older apps.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;

use self::{
    crypto::{EncryptKey, LarkSignature},
    facts::RequestFacts,
};
use super::refusal::RequestRefusal;
use crate::{
    config::{KeptIn, LarkApp},
    credential::Credential,
    json,
    signature::Secret,
};

mod crypto;
mod facts;

/// Longest time for which the content of a file is reused.
const MAX_AGE: Duration = Duration::from_secs(1);
const UNSIGNED: &str =
    "`X-Lark-Signature` is missing, and the body is no verification of the URL under the encrypt key";

/// The apps whose events a source takes.
pub(super) struct LarkApps(Vec<LarkGuard>);

/// Authentication of one app's requests.
pub(super) struct LarkGuard {
    app_id: String,
    /// The keys in force during a rotation.
    keys: Vec<Credential<EncryptKey>>,
    tokens: Vec<Credential<Secret>>,
}

/// Authenticated request.
pub(super) enum LarkRequest {
    /// The developer console asks whether this URL is the app's: the challenge to answer with.
    Verification(ByteString),
    Event(LarkEvent),
}

/// Authenticated event.
pub(super) struct LarkEvent {
    /// The decrypted body.
    pub(super) body: Bytes,
    /// Lark sends an event again under the same id.
    pub(super) id: Option<String>,
    pub(super) tenant: Option<ByteString>,
}

impl LarkApps {
    /// # Errors
    /// Returns an error if a secret can't be read or is empty. It names the place, never the
    /// secret.
    pub(super) fn read(apps: &[LarkApp]) -> anyhow::Result<Self> {
        let key = |kept: &KeptIn| Credential::read("the encrypt key", kept, MAX_AGE, EncryptKey::parse);
        let parse = |text: &str| Ok(Secret::token(text)?);
        let token = |kept: &KeptIn| Credential::read("the verification token", kept, MAX_AGE, parse);
        let guard = |LarkApp { app_id, encrypt_keys, tokens }: &LarkApp| {
            Ok(LarkGuard {
                app_id: app_id.clone(),
                keys: encrypt_keys.iter().map(key).collect::<Result<_, _>>()?,
                tokens: tokens.iter().map(token).collect::<Result<_, _>>()?,
            })
        };
        apps.iter().map(guard).collect::<anyhow::Result<_>>().map(Self)
    }

    /// The app whose URL ends with `rest` behind the source's path: its id, or nothing if there is
    /// one app only.
    pub(super) fn at(&self, rest: &str) -> Option<&LarkGuard> {
        match &*self.0 {
            [app] if rest.is_empty() => Some(app),
            apps => apps.iter().find(|app| app.app_id == rest),
        }
    }
}

impl LarkGuard {
    /// Authenticates a request and decrypts its body.
    pub(super) async fn open(&self, headers: &HeaderMap, body: Bytes) -> Result<LarkRequest, RequestRefusal> {
        let (body, facts) = self.authenticated(headers, body).await?;
        self.check_token(&facts).await?;
        if let Some(challenge) = facts.challenge() {
            return Ok(LarkRequest::Verification(challenge.clone()));
        }
        if facts.app_id.as_deref().is_some_and(|app| app != self.app_id) {
            return Err(RequestRefusal::other_app(&self.app_id));
        }
        let id = facts.event_id.map(|id| format!("{}:{id}", self.app_id));
        Ok(LarkRequest::Event(LarkEvent { body, id, tenant: facts.tenant_key }))
    }

    /// Verifies the signature, if the app has an encrypt key. Returns the body, decrypted.
    async fn authenticated(&self, headers: &HeaderMap, body: Bytes) -> Result<(Bytes, RequestFacts), RequestRefusal> {
        let facts = RequestFacts::of(&body)?;
        if self.keys.is_empty() {
            return if facts.encrypted.is_some() { Err(self.no_key()) } else { Ok((body, facts)) };
        }
        let keys = valid(&self.keys).await;
        let Some(signature) = LarkSignature::of(headers).map_err(|why| self.doubt(why))? else {
            return unsigned_verification(&keys, &facts).ok_or_else(|| self.doubt(UNSIGNED));
        };
        let key = signature.key(&keys, &body).map_err(|why| self.doubt(why))?;
        let Some(text) = &facts.encrypted else { return Ok((body, facts)) };
        let plain = key.decrypt(text).ok_or_else(|| self.undecryptable())?;
        let facts = RequestFacts::of(&plain)?;
        Ok((plain, facts))
    }

    async fn check_token(&self, facts: &RequestFacts) -> Result<(), RequestRefusal> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let Some(given) = &facts.token else {
            return Err(self.wrong_token("the body has no `token`"));
        };
        let is_known = valid(&self.tokens).await.iter().any(|token| token.is(given.as_bytes()));
        if is_known { Ok(()) } else { Err(self.wrong_token("`token` is not the verification token")) }
    }

    fn wrong_token(&self, why: &str) -> RequestRefusal {
        let message = format!("{why} of app `{}`", self.app_id);
        let hint = "compare it with the verification token in the developer console";
        RequestRefusal::unauthorized("Lark", "token", message, hint)
    }

    fn doubt(&self, why: impl std::fmt::Display) -> RequestRefusal {
        let message = format!("app `{}`: {why}", self.app_id);
        let hint = "compare the encrypt key with the one in the developer console";
        RequestRefusal::unauthorized("Lark", "signature", message, hint)
    }

    fn no_key(&self) -> RequestRefusal {
        let message = format!("the body is encrypted, and app `{}` has no encrypt key here", self.app_id);
        RequestRefusal::bad("encrypted", message)
    }

    fn undecryptable(&self) -> RequestRefusal {
        RequestRefusal::bad("encrypted", format!("`encrypt` can't be decrypted with the key of app `{}`", self.app_id))
    }
}

/// Decrypts a verification of the URL, which carries no signature. Anything else without one gets
/// the same answer, however it decrypts: the difference would reveal plaintext bit by bit.
fn unsigned_verification(keys: &[EncryptKey], facts: &RequestFacts) -> Option<(Bytes, RequestFacts)> {
    let text = facts.encrypted.as_deref()?;
    let plain = keys.iter().filter_map(|key| key.decrypt(text));
    let mut bodies = plain.filter_map(|plain| RequestFacts::of(&plain).ok().map(|facts| (plain, facts)));
    bodies.find(|(_, facts)| facts.challenge().is_some())
}

/// What is read of a body before its request is trusted: the encrypted text, the token, and the
/// challenge. `None` if it is refused.
#[cfg(fuzzing)]
pub fn request_facts(body: &Bytes) -> Option<[Option<ByteString>; 3]> {
    let facts = RequestFacts::of(body).ok()?;
    let challenge = facts.challenge().cloned();
    Some([facts.encrypted, facts.token, challenge])
}

/// Decrypts the text of `encrypt`.
#[cfg(fuzzing)]
pub fn decrypted(key: &str, text: &str) -> Option<Bytes> {
    EncryptKey::parse(key).ok()?.decrypt(text)
}

async fn valid<T: Clone>(credentials: &[Credential<T>]) -> Vec<T> {
    let mut valid = Vec::with_capacity(credentials.len());
    for credential in credentials {
        valid.extend(credential.valid().await);
    }
    valid
}
