//! The elements of an array, without parsing them.

use super::{NotJson, scanner::JsonScanner};

/// Iterator over the elements of an array, as written. It ends after an error.
pub struct ArrayElements<'a> {
    json: &'a str,
    scanner: JsonScanner<'a>,
    is_done: bool,
}

impl<'a> ArrayElements<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        Self { json, scanner: JsonScanner::new(json.as_bytes()), is_done: false }
    }

    fn element(&mut self) -> Result<Option<&'a str>, NotJson> {
        let is_first = self.scanner.at == 0;
        match self.scanner.peek()? {
            b'[' if is_first => {}
            b',' if !is_first => {}
            b']' if !is_first => return Ok(None),
            _ => return Err(NotJson),
        }
        self.scanner.at += 1;
        if self.scanner.peek()? == b']' && is_first {
            return Ok(None);
        }
        let start = self.scanner.at;
        self.scanner.skip()?;
        self.json.get(start..self.scanner.at).map(Some).ok_or(NotJson)
    }
}

impl<'a> Iterator for ArrayElements<'a> {
    type Item = Result<&'a str, NotJson>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let element = self.element().transpose();
        self.is_done = !matches!(element, Some(Ok(_)));
        element
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn elements_are_as_written() {
        for (array, expected) in [
            ("[]", vec![]),
            ("[ ]", vec![]),
            ("[1]", vec!["1"]),
            (
                r#"[ 1.50 , "a,]" ,[2,[3]] , {"b":[4]},null ]"#,
                vec!["1.50", r#""a,]""#, "[2,[3]]", r#"{"b":[4]}"#, "null"],
            ),
        ] {
            let found: Result<Vec<_>, _> = ArrayElements::new(array).collect();
            assert_eq!(found, Ok(expected), "{array}");
        }
        for broken in ["", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{}", "1"] {
            assert!(ArrayElements::new(broken).any(|element| element.is_err()), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn elements_are_those_of_a_parser(values in prop::collection::vec(0_u8..5, 0..200), indent: bool) {
            let value = |kind: &u8| match kind {
                0 => Value::from("a \\\" [ ] , b"),
                1 => serde_json::json!({ "x": [1, { "y": "]" }] }),
                2 => Value::Null,
                3 => Value::from(-1.5e3),
                _ => serde_json::json!([]),
            };
            let array = Value::Array(values.iter().map(value).collect());
            let text = if indent { serde_json::to_string_pretty(&array).unwrap() } else { array.to_string() };
            let parsed = ArrayElements::new(&text).map(|raw| serde_json::from_str(raw.unwrap()).unwrap());
            prop_assert_eq!(Value::Array(parsed.collect()), array);
        }
    }
}
