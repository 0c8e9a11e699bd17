//! Redaction of secrets in JSON (J23).

use std::{borrow::Cow, str::FromStr};

use super::{NotJson, scanner::JsonScanner};

const DEFAULT: [&str; 12] = [
    "accesskey",
    "apikey",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "token",
];
const REPLACEMENT: &[u8] = br#""[REDACTED]""#;

/// Part of a member name that marks its value as secret. Case, `-` and `_` are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName(String);

/// Error: the empty part, which every name contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has nothing to look for, `-` and `_` are ignored")]
pub struct NamesNothing;

impl FromStr for SecretName {
    type Err = NamesNothing;

    fn from_str(name: &str) -> Result<Self, NamesNothing> {
        let plain: String = plain(name).collect();
        if plain.is_empty() { Err(NamesNothing) } else { Ok(Self(plain)) }
    }
}

impl SecretName {
    /// Returns the default parts: passwords, tokens, keys, cookies and the like.
    pub fn defaults() -> Vec<Self> {
        DEFAULT.map(|name| Self(name.to_owned())).into()
    }
}

fn plain(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase)
}

/// Replaces the values of secret members.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<SecretName>,
    /// Buffer for the name that is looked at, kept to save an allocation.
    name: String,
}

impl Redactor {
    pub fn new(secrets: Vec<SecretName>) -> Self {
        Self { secrets, name: String::new() }
    }

    /// Appends `json` to `out`, with `"[REDACTED]"` in the place of every secret, at any depth and
    /// of any type. The rest is unchanged.
    ///
    /// # Errors
    /// Returns an error if `json`, which is walked through and not checked, turns out not to be
    /// JSON.
    pub fn redact(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
        let mut scanner = JsonScanner::new(json);
        let mut copied = 0;
        while scanner.find_quote() {
            let text = scanner.string()?;
            // Only a name is followed by a colon.
            if scanner.peek() != Ok(b':') {
                continue;
            }
            scanner.at += 1;
            if self.is_secret(text) {
                scanner.peek()?;
                out.extend_from_slice(&json[copied..scanner.at]);
                out.extend_from_slice(REPLACEMENT);
                scanner.skip()?;
                copied = scanner.at;
            }
        }
        out.extend_from_slice(&json[copied..]);
        Ok(())
    }

    /// Returns whether a name, `raw` between its quotes, is a secret's. One that can't be read,
    /// such as half a surrogate pair, is taken for a secret's.
    fn is_secret(&mut self, raw: &[u8]) -> bool {
        let Ok(name) = unescaped(raw) else { return true };
        self.name.clear();
        self.name.extend(plain(&name));
        self.secrets.iter().any(|secret| self.name.contains(&secret.0))
    }
}

fn unescaped(raw: &[u8]) -> Result<Cow<'_, str>, NotJson> {
    if raw.contains(&b'\\') {
        let quoted = [b"\"", raw, b"\""].concat();
        return serde_json::from_slice(&quoted).map(Cow::Owned).map_err(|_| NotJson);
    }
    str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(secrets: &[&str], json: &str) -> String {
        let secrets = match secrets {
            [] => SecretName::defaults(),
            names => names.iter().map(|name| name.parse().unwrap()).collect(),
        };
        let mut out = Vec::new();
        Redactor::new(secrets).redact(json.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// J23: any name that contains a part, whatever its case, `-` and `_`, at any depth and for any
    /// value.
    #[test]
    fn secrets_go_by_their_names() {
        let json = r#"{ "id":1.10,"Access-Token" : "x","a":[{"API_KEY":7 ,"ok":"password"},[{"secrets":["x",{"y":"]"}]}]],
            "b":{"PassWord":null,"Set-Cookie":{"v":{}},"bearer":true,"proxy_auth_user":"\"x","c_r_e_d-entials":"x"}}"#;
        let expected = r#"{ "id":1.10,"Access-Token" : "[REDACTED]","a":[{"API_KEY":"[REDACTED]" ,"ok":"password"},[{"secrets":"[REDACTED]"}]],
            "b":{"PassWord":"[REDACTED]","Set-Cookie":"[REDACTED]","bearer":"[REDACTED]","proxy_auth_user":"[REDACTED]","c_r_e_d-entials":"[REDACTED]"}}"#;
        assert_eq!(redacted(&[], json), expected);
        for name in
            ["token", "apikey", "password", "passwd", "secret", "auth", "cookie", "bearer", "credential", "private_key"]
        {
            assert_eq!(redacted(&[], &format!(r#"{{"my-{name}s":1}}"#)), format!(r#"{{"my-{name}s":"[REDACTED]"}}"#));
        }
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_stands() {
        for json in [
            r#"{ "user": "token" }"#,
            "[]",
            " 17 ",
            r#""password""#,
            r#"["password", "token:"]"#,
            r#"{"a":"\"password\":1"}"#,
        ] {
            assert_eq!(redacted(&[], json), json);
        }
    }

    #[test]
    fn other_names_take_the_place_of_the_defaults() {
        let json = r#"{"token":1,"SSN":2,"größe":3,"GRÖSSE-":4}"#;
        let expected = r#"{"token":1,"SSN":"[REDACTED]","größe":3,"GRÖSSE-":"[REDACTED]"}"#;
        assert_eq!(redacted(&["s_s_n", "Grösse"], json), expected);
        for nothing in ["", "-", "_-_"] {
            assert_eq!(nothing.parse::<SecretName>(), Err(NamesNothing));
        }
    }

    /// Names with escapes are recognised, and names that no text can hold are treated as secret.
    #[test]
    fn escapes_hide_no_name() {
        let json = r#"{"p\u0061ssword":1,"pass\ud800word":2,"\"token":3,"us\u0065r":4}"#;
        let expected =
            r#"{"p\u0061ssword":"[REDACTED]","pass\ud800word":"[REDACTED]","\"token":"[REDACTED]","us\u0065r":4}"#;
        assert_eq!(redacted(&[], json), expected);
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        let hidden = format!(r#"{{"token":{}}}"#, deep("1"));
        assert!(redacted(&[], &deep(&hidden)) == deep(r#"{"token":"[REDACTED]"}"#));
    }
}
