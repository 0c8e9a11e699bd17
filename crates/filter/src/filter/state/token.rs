//! Names and keys of any characters as single tokens of a subject.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// Length from which a key is written in base64: escaped byte by byte, a subject could be longer
/// than the server takes.
const LONG: usize = 1_400;

/// Writes a text as a token: letters, digits, `-`, `_` and `/` as they are, every other byte as `=`
/// and two hexadecimal digits. A long text, or an empty one, becomes `==` and base64.
pub(super) fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => token.push(byte.into()),
            _ => token.push_str(&format!("={byte:02X}")),
        }
        if token.len() > LONG {
            break;
        }
    }
    if token.is_empty() || token.len() > LONG {
        return format!("=={}", BASE64_URL_SAFE_NO_PAD.encode(text));
    }
    token
}

/// The text that a token stands for; `None` if [`token`] did not write it.
pub(super) fn text(token: &str) -> Option<String> {
    if let Some(encoded) = token.strip_prefix("==") {
        return String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok();
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_stay_readable_where_they_can() {
        for (key, expected) in [("orders/7", "orders/7"), ("a.b *>", "a=2Eb=20=2A=3E"), ("ü", "=C3=BC"), ("", "==")] {
            assert_eq!(token(key), expected);
        }
        assert!(token(&"ü".repeat(512)).starts_with("=="));
        assert!(token(&"ü".repeat(512)).len() < LONG);
    }

    proptest! {
        #[test]
        // No key has more than 1 KiB.
        fn every_key_comes_back_from_its_token(key in ".{0,250}") {
            let token = token(&key);
            prop_assert!(!token.is_empty() && token.len() < 1_500);
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>".contains(&byte)));
            prop_assert_eq!(text(&token), Some(key));
        }
    }
}
