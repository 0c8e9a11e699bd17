//! `screen`: refuses events by patterns in their fields.

use std::borrow::Cow;

use regex::Regex;
use serde::Deserialize;
use trommel_filter::{Event, Failure, FromParams, Outcome, Process, Result, export};

struct Screen {
    rules: Vec<Rule>,
    then: Then,
}

/// A pattern that must not be found in a field.
struct Rule {
    field: String,
    pattern: Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    refuse: String,
    #[serde(default)]
    then: Then,
}

/// What becomes of a refused event.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Then {
    #[default]
    Bury,
    Drop,
}

impl FromParams for Screen {
    type Params = Written;

    fn from_params(_key: &str, Written { refuse, then }: Written) -> Result<Self> {
        let lines = refuse.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty());
        let rules = lines.map(|(line, number)| Rule::parse(line, number)).collect::<Result<Vec<_>>>()?;
        if rules.is_empty() {
            return Err(Failure::malformed("`refuse` has no pattern: write a field and a pattern on each line"));
        }
        Ok(Self { rules, then })
    }
}

impl Rule {
    fn parse(line: &str, number: usize) -> Result<Self> {
        let refuse = |why: String| Failure::malformed(format!("`refuse`, line {number}: {why}"));
        let Some((field, pattern)) = line.split_once(char::is_whitespace) else {
            return Err(refuse(format!("`{line}` has no pattern: write `{line} PATTERN`")));
        };
        let pattern = Regex::new(pattern.trim()).map_err(|error| {
            // The last line says what is wrong, those before draw the pattern.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refuse(format!("`{}` is not a pattern: {why}", pattern.trim()))
        })?;
        Ok(Self { field: field.to_owned(), pattern })
    }

    fn is_found(&self, event: &Event<'_>) -> Result<bool> {
        let Some(bytes) = event.bytes(&self.field)? else { return Ok(false) };
        let text = match (self.field.starts_with('/'), bytes) {
            (true, [b'"', ..]) => Cow::Owned(event.require(&self.field)?),
            _ => String::from_utf8_lossy(bytes),
        };
        Ok(self.pattern.is_match(&text))
    }
}

impl Process for Screen {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        self.rules.iter().map(|rule| rule.field.clone()).collect()
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        for rule in &self.rules {
            if rule.is_found(&event)? {
                return match self.then {
                    Then::Drop => Ok(Outcome::Drop),
                    Then::Bury => {
                        let why = format!("`{}` matches `{}`", rule.field, rule.pattern);
                        Err(Failure::malformed(why).code("screened"))
                    }
                };
            }
        }
        Ok(Outcome::Keep)
    }
}

export!(Screen, manifest = include_str!("../manifest.json"));

#[cfg(test)]
mod tests {
    use trommel_filter::testing::{TestEvent, TestRoute};

    use super::*;

    const REFUSE: &str = "/email  (?i)@example\\.com$\n\n header:User-Agent bot\n/lines \"sku\": ?\"x";

    fn process(event: &TestEvent) -> Result<Outcome> {
        TestRoute::<Screen>::new(&[("refuse", REFUSE)])?.process(event)
    }

    #[test]
    fn what_a_pattern_is_found_in_is_buried() {
        let screened = |why| Err(Failure::malformed(why).code("screened"));
        // An escape is read before it is looked at.
        let event = TestEvent::new(r#"{"email":"ada\u0040EXAMPLE.com"}"#);
        assert_eq!(process(&event), screened("`/email` matches `(?i)@example\\.com$`"));
        let event = TestEvent::new("{}").with("header:user-agent", "a bot");
        assert_eq!(process(&event), screened("`header:User-Agent` matches `bot`"));
        let event = TestEvent::new(r#"{"lines":[{"sku":"x1"}]}"#);
        assert_eq!(process(&event), screened("`/lines` matches `\"sku\": ?\"x`"));
    }

    #[test]
    fn all_else_passes() {
        for payload in ["{}", r#"{"email":null}"#, r#"{"email":"ada@example.org","lines":[]}"#] {
            assert_eq!(process(&TestEvent::new(payload)), Ok(Outcome::Keep), "{payload}");
        }
        let route = TestRoute::<Screen>::new(&[("refuse", "subject a"), ("then", "drop")]).unwrap();
        assert_eq!(route.process(&TestEvent::new("").with("subject", "a.b")), Ok(Outcome::Drop));
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (refuse, why) in [
            (" \n", "`refuse` has no pattern: write a field and a pattern on each line"),
            ("/a", "`refuse`, line 1: `/a` has no pattern: write `/a PATTERN`"),
            ("/a x\n/b (", "`refuse`, line 2: `(` is not a pattern: unclosed group"),
        ] {
            let refused = TestRoute::<Screen>::new(&[("refuse", refuse)]).map(drop).unwrap_err();
            assert_eq!(refused, Failure::malformed(why));
        }
    }
}
