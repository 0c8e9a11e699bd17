//! A route's params, which are texts, as what a type says.

use std::slice;

use serde::{
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use crate::{
    Failure, Result,
    text::{PlainText, TextProblem},
};

/// # Errors
/// `malformed`, which names the param.
pub fn read<T: DeserializeOwned>(params: &[(String, String)]) -> Result<T> {
    T::deserialize(Params(params)).map_err(|TextProblem(problem)| Failure::malformed(problem))
}

struct Params<'de>(&'de [(String, String)]);

struct Pairs<'de> {
    rest: slice::Iter<'de, (String, String)>,
    value: Option<&'de (String, String)>,
}

impl<'de> de::Deserializer<'de> for Params<'de> {
    type Error = TextProblem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_map(Pairs { rest: self.0.iter(), value: None })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TextProblem> {
        match self.0 {
            [] => visitor.visit_unit(),
            [(name, _), ..] => Err(TextProblem(format!("`{name}` is not a param: there is none"))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = TextProblem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TextProblem> {
        self.value = self.rest.next();
        self.value.map(|(name, _)| seed.deserialize(PlainText(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TextProblem> {
        let (name, value) = self.value.ok_or_else(|| de::Error::custom("a value without a param"))?;
        let read = seed.deserialize(PlainText(value));
        read.map_err(|TextProblem(problem)| TextProblem(format!("param `{name}` can't be `{value}`: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::read;
    use crate::{Failure, Result};

    fn filter<T: serde::de::DeserializeOwned>(given: &[(&str, &str)]) -> Result<T> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        read(&given.iter().map(owned).collect::<Vec<_>>())
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Tier {
        Gold,
        Silver,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct All {
        text: String,
        amount: i64,
        share: f64,
        strict: bool,
        tier: Tier,
        regions: Vec<String>,
        #[serde(default)]
        sizes: Vec<u8>,
        limit: Option<u16>,
        id: Id,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(u32);

    const GIVEN: &[(&str, &str)] = &[
        ("amount", "-5"),
        ("id", "7"),
        ("regions", "eu, us"),
        ("share", "0.5"),
        ("strict", "true"),
        ("text", ""),
        ("tier", "gold"),
    ];

    #[test]
    fn texts_become_what_the_type_says() {
        let all = All {
            text: String::new(),
            amount: -5,
            share: 0.5,
            strict: true,
            tier: Tier::Gold,
            regions: vec!["eu".into(), "us".into()],
            sizes: Vec::new(),
            limit: None,
            id: Id(7),
        };
        assert_eq!(filter::<All>(GIVEN).unwrap(), all);
        let more = [GIVEN, &[("limit", "9"), ("sizes", "1,2")]].concat();
        assert_eq!(filter::<All>(&more).unwrap(), All { limit: Some(9), sizes: vec![1, 2], ..all });
    }

    #[test]
    fn a_refusal_names_the_param() {
        for (name, value, expected) in [
            ("amount", "much", "param `amount` can't be `much`: invalid digit found in string"),
            ("strict", "yes", "param `strict` can't be `yes`: provided string was not `true` or `false`"),
            ("tier", "lead", "param `tier` can't be `lead`: it is one of `gold`, `silver`"),
            ("sizes", "1,999", "param `sizes` can't be `1,999`: number too large to fit in target type"),
            ("id", "-1", "param `id` can't be `-1`: invalid digit found in string"),
            ("limit", "", "param `limit` can't be ``: cannot parse integer from empty string"),
        ] {
            let mut given = GIVEN.to_vec();
            given.retain(|(known, _)| *known != name);
            given.push((name, value));
            assert_eq!(filter::<All>(&given), Err(Failure::malformed(expected)));
        }
        let missing = Err(Failure::malformed("the param `amount` is missing"));
        assert_eq!(filter::<All>(&GIVEN[1..]), missing);
        let strange = [GIVEN, &[("teir", "gold")]].concat();
        let why = filter::<All>(&strange).unwrap_err().cause.detail;
        assert!(why.starts_with("`teir` is not a param: there are `text`, `amount`"), "{why}");
    }

    #[test]
    fn a_filter_may_have_no_params() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Nothing;

        assert_eq!(filter::<Nothing>(&[]), Ok(Nothing));
        let why = "`a` is not a param: there is none";
        assert_eq!(filter::<Nothing>(&[("a", "")]), Err(Failure::malformed(why)));
    }

    /// What is made of the params once and for all.
    #[test]
    fn a_filter_may_be_made_of_its_params() {
        #[derive(Deserialize)]
        struct Given {
            range: String,
        }

        #[derive(Debug, Deserialize, PartialEq)]
        #[serde(try_from = "Given")]
        struct Range(u32, u32);

        impl TryFrom<Given> for Range {
            type Error = String;

            fn try_from(given: Given) -> Result<Self, String> {
                let (from, to) = given.range.split_once('-').ok_or("`range` is written as `1-5`")?;
                let bound = |text: &str| text.parse().map_err(|error| format!("`range`: {error}"));
                Ok(Self(bound(from)?, bound(to)?))
            }
        }

        assert_eq!(filter::<Range>(&[("range", "1-5")]), Ok(Range(1, 5)));
        let why = "`range` is written as `1-5`";
        assert_eq!(filter::<Range>(&[("range", "5")]), Err(Failure::malformed(why)));
    }
}
