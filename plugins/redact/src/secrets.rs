//! Which members hold secrets, and a JSON document without them.

use serde_json::Value;

/// Parts of names, as in J23.
const DEFAULT_NAMES: &str =
    "access_key, api_key, auth, bearer, cookie, credential, passphrase, passwd, password, private_key, secret, token";
const DEFAULT_REPLACEMENT: &str = "[REDACTED]";

/// Names are compared without case, `-` and `_`.
#[derive(Debug)]
pub struct Secrets {
    /// A member whose name contains one of these is a secret...
    parts: Vec<String>,
    /// ...unless its whole name is one of these.
    except: Vec<String>,
    replacement: String,
}

impl Secrets {
    /// `names`, `also` and `except` are lists parted by commas or lines; an empty `names` or `replacement` stands for
    /// the default.
    ///
    /// # Errors
    ///
    /// Which item names nothing.
    pub fn new(names: &str, also: &str, except: &str, replacement: &str) -> Result<Self, String> {
        let mut parts = list("names", if names.trim().is_empty() { DEFAULT_NAMES } else { names })?;
        parts.extend(list("also", also)?);
        let replacement = if replacement.is_empty() { DEFAULT_REPLACEMENT } else { replacement };
        Ok(Self { parts, except: list("except", except)?, replacement: replacement.to_owned() })
    }

    /// The document without its secrets, `None` when it holds none.
    ///
    /// # Errors
    ///
    /// `payload` is not JSON, or nested deeper than 127 levels.
    pub fn redact(&self, payload: &[u8]) -> serde_json::Result<Option<Vec<u8>>> {
        let mut document = serde_json::from_slice(payload)?;
        if self.blot_out(&mut document) { serde_json::to_vec(&document).map(Some) } else { Ok(None) }
    }

    /// Whether there was something to blot out.
    fn blot_out(&self, value: &mut Value) -> bool {
        let mut found = false;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if self.is_secret(name) {
                        *value = Value::String(self.replacement.clone());
                        found = true;
                    } else {
                        found |= self.blot_out(value);
                    }
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    found |= self.blot_out(element);
                }
            }
            _ => {}
        }
        found
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = plain(name);
        self.parts.iter().any(|part| name.contains(part)) && !self.except.contains(&name)
    }
}

fn list(param: &str, items: &str) -> Result<Vec<String>, String> {
    let items = items.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| match plain(item) {
            // The empty part is in every name.
            name if name.is_empty() => {
                Err(format!("`{param}`: `{item}` has nothing to look for, `-` and `_` are ignored"))
            }
            name => Ok(name),
        })
        .collect()
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(params: [&str; 4], payload: &str, expected: Option<&str>) {
        let [names, also, except, replacement] = params;
        let secrets = Secrets::new(names, also, except, replacement).unwrap();
        let redacted = secrets.redact(payload.as_bytes()).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(redacted.as_deref(), expected);
    }

    /// J23: any name that contains one, whatever its case, `-` and `_`, at any depth and whatever the value.
    #[test]
    fn secrets_go_by_their_names() {
        check(
            [""; 4],
            r#"{"id":1.10,"Access-Token":"x","a":[{"API_KEY":7,"ok":"password"},[{"secrets":["x",{"y":1}]}]],
               "b":{"PassWord":null,"Set-Cookie":{"v":1},"bearer":true,"proxy_auth_user":"x","c_r_e_d-entials":"x"}}"#,
            Some(concat!(
                r#"{"id":1.10,"Access-Token":"[REDACTED]","a":[{"API_KEY":"[REDACTED]","ok":"password"},"#,
                r#"[{"secrets":"[REDACTED]"}]],"b":{"PassWord":"[REDACTED]","Set-Cookie":"[REDACTED]","#,
                r#""bearer":"[REDACTED]","proxy_auth_user":"[REDACTED]","c_r_e_d-entials":"[REDACTED]"}}"#,
            )),
        );
    }

    #[test]
    fn documents_without_secrets_stay_as_they_are() {
        for payload in [r#"{ "user": "token" }"#, "[]", "17", r#""password""#] {
            check([""; 4], payload, None);
        }
    }

    #[test]
    fn params_say_which_names_are_secret() {
        let payload = r#"{"token":1,"Author":2,"ssn":3,"authorization":4}"#;
        check(["ssn", "", "", ""], payload, Some(r#"{"token":1,"Author":2,"ssn":"[REDACTED]","authorization":4}"#));
        check(["ssn", "to-ken\n", "", "*"], payload, Some(r#"{"token":"*","Author":2,"ssn":"*","authorization":4}"#));
        check(["", "", "", "*"], r#"[1,{"token":2},3]"#, Some(r#"[1,{"token":"*"},3]"#));
        check(["", "", "author", "*"], payload, Some(r#"{"token":"*","Author":2,"ssn":3,"authorization":"*"}"#));
    }

    #[test]
    fn an_item_that_would_be_in_every_name_is_refused() {
        assert_eq!(
            Secrets::new("token, -", "", "", "").unwrap_err(),
            "`names`: `-` has nothing to look for, `-` and `_` are ignored"
        );
    }
}
