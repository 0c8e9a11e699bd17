//! Patterns fit what a matcher says that goes by the letter of the rules.

use proptest::prelude::*;
use trommel::event::{Pattern, check_subject};

/// The rules, word for word (F08): `>` stands for one token or more, `*` for one, all else for
/// itself.
fn fits(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => fits(pattern, subject),
        ([literal, pattern @ ..], [token, subject @ ..]) => literal == token && fits(pattern, subject),
        ([], []) => true,
        _ => false,
    }
}

/// Few letters, so that what is made by chance fits often.
fn subject() -> impl Strategy<Value = String> {
    prop::collection::vec("[aB]{1,2}", 1..6).prop_map(|tokens| tokens.join("."))
}

fn pattern() -> impl Strategy<Value = String> {
    let token = prop_oneof![3 => "[aB]{1,2}", 2 => Just("*".to_owned())];
    let tail = prop::option::of(Just(">".to_owned()));
    (prop::collection::vec(token, 0..6), tail)
        .prop_map(|(tokens, tail)| tokens.into_iter().chain(tail).collect::<Vec<_>>().join("."))
        .prop_filter("a pattern is not empty", |pattern| !pattern.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// F08 and F09
    #[test]
    fn patterns_fit_what_the_rules_say(pattern in pattern(), subject in subject()) {
        let parts: (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
        prop_assert_eq!(check_subject(&subject), Ok(()));
        prop_assert_eq!(pattern.parse::<Pattern>().unwrap().matches(&subject), fits(&parts.0, &parts.1));
    }

    /// F06, F07 and F10: whatever text is given, it is refused or means what it says; a subject is a pattern of itself alone.
    #[test]
    fn any_text_is_refused_or_means_itself(text in "[a.*> ]{0,8}") {
        let tokens: Vec<_> = text.split('.').collect();
        let is_whole = tokens.iter().all(|token| !token.is_empty());
        let is_wild = |token: &&str| token.contains(['*', '>']);
        let last = tokens.len() - 1;
        let is_good = |(place, token): (usize, &&str)| match *token {
            "*" => true,
            ">" => place == last,
            other => !is_wild(&other),
        };
        prop_assert_eq!(check_subject(&text).is_ok(), is_whole && !tokens.iter().any(is_wild));
        prop_assert_eq!(text.parse::<Pattern>().is_ok(), is_whole && tokens.iter().enumerate().all(is_good));
        if check_subject(&text).is_ok() {
            prop_assert!(text.parse::<Pattern>().unwrap().matches(&text));
        }
    }
}
