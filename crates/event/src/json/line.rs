//! One JSON value per line, for any payload (L116).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::json;

/// Appends `payload` and a newline. JSON stays as it is, without whitespace where it spans lines.
/// Other text becomes a JSON string, other bytes `{"base64":".."}`.
pub fn append(lines: &mut Vec<u8>, payload: &[u8]) {
    if is_json(payload) {
        json::append(lines, payload);
    } else {
        append_other(lines, payload);
    }
    lines.push(b'\n');
}

/// Returns whether `payload` is one JSON text.
pub fn is_json(payload: &[u8]) -> bool {
    json::check(payload).is_ok()
}

/// Appends a payload that is not JSON as [`append`] does, without the newline.
pub fn append_other(lines: &mut Vec<u8>, payload: &[u8]) {
    if let Ok(text) = std::str::from_utf8(payload) {
        lines.extend_from_slice(Value::from(text).to_string().as_bytes());
    } else {
        lines.extend_from_slice(br#"{"base64":""#);
        lines.extend_from_slice(STANDARD.encode(payload).as_bytes());
        lines.extend_from_slice(br#""}"#);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn line(payload: &[u8]) -> String {
        let mut lines = Vec::new();
        append(&mut lines, payload);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn json_stays_as_it_is_on_one_line() {
        for (payload, expected) in [
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            ("{\n  \"a b\" : [1,\r\n\t2 ],\r\"q\": \"x \\\" y\\\\\" }\n", r#"{"a b":[1,2],"q":"x \" y\\"}"#),
            ("\n7 ", "7"),
            ("null", "null"),
        ] {
            assert_eq!(line(payload.as_bytes()), format!("{expected}\n"));
        }
    }

    #[test]
    fn what_is_no_json_becomes_json() {
        for (payload, expected) in [
            (&b""[..], r#""""#),
            (b"plain \"text\"\n", r#""plain \"text\"\n""#),
            (b"{\"a\":1} {\"b\":2}", r#""{\"a\":1} {\"b\":2}""#),
            (b"{\"a\":1}\n{\"b\":2}", r#""{\"a\":1}\n{\"b\":2}""#),
            (b"\"\\uZZZZ\"", r#""\"\\uZZZZ\"""#),
            (b"\x00\xff", r#"{"base64":"AP8="}"#),
        ] {
            assert_eq!(line(payload), format!("{expected}\n"), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn depth_is_no_reason_to_change_a_payload() {
        let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
        assert!(line(&deep).starts_with("[["));
        assert!(line(&deep[1..]).starts_with("\"[["));
    }

    #[test]
    fn large_payloads_pass_whole() {
        for size in [1 << 20, 8 << 20] {
            let payload = json!({ "filler": "x".repeat(size) }).to_string();
            assert_eq!(line(payload.as_bytes()).len(), payload.len() + 1);
        }
    }

    /// Generates payloads: any bytes, any text, and JSON with something inserted.
    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let json = prop_oneof![
            Just(r#"{"a":[1,2.5e-3,{"b":null}],"c":"x\\\"\u00e9 y"}"#),
            Just(r#"["\\"," \n "]"#),
            Just("-0.1"),
            Just("\"\"")
        ];
        let broken =
            (json, any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..3), "[ \n\r\t\"\\\\]{0,3}");
        prop_oneof![
            any::<Vec<u8>>(),
            ".*".prop_map(String::into_bytes),
            broken.prop_map(|(json, at, bytes, text)| {
                let at = at.index(json.len() + 1);
                [&json.as_bytes()[..at], &bytes, text.as_bytes(), &json.as_bytes()[at..]].concat()
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Every payload is exactly one line and valid JSON, and can be recovered from it.
        #[test]
        fn every_payload_is_one_line_of_json(payload in payload()) {
            let line = line(&payload);
            prop_assert_eq!(line.matches(['\n', '\r']).count(), 1);
            prop_assert!(line.ends_with('\n'));
            let value: Value = serde_json::from_str(&line).unwrap();
            match serde_json::from_slice::<Value>(&payload) {
                Ok(same) => prop_assert_eq!(value, same),
                Err(_) => {
                    let bytes = match value.as_str() {
                        Some(text) => text.as_bytes().to_vec(),
                        None => STANDARD.decode(value["base64"].as_str().unwrap()).unwrap(),
                    };
                    prop_assert_eq!(bytes, payload);
                }
            }
        }
    }
}
