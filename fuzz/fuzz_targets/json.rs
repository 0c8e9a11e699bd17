//! What a walk through a text finds is what a parser finds, and what is made of a text means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::json::{self, JsonPointer};

fuzz_target!(|data: &[u8]| {
    // Two pointers on two lines, and the text that they point into.
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(first), Some(second), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return };
    let pointers: Vec<&str> = [first, second].into_iter().filter_map(|pointer| str::from_utf8(pointer).ok()).collect();
    // Whatever the text is, walking it ends.
    let paths = json::PointerTree::new(pointers.iter().copied());
    let found = paths.as_ref().ok().and_then(|paths| paths.find(text).ok());
    let walked = json::values(text).count();
    let _members = json::members(text);
    let mut line = Vec::new();
    json::append(&mut line, text);
    let shown = json::pretty(text);
    let Ok(value) = json::parse(text) else { return };
    if json::check(text).is_err() {
        // Half a surrogate pair is mended where a text is read.
        return;
    }
    assert_eq!(json::parse(&line).ok().as_ref(), Some(&value), "a text on one line");
    assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    assert_eq!(json::parse(&shown).ok().as_ref(), Some(&value), "a text with line breaks");
    assert!(value.as_object().is_none_or(|members| members.len() <= walked), "{walked} values");
    let Some(found) = found else { return };
    for (pointer, found) in pointers.iter().zip(found) {
        // An index of a list is written in one way.
        let expected = value.pointer(pointer).filter(|_| !pointer.split('/').any(is_odd_index));
        let read = |found: &str| json::parse(found.as_bytes()).expect("a value stands there");
        let found = found.map(read);
        assert_eq!(found.as_ref(), expected, "{pointer} in {}", text.escape_ascii());
        let alone = pointer.parse::<JsonPointer>().expect("it is one among others, too").find(text).expect("as before");
        assert_eq!(alone.map(read), found, "{pointer} alone");
    }
});

/// What only some take for an index.
fn is_odd_index(token: &str) -> bool {
    token.starts_with('+')
}
