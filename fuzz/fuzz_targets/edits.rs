//! Edits of a text are those of a tree, and whatever the text is, they end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trommel::json::{self, JsonEdit, JsonOutline, PointerTree};

fuzz_target!(|data: &[u8]| {
    // Three edits on three lines, each a kind, a pointer and a value, and the text that they change.
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let edits: Vec<_> = lines.by_ref().take(3).filter_map(edit).collect();
    let Some(text) = lines.next() else { return };
    let edited = json::edited(text, &edits);
    let pointers = edits.iter().map(pointer);
    let mut outline = JsonOutline::default();
    let is_noted = PointerTree::new(pointers).is_ok_and(|tree| tree.find_outlined(text, &mut outline).is_ok());
    let along = json::edited_along(text, &outline, &edits);
    if is_noted && json::check(text).is_ok() {
        assert_eq!(along, edited, "what a walk to the same places has noted changes nothing");
    }
    let Ok(edited) = edited else { return };
    let Ok(mut tree) = json::parse(text) else { return };
    if json::check(text).is_err() {
        // Half a surrogate pair is mended where a text is read.
        return;
    }
    json::check(&edited).expect("JSON stays JSON");
    for edit in &edits {
        // Values nested too deeply for a tree are left to others.
        let Some(()) = apply(&mut tree, edit) else { return };
    }
    let Ok(found) = json::parse(&edited) else { return };
    assert_eq!(found, tree, "{edits:?} of {}", text.escape_ascii());
});

fn edit(line: &[u8]) -> Option<JsonEdit<'_>> {
    let (kind, rest) = line.split_first()?;
    let mut parts = rest.splitn(2, |byte| *byte == b' ');
    let pointer = str::from_utf8(parts.next()?).ok()?;
    match kind {
        b'-' => Some(JsonEdit::Remove(pointer)),
        b'>' => Some(JsonEdit::Rename(pointer, str::from_utf8(parts.next()?).ok()?)),
        _ => Some(JsonEdit::Set(pointer, parts.next()?)),
    }
}

fn pointer<'a>(edit: &JsonEdit<'a>) -> &'a str {
    let (JsonEdit::Set(pointer, _) | JsonEdit::Remove(pointer) | JsonEdit::Rename(pointer, _)) = edit;
    pointer
}

/// Makes an edit that can be made of a tree.
fn apply(tree: &mut Value, edit: &JsonEdit<'_>) -> Option<()> {
    let steps: Vec<_> =
        pointer(edit).split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    if let JsonEdit::Set(_, value) = edit {
        let value = json::parse(value).ok()?;
        let mut place = tree;
        for (index, step) in steps.iter().enumerate() {
            let next = steps.get(index + 1).map(String::as_str);
            let empty = if next == Some("-") { Value::Array(Vec::new()) } else { Value::Object(Default::default()) };
            place = match place {
                Value::Array(elements) => {
                    let at = if step == "-" { elements.len() } else { step.parse().expect("it could be set") };
                    if at == elements.len() {
                        elements.push(empty);
                    }
                    &mut elements[at]
                }
                Value::Object(members) => members.entry(step.as_str()).or_insert(empty),
                other => panic!("{other} has no members"),
            };
        }
        *place = value;
        return Some(());
    }
    let (last, parents) = steps.split_last().expect("the whole can't be removed");
    let mut place = tree;
    for step in parents {
        match child(place, step) {
            Some(inner) => place = inner,
            None => return Some(()),
        }
    }
    if child(place, last).is_none() {
        return Some(());
    }
    match (place, edit) {
        (Value::Array(elements), JsonEdit::Remove(_)) => drop(elements.remove(last.parse().ok()?)),
        (Value::Object(members), JsonEdit::Rename(_, name)) => {
            let value = members.remove(last)?;
            members.insert((*name).to_owned(), value);
        }
        (Value::Object(members), _) => drop(members.remove(last)),
        (other, _) => panic!("{other} has no members"),
    }
    Some(())
}

/// An index of a list is written in one way.
fn child<'t>(tree: &'t mut Value, step: &str) -> Option<&'t mut Value> {
    match tree {
        Value::Array(elements) => elements.get_mut(step.parse().ok().filter(|at: &usize| at.to_string() == step)?),
        Value::Object(members) => members.get_mut(step),
        _ => None,
    }
}
