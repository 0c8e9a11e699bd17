//! Regular expressions over event types.

use std::{fmt, str::FromStr};

use regex::{Regex, RegexBuilder};

/// Size limit of a compiled expression, in bytes.
const SIZE: usize = 1 << 20;

/// A regular expression that is searched for anywhere in an event type (L129).
#[derive(Clone, Debug)]
pub struct TypePattern(Regex);

/// Error for an expression that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypePatternError {
    #[error("it is empty, so it is found in every event type")]
    Empty,
    #[error("it takes more than {SIZE} bytes when compiled")]
    TooLarge,
    #[error("{0}")]
    Syntax(String),
}

impl TypePattern {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn matches(&self, event_type: &str) -> bool {
        self.0.is_match(event_type)
    }
}

impl FromStr for TypePattern {
    type Err = TypePatternError;

    fn from_str(text: &str) -> Result<Self, TypePatternError> {
        if text.is_empty() {
            return Err(TypePatternError::Empty);
        }
        RegexBuilder::new(text).size_limit(SIZE).build().map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => TypePatternError::TooLarge,
            // The lines before the last repeat the expression.
            error => {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default();
                TypePatternError::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        })
    }
}

impl PartialEq for TypePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TypePattern {}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L129: unanchored, and an `=` in it has no special meaning.
    #[test]
    fn expressions_are_looked_for_anywhere() {
        for (pattern, event_type, expected) in [
            ("message", "im.message.receive_v1", true),
            (r"^im\.", "im.message.receive_v1", true),
            (r"^message", "im.message.receive_v1", false),
            (r"a=b", "x.a=b", true),
            (r"_v[12]$", "im.message.receive_v3", false),
        ] {
            assert_eq!(pattern.parse::<TypePattern>().unwrap().matches(event_type), expected, "{pattern}");
        }
    }

    #[test]
    fn bad_expressions_say_why() {
        let refused = |text: &str| text.parse::<TypePattern>().unwrap_err().to_string();
        assert_eq!(refused("im.(message"), "unclosed group");
        assert_eq!(refused(r"\d{1000000}"), "it takes more than 1048576 bytes when compiled");
        assert_eq!(refused("(?=x)"), "look-around, including look-ahead and look-behind, is not supported");
        assert_eq!(refused(""), "it is empty, so it is found in every event type");
    }
}
