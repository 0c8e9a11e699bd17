//! The language of the param `where`: conditions that all must hold, parted by `;` or by lines, and groups of them of
//! which one must, parted by `||`.
//!
//! ```text
//! /order/amount >= 500; /order/currency == "EUR" || event-type ^= vip. ; header:Region
//! ```

use serde_json::Deserializer;

use crate::trommel::filter::types::{Comparison, Condition};

const OPERATORS: [(&str, Comparison); 8] = [
    ("==", Comparison::Equals),
    ("!=", Comparison::NotEquals),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("^=", Comparison::StartsWith),
    ("*=", Comparison::Contains),
];

/// What people write, and what they mean. Tried first, for some begin as an operator does.
const SLIPS: [(&str, &str); 9] = [
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=>", ">="),
    ("=<", "<="),
    ("=~", "*="),
    ("~=", "*="),
    ("=^", "^="),
    ("=*", "*="),
];

/// Reads `text`: any group, all of its conditions. No text, no groups.
///
/// # Errors
///
/// What is wrong, where, and what was meant.
pub fn parse(text: &str) -> Result<Vec<Vec<Condition>>, String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.groups().map_err(|message| {
        let before = &text[..scanner.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("`where`, line {line}, column {column}: {message}")
    })
}

/// Stands at `at`, which is where an error is found.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn groups(&mut self) -> Result<Vec<Vec<Condition>>, String> {
        let mut groups = Vec::new();
        let mut group = Vec::new();
        loop {
            self.skip(|c| c.is_whitespace() || c == ';');
            if self.rest().is_empty() {
                break;
            }
            if self.rest().starts_with("||") {
                if group.is_empty() {
                    return Err("`||` has no condition before it".to_owned());
                }
                groups.push(std::mem::take(&mut group));
                self.at += 2;
                continue;
            }
            group.push(self.condition()?);
        }
        match (groups.is_empty(), group.is_empty()) {
            (false, true) => return Err("`||` has no condition after it".to_owned()),
            (_, false) => groups.push(group),
            (true, true) => {}
        }
        Ok(groups)
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let field = self.field()?;
        self.skip_blanks();
        let (comparison, value) = match self.operator()? {
            Some((operator, comparison)) => {
                self.skip_blanks();
                (comparison, self.value(operator)?)
            }
            None => (Comparison::Exists, String::new()),
        };
        self.skip_blanks();
        let rest = self.rest();
        if rest.is_empty() || rest.starts_with([';', '\n', '\r']) || rest.starts_with("||") {
            return Ok(Condition { field, comparison, value });
        }
        Err(match self.word() {
            "&&" | "and" | "AND" => "conditions that all must hold are parted by `;` or a new line".to_owned(),
            "|" | "or" | "OR" => "conditions of which one must hold are parted by `||`".to_owned(),
            word if comparison == Comparison::Exists => format!("`{word}` is no operator: {}", known_operators()),
            word => format!("`;`, `||` or a new line should come before `{word}`; a value with blanks needs quotes"),
        })
    }

    fn field(&mut self) -> Result<String, String> {
        let start = self.at;
        let field = match self.quoted()? {
            Some(field) => field,
            None => self.take(|c| c.is_whitespace() || "=!<>^*;|\"".contains(c)).to_owned(),
        };
        check_field(&field).inspect_err(|_| self.at = start)?;
        Ok(field)
    }

    fn operator(&mut self) -> Result<Option<(&'static str, Comparison)>, String> {
        let rest = self.rest();
        if let Some((slip, meant)) = SLIPS.iter().find(|(slip, _)| rest.starts_with(slip)) {
            return Err(format!("`{slip}` is no operator, write `{meant}`"));
        }
        if let Some(found) = OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator)) {
            self.at += found.0.len();
            return Ok(Some(*found));
        }
        match rest.chars().next() {
            Some('=') => Err("`=` is no operator, write `==`".to_owned()),
            Some(sign @ ('!' | '^' | '*')) => Err(format!("`{sign}` is no operator, write `{sign}=`")),
            _ => Ok(None),
        }
    }

    fn value(&mut self, operator: &str) -> Result<String, String> {
        if let Some(value) = self.quoted()? {
            return Ok(value);
        }
        let bars = self.rest().find("||").unwrap_or(self.rest().len());
        let end = self.rest().find(|c: char| c.is_whitespace() || c == ';' || c == '"').unwrap_or(self.rest().len());
        let value = &self.rest()[..end.min(bars)];
        if value.is_empty() {
            return Err(format!("`{operator}` needs a value after it"));
        }
        self.at += value.len();
        Ok(value.to_owned())
    }

    /// A JSON string, if one begins here.
    fn quoted(&mut self) -> Result<Option<String>, String> {
        if !self.rest().starts_with('"') {
            return Ok(None);
        }
        let mut strings = Deserializer::from_str(self.rest()).into_iter::<String>();
        let Some(Ok(string)) = strings.next() else {
            return Err(r#"the quoted text is no JSON string: it ends in `"`, and inside `"` is `\"` and `\` is `\\`"#
                .to_owned());
        };
        self.at += strings.byte_offset();
        Ok(Some(string))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// What stands here up to the next blank.
    fn word(&self) -> &'a str {
        self.rest().split(char::is_whitespace).next().unwrap_or_default()
    }

    fn take(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) {
        self.take(|c| !skipped(c));
    }

    /// Skips what does not end a line.
    fn skip_blanks(&mut self) {
        self.skip(|c| c == ' ' || c == '\t');
    }
}

