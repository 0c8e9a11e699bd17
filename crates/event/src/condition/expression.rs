//! The language of `where`: conditions that all must hold, separated by `;` or by lines, and groups
//! of them of which one must, separated by `||`.
//!
//! ```text
//! /order/amount >= 500; /order/currency in ["EUR", "USD"] || subject ^= vip. ; !header:Test
//! /order/amount in [100..500, 1000..]; any /order/lines/*/quantity >= 10
//! ```

use std::fmt;

use serde_json::Deserializer;

use super::{Comparison, Condition, ConditionLists, ConditionValue, Elements, Quantifier, testable};

const SIGNS: [(&str, Comparison); 9] = [
    ("==", Comparison::Equals),
    ("!=", Comparison::NotEquals),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("^=", Comparison::StartsWith),
    ("$=", Comparison::EndsWith),
    ("*=", Comparison::Contains),
];

/// Likely mistakes, and what they mean. Tried first, as some begin like an operator.
const SLIPS: [(&str, &str); 10] = [
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=>", ">="),
    ("=<", "<="),
    ("=~", "matches"),
    ("~=", "*="),
    ("=^", "^="),
    ("=$", "$="),
    ("=*", "*="),
];

const OPERATORS: &str = "== != < <= > >= ^= $= *= in, not in, matches, fits";

/// Error in an expression, with its position, both counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message } = self;
        write!(f, "line {line}, column {column}: {message}")
    }
}

impl std::error::Error for ExpressionError {}

/// Parses an expression. An empty one has no lists, and every event passes.
///
/// # Errors
/// Returns the first mistake, and what was probably meant.
pub fn parse(text: &str) -> Result<ConditionLists, ExpressionError> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.groups().map_err(|message| {
        let before = &text[..scanner.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        ExpressionError { line, column, message }
    })
}

