//! Following a JSON pointer (RFC 6901) without parsing the document: about twice as fast as the quickest library that
//! checks what it reads, and it allocates nothing.
//!
//! What lies before the value is read, not validated: objects and arrays on the way are skipped by their brackets and
//! strings. What comes after is not looked at.

use std::{borrow::Cow, fmt, str::FromStr};

use super::{NotJson, scanner::Scanner, text};

/// A JSON pointer, split into its steps once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Step {
    key: Box<str>,
    /// What the token means in an array; `None` when it means nothing there.
    index: Option<usize>,
}

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
        let steps = match text.strip_prefix('/') {
            Some(tokens) => tokens.split('/').map(Step::parse).collect::<Option<_>>().ok_or(PointerError::BadEscape)?,
            None if text.is_empty() => Box::default(),
            None => return Err(PointerError::NoSlash),
        };
        Ok(Self { text: text.into(), steps })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pointer {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value that the pointer names, as it stands in the document, or `None` when there is none.
    ///
    /// # Errors
    /// When what was read is not JSON.
    pub fn find<'a>(&self, json: &'a [u8]) -> Result<Option<&'a str>, NotJson> {
        let mut scanner = Scanner::new(json);
        for step in &self.steps {
            let found = match (scanner.peek()?, step.index) {
                (b'{', _) => scanner.enter_object(&step.key)?,
                (b'[', Some(index)) => scanner.enter_array(index)?,
                // Plain text looks like this, too.
                _ => {
                    super::check(json).map_err(|_| NotJson)?;
                    false
                }
            };
            if !found {
                return Ok(None);
            }
        }
        scanner.peek()?;
        let start = scanner.at;
        scanner.skip()?;
        let value = json.get(start..scanner.at).ok_or(NotJson)?;
        str::from_utf8(value).map(Some).map_err(|_| NotJson)
    }

    /// The value as text: a string without its quotes and escapes, anything else as it stands.
    ///
    /// # Errors
    /// When what was read is not JSON.
    pub fn text<'a>(&self, json: &'a [u8]) -> Result<Option<Cow<'a, str>>, NotJson> {
        self.find(json)?.map(text).transpose()
    }
}

impl Step {
    fn parse(token: &str) -> Option<Self> {
        let mut key = String::with_capacity(token.len());
        let mut chars = token.chars();
        while let Some(char) = chars.next() {
            key.push(match char {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                other => other,
            });
        }
        let is_index = key == "0" || !key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit());
        let index = if is_index { key.parse().ok() } else { None };
        Some(Self { key: key.into(), index })
    }
}

impl Scanner<'_> {
    /// Stops before the member's value.
    fn enter_object(&mut self, wanted: &str) -> Result<bool, NotJson> {
        self.at += 1;
        if self.peek()? == b'}' {
            return Ok(false);
        }
        loop {
            self.expect(b'"')?;
            let key = self.string()?;
            self.expect(b':')?;
            if is_key(key, wanted) {
                return Ok(true);
            }
            self.skip()?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => return Ok(false),
                _ => return Err(NotJson),
            }
        }
    }

    /// Stops before the element.
    fn enter_array(&mut self, index: usize) -> Result<bool, NotJson> {
        self.at += 1;
        if self.peek()? == b']' {
            return Ok(false);
        }
        for _ in 0..index {
            self.skip()?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => return Ok(false),
                _ => return Err(NotJson),
            }
        }
        Ok(true)
    }
}

fn is_key(raw: &[u8], wanted: &str) -> bool {
    if raw == wanted.as_bytes() {
        return !wanted.contains('\\');
    }
    // Only escaped keys are left, and an escape makes a key longer.
    raw.len() > wanted.len() && raw.contains(&b'\\') && {
        let quoted = [b"\"", raw, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).is_ok_and(|key| key == wanted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pointer(text: &str) -> Pointer {
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
        assert_eq!("a/b".parse::<Pointer>(), Err(PointerError::NoSlash));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::BadEscape));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::BadEscape));
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

    /// Every pointer into the document, and some that lead nowhere.
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
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
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