fn check_field(field: &str) -> Result<(), String> {
    if field.starts_with('/') {
        return crate::fields::tokens(field).map(|_| ());
    }
    match field {
        "subject" | "event-type" => Ok(()),
        "header:" => Err("`header:` needs the header's name, as in `header:Region`".to_owned()),
        _ if field.starts_with("header:") => Ok(()),
        "event_type" | "type" => Err(format!("`{field}` is no field, write `event-type`")),
        "" => Err("a field should stand here: a JSON pointer, `subject`, `event-type` or `header:NAME`".to_owned()),
        _ => Err(format!(
            "`{field}` is no field, write `/{}` for a member of the payload, or `subject`, `event-type`, `header:NAME`",
            field.replace('.', "/")
        )),
    }
}

fn known_operators() -> String {
    OPERATORS.map(|(operator, _)| operator).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes groups as `field comparison value & ... | ...`.
    fn read(text: &str) -> String {
        let group = |group: Vec<Condition>| {
            let conditions = group.iter().map(|c| format!("{} {:?} {}", c.field, c.comparison, c.value));
            conditions.collect::<Vec<_>>().join(" & ")
        };
        parse(text).map(|groups| groups.into_iter().map(group).collect::<Vec<_>>().join(" | ")).unwrap()
    }

    #[test]
    fn every_operator_is_understood() {
        for (text, expected) in [
            ("/a == 1", "/a Comparison::Equals 1"),
            ("/a!=1", "/a Comparison::NotEquals 1"),
            ("/a<1", "/a Comparison::Less 1"),
            ("/a <= 1", "/a Comparison::LessOrEqual 1"),
            ("/a > -1.50", "/a Comparison::Greater -1.50"),
            ("/a>=1e3", "/a Comparison::GreaterOrEqual 1e3"),
            ("subject ^= orders.", "subject Comparison::StartsWith orders."),
            ("header:X-Region *= eu", "header:X-Region Comparison::Contains eu"),
            ("event-type", "event-type Comparison::Exists "),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn values_may_be_quoted_json_strings() {
        assert_eq!(read(r#"/a == "x; y || \"z\" é\n""#), "/a Comparison::Equals x; y || \"z\" é\n");
        assert_eq!(read(r#"/a == """#), "/a Comparison::Equals ");
        assert_eq!(read(r#""/a b" == true"#), "/a b Comparison::Equals true");
    }

    #[test]
    fn conditions_are_parted_by_lines_semicolons_and_bars() {
        let expected =
            "/a Comparison::Exists  & /b Comparison::Equals 1 | /c Comparison::Less 2 | /d Comparison::Exists ";
        assert_eq!(read("/a; /b == 1 || /c < 2 || /d"), expected);
        assert_eq!(read("\n  /a\n  /b == 1;\r\n  ||\n\n  /c<2||/d ;\n"), expected);
    }

    #[test]
    fn nothing_passes_everything() {
        assert_eq!(parse("").unwrap(), Vec::<Vec<Condition>>::new());
        assert_eq!(parse(" ;\n; ").unwrap(), Vec::<Vec<Condition>>::new());
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, expected) in [
            ("/a = 1", "line 1, column 4: `=` is no operator, write `==`"),
            ("/a => 1", "line 1, column 4: `=>` is no operator, write `>=`"),
            ("/a <> 1", "line 1, column 4: `<>` is no operator, write `!=`"),
            ("/a ! 1", "line 1, column 4: `!` is no operator, write `!=`"),
            ("/ä == 1\n/b is 2", "line 2, column 4: `is` is no operator: == != <= >= < > ^= *="),
            ("/a == 1 && /b", "line 1, column 9: conditions that all must hold are parted by `;` or a new line"),
            ("/a or /b", "line 1, column 4: conditions of which one must hold are parted by `||`"),
            (
                "/a == New York",
                "line 1, column 11: `;`, `||` or a new line should come before `York`; a value with blanks needs quotes",
            ),
            ("/a ==", "line 1, column 6: `==` needs a value after it"),
            ("/a == ; /b", "line 1, column 7: `==` needs a value after it"),
            ("|| /a", "line 1, column 1: `||` has no condition before it"),
            ("/a ||", "line 1, column 6: `||` has no condition after it"),
            ("/a || || /b", "line 1, column 7: `||` has no condition before it"),
            (
                "order.amount > 5",
                "line 1, column 1: `order.amount` is no field, write `/order/amount` for a member of the payload, \
                 or `subject`, `event-type`, `header:NAME`",
            ),
            ("/a; event_type == x", "line 1, column 5: `event_type` is no field, write `event-type`"),
            ("header: == x", "line 1, column 1: `header:` needs the header's name, as in `header:Region`"),
            ("/a~2 == x", "line 1, column 1: `/a~2` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"),
            (
                "== 1",
                "line 1, column 1: a field should stand here: a JSON pointer, `subject`, `event-type` or `header:NAME`",
            ),
            (
                r#"/a == "x"#,
                "line 1, column 7: the quoted text is no JSON string: \
                 it ends in `\"`, and inside `\"` is `\\\"` and `\\` is `\\\\`",
            ),
        ] {
            assert_eq!(parse(text), Err(format!("`where`, {expected}")), "{text}");
        }
    }
}
