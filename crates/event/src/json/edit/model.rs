//! Edits held against a model: a tree that keeps every text as it was written.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{JsonEdit, edited, edited_along};
use crate::json::{self, JsonOutline, JsonPointer, PointerTree, check, members};

/// A document with its texts, names in their quotes.
#[derive(Clone, Debug, PartialEq)]
enum Document {
    Scalar(String),
    Array(Vec<Document>),
    Object(Vec<(String, Document)>),
}

use Document::{Array, Object, Scalar};

impl Document {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Array(elements.into_iter().map(|element| Self::parse(element.get())).collect())
            }
            Some(b'{') => {
                let values = members(text.as_bytes()).unwrap().unwrap().into_iter();
                let mut from = 1;
                let member = |(_, value): (_, &str)| {
                    let at = value.as_ptr() as usize - text.as_ptr() as usize;
                    let name = text[from..at].trim_start_matches([',', ' ', '\n']).trim_end_matches([':', ' ', '\n']);
                    from = at + value.len();
                    (name.to_owned(), Self::parse(value))
                };
                Object(values.map(member).collect())
            }
            _ => Scalar(text.to_owned()),
        }
    }

    /// Writes the document, with the next of some blanks at each place for them.
    fn write(&self, blanks: &mut impl Iterator<Item = String>, out: &mut String) {
        let mut blank = |out: &mut String| out.push_str(&blanks.next().unwrap_or_default());
        blank(out);
        match self {
            Scalar(text) => out.push_str(text),
            Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    element.write(blanks, out);
                }
                out.push_str(&blanks.next().unwrap_or_default());
                out.push(']');
            }
            Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(&blanks.next().unwrap_or_default());
                    out.push_str(name);
                    out.push_str(&blanks.next().unwrap_or_default());
                    out.push(':');
                    value.write(blanks, out);
                }
                out.push_str(&blanks.next().unwrap_or_default());
                out.push('}');
            }
        }
        out.push_str(&blanks.next().unwrap_or_default());
    }

    /// Returns the value at a step, and leaves no other member of its name.
    fn at(&mut self, step: &str) -> Option<(usize, &mut Self)> {
        match self {
            Scalar(_) => None,
            Array(elements) => {
                let index = step.parse().ok().filter(|index: &usize| index.to_string() == step)?;
                elements.get_mut(index).map(|element| (index, element))
            }
            Object(members) => {
                let last = members.iter().rposition(|(name, _)| is_named(name, step))?;
                let mut index = 0;
                members.retain(|(name, _)| {
                    index += 1;
                    index > last || !is_named(name, step)
                });
                let index = members.iter().position(|(name, _)| is_named(name, step))?;
                Some((index, &mut members[index].1))
            }
        }
    }

    /// Makes an edit. `None` if it can't be made.
    fn edit(&mut self, edit: &JsonEdit<'_>) -> Option<()> {
        let (JsonEdit::Set(pointer, _) | JsonEdit::Remove(pointer) | JsonEdit::Rename(pointer, _)) = edit;
        let steps: Vec<_> = pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
        match *edit {
            JsonEdit::Set(_, value) => self.set(&steps, Self::parse(str::from_utf8(value).unwrap())),
            JsonEdit::Remove(_) => self.take(steps.split_last()?, None),
            JsonEdit::Rename(_, name) => self.take(steps.split_last()?, Some(name)),
        }
    }

    fn set(&mut self, steps: &[String], value: Self) -> Option<()> {
        let Some((step, rest)) = steps.split_first() else {
            *self = value;
            return Some(());
        };
        if let Some((_, inner)) = self.at(step) {
            return inner.set(rest, value);
        }
        let mut made =
            if rest.first().is_some_and(|step| step == "-") { Array(Vec::new()) } else { Object(Vec::new()) };
        made.set(rest, value)?;
        match self {
            Scalar(_) => return None,
            Array(elements) if step == "-" || *step == elements.len().to_string() => elements.push(made),
            Array(_) => return None,
            Object(members) => members.push((quoted(step), made)),
        }
        Some(())
    }

    /// Removes what is there, or gives it another name.
    fn take(&mut self, (last, parents): (&String, &[String]), name: Option<&str>) -> Option<()> {
        let mut outer = self;
        for step in parents {
            match outer.at(step) {
                Some((_, inner)) => outer = inner,
                None => return Some(()),
            }
        }
        let Some((index, _)) = outer.at(last) else { return Some(()) };
        match (outer, name) {
            (Array(_), Some(_)) => return None,
            (Array(elements), None) => drop(elements.remove(index)),
            (Object(members), None) => drop(members.remove(index)),
            (Object(members), Some(name)) if !is_named(&members[index].0, name) => {
                members[index].0 = quoted(name);
                let mut at = 0;
                members.retain(|(other, _)| {
                    at += 1;
                    at == index + 1 || !is_named(other, name)
                });
            }
            _ => {}
        }
        Some(())
    }
}

fn is_named(raw: &str, name: &str) -> bool {
    json::text(raw).is_ok_and(|text| text == name)
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).unwrap()
}

