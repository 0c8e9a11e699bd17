//! Encryption and signatures of Lark's requests: AES-256 in CBC mode, and SHA-256 over time, nonce,
//! key and body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aes::Aes256;
use anyhow::ensure;
use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use cbc::{
    Decryptor,
    cipher::{BlockDecryptMut as _, KeyIvInit as _, block_padding::Pkcs7},
};
use sha2::{Digest as _, Sha256};

use crate::signature::{AHEAD, Secret, TOLERANCE};

const TIMESTAMP: &str = "x-lark-request-timestamp";
const NONCE: &str = "x-lark-request-nonce";
const SIGNATURE: &str = "x-lark-signature";
/// Bytes of the initialisation vector, which precedes the ciphertext.
const VECTOR: usize = 16;

/// Encrypt key of an app. Not shown by `Debug`, which it lacks.
#[derive(Clone)]
pub(super) struct EncryptKey {
    text: String,
    /// Key of the cipher.
    digest: [u8; 32],
}

impl EncryptKey {
    /// # Errors
    /// Returns an error if the text is empty without the space around it.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        ensure!(!text.is_empty(), "it is empty");
        Ok(Self { text: text.to_owned(), digest: Sha256::digest(text).into() })
    }

    /// Decrypts the text of `encrypt`; `None` if it was not made with this key.
    pub(super) fn decrypt(&self, text: &str) -> Option<Bytes> {
        let mut bytes = BASE64.decode(text).ok()?;
        let (vector, ciphertext) = bytes.split_at_mut_checked(VECTOR)?;
        let cipher = Decryptor::<Aes256>::new_from_slices(&self.digest, vector).ok()?;
        let plain = cipher.decrypt_padded_mut::<Pkcs7>(ciphertext).ok()?.len();
        bytes.truncate(VECTOR + plain);
        Some(Bytes::from(bytes).slice(VECTOR..))
    }

    fn signature(&self, timestamp: &str, nonce: &str, body: &[u8]) -> String {
        let parts = [timestamp.as_bytes(), nonce.as_bytes(), self.text.as_bytes(), body];
        let digest = parts.into_iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
        format!("{:x}", digest.finalize())
    }
}

/// Reason why a request is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LarkDoubt {
    #[error("`X-Lark-Request-Timestamp` and `X-Lark-Request-Nonce` go with `X-Lark-Signature`, and one is missing")]
    Incomplete,
    #[error("`X-Lark-Request-Timestamp` is not a number of seconds since 1970")]
    NoTime,
    #[error("`X-Lark-Request-Timestamp` lies more than {} minutes back", TOLERANCE.as_secs() / 60)]
    TooOld,
    #[error("`X-Lark-Request-Timestamp` lies more than {} seconds ahead", AHEAD.as_secs())]
    TooNew,
    #[error("`X-Lark-Signature` was not made with the encrypt key")]
    NoMatch,
}

/// Values of a request's signature headers.
pub(super) struct LarkSignature<'a> {
    timestamp: &'a str,
    nonce: &'a str,
    signature: &'a str,
}

impl<'a> LarkSignature<'a> {
    /// Reads the headers; `None` for a request that is not signed.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Option<Self>, LarkDoubt> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
        let Some(signature) = header(SIGNATURE) else { return Ok(None) };
        match (header(TIMESTAMP), header(NONCE)) {
            (Some(timestamp), Some(nonce)) => Ok(Some(Self { timestamp, nonce, signature })),
            _ => Err(LarkDoubt::Incomplete),
        }
    }

    /// Returns the key that the signature was made with, shortly before now. The time that it takes
    /// does not reveal how much of a signature is right.
    pub(super) fn key<'k>(&self, keys: &'k [EncryptKey], body: &[u8]) -> Result<&'k EncryptKey, LarkDoubt> {
        self.check_time(SystemTime::now())?;
        let is_by = |key: &&EncryptKey| {
            let made = key.signature(self.timestamp, self.nonce, body);
            Secret::token(&made).is_ok_and(|made| made.is(self.signature.as_bytes()))
        };
        keys.iter().find(is_by).ok_or(LarkDoubt::NoMatch)
    }

    fn check_time(&self, now: SystemTime) -> Result<(), LarkDoubt> {
        let is_number = self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.timestamp.parse().ok().filter(|_| is_number).ok_or(LarkDoubt::NoTime)?;
        let sent = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(LarkDoubt::TooNew)?;
        if now.duration_since(sent).is_ok_and(|age| age > TOLERANCE) {
            return Err(LarkDoubt::TooOld);
        }
        if sent.duration_since(now).is_ok_and(|ahead| ahead > AHEAD) {
            return Err(LarkDoubt::TooNew);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> EncryptKey {
        EncryptKey::parse(text).unwrap()
    }

    /// The example of Lark's documentation.
    #[test]
    fn the_vector_of_the_open_platform() {
        let text = "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=";
        assert_eq!(key(" test key\n").decrypt(text).as_deref(), Some(&b"hello world"[..]));
        assert_eq!(key("another key").decrypt(text), None);
        for broken in ["", "?", "AAAA", &text[..24], "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(key("test key").decrypt(broken), None, "{broken}");
        }
    }

    /// `printf %s 1614265330nonceencrypt{} | sha256sum`
    #[test]
    fn a_signature_covers_time_nonce_key_and_body() {
        let made = key("encrypt").signature("1614265330", "nonce", b"{}");
        assert_eq!(made, "9edf0456ccf218b8a62cad108279fdb589e87f1d6650fe9a3093a4181a38451b");
    }

    #[test]
    fn an_old_signature_does_not_count() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let (sent, tolerance, ahead) = (1_614_265_330, TOLERANCE.as_secs(), AHEAD.as_secs());
        let check = |timestamp, now| LarkSignature { timestamp, nonce: "n", signature: "s" }.check_time(at(now));
        for (now, expected) in [
            (sent + tolerance, Ok(())),
            (sent - ahead, Ok(())),
            (sent + tolerance + 1, Err(LarkDoubt::TooOld)),
            (sent - ahead - 1, Err(LarkDoubt::TooNew)),
        ] {
            assert_eq!(check("1614265330", now), expected, "{now}");
        }
        for timestamp in ["", "soon", "+1614265330", "1614265330.5"] {
            assert_eq!(check(timestamp, sent), Err(LarkDoubt::NoTime), "{timestamp}");
        }
    }
}
