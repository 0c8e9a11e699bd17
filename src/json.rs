//! JSON pointers into payloads (RFC 6901), followed without parsing the rest of the document.

use std::{borrow::Cow, fmt, str::FromStr};

use sonic_rs::{LazyValue, PointerNode};

/// A JSON pointer, split into its tokens once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    tokens: Vec<PointerNode>,
    /// A token of digits is an index in an array and a name in an object: only the document tells.
    has_index: bool,
}

/// The text is not JSON, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON")]
pub struct NotJson;

/// Why a text is no JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("a JSON pointer is empty or begins with `/`")]
    NoSlash,
    #[error("in a JSON pointer, `~` is followed by `0` (for `~`) or `1` (for `/`)")]
    BadEscape,
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let mut tokens = Vec::new();
        let mut has_index = false;
        if !text.is_empty() {
            for token in text.strip_prefix('/').ok_or(PointerError::NoSlash)?.split('/') {
                if token.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
                    return Err(PointerError::BadEscape);
                }
                has_index |= index(token).is_some();
                tokens.push(PointerNode::Key(token.replace("~1", "/").replace("~0", "~").into()));
            }
        }
        Ok(Self { tokens, has_index })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| match token {
            PointerNode::Key(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")),
            PointerNode::Index(index) => write!(f, "/{index}"),
        })
    }
}

/// RFC 6901: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    is_index.then(|| token.parse().ok()).flatten()
}

impl Pointer {
    /// The value that the pointer names, as it stands in the document, or `None` when there is none. Reads no further
    /// than the value: what follows is not checked.
    ///
    /// # Errors
    /// When what was read is not JSON.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<Option<Cow<'a, str>>, NotJson> {
        if !self.has_index {
            return found(sonic_rs::get(json, &self.tokens));
        }
        let mut value = Cow::Borrowed(std::str::from_utf8(json).map_err(|_| NotJson)?);
        for token in &self.tokens {
            let node = match token {
                PointerNode::Key(name) if value.trim_start().starts_with('[') => match index(name) {
                    Some(index) => PointerNode::Index(index),
                    None => return Ok(None),
                },
                other => other.clone(),
            };
            let step = match &value {
                Cow::Borrowed(text) => found(sonic_rs::get(*text, [node]))?,
                Cow::Owned(text) => {
                    found(sonic_rs::get(text.as_str(), [node]))?.map(|text| Cow::Owned(text.into_owned()))
                }
            };
            match step {
                Some(inner) => value = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// The value as text: a string without its quotes and escapes, anything else as it stands.
    ///
    /// # Errors
    /// When what was read is not JSON.
    pub fn text<'a>(&self, json: &'a [u8]) -> Result<Option<Cow<'a, str>>, NotJson> {
        self.find(json)?.map(text).transpose()
    }
}

/// A raw JSON value as text: a string without its quotes and escapes, anything else as it stands.
///
/// # Errors
/// When a string's escapes are wrong.
pub fn text(raw: Cow<'_, str>) -> Result<Cow<'_, str>, NotJson> {
    if !raw.starts_with('"') {
        return Ok(raw);
    }
    if raw.contains('\\') {
        return serde_json::from_str(&raw).map(Cow::Owned).map_err(|_| NotJson);
    }
    Ok(match raw {
        Cow::Borrowed(raw) => Cow::Borrowed(raw.trim_matches('"')),
        Cow::Owned(raw) => Cow::Owned(raw.trim_matches('"').to_owned()),
    })
}

fn found(result: sonic_rs::Result<LazyValue<'_>>) -> Result<Option<Cow<'_, str>>, NotJson> {
    match result {
        Ok(value) => Ok(Some(value.as_raw_cow())),
        Err(error) if error.is_not_found() || error.is_unmatched_type() => Ok(None),
        Err(_) => Err(NotJson),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pointer(text: &str) -> Pointer {
        text.parse().unwrap()
    }

    #[test]
    fn follows_names_indexes_and_escapes() {
        let json = br#"{"a":{"b":[10,{"c":"x\ty"}],"0":"zero"},"m~n":1,"p/q":2}"#;
        for (path, expected) in [
            ("/a/b/0", Some("10")),
            ("/a/b/1/c", Some("x\ty")),
            ("/a/0", Some("zero")),
            ("/m~0n", Some("1")),
            ("/p~1q", Some("2")),
            ("/a/b/2", None),
            ("/a/b/c", None),
            ("/nope", None),
            ("/m~0n/deeper", None),
        ] {
            assert_eq!(pointer(path).text(json).unwrap().as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_there() {
        for text in ["", "hello", "{\"a\"", "{\"b\":}"] {
            assert_eq!(pointer("/a").find(text.as_bytes()), Err(NotJson), "{text}");
        }
        assert_eq!(pointer("/a").find(b"\xff\xfe"), Err(NotJson));
        assert_eq!(pointer("/a").find(b"[1]"), Ok(None));
        assert_eq!(pointer("/a").find(b"12"), Ok(None));
    }

    #[test]
    fn bad_pointers_are_refused() {
        assert_eq!("a/b".parse::<Pointer>(), Err(PointerError::NoSlash));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::BadEscape));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::BadEscape));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("[ab01]{1,2}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Agrees with parsing the whole document.
        #[test]
        fn agrees_with_serde_json(value in json(), path in "(/[ab01]{1,2}){0,4}") {
            let text = value.to_string();
            let found = pointer(&path).find(text.as_bytes()).unwrap();
            let parsed = found.map(|raw| serde_json::from_str::<serde_json::Value>(&raw).unwrap());
            prop_assert_eq!(parsed.as_ref(), value.pointer(&path));
        }
    }
}