/// Names as written; several are one name in different writing.
const NAMES: [&str; 9] = ["a", "b", r"\u0061", "", "a/b", "m~n", "0", "ü", r#"\"\n"#];

fn document() -> impl Strategy<Value = Document> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "-0.10",
        "1e400",
        "12345678901234567890123",
        r#""""#,
        r#""a\u0062\"}""#,
        r#""\ud83d\ude00😀""#,
        r#""\ud800""#,
    ]);
    scalar.prop_map(|text| Scalar(text.to_owned())).prop_recursive(4, 24, 5, |inner| {
        let name = prop::sample::select(&NAMES).prop_map(|name| format!("\"{name}\""));
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Array),
            prop::collection::vec((name, inner), 0..5).prop_map(Object),
        ]
    })
}

fn written(document: &Document, blanks: &[String]) -> String {
    let mut text = String::new();
    document.write(&mut blanks.iter().cloned().cycle().take(200), &mut text);
    text
}

fn text() -> impl Strategy<Value = String> {
    (document(), prop::collection::vec("[ \n]{0,2}", 1..7)).prop_map(|(document, blanks)| written(&document, &blanks))
}

fn pointer() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec!["a", "b", "", "a~1b", "m~0n", "0", "1", "2", "-", "ü", "\"\n", "x"]);
    prop::collection::vec(step, 0..4).prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
}

/// An edit: its kind, its pointer and its value or name.
fn edit() -> impl Strategy<Value = (u8, String, String, String)> {
    (
        0..5_u8,
        pointer(),
        text(),
        prop::sample::select(vec!["a", "b", "", "0", "ü", "\"\n", "x"]).prop_map(str::to_owned),
    )
}

fn borrowed((kind, pointer, value, name): &(u8, String, String, String)) -> JsonEdit<'_> {
    match kind {
        0 => JsonEdit::Remove(pointer),
        1 => JsonEdit::Rename(pointer, name),
        _ => JsonEdit::Set(pointer, value.as_bytes()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Texts of names, strings and numbers that no edit touches stay to the byte.
    #[test]
    fn edits_make_what_the_model_makes(text in text(), edits in prop::collection::vec(edit(), 0..6)) {
        let mut document = Document::parse(&text);
        let edits: Vec<_> = edits.iter().map(borrowed).collect();
        let expected = edits.iter().try_for_each(|edit| document.edit(edit)).map(|()| document);
        let found = edited(text.as_bytes(), &edits);
        prop_assert_eq!(found.is_ok(), expected.is_some(), "{:?}", found);
        if let (Ok(found), Some(expected)) = (found, expected) {
            prop_assert!(check(&found).is_ok(), "{}", found.escape_ascii());
            prop_assert_eq!(Document::parse(str::from_utf8(&found).unwrap()), expected);
        }
    }

    /// Setting what is there changes no byte around it.
    #[test]
    fn a_value_is_replaced_where_it_stood(text in text(), pointer in pointer()) {
        let place: JsonPointer = pointer.parse().unwrap();
        let found = place.find(text.as_bytes()).unwrap();
        let once = edited(text.as_bytes(), &[JsonEdit::Remove("/x/x/x/x")]).unwrap();
        prop_assert_eq!(str::from_utf8(&once).unwrap(), &text);
        if let Some(value) = found.filter(|_| !pointer.is_empty()) {
            let at = value.as_ptr() as usize - text.as_ptr() as usize;
            let expected = format!("{}[7]{}", &text[..at], &text[at + value.len()..]);
            let mut model = Document::parse(&text);
            let before = model.clone();
            let steps: Vec<_> = pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
            steps.iter().try_fold(&mut model, |model, step| model.at(step).map(|(_, inner)| inner)).unwrap();
            // Without another member of a name on the way, that is.
            if model == before {
                let found = edited(text.as_bytes(), &[JsonEdit::Set(&pointer, b"[7]")]).unwrap();
                prop_assert_eq!(str::from_utf8(&found).unwrap(), expected);
            }
        }
    }

    /// What a walk has noted saves the reading and changes nothing. A text that is not JSON may be
    /// found out by one of the two alone.
    #[test]
    fn edits_along_an_outline_are_those_without(
        text in text(),
        broken in prop::option::of((
            any::<prop::sample::Index>(),
            prop::sample::select(vec!["", "}", "\"", ",", "{", "1 "]),
        )),
        read in prop::collection::vec(pointer(), 1..5),
        edits in prop::collection::vec(edit(), 1..5),
    ) {
        let mut text = text.into_bytes();
        if let Some((at, instead)) = broken {
            let at = at.index(text.len());
            text.splice(at..at + 1, instead.bytes());
        }
        let edits: Vec<_> = edits.iter().map(borrowed).collect();
        let tree = PointerTree::new(read.iter().map(String::as_str)).unwrap();
        let mut outline = JsonOutline::default();
        let found = tree.find_outlined(&text, &mut outline);
        prop_assert_eq!(&found, &tree.find(&text));
        let along = edited_along(&text, &outline, &edits);
        if found.is_ok() && check(&text).is_ok() {
            prop_assert_eq!(along, edited(&text, &edits), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn no_text_makes_it_panic(json: Vec<u8>, text in "[\\[\\]{}\",:\\\\ a01]{0,40}", edits in prop::collection::vec(edit(), 1..4)) {
        let edits: Vec<_> = edits.iter().map(borrowed).collect();
        let _ = edited(&json, &edits);
        let _ = edited(text.as_bytes(), &edits);
    }
}
