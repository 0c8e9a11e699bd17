//! Times at which credentials and certificates end.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;
use x509_parser::parse_x509_certificate;

use crate::identity;

/// A certificate of a file, and the time in which it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTimes {
    /// Name of its owner.
    pub subject: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

#[derive(Deserialize)]
struct JwtClaims {
    /// Unix seconds; 0 for no end.
    #[serde(default)]
    exp: i64,
}

/// The time at which the JWT of a NATS credentials file ends; `None` if it does not.
///
/// # Errors
/// Returns an error if the file can't be read, or has no JWT. It shows none of its content.
pub fn credentials_expiry(path: &Path) -> anyhow::Result<Option<Timestamp>> {
    let jwt = identity::user_jwt(path)?;
    let claims = jwt.split('.').nth(1).and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<JwtClaims>(&claims).ok());
    let JwtClaims { exp } = claims.ok_or_else(|| anyhow!("the JWT in `{}` can't be read", path.display()))?;
    if exp == 0 { Ok(None) } else { Ok(Some(Timestamp::from_second(exp)?)) }
}

/// The certificates of a PEM file, in their order.
///
/// # Errors
/// Returns an error if the file can't be read, or has no certificate.
pub fn certificate_times(path: &Path) -> anyhow::Result<Vec<CertificateTimes>> {
    let file = identity::read(path)?;
    let mut times = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(file.as_bytes()) {
        let at = || format!("`{}` has a certificate that can't be read", path.display());
        let certificate = certificate.with_context(at)?;
        let (_, parsed) = parse_x509_certificate(&certificate).with_context(at)?;
        let validity = parsed.validity();
        let time = |seconds: i64| Timestamp::from_second(seconds).with_context(at);
        times.push(CertificateTimes {
            subject: parsed.subject().to_string(),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        });
    }
    if times.is_empty() {
        return Err(anyhow!("`{}` has no certificate", path.display()));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn jwt(claims: &str) -> String {
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(claims);
        format!("-----BEGIN NATS USER JWT-----\neyJ0.{encoded}.sig\n------END NATS USER JWT------\n")
    }

    #[test]
    fn the_end_of_a_jwt_is_found_and_its_content_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, jwt(r#"{"exp":1700000000,"name":"x"}"#)).unwrap();
        assert_eq!(credentials_expiry(file.path()).unwrap(), Some(Timestamp::from_second(1_700_000_000).unwrap()));
        fs::write(&file, jwt(r#"{"name":"x"}"#)).unwrap();
        assert_eq!(credentials_expiry(file.path()).unwrap(), None);
        for broken in [jwt("topsecret"), "topsecret".to_owned()] {
            fs::write(&file, broken).unwrap();
            let error = format!("{:#}", credentials_expiry(file.path()).unwrap_err());
            assert!(error.contains(file.path().to_str().unwrap()) && !error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "no certificate").unwrap();
        let error = certificate_times(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("has no certificate"), "{error}");
    }
}
