//! JSON values, as conditions compare them.

use std::{borrow::Cow, cmp::Ordering};

use crate::json;

/// A JSON value, as far as conditions need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum JsonValue<'a> {
    /// A string, unescaped.
    String(Cow<'a, str>),
    Number(&'a str, JsonNumber),
    /// `true`, `false` or `null`.
    Word(&'a str),
    /// An object or an array.
    Container,
    /// Not valid JSON.
    Broken,
}

impl<'a> JsonValue<'a> {
    /// Parses the raw text of a value.
    pub(super) fn of(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'{' | b'[') => Self::Container,
            Some(b'"') => json::text(raw).map_or(Self::Broken, Self::String),
            _ => match raw {
                "true" | "false" | "null" => Self::Word(raw),
                _ => JsonNumber::parse(raw).map_or(Self::Broken, |number| Self::Number(raw, number)),
            },
        }
    }
}

/// A JSON number, kept beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonNumber {
    Integer(i128),
    /// A number with a fraction or an exponent, or a larger one: compared by its text.
    Written,
}

impl JsonNumber {
    /// Parses a JSON number; `None` if `text` is not one.
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
        is_fraction(&digits[whole..]).then_some(Self::Written)
    }

    /// Compares two numbers, each given with its text, to the last digit.
    pub(super) fn compare(left: (&str, Self), right: (&str, Self)) -> Ordering {
        match (left.1, right.1) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            _ => DecimalDigits::of(left.0).cmp(&DecimalDigits::of(right.0)),
        }
    }
}

/// Returns whether this may follow the whole digits of a JSON number: nothing, a fraction, an
/// exponent, or both.
fn is_fraction(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (fraction, exponent) = match text.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (text, None),
    };
    (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// A number as its significant digits, from the first that is not 0.
struct DecimalDigits<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// Places from the point to the first digit. Clamped where the difference can't matter.
    magnitude: i64,
}

impl<'a> DecimalDigits<'a> {
    /// Parses `text`, which must be a JSON number.
    fn of(text: &'a str) -> Self {
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let is_far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse::<i64>().map_or(is_far, |exponent| exponent.clamp(i64::MIN / 2, i64::MAX / 2));
        let (is_negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0').as_bytes();
        let (skipped, fraction) = match whole {
            [] => {
                let significant = fraction.trim_start_matches('0');
                (fraction.len() - significant.len(), significant)
            }
            _ => (0, fraction),
        };
        let magnitude = exponent + whole.len() as i64 - skipped as i64;
        Self { is_negative, whole, fraction: fraction.as_bytes(), magnitude }
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |decimal: &Self| match (decimal.is_zero(), decimal.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let by_size = || {
            let digits = |decimal: &Self| decimal.whole.iter().chain(decimal.fraction).copied();
            let (mut left, mut right) = (digits(self), digits(other));
            self.magnitude.cmp(&other.magnitude).then_with(|| {
                loop {
                    return match (left.next(), right.next()) {
                        (None, None) => Ordering::Equal,
                        (left, right) => match left.unwrap_or(b'0').cmp(&right.unwrap_or(b'0')) {
                            Ordering::Equal => continue,
                            unequal => unequal,
                        },
                    };
                }
            })
        };
        match (sign(self), sign(other)) {
            (left, right) if left != right => left.cmp(&right),
            (0, _) => Ordering::Equal,
            (-1, _) => by_size().reverse(),
            _ => by_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_told_apart() {
        for (raw, value) in [
            ("\"a\\\"b\"", JsonValue::String("a\"b".into())),
            ("\"\"", JsonValue::String("".into())),
            ("null", JsonValue::Word("null")),
            ("[1]", JsonValue::Container),
            ("{}", JsonValue::Container),
            ("-1.5", JsonValue::Number("-1.5", JsonNumber::Written)),
            ("17", JsonValue::Number("17", JsonNumber::Integer(17))),
            ("nope", JsonValue::Broken),
            ("01", JsonValue::Broken),
            ("\"\\x\"", JsonValue::Broken),
            ("", JsonValue::Broken),
        ] {
            assert_eq!(JsonValue::of(raw), value, "{raw}");
        }
    }

    fn compare(left: &str, right: &str) -> Ordering {
        let number = |text| (text, JsonNumber::parse(text).unwrap());
        JsonNumber::compare(number(left), number(right))
    }

    #[test]
    fn numbers_are_those_of_json() {
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "inf", "NaN", "1_0", "0x1", "1 "] {
            assert!(JsonNumber::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_are_exact() {
        let nines = "9".repeat(60);
        for (left, right) in [
            ("9007199254740992", "9007199254740993"),
            ("18446744073709551615", "18446744073709551616"),
            ("-1.5E-3", "0"),
            ("1", &nines),
            (&format!("{nines}8"), &format!("{nines}9")),
            ("0.1", "0.10000000000000000001"),
            ("9007199254740992.5", "9007199254740993"),
            ("9.99", "10"),
            ("-10", "-9.99"),
            ("1e400", "1e401"),
            ("1e-99999999999999999999", "1e-400"),
            ("-1e99999999999999999999", "-1e400"),
            ("0.00099e3", "0.0991e1"),
        ] {
            assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
            assert_eq!(compare(right, left), Ordering::Greater, "{right} {left}");
        }
        for (left, right) in
            [("1.0", "1"), ("1e2", "100"), ("-0", "0"), ("-0.0e7", "0"), ("0.10", "1e-1"), ("12e-1", "1.20")]
        {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    proptest! {
        /// Agrees with whole numbers of any size: both sides are brought to 40 places behind the
        /// point.
        #[test]
        fn comparing_is_exact(
            left in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9])?",
            right in "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?",
        ) {
            let whole = |text: &str| {
                let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                let shift = 40 + exponent.parse::<i64>().unwrap() - fraction.len() as i64;
                let zeros = "0".repeat(usize::try_from(shift).unwrap());
                format!("{whole}{fraction}{zeros}").parse::<BigInt>().unwrap()
            };
            prop_assert_eq!(compare(&left, &right), whole(&left).cmp(&whole(&right)));
            prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
