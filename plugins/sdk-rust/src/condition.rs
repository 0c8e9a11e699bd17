//! Match as data: texts in the language of `where`.

use std::fmt::Display;

/// A field to test, as in `field("/order/amount").at_least(500)`.
pub struct FieldTest<'a>(&'a str);

/// A field of the event by its name, such as `subject`, `header:NAME` or `/order/amount`. Tests that
/// all must hold are joined by `; `, those of which one must by ` || `.
pub fn field(name: &str) -> FieldTest<'_> {
    FieldTest(name)
}

/// Numbers compare as numbers where both sides are numbers, all else bytewise. An event without the
/// field passes no test but [`FieldTest::is_absent`].
impl FieldTest<'_> {
    pub fn exists(self) -> String {
        quoted(self.0)
    }

    pub fn is_absent(self) -> String {
        format!("!{}", quoted(self.0))
    }

    pub fn equals(self, value: impl Display) -> String {
        self.is("==", value)
    }

    pub fn not_equals(self, value: impl Display) -> String {
        self.is("!=", value)
    }

    pub fn less_than(self, value: impl Display) -> String {
        self.is("<", value)
    }

    pub fn at_most(self, value: impl Display) -> String {
        self.is("<=", value)
    }

    pub fn greater_than(self, value: impl Display) -> String {
        self.is(">", value)
    }

    pub fn at_least(self, value: impl Display) -> String {
        self.is(">=", value)
    }

    pub fn starts_with(self, value: impl Display) -> String {
        self.is("^=", value)
    }

    pub fn ends_with(self, value: impl Display) -> String {
        self.is("$=", value)
    }

    pub fn contains(self, value: impl Display) -> String {
        self.is("*=", value)
    }

    /// Whether a regular expression is found in it.
    pub fn matches(self, pattern: &str) -> String {
        self.is("matches", pattern)
    }

    /// Whether it is one of these.
    pub fn is_in(self, values: impl IntoIterator<Item = impl Display>) -> String {
        let values: Vec<_> = values.into_iter().map(|value| quoted(&value.to_string())).collect();
        format!("{} in [{}]", quoted(self.0), values.join(", "))
    }

    fn is(self, operator: &str, value: impl Display) -> String {
        format!("{} {operator} {}", quoted(self.0), quoted(&value.to_string()))
    }
}

/// A JSON string, which stands for itself whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_for_themselves() {
        assert_eq!(field("/a b").at_least(500), r#""/a b" >= "500""#);
        assert_eq!(field("/a").equals("x; y || \"z\""), r#""/a" == "x; y || \"z\"""#);
        assert_eq!(field("header:Test").is_absent(), r#"!"header:Test""#);
        assert_eq!(field("/a").is_in(["eu", "u,s"]), r#""/a" in ["eu", "u,s"]"#);
    }
}
