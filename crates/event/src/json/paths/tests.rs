//! Tests of paths against parsers that read the whole document: `serde_json`, and the one below,
//! which shares nothing with either.

use std::iter::Peekable;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::json;

/// JSON text as producers write it: duplicate members, escapes in names, halves of surrogate pairs,
/// numbers that no type can hold.
fn text() -> impl Strategy<Value = String> {
    let string = prop::collection::vec(
        prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned()),
            Just("\\u0061".to_owned()),
            Just("\\\"".to_owned()),
            Just("\\\\".to_owned()),
            Just("\\/".to_owned()),
            Just("~".to_owned()),
            Just("ü{[,:]}".to_owned()),
            Just("\\ud83d".to_owned()),
            Just("\\ude00".to_owned()),
            Just("\\ud83d\\ude00".to_owned()),
        ],
        0..3,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let leaf = prop_oneof![
        string.clone(),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        Just("true".to_owned()),
        Just("null".to_owned()),
    ];
    let space = || prop_oneof![Just(""), Just(" "), Just("\n\t")];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let elements = prop::collection::vec(inner.clone(), 0..6);
        let members = prop::collection::vec((string.clone(), space(), inner), 0..6);
        prop_oneof![
            (elements, space()).prop_map(|(all, space)| format!("[{space}{}{space}]", all.join(&format!("{space},")))),
            (members, space()).prop_map(|(all, space)| {
                let members: Vec<_> =
                    all.iter().map(|(name, gap, value)| format!("{name}{gap}:{space}{value}")).collect();
                format!("{{{space}{}{space}}}", members.join(","))
            }),
        ]
    })
}

/// A tree that keeps every member, read by the grammar of RFC 8259, character by character.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Leaf(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

fn read(chars: &mut Peekable<impl Iterator<Item = char>>) -> Tree {
    fn skip(chars: &mut Peekable<impl Iterator<Item = char>>) {
        while chars.next_if(|char| " \n\t\r,:".contains(*char)).is_some() {}
    }
    skip(chars);
    let tree = match chars.peek().unwrap() {
        '"' => Tree::Leaf(format!("\"{}", string(chars))),
        '[' => {
            chars.next();
            skip(chars);
            let mut all = Vec::new();
            while chars.next_if_eq(&']').is_none() {
                all.push(read(chars));
            }
            Tree::Array(all)
        }
        '{' => {
            chars.next();
            skip(chars);
            let mut all = Vec::new();
            while chars.next_if_eq(&'}').is_none() {
                let name = string(chars);
                all.push((name, read(chars)));
            }
            Tree::Object(all)
        }
        _ => {
            let mut leaf = String::new();
            while let Some(char) = chars.next_if(|char| !" \n\t\r,]}".contains(*char)) {
                leaf.push(char);
            }
            Tree::Leaf(leaf)
        }
    };
    skip(chars);
    tree
}

/// Parses a string's meaning, by UTF-16 units.
fn string(chars: &mut Peekable<impl Iterator<Item = char>>) -> String {
    chars.next();
    let mut units = Vec::new();
    loop {
        match chars.next().unwrap() {
            '"' => return String::from_utf16_lossy(&units),
            '\\' => match chars.next().unwrap() {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                }
                other => units.push(other as u16),
            },
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
}

impl Tree {
    fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |tree, token| {
            let name = token.replace("~1", "/").replace("~0", "~");
            match tree {
                Self::Leaf(_) => None,
                Self::Array(all) => all.get(index(&name)?),
                Self::Object(all) => all.iter().rfind(|(known, _)| *known == name).map(|(_, tree)| tree),
            }
        })
    }

    /// Collects every pointer into it, also to members that another hides, and some that lead
    /// nowhere.
    fn pointers(&self, at: &str, all: &mut Vec<String>) {
        all.extend(["0", "7", "a", "", "-"].map(|token| format!("{at}/{token}")));
        let children: Vec<(String, &Self)> = match self {
            Self::Leaf(_) => Vec::new(),
            Self::Array(elements) => elements.iter().enumerate().map(|(n, tree)| (n.to_string(), tree)).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, tree)| (name.replace('~', "~0").replace('/', "~1"), tree)).collect()
            }
        };
        for (token, child) in children {
            let at = format!("{at}/{token}");
            all.push(at.clone());
            child.pointers(&at, all);
        }
    }
}

fn tree(text: &str) -> Tree {
    read(&mut text.chars().peekable())
}

proptest! {
    /// All readers find the same at a pointer: pointers one by one, pointers together,
    /// `serde_json`, and a literal reading of the grammar.
    #[test]
    fn every_reader_finds_the_same(text in text()) {
        prop_assert!(json::check(text.as_bytes()).is_ok(), "{}", text);
        let mended = json::mended(text.as_bytes());
        let mended = mended.as_ref().map_or(text.as_str(), |mended| str::from_utf8(mended).unwrap());
        let document = tree(&text);
        prop_assert_eq!(&tree(mended), &document, "mending changes no meaning");
        let parsed: Value = json::parse(text.as_bytes()).unwrap();

        let mut pointers = Vec::new();
        document.pointers("", &mut pointers);
        let paths = PointerTree::new(pointers.iter().map(String::as_str)).unwrap();
        let together = paths.find(mended.as_bytes()).unwrap();
        for (pointer, found) in pointers.iter().zip(together) {
            let alone = pointer.parse::<json::JsonPointer>().unwrap().find(mended.as_bytes()).unwrap();
            prop_assert_eq!(alone, found, "{} in {}", pointer, text);
            let read = found.map(tree);
            prop_assert_eq!(read.as_ref(), document.at(pointer), "{} in {}", pointer, text);
            let value = found.map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(value.as_ref(), parsed.pointer(pointer), "{} in {}", pointer, text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(json: Vec<u8>, text in "[\\[\\]{}\",:\\\\ a01]{0,60}") {
        let paths = PointerTree::new(["/a", "/0", "/a/0", "/0/a", "/a/a", "/0/0", "/a"]).unwrap();
        for json in [&json[..], text.as_bytes()] {
            if let Ok(found) = paths.find(json) {
                prop_assert_eq!(found.len(), 7);
            }
            let _ = (json::check(json), json::mended(json), json::parse(json), json::members(json));
        }
    }
}

#[test]
fn depth_costs_no_stack_and_width_no_time() {
    let deep = format!("{}{}", "{\"a\":[".repeat(1 << 19), "]}".repeat(1 << 19));
    let long = "/a/0".repeat(1 << 16);
    let paths = PointerTree::new([&*long, "/a/0/b", "/a/1"]).unwrap();
    let found = paths.find(deep.as_bytes()).unwrap();
    assert_eq!(found[0].map(str::len), Some(deep.len() - (1 << 16) * "{\"a\":[]}".len()));
    assert_eq!(found[1..], [None, None]);

    // One name over and over, with many pointers below it.
    let below: Vec<_> = (0..1000).map(|n| format!("/a/{n}")).collect();
    let paths = PointerTree::new(below.iter().map(String::as_str)).unwrap();
    let wide = format!("{{{}\"a\":{{\"7\":1}}}}", "\"a\":{\"7\":0,\"8\":0},".repeat(100_000));
    let began = std::time::Instant::now();
    let found = paths.find(wide.as_bytes()).unwrap();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_eq!((found[7], found[8]), (Some("1"), None));
}
