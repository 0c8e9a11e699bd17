//! Times in params: `10s`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a time such as `500ms`, `10s`, `5m`, `1h` or `1d`, longer than none:
/// `#[serde(deserialize_with = "trommel_filter::duration")]`.
///
/// # Errors
/// If the text is not a time.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| de::Error::custom("a time is written as `500ms`, `10s`, `5m`, `1h` or `1d`"))
}

fn parse(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, word) = text.split_at(unit);
    let (_, milliseconds) = UNITS.into_iter().find(|(unit, _)| *unit == word.trim())?;
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(milliseconds)?)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, expected) in
            [("500ms", Some(500)), ("10 s", Some(10_000)), ("5m", Some(300_000)), ("1d", Some(86_400_000))]
        {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text}");
        }
        for text in ["", "5", "s", "0s", "-1s", "1.5s", "5w", "99999999999999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
