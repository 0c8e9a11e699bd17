//! `dead-letter-reasons.md`, made of the table of reasons, and that table held against the sources.

use std::{collections::BTreeSet, fmt::Write as _};

use trommel::sink::dead_letter::LETTER_REASONS;

use super::{cell, is_current};
use crate::layout::{code, sources};

const INTRODUCTION: &str = "# Dead-letter reasons

[Dead letters](../explanation/dead-letters.md) says where they are and what is in them; [repair dead
letters](../how-to/dead-letters.md), how to see them, retry them and drop them. The member `detail` of a letter
says more than its reason. After `dlq retry`, `dlq drop` removes what can't be repaired.

| reason | what happened | what to do |
|---|---|---|
";

/// Code in front of a literal that is a reason of dead letters.
const MARKS: &[&str] =
    &["Malformed { reason: \"", "Unsendable { reason: \"", "Undecodable { reason: \"", "fault(\"", "Fault::new(\""];

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for reason in LETTER_REASONS {
        writeln!(page, "| `{}` | {} | {} |", reason.code, cell(reason.meaning), cell(reason.remedy)).unwrap();
    }
    page
}

#[test]
fn the_reasons_are_those_of_the_table() {
    is_current("dead-letter-reasons.md", &page());
}

/// What makes a dead letter checks its reason, too; here are those that no test makes.
#[test]
fn the_table_has_the_reasons_of_the_sources_and_no_others() {
    let codes: BTreeSet<_> = LETTER_REASONS.iter().map(|reason| reason.code).collect();
    assert_eq!(codes.len(), LETTER_REASONS.len(), "a reason stands twice");
    let sources =
        sources().into_iter().filter(|(path, _)| !path.ends_with("dead_letter/reasons") && !path.ends_with("tests"));
    let sources: Vec<_> = sources.map(|(path, text)| (path, code(&text))).collect();
    let unused: Vec<_> = codes
        .iter()
        .filter(|reason| !sources.iter().any(|(_, code)| code.contains(&format!("\"{reason}\""))))
        .collect();
    assert!(unused.is_empty(), "reasons that nothing gives: {unused:?}");
    let mut seen = 0;
    for (path, code) in &sources {
        // Of the errors with a `reason`, those on the way of an event.
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in MARKS.iter().flat_map(|mark| code.split(mark).skip(1)) {
            let (reason, _) = rest.split_once('"').unwrap();
            seen += 1;
            assert!(codes.contains(reason), "`{reason}` of {}.rs is not in the table", path.display());
        }
    }
    assert!(seen > 20, "only {seen} reasons were found");
}
