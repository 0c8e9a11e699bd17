//! Patterns match what a plain reading of the rules says that they match.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::event::{MAX_SUBJECT, Pattern, check_subject, subject_of, token};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (pattern, subject) = text.split_once('\n').unwrap_or((text, ""));
    let is_subject = check_subject(subject).is_ok();
    assert_eq!(is_subject, is_plain(subject, false), "{subject:?}");
    let parsed = pattern.parse::<Pattern>();
    assert_eq!(parsed.is_ok(), is_plain(pattern, true), "{pattern:?}");
    if let Ok(parsed) = parsed
        && is_subject
    {
        let (tokens, found): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
        assert_eq!(parsed.matches(subject), fits(&tokens, &found), "{pattern:?} {subject:?}");
        assert_eq!(parsed.to_string(), pattern);
    }
    // Text of others is as many tokens as it is made.
    let made = subject_of(text.split('\n'));
    assert_eq!(made.split('.').count(), text.split('\n').count());
    assert!(made.len() > MAX_SUBJECT || check_subject(&made).is_ok(), "{made:?}");
    assert!(!token(text).contains(['.', '*', '>', ' ']));
});

fn is_plain(text: &str, is_pattern: bool) -> bool {
    let tokens: Vec<_> = text.split('.').collect();
    let is_good = |(at, token): (usize, &&str)| match *token {
        "" => false,
        "*" => is_pattern,
        ">" => is_pattern && at + 1 == tokens.len(),
        token => !token.contains(['*', '>']),
    };
    (1..=MAX_SUBJECT).contains(&text.len()) && tokens.iter().enumerate().all(is_good)
}

fn fits(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => fits(pattern, subject),
        ([wanted, pattern @ ..], [found, subject @ ..]) => wanted == found && fits(pattern, subject),
        _ => false,
    }
}
