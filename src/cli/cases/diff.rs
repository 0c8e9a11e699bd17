//! Differences between the expected and the actual outcome.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Formats lines with `-` for what was expected, and with `+` for what came out.
pub fn diff(expected: &Value, outcome: &Value) -> String {
    text_diff(&pretty(expected), &pretty(outcome))
}

/// [`diff`] of texts.
pub fn text_diff(expected: &str, outcome: &str) -> String {
    let diff = TextDiff::from_lines(expected, outcome);
    let lines = diff.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        format!("{sign} {}", change.value().trim_end_matches('\n'))
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
