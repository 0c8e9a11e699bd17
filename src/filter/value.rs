//! JSON values as conditions compare them.

use std::{borrow::Cow, cmp::Ordering};

use crate::json;

/// A JSON value as far as conditions care.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A string, unescaped.
    String(Cow<'a, str>),
    Number(&'a str, Number),
    /// `true`, `false` or `null`.
    Word(&'a str),
    /// An object or an array.
    Container,
}

impl<'a> Value<'a> {
    /// The value that stands raw in a document. `None` when it is none.
    pub(super) fn of(raw: &'a str) -> Option<Self> {
        match raw.as_bytes().first()? {
            b'{' | b'[' => Some(Self::Container),
            b'"' => json::text(raw).ok().map(Self::String),
            _ => match raw {
                "true" | "false" | "null" => Some(Self::Word(raw)),
                _ => Number::parse(raw).map(|number| Self::Number(raw, number)),
            },
        }
    }
}

/// A JSON number. Integers are exact up to 127 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    /// `None` unless `text` is a number as JSON writes them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
        if whole == 0 || whole > 1 && digits.starts_with('0') {
            return None;
        }
        if whole == digits.len()
            && let Ok(integer) = text.parse()
        {
            return Some(Self::Integer(integer));
        }
        is_fraction(&digits[whole..]).then(|| text.parse().ok().map(Self::Float)).flatten()
    }
}

/// Whether this may follow the whole digits of a JSON number: nothing, a fraction, an exponent, or both.
fn is_fraction(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (fraction, exponent) = match text.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (text, None),
    };
    (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            (left, right) => left.as_float().partial_cmp(&right.as_float()),
        }
    }
}

impl Number {
    fn as_float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        for (raw, value) in [
            ("\"a\\\"b\"", Some(Value::String("a\"b".into()))),
            ("\"\"", Some(Value::String("".into()))),
            ("null", Some(Value::Word("null"))),
            ("[1]", Some(Value::Container)),
            ("{}", Some(Value::Container)),
            ("-1.5", Some(Value::Number("-1.5", Number::Float(-1.5)))),
            ("nope", None),
            ("01", None),
            ("\"\\x\"", None),
        ] {
            assert_eq!(Value::of(raw), value, "{raw}");
        }
    }

    #[test]
    fn numbers_are_those_of_json_and_integers_are_exact() {
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "inf", "NaN", "1_0", "0x1", "1 "] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
        let number = |text| Number::parse(text).unwrap();
        assert!(number("9007199254740993") > number("9007199254740992"));
        assert!(number("18446744073709551616") > number("18446744073709551615"));
        assert_eq!(number("1.0"), number("1"));
        assert_eq!(number("1e2"), number("100"));
        assert_eq!(number("-0"), number("0"));
        assert!(number("-1.5E-3") < number("0"));
        assert!(number(&"9".repeat(60)) > number("1"));
    }
}
