//! Signatures of HTTP bodies in the form of Standard Webhooks (<https://www.standardwebhooks.com>):
//! HMAC-SHA256 over the message's id, its send time and its body. Proofs of dead letters are made
//! the same way (`letter`).

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

mod letter;
mod new_secret;

pub use letter::{LetterProof, LetterSigner, PROOF, Unproven};
pub use new_secret::make_secret_file;

/// Header with the message's id, which stays the same when it is sent again.
pub const ID: &str = "webhook-id";
/// Header with the seconds since 1970 at which the message was sent.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Header with the signatures, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";

/// Longest time by which a message's timestamp may lie in the past.
pub const TOLERANCE: Duration = Duration::from_mins(5);
/// Longest time by which it may lie in the future: clocks differ, but a message can't arrive before
/// it is sent.
pub const AHEAD: Duration = Duration::from_mins(1);

/// Prefix of a secret in base64.
pub const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// Shared secret: `whsec_` and base64, or any other text, which is taken literally. Not shown by
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Error for a text that is not a secret. The text itself is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    #[error("it is empty")]
    Empty,
    #[error("what follows `whsec_` is not base64")]
    NotBase64,
    #[error("something stands in front of `whsec_`, such as `v1,` or a quote: leave that out")]
    InFront,
    #[error("it is a key of a pair (`whsk_`, `whpk_`), and signatures here are made with `whsec_` secrets alone")]
    OfAPair,
}

impl FromStr for Secret {
    type Err = NoSecret;

