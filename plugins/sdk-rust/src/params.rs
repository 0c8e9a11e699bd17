//! A route's params, which are texts, as what a filter's type says.

use std::{fmt, slice};

use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
        value::SeqDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::{Failure, Result};

/// # Errors
/// [`Failure::Malformed`], which names the param.
pub fn read<T: DeserializeOwned>(params: &[(String, String)]) -> Result<T> {
    T::deserialize(Params(params)).map_err(|Problem(problem)| Failure::Malformed(problem))
}

/// What is wrong with a param, for the user.
#[derive(Debug)]
struct Problem(String);

struct Params<'de>(&'de [(String, String)]);

struct Pairs<'de> {
    rest: slice::Iter<'de, (String, String)>,
    value: Option<&'de (String, String)>,
}

/// The text of one param.
#[derive(Clone, Copy)]
struct Text<'de>(&'de str);

impl<'de> de::Deserializer<'de> for Params<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(Pairs { rest: self.0.iter(), value: None })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            [] => visitor.visit_unit(),
            [(name, _), ..] => Err(Problem(format!("there is no param `{name}`, nor any other"))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.value = self.rest.next();
        self.value.map(|(name, _)| seed.deserialize(Text(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (name, value) = self.value.ok_or_else(|| de::Error::custom("a value without a param"))?;
        let read = seed.deserialize(Text(value));
        read.map_err(|Problem(problem)| Problem(format!("param `{name}` can't be `{value}`: {problem}")))
    }
}

macro_rules! parsed {
    ($($deserialize:ident $visit:ident,)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            visitor.$visit(self.0.parse().map_err(de::Error::custom)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Text<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed! {
        deserialize_bool visit_bool,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        deserialize_f32 visit_f32, deserialize_f64 visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// The router writes what was chosen of a `multi` with commas between.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items = self.0.split(',').map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items.map(Text)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Problem> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    /// The value itself is named where the param is. Put here, it would add what floats take to be written, 20 KB.
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("it is not {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("it is not {expected}"))
    }

    fn missing_field(param: &'static str) -> Self {
        Self(format!("the param `{param}` is missing"))
    }

    fn unknown_field(param: &str, expected: &'static [&'static str]) -> Self {
        match expected {
            [] => Self(format!("there is no param `{param}`, nor any other")),
            known => Self(format!("there is no param `{param}`, there is `{}`", known.join("`, `"))),
        }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("it is one of `{}`", expected.join("`, `")))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::{Failure, testing::filter};

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
            assert_eq!(filter::<All>(&given), Err(Failure::Malformed(expected.to_owned())));
        }
        let missing = Err(Failure::Malformed("the param `amount` is missing".to_owned()));
        assert_eq!(filter::<All>(&GIVEN[1..]), missing);
        let strange = [GIVEN, &[("teir", "gold")]].concat();
        let Err(Failure::Malformed(why)) = filter::<All>(&strange) else { panic!("`teir` is no param") };
        assert!(why.starts_with("there is no param `teir`, there is `text`, `amount`"), "{why}");
    }

    #[test]
    fn a_filter_may_have_no_params() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Nothing;

        assert_eq!(filter::<Nothing>(&[]), Ok(Nothing));
        let why = "there is no param `a`, nor any other".to_owned();
        assert_eq!(filter::<Nothing>(&[("a", "")]), Err(Failure::Malformed(why)));
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
        let why = "`range` is written as `1-5`".to_owned();
        assert_eq!(filter::<Range>(&[("range", "5")]), Err(Failure::Malformed(why)));
    }
}
