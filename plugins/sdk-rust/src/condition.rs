//! Match as data.

use std::fmt::Display;

use crate::{Comparison, Condition};

/// What a condition looks at, as in `field("/order/amount").at_least(500)`.
pub struct Part<'a>(&'a str);

/// A part of the event: `subject`, `event-type`, `header:NAME`, or a JSON pointer into the payload, such as
/// `/order/amount`. An event without it fails every condition on it.
pub fn field(name: &str) -> Part<'_> {
    Part(name)
}

/// Orders are those of numbers where both sides are numbers, else bytewise.
impl Part<'_> {
    pub fn exists(self) -> Condition {
        self.is(Comparison::Exists, "")
    }

    pub fn equals(self, value: impl Display) -> Condition {
        self.is(Comparison::Equals, value)
    }

    pub fn not_equals(self, value: impl Display) -> Condition {
        self.is(Comparison::NotEquals, value)
    }

    pub fn less_than(self, value: impl Display) -> Condition {
        self.is(Comparison::Less, value)
    }

    pub fn at_most(self, value: impl Display) -> Condition {
        self.is(Comparison::LessOrEqual, value)
    }

    pub fn greater_than(self, value: impl Display) -> Condition {
        self.is(Comparison::Greater, value)
    }

    pub fn at_least(self, value: impl Display) -> Condition {
        self.is(Comparison::GreaterOrEqual, value)
    }

    pub fn starts_with(self, value: impl Display) -> Condition {
        self.is(Comparison::StartsWith, value)
    }

    pub fn contains(self, value: impl Display) -> Condition {
        self.is(Comparison::Contains, value)
    }

    fn is(self, comparison: Comparison, value: impl Display) -> Condition {
        Condition { field: self.0.to_owned(), comparison, value: value.to_string() }
    }
}
