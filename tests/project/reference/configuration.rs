//! `configuration.md` and `keys.md` against the reader: each example loads, and each table has the
//! fields that the reader takes there, no more and no fewer.

use std::{collections::BTreeSet, fs};

use trommel::folder;

use super::read;
use crate::documentation::{blocks, root};

/// A field that no table has. Where it stands, the reader lists those that it knows.
const UNKNOWN: &str = "zzzzzz";

/// What a router needs beside an example, by the table that it is left out for.
const REST: &[(&str, &str)] = &[
    ("nats", "[nats]\nurl = \"nats://127.0.0.1:4222\"\n"),
    ("api", "[api]\nbase_url = \"https://api.example.com\"\n"),
    ("source", "[[source]]\nname = \"in\"\ntype = \"lines\"\n"),
    ("sink", SINKS),
];

const SINKS: &str = "
[[sink]]
name = \"out\"
type = \"null\"
[[sink]]
name = \"archive\"
type = \"null\"
[[sink]]
name = \"alerts\"
type = \"null\"
";

/// What the examples of `keys/` need besides.
const KEYS_REST: &str = "[[sink]]\nname = \"tenants\"\ntype = \"webhook\"\n";
const KEY: &str = "[[key]]\nkey = \"orders.large\"\nsubject = \"orders.>\"\n[[key.params]]\nname = \"where\"\n";

/// The part of a page that describes one table.
struct Section {
    title: String,
    /// The table's path, such as `key.params`.
    table: String,
    /// Fields in the rows, those of inner tables as `retry.min`.
    fields: BTreeSet<String>,
    example: String,
}

fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    for page in ["configuration.md", "keys.md"] {
        let text = read(page);
        for section in text.split("\n## ").skip(1) {
            let (title, body) = section.split_once('\n').unwrap();
            if !body.contains("\n| field |") {
                continue;
            }
            let example = body.split_once("```toml\n").unwrap_or_else(|| panic!("{page}: {title} has no example")).1;
            let rows = body.lines().skip_while(|line| !line.starts_with("| field |")).skip(2);
            let cells = rows.take_while(|line| line.starts_with('|')).map(|row| row.split('|').nth(1).unwrap());
            sections.push(Section {
                title: title.to_owned(),
                table: table(title.split('`').nth(1).unwrap()),
                fields: cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect(),
                example: example.split_once("```").unwrap().0.to_owned(),
            });
        }
    }
    assert!(sections.len() > 25, "only {} sections were found", sections.len());
    sections
}

/// The path in a header; a name of the user's own is `POINTER`.
fn table(header: &str) -> String {
    let path = header.trim_matches(['[', ']']);
    match path.split('"').collect::<Vec<_>>()[..] {
        [before, _, after] => format!("{before}POINTER{after}").replace("\"", ""),
        _ => path.to_owned(),
    }
}

/// Loads an example in a folder that has the rest. Returns the problems, a line each with its hint.
fn problems(example: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let copy = |to: &str| {
        fs::create_dir_all(folder.path().join(to).parent().unwrap()).unwrap();
        fs::copy(root().join("plugins/select.wasm"), folder.path().join(to)).unwrap();
    };
    ["plugins/select.wasm", "components/select.wasm"].into_iter().for_each(copy);
    let filters = example.lines().filter_map(|line| line.strip_prefix("filter = \"")?.strip_suffix('"'));
    filters.for_each(|filter| copy(&format!("plugins/{filter}.wasm")));
    for (file, text) in [
        ("contracts/order.json", "{\"type\":\"object\"}"),
        ("schemas/order.json", "{\"type\":\"object\"}"),
        ("schemas/order.avsc", "{\"type\":\"record\",\"name\":\"order\",\"fields\":[]}"),
        ("events.ndjson", ""),
        ("orders.avro", ""),
        ("more-orders.avro", ""),
    ] {
        write(file, text);
    }
    for secret in example.split('"').filter(|text| text.starts_with("secrets/")) {
        write(secret, "Authorization: a secret of at least twenty-four bytes");
    }
    let has = |name: &str| example.lines().any(|line| table(line.trim()) == name && line.starts_with('['));
    let is_of_keys = ["key", "route", "webhook"].into_iter().any(has);
    let mut settings = if is_of_keys { KEYS_REST.to_owned() } else { example.to_owned() };
    let rest = REST.iter().filter(|(name, _)| is_of_keys || !has(name));
    rest.for_each(|(_, text)| settings.extend(["\n", *text]));
    write("trommel.toml", &settings);
    if is_of_keys {
        write("keys/example.toml", example);
        if !has("key") {
            write("keys/rest.toml", KEY);
        }
    }
    let Err(problems) = folder::load(folder.path()) else { return Vec::new() };
    let problems = problems.to_string();
    problems.replace("\n  ", " ").lines().map(str::to_owned).collect()
}

