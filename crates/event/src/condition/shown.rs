//! Conditions as text, to explain why an event did not pass.

use std::fmt;

use super::{Comparison, ConditionField, ConditionTest, Conditions, EventFacts, Untested};
use crate::text::shortened;

/// Values that are shown of a list.
const LISTED: usize = 10;

impl Conditions {
    /// Returns one text for each list, its tests joined by `;`.
    pub fn shown(&self) -> Vec<String> {
        let list = |tests: &[ConditionTest]| tests.iter().map(ConditionTest::to_string).collect::<Vec<_>>().join("; ");
        self.any.iter().map(|tests| list(tests)).collect()
    }

    /// Returns a text for each test of all lists.
    pub fn tests(&self) -> impl Iterator<Item = String> {
        self.any.iter().flatten().map(ConditionTest::to_string)
    }

    /// Tests an event as [`Self::test`]. `each` gets every test that is asked, as its position in
    /// [`Self::tests`], with the answer.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn trace<'a>(
        &'a self,
        facts: &mut EventFacts<'a>,
        mut each: impl FnMut(usize, bool),
    ) -> Result<bool, Untested> {
        let (mut left, mut begin) = (self.allowance(facts), 0);
        for list in &self.any {
            let mut holds = true;
            for (position, test) in (begin..).zip(list) {
                holds = self.passes(test, facts, &mut left)?;
                each(position, holds);
                if !holds {
                    break;
                }
            }
            if holds {
                return Ok(true);
            }
            begin += list.len();
        }
        Ok(self.any.is_empty())
    }

    /// Returns the first test of each list that the event fails. A list that the event passes is
    /// left out.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn failing<'a>(&'a self, facts: &mut EventFacts<'a>) -> Result<Vec<String>, Untested> {
        let mut failing = Vec::new();
        let mut left = self.allowance(facts);
        for list in &self.any {
            for test in list {
                if !self.passes(test, facts, &mut left)? {
                    failing.push(test.to_string());
                    break;
                }
            }
        }
        Ok(failing)
    }
}

impl fmt::Display for ConditionTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.field, &self.elements) {
            (ConditionField::Plain(field), _) => field.fmt(f),
            (ConditionField::Payload(pointer, _), None) => f.write_str(&shortened(pointer)),
            (ConditionField::Payload(pointer, _), Some(elements)) => elements.show(pointer, f),
        }?;
        let comparison = match self.comparison {
            Comparison::Exists => return f.write_str(" exists"),
            Comparison::Absent => return f.write_str(" does not exist"),
            Comparison::Equals => "==",
            Comparison::NotEquals => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::StartsWith => "starts with",
            Comparison::EndsWith => "ends with",
            Comparison::Contains => "contains",
            Comparison::In => "in",
            Comparison::NotIn => "not in",
            Comparison::Matches => "matches",
            Comparison::Fits => "fits",
        };
        write!(f, " {comparison}")?;
        for (index, value) in self.operands.iter().take(LISTED).enumerate() {
            write!(f, "{} {value}", if index > 0 { "," } else { "" })?;
        }
        if self.operands.len() > LISTED { f.write_str(", …") } else { Ok(()) }
    }
}
