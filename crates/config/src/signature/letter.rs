//! Proof that a dead letter was written by this router: an HMAC-SHA256 over its record, in the
//! record's last member.
//!
//! Otherwise a client that may publish to the subjects of dead letters, or write to their file,
//! could have any event sent through any key. The signature covers the record in one line, which is
//! how a file stores it and a stream need not.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::Mac as _;

use super::Secret;
use crate::json;

/// Member that holds the proof.
pub const PROOF: &str = "proof";
/// Bytes before the proof in a record, and after it.
const BEFORE: &[u8] = b",\"proof\":\"";
const AFTER: &[u8] = b"\"}";
/// Length of a proof: 32 bytes in base64.
const LENGTH: usize = 44;
/// Takes the place of a signed HTTP message's id, so that no signature of the one kind is valid for
/// the other.
const PURPOSE: &str = "dead-letter";

/// Signer and verifier of dead letters. Without secrets it does neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterSigner {
    /// Secrets: the first one signs, all of them verify.
    secrets: Vec<Secret>,
}

/// Result of verifying a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterProof {
    /// The router wrote the letter, and it is unchanged since.
    Proven,
    /// The letter has no proof.
    Missing,
    /// The proof was made with another secret, or the letter was changed.
    Wrong,
}

/// Reason why a letter is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("it has no proof that this router wrote it: another program did, or a version without proofs")]
    Missing,
    #[error("its proof was made with another secret than this router's, or the letter was changed")]
    Wrong,
}

impl LetterProof {
    /// Turns the result into an error unless the letter is proven.
    ///
    /// # Errors
    /// Returns the reason if the letter is not proven.
    pub fn check(self) -> Result<(), Unproven> {
        match self {
            Self::Proven => Ok(()),
            Self::Missing => Err(Unproven::Missing),
            Self::Wrong => Err(Unproven::Wrong),
        }
    }
}

impl LetterSigner {
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets }
    }

    /// Adds the proof to a record, a JSON object with members.
    pub fn sign(&self, record: Vec<u8>) -> Vec<u8> {
        let line = in_one_line(&record);
        let (Some(secret), Some(body)) = (self.secrets.first(), line.strip_suffix(b"}")) else { return record };
        let proof = BASE64.encode(secret.mac(PURPOSE, "", body).finalize().into_bytes());
        let mut signed = record;
        signed.truncate(signed.trim_ascii_end().len() - 1);
        for part in [BEFORE, proof.as_bytes(), AFTER] {
            signed.extend_from_slice(part);
        }
        signed
    }

    /// Verifies whether a record as stored was signed with one of the secrets. The time that it
    /// takes does not reveal how much of a proof is right.
    pub fn verify(&self, record: &[u8]) -> LetterProof {
        let line = in_one_line(record);
        let Some((body, proof)) = split(&line) else { return LetterProof::Missing };
        let tag = BASE64.decode(proof).unwrap_or_default();
        let is_ours = |secret: &Secret| secret.mac(PURPOSE, "", body).verify_slice(&tag).is_ok();
        if self.secrets.iter().any(is_ours) { LetterProof::Proven } else { LetterProof::Wrong }
    }
}

/// Splits a line into the signed text and its proof; `None` without a proof.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_suffix(AFTER)?;
    let (rest, proof) = rest.split_at(rest.len().checked_sub(LENGTH)?);
    Some((rest.strip_suffix(BEFORE)?, proof))
}

fn in_one_line(record: &[u8]) -> Cow<'_, [u8]> {
    let record = record.trim_ascii();
    if !record.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(record);
    }
    let mut line = Vec::with_capacity(record.len());
    json::append(&mut line, record);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(secrets: &[&str]) -> LetterSigner {
        LetterSigner::new(secrets.iter().map(|secret| secret.parse().unwrap()).collect())
    }

    #[test]
    fn a_record_is_proven_by_whoever_has_the_secret() {
        let (old, new) = (signer(&["old"]), signer(&["new", "old"]));
        let signed = old.sign(br#"{"reason":"trap","payload":1}"#.to_vec());
        let text = String::from_utf8(signed.clone()).unwrap();
        assert!(text.starts_with(r#"{"reason":"trap","payload":1,"proof":""#) && text.ends_with("=\"}"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        for (signer, expected) in [
            (&old, LetterProof::Proven),
            (&new, LetterProof::Proven),
            (&signer(&["new"]), LetterProof::Wrong),
            (&LetterSigner::default(), LetterProof::Wrong),
        ] {
            assert_eq!(signer.verify(&signed), expected);
        }
        assert_eq!(old.verify(&new.sign(b"{\"a\":1}".to_vec())), LetterProof::Wrong, "the first secret signs");
    }

    #[test]
    fn what_was_never_signed_has_no_proof() {
        let signer = signer(&["secret"]);
        for record in ["", "{}", "null", r#"{"reason":"trap"}"#, r#"{"a":1,"proof":""}"#, r#"{"a":1,"proof":"AAAA"}"#] {
            assert_eq!(signer.verify(record.as_bytes()), LetterProof::Missing, "{record}");
        }
        let record = b"{\"a\":1}".to_vec();
        assert_eq!(LetterSigner::default().sign(record.clone()), record, "there is nothing to sign with");
    }

    /// A signature of an HTTP message, which others may choose, is not valid for a letter.
    #[test]
    fn a_signature_of_a_message_is_no_proof() {
        let secret: Secret = "secret".parse().unwrap();
        let body = br#"{"reason":"trap""#;
        let signature = super::super::sign(&secret, "dead-letter", 0, body);
        let record = [body, BEFORE, signature.strip_prefix("v1,").unwrap().as_bytes(), AFTER].concat();
        assert_eq!(LetterSigner::new(vec![secret]).verify(&record), LetterProof::Wrong);
    }

    fn record() -> impl Strategy<Value = Vec<u8>> {
        (any::<u64>(), ".*", "[ \n\r\t]{0,3}").prop_map(|(number, text, space)| {
            let text = serde_json::Value::from(text);
            format!("{{\"n\":{number},{space}\"payload\":{space}{text}}}").into_bytes()
        })
    }

    proptest! {
        /// A letter is proven stored as it is or in one line; with any byte of it changed it is
        /// not.
        #[test]
        fn every_byte_counts(record in record(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let signer = signer(&["secret"]);
            let signed = signer.sign(record);
            prop_assert_eq!(signer.verify(&signed), LetterProof::Proven);
            let mut line = Vec::new();
            json::append(&mut line, &signed);
            prop_assert_eq!(signer.verify(&line), LetterProof::Proven);
            let at = at.index(line.len());
            line[at] ^= flip;
            // Space around the letter is not part of it, nor beside a line break is space between
            // its parts.
            prop_assume!(!line[at].is_ascii_whitespace());
            prop_assert_ne!(signer.verify(&line), LetterProof::Proven);
        }
    }
}
