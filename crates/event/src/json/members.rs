//! Members of an object, unparsed.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Names, unescaped, and values as written, in the order and the multiplicity in which they came.
#[derive(Debug)]
pub struct ObjectMembers<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> IntoIterator for ObjectMembers<'a> {
    type Item = (Cow<'a, str>, &'a str);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ObjectMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MemberCollector).map(Self)
    }
}

/// Member name; borrowed unless it was written with escapes.
#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

struct MemberCollector;

impl<'de> Visitor<'de> for MemberCollector {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((MemberName(name), value)) = map.next_entry::<MemberName<'de>, &'de RawValue>()? {
            members.push((name, value.get()));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use crate::json::members;

    #[test]
    fn members_are_had_as_they_stand() {
        let json = br#" {"a":"x\n", "\u0062" : [1, 2],"a":null} "#;
        let found: Vec<_> = members(json).unwrap().unwrap().into_iter().collect();
        assert_eq!(found, [("a".into(), r#""x\n""#), ("b".into(), "[1, 2]"), ("a".into(), "null")]);
        assert_eq!(members(b"{}").unwrap().unwrap().into_iter().count(), 0);
    }

    #[test]
    fn other_values_are_told_from_what_is_not_json() {
        for other in ["[]", " 1", "null"] {
            assert!(members(other.as_bytes()).unwrap().is_none(), "{other}");
        }
        for bad in [&b"{\"a\":1"[..], b"{} {}", b"{\"a\":\"\xff\"}", b"{\"a\":\"\\uZZZZ\"}", b"", b"["] {
            assert!(members(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(members(deep.as_bytes()).unwrap().unwrap().into_iter().count(), 1);
    }
}
