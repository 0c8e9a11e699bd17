//! JSON pointers (RFC 6901), followed without parsing the document.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use super::{NotJson, PointerTree, text};

/// A JSON pointer, parsed. Clones share it.
#[derive(Clone, Debug)]
pub struct JsonPointer(Arc<ParsedPointer>);

#[derive(Debug)]
struct ParsedPointer {
    text: Box<str>,
    path: PointerTree,
}

/// Error: a text is not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("a JSON pointer is empty or begins with `/`")]
    NoSlash,
    #[error("in a JSON pointer, `~` is followed by `0` (for `~`) or `1` (for `/`)")]
    BadEscape,
}

impl FromStr for JsonPointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let path = PointerTree::new([text]).map_err(|(_, error)| error)?;
        Ok(Self(Arc::new(ParsedPointer { text: text.into(), path })))
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for JsonPointer {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonPointer {}

impl Hash for JsonPointer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl JsonPointer {
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns the value that the pointer names, as written in the document, or `None` if there is
    /// none. Of members that have one name the last counts.
    ///
    /// # Errors
    /// Returns an error if what was read is not JSON.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<Option<&'a str>, NotJson> {
        self.0.path.find(json).map(|found| found.first().copied().flatten())
    }

    /// Returns the value as text: a string without its quotes and escapes, anything else as
    /// written.
    ///
    /// # Errors
    /// Returns an error if what was read is not JSON.
    pub fn text<'a>(&self, json: &'a [u8]) -> Result<Option<Cow<'a, str>>, NotJson> {
        self.find(json)?.map(text).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pointer(text: &str) -> JsonPointer {
        text.parse().unwrap()
    }

    fn find<'a>(path: &str, json: &'a str) -> Result<Option<&'a str>, NotJson> {
        pointer(path).find(json.as_bytes())
    }

    #[test]
    fn pointers_are_rfc_6901() {
        let json = r#" { "a/b" : [ 1 , "two", {"m~n": "x"} ], "": "empty", "0": "zero", "\u0061\"": "esc\n" } "#;
        for (path, expected) in [
            ("/a~1b/1", Some("\"two\"")),
            ("/a~1b/2/m~0n", Some("\"x\"")),
            ("/a~1b/2", Some("{\"m~n\": \"x\"}")),
            ("/a~1b/3", None),
            ("/a~1b/01", None),
            ("/a~1b/-", None),
            ("/a~1b/0/x", None),
            ("/", Some("\"empty\"")),
            ("/0", Some("\"zero\"")),
            ("/a\"", Some("\"esc\\n\"")),
        ] {
            assert_eq!(find(path, json), Ok(expected), "{path}");
        }
        assert_eq!(find("", " [1] "), Ok(Some("[1]")));
        assert_eq!(pointer("/a\"").text(json.as_bytes()), Ok(Some("esc\n".into())));
    }

    #[test]
    fn bad_pointers_are_refused() {
        assert_eq!("a/b".parse::<JsonPointer>(), Err(PointerError::NoSlash));
        assert_eq!("/a~2".parse::<JsonPointer>(), Err(PointerError::BadEscape));
        assert_eq!("/a~".parse::<JsonPointer>(), Err(PointerError::BadEscape));
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_there() {
        for json in
            ["", "  ", "hello", "{", "{\"a\"", "{\"a\":", "{\"a\":}", "{\"b\":1 \"a\":2}", "true story", "12 apples"]
        {
            assert_eq!(find("/a", json), Err(NotJson), "{json}");
        }
        assert_eq!(pointer("/a").find(b"\xff\xfe"), Err(NotJson));
        assert_eq!(pointer("/a").find(b"{\"a\":\"\xff\"}"), Err(NotJson));
        assert_eq!(pointer("/a").find(b"{\"a\":\"\\"), Err(NotJson));
        assert_eq!(find("/a", "[1]"), Ok(None));
        assert_eq!(find("/a", "12"), Ok(None));
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            // Exact in every reader.
            any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
            "[a-c\"\\\\/~{}\\[\\],:\n ü]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map("[ab01\"\\\\/~ü]{0,3}", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Collects every pointer into the document, and some that lead nowhere.
    fn pointers(value: &serde_json::Value, at: &str, all: &mut Vec<String>) {
        let children: Vec<(String, &serde_json::Value)> = match value {
            serde_json::Value::Array(elements) => {
                elements.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect()
            }
            serde_json::Value::Object(members) => {
                members.iter().map(|(key, v)| (key.replace('~', "~0").replace('/', "~1"), v)).collect()
            }
            _ => Vec::new(),
        };
        all.extend(["0", "7", "a", "", "-"].map(|token| format!("{at}/{token}")));
        for (token, child) in children {
            let at = format!("{at}/{token}");
            all.push(at.clone());
            pointers(child, &at, all);
        }
    }

    proptest! {
        /// Agrees with parsing the whole document.
        #[test]
        fn every_pointer_finds_what_serde_json_finds(document in document(), pretty: bool) {
            let written = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = written(&document).unwrap();
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            for path in all {
                let found = find(&path, &text).unwrap();
                let parsed = found.map(|raw| serde_json::from_str::<serde_json::Value>(raw).unwrap());
                prop_assert_eq!(parsed.as_ref(), document.pointer(&path), "{} in {}", path, text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(json: Vec<u8>, text in "[\\[\\]{}\",:\\\\ a01]{0,40}") {
            for path in ["/a", "/0", "/a/0", "/0/a"] {
                let pointer = pointer(path);
                let _ = pointer.find(&json);
                let _ = pointer.find(text.as_bytes());
            }
        }
    }
}
