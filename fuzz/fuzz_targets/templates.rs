//! No value of an event makes a subject another one than its template means.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::{
    config::{EventField, SubjectForm, SubjectPlaceholder, TemplatePart, TextTemplate},
    event::check_subject,
    nats,
};

/// What the templates' literal parts are made of.
const LITERALS: [&str; 4] = ["out.", "a", ".", ".b."];
const RESERVED: &str = "out.dead.";

fuzz_target!(|data: &[u8]| {
    // A byte for each part, a line's end, and the values that stand in the placeholders, one a line.
    let mut lines = data.split(|byte| *byte == b'\n');
    let parts: Vec<SubjectPart> = lines.next().unwrap_or_default().iter().take(8).map(|byte| part(*byte)).collect();
    let values: Vec<&str> = lines.take(8).filter_map(|line| str::from_utf8(line).ok()).collect();
    let value = |field: &EventField| match field {
        EventField::EventType => *values.first().unwrap_or(&"type"),
        EventField::Subject => values.get(1).unwrap_or(&"in.a"),
        EventField::Header(_) => values.get(2).unwrap_or(&""),
        EventField::Id | EventField::SourceTime => values.get(3).unwrap_or(&"id"),
    };
    let mut template = nats::SubjectTemplate::new(TextTemplate(parts.clone())).reserving(Some(RESERVED.to_owned()));
    let Ok(subject) = template.fill(value) else { return };
    let is_constant = parts.iter().all(|part| matches!(part, TemplatePart::Literal(_)));
    if is_constant {
        return;
    }
    assert!(check_subject(&subject).is_ok(), "{subject}");
    assert!(!subject.contains(|c: char| c.is_whitespace() || c.is_control()), "{subject:?}");
    assert!(!subject.starts_with(RESERVED), "{subject}");
    if !matches!(parts[0], TemplatePart::Literal(_)) {
        assert!(!subject.starts_with('$') && !subject.starts_with("_INBOX."), "{subject}");
    }
    // A value that is one token adds none.
    let dots = |part: &SubjectPart| match part {
        TemplatePart::Literal(text) => text.matches('.').count(),
        TemplatePart::Value(SubjectPlaceholder { field, form: SubjectForm::Tokens }) => {
            value(field).matches('.').count()
        }
        TemplatePart::Value(_) => 0,
    };
    let expected: usize = parts.iter().map(dots).sum();
    assert_eq!(subject.matches('.').count(), expected, "{subject}");
});

type SubjectPart = TemplatePart<SubjectPlaceholder<EventField>>;

fn part(byte: u8) -> SubjectPart {
    let header = || EventField::Header("X".to_owned());
    let (field, form) = match byte % 10 {
        0..=3 => return TemplatePart::Literal(LITERALS[usize::from(byte % 4)].to_owned()),
        4 => (EventField::EventType, SubjectForm::Tokens),
        5 => (EventField::Subject, SubjectForm::Tokens),
        6 => (header(), SubjectForm::Token),
        7 => (EventField::Subject, SubjectForm::SafeToken),
        8 => (header(), SubjectForm::SafeToken),
        _ => (EventField::Id, SubjectForm::Token),
    };
    TemplatePart::Value(SubjectPlaceholder { field, form })
}
