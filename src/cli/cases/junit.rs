//! JUnit report for CI systems.

use std::{fmt::Write as _, time::Duration};

use super::CaseResult;

/// Formats a JUnit XML report: one suite, named after the filter or the router.
pub fn report(name: &str, ran: &[CaseResult]) -> String {
    let failed = ran.iter().filter(|ran| ran.wrong.is_some()).count();
    let seconds = ran.iter().map(|ran| ran.took).sum::<Duration>().as_secs_f64();
    let name = escaped(name);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string can't fail.
    let _ = writeln!(
        xml,
        r#"<testsuite name="{name}" tests="{}" failures="{failed}" errors="0" skipped="0" time="{seconds:.6}">"#,
        ran.len()
    );
    for CaseResult { name: case, place, took, wrong, .. } in ran {
        let (case, place, seconds) = (escaped(case), escaped(place), took.as_secs_f64());
        let _ = write!(xml, r#"  <testcase name="{case}" classname="{name}" file="{place}" time="{seconds:.6}""#);
        let _ = match wrong {
            None => writeln!(xml, "/>"),
            Some(wrong) => {
                let wrong = escaped(wrong);
                writeln!(xml, "><failure message=\"not as expected\">{wrong}</failure></testcase>")
            }
        };
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// Escapes text for XML, and replaces the characters that XML can't contain at all.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
