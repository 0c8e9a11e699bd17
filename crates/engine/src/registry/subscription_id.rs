//! Identity of a subscription upstream, as one word.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{config::ParamDeclaration, filter::Params};

/// The identity of a route's upstream interest (L31): the key, and a fingerprint of the params that
/// are marked `subscription_key`, if any are (L30). The same in every program that makes it by the
/// same rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(String);

impl SubscriptionId {
    /// Derives the identity. The params must be normalised. A marked param that is missing counts
    /// as empty.
    pub fn new(key: &str, declared: &[ParamDeclaration], params: &Params) -> Self {
        let mut marked: Vec<_> =
            declared.iter().filter(|param| param.subscription_key).map(|param| &*param.name).collect();
        if marked.is_empty() {
            return Self(key.to_owned());
        }
        marked.sort_unstable();
        let value = |name| params.iter().find(|(param, _)| param == name).map_or("", |(_, value)| value);
        let pairs: Value = marked.into_iter().map(|name| json!({ "name": name, "value": value(name) })).collect();
        let hash = Sha256::digest(as_go_writes(&pairs));
        Self(format!("{key}:{}", BASE64_URL_SAFE_NO_PAD.encode(&hash[..12])))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes JSON as Go's `encoding/json` does: besides the required characters it escapes those that
/// could harm HTML or JavaScript.
fn as_go_writes(json: &Value) -> String {
    let mut text = json.to_string();
    for c in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        text = text.replace(c, &format!("\\u{:04x}", u32::from(c)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ParamKind;

    fn id(declared: &[(&str, bool)], params: &[(&str, &str)]) -> String {
        let declare = |&(name, subscription_key): &(&str, bool)| ParamDeclaration {
            name: name.to_owned(),
            kind: ParamKind::String,
            required: false,
            default: None,
            secret: None,
            description: String::new(),
            values: Vec::new(),
            subscription_key,
        };
        let declared: Vec<_> = declared.iter().map(declare).collect();
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SubscriptionId::new("mail.received", &declared, &params).to_string()
    }

    /// L30
    #[test]
    fn without_a_marked_param_it_is_the_key() {
        assert_eq!(id(&[], &[]), "mail.received");
        assert_eq!(id(&[("folder", false)], &[("folder", "inbox")]), "mail.received");
    }

    /// L31: the golden vector.
    #[test]
    fn marked_params_are_hashed_by_name_and_a_missing_one_is_empty() {
        let expected = "mail.received:NjbSU_mIRIalkga9";
        assert_eq!(id(&[("a", true), ("b", true)], &[("a", "1"), ("b", "")]), expected);
        assert_eq!(id(&[("b", true), ("a", true)], &[("a", "1")]), expected);
        assert_eq!(id(&[("b", true), ("x", false), ("a", true)], &[("a", "1"), ("x", "7")]), expected);
        assert_ne!(id(&[("a", true)], &[("a", "1")]), expected);
    }

    /// L31: the output of Go's `json.Marshal`, byte for byte.
    #[test]
    fn text_is_escaped_as_go_does() {
        for (text, json) in [
            ("plain ✓ \u{7f}", "\"plain ✓ \u{7f}\""),
            ("<a href=\"x\">&", r#""\u003ca href=\"x\"\u003e\u0026""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("\\\n\r\t\u{8}\u{c}\u{0}\u{1f}/'", r#""\\\n\r\t\b\f\u0000\u001f/'""#),
        ] {
            assert_eq!(as_go_writes(&text.into()), json, "{text:?}");
        }
    }
}
