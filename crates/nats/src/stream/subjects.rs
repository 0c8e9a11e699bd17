//! Subjects of a stream that exists, joined by those that are declared. Producers and other readers
//! depend on what it has: none of its subjects is ever taken away.

use serde_json::{Map, Value, json};

use crate::{WantedFields, event::Pattern};

/// Completes the wanted subjects with those of the stream that was found, and returns the ones that
/// are not declared.
pub(super) fn join(wanted: &mut WantedFields, found: &Map<String, Value>) -> Vec<String> {
    let Some((_, subjects)) = wanted.iter_mut().find(|(field, _)| *field == "subjects") else { return Vec::new() };
    let has = texts(found.get("subjects"));
    let (joined, kept) = joined(&has, &texts(Some(subjects)));
    *subjects = json!(joined);
    kept
}

/// Returns the subjects that a stream has afterwards, and those among them that only it had. The
/// server refuses subjects that overlap, so one that another covers goes without saying.
fn joined(has: &[String], declared: &[String]) -> (Vec<String>, Vec<String>) {
    let is_covered = |subject: &String, by: &[String]| by.iter().any(|other| covers(other, subject));
    let kept: Vec<_> = has.iter().filter(|subject| !is_covered(subject, declared)).cloned().collect();
    let added = declared.iter().filter(|subject| !is_covered(subject, &kept));
    (kept.iter().chain(added).cloned().collect(), kept)
}

fn covers(pattern: &str, other: &str) -> bool {
    pattern == other
        || match (pattern.parse::<Pattern>(), other.parse::<Pattern>()) {
            (Ok(pattern), Ok(other)) => pattern.covers(&other),
            _ => false,
        }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let texts = list.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject() -> impl Strategy<Value = String> {
        let token = prop_oneof![Just("a"), Just("b"), Just("*")];
        (prop::collection::vec(token, 1..4), any::<bool>()).prop_map(|(mut tokens, is_open)| {
            tokens.extend(is_open.then_some(">"));
            tokens.join(".")
        })
    }

    /// Subjects of one stream, of which none covers another: what a server takes.
    fn subjects() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(subject(), 0..4).prop_map(|all| {
            let mut some: Vec<String> = Vec::new();
            for subject in all {
                if !some.iter().any(|other| covers(other, &subject) || covers(&subject, other)) {
                    some.push(subject);
                }
            }
            some
        })
    }

    fn takes(subjects: &[String], subject: &str) -> bool {
        subjects.iter().any(|pattern| pattern.parse::<Pattern>().unwrap().matches(subject))
    }

    proptest! {
        #[test]
        fn no_subject_of_a_stream_is_lost(has in subjects(), declared in subjects()) {
            let (joined, kept) = joined(&has, &declared);
            for tokens in 1..=4 {
                for number in 0..3_usize.pow(tokens) {
                    let token = |place| ["a", "b", "c"][number / 3_usize.pow(place) % 3];
                    let subject = (0..tokens).map(token).collect::<Vec<_>>().join(".");
                    let expected = takes(&has, &subject) || takes(&declared, &subject);
                    prop_assert_eq!(takes(&joined, &subject), expected, "{} of {:?}", subject, joined);
                }
            }
            prop_assert!(kept.iter().all(|subject| has.contains(subject) && joined.contains(subject)));
            for (place, subject) in joined.iter().enumerate() {
                let others = joined.iter().enumerate().filter(|(other, _)| *other != place);
                prop_assert!(others.map(|(_, other)| other).all(|other| !covers(other, subject)), "{:?}", joined);
            }
        }
    }

    #[test]
    fn a_wider_subject_takes_the_place_of_a_narrower_one() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let joined = |has: &[&str], declared: &[&str]| joined(&texts(has), &texts(declared));
        assert_eq!(
            joined(&["nodes.>"], &["helix.nodes.>"]),
            (texts(&["nodes.>", "helix.nodes.>"]), texts(&["nodes.>"]))
        );
        assert_eq!(joined(&["in.a", "in.b"], &["in.>"]), (texts(&["in.>"]), texts(&[])));
        assert_eq!(joined(&["in.>"], &["in.a"]), (texts(&["in.>"]), texts(&["in.>"])));
    }
}