/// A position in the text. After an error it is where the mistake stands.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn groups(&mut self) -> Result<ConditionLists, String> {
        let (mut groups, mut group) = (Vec::new(), Vec::new());
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
        let is_absent = self.rest().starts_with('!') && !self.rest().starts_with("!=");
        if is_absent {
            self.at += 1;
            self.skip_blanks();
        }
        let (field, elements) = match self.quantifier() {
            Some(_) if is_absent => return Err("`!` says that a field is absent: leave it out before `any`".into()),
            Some(quantifier) => self.elements(quantifier)?,
            None => (self.field()?, None),
        };
        self.skip_blanks();
        let (comparison, values) = match self.comparison()? {
            Some(_) if is_absent => return Err("`!` before a field says that it is absent: compare with `!=`".into()),
            Some((word, comparison @ (Comparison::In | Comparison::NotIn))) => (comparison, self.list(word)?),
            Some((word, comparison)) => {
                self.skip_blanks();
                (comparison, vec![self.value(word)?.into()])
            }
            None if is_absent => (Comparison::Absent, Vec::new()),
            None => (Comparison::Exists, Vec::new()),
        };
        self.skip_blanks();
        let rest = self.rest();
        if rest.is_empty() || rest.starts_with([';', '\n', '\r']) || rest.starts_with("||") {
            return Ok(Condition { field, elements, comparison, values });
        }
        Err(match self.word() {
            "&&" | "and" | "AND" => "conditions that all must hold are separated by `;` or a new line".to_owned(),
            "|" | "or" | "OR" => "conditions of which one must hold are separated by `||`".to_owned(),
            word if values.is_empty() => format!("`{word}` is not an operator: {OPERATORS}"),
            word => format!("`;`, `||` or a new line should come before `{word}`; a value with blanks needs quotes"),
        })
    }

    fn field(&mut self) -> Result<String, String> {
        let start = self.at;
        let field = match self.quoted()? {
            Some(field) => field,
            None => self.take(|c| c.is_whitespace() || "=!<>^$*;|\"".contains(c)).to_owned(),
        };
        testable(&field).map_err(|error| {
            self.at = start;
            error.to_string()
        })?;
        Ok(field)
    }

    /// Takes `any` or `all`, if a field follows.
    fn quantifier(&mut self) -> Option<Quantifier> {
        let quantifier = match self.word() {
            "any" => Quantifier::Any,
            "all" => Quantifier::All,
            _ => return None,
        };
        self.at += self.word().len();
        self.skip_blanks();
        Some(quantifier)
    }

    /// The elements that are tested, `/lines/*/quantity`: the array, and where inside its elements.
    fn elements(&mut self, quantifier: Quantifier) -> Result<(String, Option<Elements>), String> {
        let start = self.at;
        let written = match self.quoted()? {
            Some(written) => written,
            None => self.take(|c| c.is_whitespace() || "=!<>^$;|\"".contains(c)).to_owned(),
        };
        let mut parts = written.split("/*");
        let checked = match (parts.next(), parts.next(), parts.next()) {
            (Some(array), Some(inside), None)
                if array.starts_with('/') && (inside.is_empty() || inside.starts_with('/')) =>
            {
                let both =
                    testable(array).and_then(|_| if inside.is_empty() { Ok(None) } else { testable(inside).map(Some) });
                both.map(|_| (array.to_owned(), inside.to_owned())).map_err(|error| error.to_string())
            }
            _ => Err(format!(
                "`{quantifier}` needs an array of the payload after it, and one `/*` for its elements, as in \
                 `{quantifier} /lines/*/quantity >= 10`"
            )),
        };
        let (array, inside) = checked.inspect_err(|_| self.at = start)?;
        Ok((array, Some(Elements { quantifier, inside })))
    }

    fn comparison(&mut self) -> Result<Option<(&'static str, Comparison)>, String> {
        let rest = self.rest();
        if let Some((slip, meant)) = SLIPS.iter().find(|(slip, _)| rest.starts_with(slip)) {
            return Err(format!("`{slip}` is not an operator, write `{meant}`"));
        }
        if let Some(found) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            self.at += found.0.len();
            return Ok(Some(*found));
        }
        let word = match self.word().split('[').next().unwrap_or_default() {
            "in" => ("in", Comparison::In),
            "matches" => ("matches", Comparison::Matches),
            "fits" => ("fits", Comparison::Fits),
            "not" => {
                self.at += "not".len();
                self.skip_blanks();
                if self.word().split('[').next() != Some("in") {
                    return Err("`not` comes before `in`; a field that must be absent is `!/field`".to_owned());
                }
                ("in", Comparison::NotIn)
            }
            _ => {
                return match rest.chars().next() {
                    Some('=') => Err("`=` is not an operator, write `==`".to_owned()),
                    Some(sign @ ('!' | '^' | '$' | '*')) => {
                        Err(format!("`{sign}` is not an operator, write `{sign}=`"))
                    }
                    _ => Ok(None),
                };
            }
        };
        self.at += word.0.len();
        Ok(Some(word))
    }

    /// The values of `in`: `["a", b, 1..5]`.
    fn list(&mut self, word: &str) -> Result<Vec<ConditionValue>, String> {
        let example = format!("`{word}` needs a list after it, as in `{word} [\"eu\", \"us\"]`");
        self.skip_blanks();
        if !self.rest().starts_with('[') {
            return Err(example);
        }
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.skip(char::is_whitespace);
            if self.rest().starts_with(']') && values.is_empty() {
                return Err("the list is empty".to_owned());
            }
            values.push(match self.quoted()? {
                Some(text) => text.into(),
                None => self.unquoted_value(word)?,
            });
            self.skip(char::is_whitespace);
            match self.rest().chars().next() {
                Some(',') => self.at += 1,
                Some(']') => {
                    self.at += 1;
                    return Ok(values);
                }
                Some(_) => return Err("values of a list are separated by `,`".to_owned()),
                None => return Err("the list has no `]`".to_owned()),
            }
        }
    }

    fn unquoted_value(&mut self, word: &str) -> Result<ConditionValue, String> {
        let start = self.at;
        let written = self.unquoted(word, ",]")?;
        ConditionValue::unquoted(&written).inspect_err(|_| self.at = start)
    }

    fn value(&mut self, operator: &str) -> Result<String, String> {
        match self.quoted()? {
            Some(value) => Ok(value),
            None => self.unquoted(operator, ""),
        }
    }

    fn unquoted(&mut self, operator: &str, ends: &str) -> Result<String, String> {
        let bars = self.rest().find("||").unwrap_or(self.rest().len());
        let end = self.rest().find(|c: char| c.is_whitespace() || c == ';' || c == '"' || ends.contains(c));
        let value = &self.rest()[..end.unwrap_or(self.rest().len()).min(bars)];
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
            let rule =
                r#"the quoted text is not a JSON string: it ends in `"`, and inside `"` is `\"` and `\` is `\\`"#;
            return Err(rule.to_owned());
        };
        self.at += strings.byte_offset();
        Ok(Some(string))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The text up to the next blank.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shows groups as `field Comparison values & … | …`.
    fn read(text: &str) -> String {
        let value = |value: &ConditionValue| match value {
            ConditionValue::Text(text) => text.clone(),
            ConditionValue::Range(from, to) => format!("{from:?}..{to:?}").replace('"', ""),
        };
        let one = |c: &Condition| {
            let field = match &c.elements {
                None => c.field.clone(),
                Some(Elements { quantifier, inside }) => format!("{quantifier}({},{inside})", c.field),
            };
            let values: Vec<_> = c.values.iter().map(value).collect();
            format!("{field} {:?} {}", c.comparison, values.join("+"))
        };
        let group = |group: &Vec<Condition>| group.iter().map(one).collect::<Vec<_>>().join(" & ");
        parse(text).unwrap().iter().map(group).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn every_operator_is_understood() {
        for (text, expected) in [
            ("/a == 1", "/a Equals 1"),
            ("/a!=1", "/a NotEquals 1"),
            ("/a<1", "/a Less 1"),
            ("/a <= 1", "/a LessOrEqual 1"),
            ("/a > -1.50", "/a Greater -1.50"),
            ("/a>=1e3", "/a GreaterOrEqual 1e3"),
            ("subject ^= orders.", "subject StartsWith orders."),
            ("/file $= .pdf", "/file EndsWith .pdf"),
            ("header:X-Region *= eu", "header:X-Region Contains eu"),
            ("/a in [eu, \"u s\" ,3]", "/a In eu+u s+3"),
            ("/a in[\n1,\n2\n]", "/a In 1+2"),
            ("/a not in [x]", "/a NotIn x"),
            ("/a in [1..5, 7, -2.5..]", "/a In Some(1)..Some(5)+7+Some(-2.5)..None"),
            ("/a not in [..0,\"1..5\", a..b, .., 5..5]", "/a NotIn None..Some(0)+1..5+a..b+..+Some(5)..Some(5)"),
            ("any /tags/* == new", "any(/tags,) Equals new"),
            ("all  /a/lines/*/b/c in [1..]; /x", "all(/a/lines,/b/c) In Some(1)..None & /x Exists "),
            ("any \"/my tags/*\"", "any(/my tags,) Exists "),
            (r#"/a matches "^v[0-9]+$""#, "/a Matches ^v[0-9]+$"),
            ("subject fits orders.*.created", "subject Fits orders.*.created"),
            ("event-type", "event-type Exists "),
            ("!/a", "/a Absent "),
            ("! header:Test", "header:Test Absent "),
            (r#""/a b" == "x; || \"y\"""#, "/a b Equals x; || \"y\""),
            ("/a; /b == 1 || !/c\n /d < 2", "/a Exists  & /b Equals 1 | /c Absent  & /d Less 2"),
            (" ;\n; ", ""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_the_way_out() {
        for (text, expected) in [
            ("/a = 1", "line 1, column 4: `=` is not an operator, write `==`"),
            ("/a == 1 and /b", "line 1, column 9: conditions that all must hold are separated by `;` or a new line"),
            ("/a == 1\n|| ", "line 2, column 4: `||` has no condition after it"),
            ("order.id == 1", "line 1, column 1: `order.id` is not a field, write `/order/id` for a member"),
            ("/a =~ x", "line 1, column 4: `=~` is not an operator, write `matches`"),
            ("/a in eu", "line 1, column 7: `in` needs a list after it"),
            ("/a in []", "line 1, column 8: the list is empty"),
            ("/a in [1", "line 1, column 9: the list has no `]`"),
            ("/a not 1", "line 1, column 8: `not` comes before `in`"),
            ("!/a == 1", "line 1, column 7: `!` before a field"),
            ("/a ~ 1", "line 1, column 4: `~` is not an operator: =="),
            ("/a~2", "line 1, column 1: `/a~2` is not a JSON pointer"),
            ("/a == \"x", "line 1, column 7: the quoted text is not a JSON string"),
            ("/a ==", "line 1, column 6: `==` needs a value after it"),
            ("/a in [5..1]", "line 1, column 8: no number is in the range `5..1`: write `1..5`"),
            ("/a in [1..x]", "line 1, column 8: one end of the range `1..x` is not a number; if it is a text"),
            ("any /tags == 1", "line 1, column 5: `any` needs an array of the payload after it, and one `/*`"),
            ("all /a/*/b/*/c", "line 1, column 5: `all` needs an array of the payload"),
            ("any subject == 1", "line 1, column 5: `any` needs an array of the payload"),
            ("any /a/*b == 1", "line 1, column 5: `any` needs an array of the payload"),
            ("any /a~2/* == 1", "line 1, column 5: `/a~2` is not a JSON pointer"),
            ("!any /a/*", "line 1, column 6: `!` says that a field is absent"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    proptest! {
        /// No text makes the parser panic, and what it points at is in the text.
        #[test]
        fn any_text_is_read_or_refused(text in r#"(/a|/\*|any |all |subject|header:|in|not|\[|\]|"|==|!|\|\||;|\n| |é|~|,|\.\.|1|x){0,12}"#) {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line <= text.matches('\n').count() + 1);
            }
        }
    }
}