/// The fields that the reader knows in the tables of an example, each behind its table's path.
fn known(example: &str) -> BTreeSet<String> {
    let mut marked = Vec::new();
    for line in example.lines() {
        marked.push(line.to_owned());
        if line.starts_with('[') {
            marked.push(format!("{UNKNOWN} = 1"));
        }
    }
    let mut known = BTreeSet::new();
    for problem in problems(&marked.join("\n")) {
        let Some((_, hint)) = problem.split_once(&format!("unknown field `{UNKNOWN}`")) else { continue };
        assert!(hint.contains("known fields: ") && !hint.contains(" more"), "{problem}");
        let line: usize = problem.split(':').nth(1).unwrap().parse().unwrap();
        // The header stands in front of the unknown field.
        let table = table(&marked[line - 2]);
        known.extend(hint.split('`').skip(1).step_by(2).map(|field| format!("{table}.{field}")));
    }
    known
}

/// Leaves out the fields that are tables of which there are fields.
fn leaves(fields: &BTreeSet<String>) -> BTreeSet<String> {
    let is_leaf = |field: &&String| !fields.iter().any(|other| other.starts_with(&format!("{field}.")));
    fields.iter().filter(is_leaf).cloned().collect()
}

/// The problems of a file of cases.
fn problems_of_cases(example: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cases.toml"), example).unwrap();
    let read = folder::CaseFile::read(folder.path(), "cases.toml".as_ref());
    read.err().iter().flat_map(|problems| problems.iter()).map(ToString::to_string).collect()
}

/// Of all pages, not only of the reference; a manifest of Cargo is no part of a router.
#[test]
fn every_example_loads() {
    for (page, example) in blocks(&["toml"]).iter().filter(|(_, example)| !example.contains("[package]")) {
        if example.contains("[[case]]") {
            assert_eq!(problems_of_cases(example), [""; 0], "{}:\n{example}", page.display());
            continue;
        }
        assert_eq!(problems(example), [""; 0], "{}:\n{example}", page.display());
    }
}

#[test]
fn every_table_has_the_fields_that_the_reader_takes() {
    let sections = sections();
    for Section { title, table, fields, example } in &sections {
        let prefix = format!("{table}.");
        let known = known(example).into_iter().filter_map(|field| field.strip_prefix(&prefix).map(str::to_owned));
        let known = known.collect::<BTreeSet<_>>();
        let (fields, known) = (leaves(fields), leaves(&known));
        let unknown: Vec<_> = fields.difference(&known).collect();
        assert!(unknown.is_empty(), "{title} has fields that the reader does not take: {unknown:?}");
        // What all types have in common has a table of its own.
        let alike: BTreeSet<_> =
            sections.iter().filter(|other| other.table == *table).flat_map(|other| leaves(&other.fields)).collect();
        let is_missing = |field: &&String| !alike.iter().any(|other| other.starts_with(&format!("{field}.")));
        let missing: Vec<_> = known.difference(&alike).filter(is_missing).collect();
        assert!(missing.is_empty(), "{title} lacks fields that the reader takes: {missing:?}");
    }
}

/// The tables of the two files, as the reader names them.
#[test]
fn every_table_that_the_reader_takes_has_a_section() {
    let sections = sections();
    // `[apis.NAME]` takes what `[api]` does, and stands in its section.
    let has = |table: &str| table == "apis" || sections.iter().any(|section| section.table == table);
    for (example, is_of_keys) in [
        (format!("{UNKNOWN} = 1\n"), false),
        (format!("{UNKNOWN} = 1\n[[route]]\nkey = \"orders.large\"\nsinks = [\"out\"]\n"), true),
    ] {
        let problem = problems(&example).into_iter().find(|problem| problem.contains(UNKNOWN)).unwrap();
        let (_, hint) = problem.split_once("known fields: ").unwrap();
        let tables: Vec<_> = hint.split('`').skip(1).step_by(2).collect();
        assert!(tables.len() >= if is_of_keys { 3 } else { 14 }, "{tables:?}");
        for table in tables {
            assert!(has(table), "`{table}` has no section");
        }
    }
}

/// Types that have fields of their own.
#[test]
fn every_type_has_a_section() {
    let sections = sections();
    let without_fields = ["stdout", "program", "null"];
    for table in ["source", "sink"] {
        let example = format!("[[{table}]]\nname = \"a\"\ntype = \"{UNKNOWN}\"\n");
        let problem = problems(&example).into_iter().find(|problem| problem.contains(UNKNOWN)).unwrap();
        let (_, words) = problem.split_once("known words: ").unwrap();
        for word in words.split('`').skip(1).step_by(2).filter(|word| !without_fields.contains(word)) {
            let title = format!("`[[{table}]]` of type `{word}`");
            assert!(sections.iter().any(|section| section.title == title), "there is no section {title}");
        }
    }
}
