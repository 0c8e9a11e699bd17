//! No value of an event makes a subject another one than its template means.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::{
    config::{Part, Template},
    event::check_subject,
    nats,
};

/// What the templates' literal parts are made of.
const LITERALS: [&str; 4] = ["out.", "a", ".", ".b."];
const RESERVED: &str = "out.dead.";

fuzz_target!(|data: &[u8]| {
    // A byte for each part, a line's end, and the values that stand in the placeholders, one a line.
    let mut lines = data.split(|byte| *byte == b'\n');
    let parts: Vec<Part> = lines.next().unwrap_or_default().iter().take(8).map(|byte| part(*byte)).collect();
    let values: Vec<&str> = lines.take(8).filter_map(|line| str::from_utf8(line).ok()).collect();
    let value = |at: &Part| match at {
        Part::Literal(text) => text.clone(),
        Part::EventType => (*values.first().unwrap_or(&"type")).to_owned(),
        Part::Subject => (*values.get(1).unwrap_or(&"in.a")).to_owned(),
        Part::Header(_) => (*values.get(2).unwrap_or(&"")).to_owned(),
        _ => (*values.get(3).unwrap_or(&"id")).to_owned(),
    };
    let all: Vec<String> = parts.iter().map(|part| value(inner(part))).collect();
    let found = |asked: &Part| {
        let at = parts.iter().position(|part| inner(part) == inner(asked));
        at.map_or("", |at| all[at].as_str())
    };
    let mut template = nats::Template::new(Template(parts.clone())).reserving(Some(RESERVED.to_owned()));
    let Ok(subject) = template.fill(found) else { return };
    let is_constant = parts.iter().all(|part| matches!(part, Part::Literal(_)));
    if is_constant {
        return;
    }
    assert!(check_subject(&subject).is_ok(), "{subject}");
    assert!(!subject.contains(|c: char| c.is_whitespace() || c.is_control()), "{subject:?}");
    assert!(!subject.starts_with(RESERVED), "{subject}");
    if !matches!(parts[0], Part::Literal(_)) {
        assert!(!subject.starts_with('$') && !subject.starts_with("_INBOX."), "{subject}");
    }
    // A value that is one token adds none.
    let dots = |part: &Part, value: &str| match part {
        Part::Literal(_) | Part::EventType | Part::Subject => value.matches('.').count(),
        _ => 0,
    };
    let expected: usize = parts.iter().zip(&all).map(|(part, value)| dots(part, value)).sum();
    assert_eq!(subject.matches('.').count(), expected, "{subject}");
});

fn part(byte: u8) -> Part {
    match byte % 10 {
        0..=3 => Part::Literal(LITERALS[usize::from(byte % 4)].to_owned()),
        4 => Part::EventType,
        5 => Part::Subject,
        6 => Part::Header("X".to_owned()),
        7 => Part::Token(Box::new(Part::Subject)),
        8 => Part::Token(Box::new(Part::Header("X".to_owned()))),
        _ => Part::Id,
    }
}

fn inner(part: &Part) -> &Part {
    if let Part::Token(inner) = part { inner } else { part }
}