    /// Parses a secret without the space around it. Anything else around `whsec_` is a mistake that
    /// would sign with another key.
    fn from_str(text: &str) -> Result<Self, NoSecret> {
        let text = text.trim();
        if ["whsk_", "whpk_"].iter().any(|pair| text.contains(pair)) {
            return Err(NoSecret::OfAPair);
        }
        let key = match text.strip_prefix(PREFIX) {
            None if text.contains(PREFIX) => return Err(NoSecret::InFront),
            Some(key) => BASE64.decode(key).map_err(|_| NoSecret::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err(NoSecret::Empty) } else { Ok(Self(key)) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Creates a secret that is sent as it is, such as a bearer token: `whsec_` has no meaning
    /// here.
    ///
    /// # Errors
    /// Returns an error if the text is empty without the space around it.
    pub fn token(text: &str) -> Result<Self, NoSecret> {
        let text = text.trim();
        if text.is_empty() { Err(NoSecret::Empty) } else { Ok(Self(text.as_bytes().to_vec())) }
    }

    /// Returns whether the secret is shorter than the 24 bytes that Standard Webhooks asks for.
    pub fn is_short(&self) -> bool {
        self.0.len() < 24
    }

    /// Returns whether `text` is the secret. The time that it takes does not reveal how much of it
    /// is right.
    pub fn is(&self, text: &[u8]) -> bool {
        let tag = |text| self.mac("", "", text);
        tag(text).verify(&tag(&self.0).finalize().into_bytes()).is_ok()
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        // A key of any length is valid, so there is never an error.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

/// Creates one entry of the header [`SIGNATURE`]. `timestamp` is in seconds since 1970.
pub fn sign(secret: &Secret, id: &str, timestamp: u64, body: &[u8]) -> String {
    let tag = secret.mac(id, &timestamp.to_string(), body).finalize().into_bytes();
    format!("{VERSION}{}", BASE64.encode(tag))
}

/// Values of a message's signature headers.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeaders<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    pub signatures: &'a str,
}

/// Reason why a message is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureDoubt {
    #[error("`{TIMESTAMP}` is not a number of seconds since 1970")]
    NoTime,
    #[error("`{TIMESTAMP}` lies more than {} minutes back", TOLERANCE.as_secs() / 60)]
    TooOld,
    #[error("`{TIMESTAMP}` lies more than {} seconds ahead", AHEAD.as_secs())]
    TooNew,
    #[error("no signature in `{SIGNATURE}` was made with the secret")]
    NoMatch,
}

/// Checks that one of the signatures was made with one of the secrets, at most [`TOLERANCE`] before
/// `now` or [`AHEAD`] of it. The time that it takes does not reveal how much of a signature is
/// right.
///
/// # Errors
/// Returns the reason why the message is not to be trusted.
pub fn verify(
    secrets: &[Secret],
    signed: SignatureHeaders<'_>,
    body: &[u8],
    now: SystemTime,
) -> Result<(), SignatureDoubt> {
    // Parsing alone would accept a sign in front.
    let is_number = signed.timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = signed.timestamp.parse().ok().filter(|_| is_number).ok_or(SignatureDoubt::NoTime)?;
    let sent = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(SignatureDoubt::TooNew)?;
    if now.duration_since(sent).is_ok_and(|age| age > TOLERANCE) {
        return Err(SignatureDoubt::TooOld);
    }
    if sent.duration_since(now).is_ok_and(|ahead| ahead > AHEAD) {
        return Err(SignatureDoubt::TooNew);
    }
    // The body is hashed once per secret, however many signatures a client sends.
    let macs: Vec<_> = secrets.iter().map(|secret| secret.mac(signed.id, signed.timestamp, body)).collect();
    let mut tags =
        signed.signatures.split(' ').filter_map(|signature| BASE64.decode(signature.strip_prefix(VERSION)?).ok());
    let is_ours = |tag: Vec<u8>| macs.iter().any(|mac| mac.clone().verify_slice(&tag).is_ok());
    if tags.any(is_ours) { Ok(()) } else { Err(SignatureDoubt::NoMatch) }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn check(secrets: &[Secret], timestamp: &str, signatures: &str, now: u64) -> Result<(), SignatureDoubt> {
        verify(secrets, SignatureHeaders { id: ID, timestamp, signatures }, BODY, at(now))
    }

    /// The test vector of the Standard Webhooks libraries.
    #[test]
    fn the_vector_of_the_standard() {
        assert_eq!(sign(&secret(SECRET), ID, SENT, BODY), SIGNATURE);
        assert_eq!(check(&[secret(SECRET)], &SENT.to_string(), SIGNATURE, SENT), Ok(()));
    }

    #[test]
    fn text_without_the_prefix_is_the_key_itself() {
        let (raw, encoded) = (secret(" a raw secret\n"), secret(&format!("whsec_{}", BASE64.encode("a raw secret"))));
        assert_eq!(raw, encoded);
        for (text, error) in [
            ("", NoSecret::Empty),
            (" \n", NoSecret::Empty),
            ("whsec_", NoSecret::Empty),
            ("whsec_%", NoSecret::NotBase64),
            ("v1,whsec_AAAA", NoSecret::InFront),
            ("\"whsec_AAAA\"", NoSecret::InFront),
            ("SECRET=whsec_AAAA", NoSecret::InFront),
            ("whsk_AAAA", NoSecret::OfAPair),
            (" v1a,whpk_AAAA", NoSecret::OfAPair),
        ] {
            assert_eq!(text.parse::<Secret>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_secret_of_less_than_24_bytes_is_short() {
        assert!(!secret(SECRET).is_short() && !secret(&"a".repeat(24)).is_short());
        assert!(secret(&"a".repeat(23)).is_short() && secret("whsec_AAAA").is_short());
    }

    /// During a rotation both ends may have two secrets.
    #[test]
    fn one_signature_by_one_secret_is_enough() {
        let (old, new) = (secret("old"), secret("new"));
        let (by_old, by_new) = (sign(&old, ID, SENT, BODY), sign(&new, ID, SENT, BODY));
        let sent = SENT.to_string();
        for signatures in [&by_new, &format!("{by_old} {by_new}"), &format!("v1a,AAAA v1,%  {by_new}")] {
            assert_eq!(check(&[old.clone(), new.clone()], &sent, signatures, SENT), Ok(()), "{signatures}");
            assert_eq!(check(slice::from_ref(&new), &sent, signatures, SENT), Ok(()), "{signatures}");
        }
        let tag = by_new.strip_prefix(VERSION).unwrap();
        for signatures in [&by_old, "", "v1,", tag, &format!("v2,{tag}"), &by_new[..by_new.len() - 4]] {
            assert_eq!(
                check(slice::from_ref(&new), &sent, signatures, SENT),
                Err(SignatureDoubt::NoMatch),
                "{signatures}"
            );
        }
        assert_eq!(check(&[], &sent, &by_new, SENT), Err(SignatureDoubt::NoMatch));
    }

    #[test]
    fn everything_is_signed() {
        let (secrets, sent) = ([secret(SECRET)], SENT.to_string());
        let signed = SignatureHeaders { id: ID, timestamp: &sent, signatures: SIGNATURE };
        let later = (SENT + 1).to_string();
        for signed in [SignatureHeaders { id: "msg_other", ..signed }, SignatureHeaders { timestamp: &later, ..signed }]
        {
            assert_eq!(verify(&secrets, signed, BODY, at(SENT)), Err(SignatureDoubt::NoMatch), "{signed:?}");
        }
        assert_eq!(verify(&secrets, signed, b"{}", at(SENT)), Err(SignatureDoubt::NoMatch));
    }

    #[test]
    fn what_is_sent_again_much_later_is_not_believed() {
        let (secrets, tolerance) = ([secret(SECRET)], TOLERANCE.as_secs());
        for (now, expected) in [
            (SENT + tolerance, Ok(())),
            (SENT - AHEAD.as_secs(), Ok(())),
            (SENT + tolerance + 1, Err(SignatureDoubt::TooOld)),
            (SENT - AHEAD.as_secs() - 1, Err(SignatureDoubt::TooNew)),
        ] {
            assert_eq!(check(&secrets, &SENT.to_string(), SIGNATURE, now), expected, "{now}");
        }
        for timestamp in ["", "soon", "+1614265330", "-1", "1614265330.5", "18446744073709551616"] {
            assert_eq!(check(&secrets, timestamp, SIGNATURE, SENT), Err(SignatureDoubt::NoTime), "{timestamp}");
        }
        assert_eq!(check(&secrets, &u64::MAX.to_string(), SIGNATURE, SENT), Err(SignatureDoubt::TooNew));
    }

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = Secret::token(" whsec_abc\n").unwrap();
        assert!(token.is(b"whsec_abc"));
        for other in ["", "whsec_ab", "whsec_abcd", "whsec_abd", "i\u{b7}"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(Secret::token(" "), Err(NoSecret::Empty));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", secret("hunter2")), "Secret(..)");
    }
}
