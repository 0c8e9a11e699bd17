//! Tokens of tenants, of which a file holds any number.

use std::{collections::HashMap, fmt, sync::Arc};

use anyhow::bail;
use sha2::{Digest, Sha256};

/// Shortest token that is taken, in bytes: a shorter one could be guessed.
const SHORTEST: usize = 16;

/// Tenants by their tokens. Clones share them; not shown by `Debug`.
#[derive(Clone)]
pub struct TenantTokens(Arc<HashMap<TokenDigest, String>>);

/// SHA-256 of a token. Found by its digest, the time of a search reveals nothing of a token.
type TokenDigest = [u8; 32];

impl fmt::Debug for TenantTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantTokens({})", self.0.len())
    }
}

impl TenantTokens {
    /// Parses a line for each token: the tenant, a space, the token. A tenant may have several.
    /// Empty lines, and those that begin with `#`, are skipped.
    ///
    /// # Errors
    /// Returns an error that names the line, never the token.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tenants = HashMap::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((tenant, token)) = line.split_once(char::is_whitespace) else {
                bail!("line {number} is not a tenant, a space and its token");
            };
            let token = token.trim();
            if token.contains(char::is_whitespace) {
                bail!("line {number} has more than a tenant and its token");
            }
            if token.len() < SHORTEST {
                bail!(
                    "the token in line {number} has less than {SHORTEST} characters: `openssl rand -hex 32` makes one"
                );
            }
            if tenant == "*" || !tenant.bytes().all(|byte| byte.is_ascii_graphic()) {
                bail!("line {number} begins with no tenant, which is printable ASCII and not `*`");
            }
            if tenants.insert(digest(token.as_bytes()), tenant.to_owned()).is_some() {
                bail!("the token in line {number} is that of another line too");
            }
        }
        Ok(Self(Arc::new(tenants)))
    }

    /// Returns the tenant to which a token belongs.
    pub fn tenant(&self, token: &[u8]) -> Option<&str> {
        self.0.get(&digest(token)).map(String::as_str)
    }
}

fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_tenant() {
        let text = "# ours\nacme 0123456789abcdef\n\nglobex\t fedcba9876543210 \nacme second-of-acme-01\n";
        let tokens = TenantTokens::parse(text).unwrap();
        for (token, tenant) in [
            ("0123456789abcdef", Some("acme")),
            ("second-of-acme-01", Some("acme")),
            ("fedcba9876543210", Some("globex")),
            ("0123456789abcdeg", None),
            ("", None),
        ] {
            assert_eq!(tokens.tenant(token.as_bytes()), tenant, "{token}");
        }
        assert_eq!(format!("{tokens:?}"), "TenantTokens(3)");
    }

    #[test]
    fn a_line_that_is_no_token_is_named_and_not_shown() {
        for (text, expected) in [
            ("acme", "line 1 is not a tenant"),
            ("\nacme short", "the token in line 2 has less than 16"),
            ("acme 0123456789abcdef x", "line 1 has more"),
            ("* 0123456789abcdef", "line 1 begins with no tenant"),
            ("a 0123456789abcdef\nb 0123456789abcdef", "line 2 is that of another"),
        ] {
            let error = TenantTokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("0123"), "{error}");
        }
    }
}
