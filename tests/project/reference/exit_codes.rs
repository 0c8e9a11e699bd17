//! `exit-codes.md`, made of the codes and of the errors in the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{cell, is_current};
use crate::layout::{code, sources};

const INTRODUCTION: &str = "# Exit codes and error types

| code | meaning |
|---|---|
| 0 | it ended as it should: the input ended, a signal was given, or the reader of standard output has left |
";

const COMMANDS: &str = "
Some commands have more to say with a code:

| command | code | meaning |
|---|---|---|
| `run` | 1 | also: stopped at once by a second signal |
| `run` | 4 | only with `--connect-timeout`; without it, a start waits for its server |
| `check`, `plugin check` | 2 | there are problems |
| `check --deny-warnings` | 2 | also: there are warnings |
| `doctor` | 2 | there are errors; with `--deny-warnings` also: there are warnings |
| `schemas check` | 2 | the new schema can't read all that the old one wrote |
| `streams plan` | 2 | `ensure` would change something; what, is on standard output |
| `status --fail-on-orphan` | 2 | a router runs that can't be reached |
| `stop` | 2 | a router was not stopped, as consumers are attached |
| `reload --wait` | 2 | something was refused: what was good before stays in force |
| `drain` | 1 | also: events were not done in time, and go back to their sources |
| `consume` | 4 | also: the router went away |
| `test`, `plugin test` | 1 | a case failed |
| `test --min-coverage` | 1 | also: the cases reach less |
| `diff` | 1 | a message has other ends |
| `verify` | 1 | there are gaps |
| `dlq retry` | 1 | letters are still dead |
| `webhooks test` | 1, 4 | the event was not taken; the receiver did not answer |

## Error types

With `--json`, an error is [one object](events.md#an-error-with---json) on standard error. Its `type` says where
to act, and decides the exit code; its `subtype` says what is wrong.

| type | code | where to act | subtypes |
|---|---|---|---|
";

const TYPES: &[(&str, &str, u8, &str)] = &[
    ("Validation", "validation", 2, "the command line or the configuration"),
    ("Precondition", "precondition", 2, "something that must be there first"),
    ("Api", "api", 1, "a server or an API, which did not carry out a request"),
    ("Auth", "auth", 3, "credentials or permissions"),
    ("Network", "network", 4, "the network, or a router that does not answer"),
    ("Internal", "internal", 5, "trommel, or the machine"),
];

/// Codes above 0, each with the sentence that documents it in `cli.rs`.
fn codes(cli: &str) -> Vec<(&str, &str)> {
    let (_, module) = cli.split_once("pub mod exit {").unwrap();
    let lines: Vec<_> = module.lines().take_while(|line| *line != "}").map(str::trim).collect();
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let codes = pairs.filter_map(|(comment, line)| {
        let (_, code) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
        Some((code.trim_end_matches(';'), comment.strip_prefix("/// ").unwrap()))
    });
    codes.collect()
}

/// Subtypes by the name of their type's variant.
fn subtypes() -> BTreeMap<String, BTreeSet<String>> {
    let mut subtypes = BTreeMap::<_, BTreeSet<_>>::new();
    for (_, text) in sources().into_iter().filter(|(path, _)| path.starts_with("trommel/cli")) {
        let code = code(&text).split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in code.split("RefusalKind::").skip(1) {
            let Some((kind, rest)) = rest.split_once(", \"") else { continue };
            let (subtype, _) = rest.split_once('"').unwrap();
            let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if is_word(kind) && is_word(subtype) {
                subtypes.entry(kind.to_owned()).or_default().insert(subtype.to_owned());
            }
        }
    }
    subtypes
}

#[test]
fn the_exit_codes_and_error_types_are_those_of_the_sources() {
    let mut page = INTRODUCTION.to_owned();
    let (_, cli) = sources().into_iter().find(|(path, _)| path.ends_with("cli")).unwrap();
    let codes = codes(&cli);
    assert_eq!(codes.len(), 5, "{codes:?}");
    for (code, meaning) in codes {
        writeln!(page, "| {code} | {} |", cell(meaning.trim_end_matches('.'))).unwrap();
    }
    page.push_str(COMMANDS);
    let subtypes = subtypes();
    let known: BTreeSet<_> = TYPES.iter().map(|(variant, ..)| (*variant).to_owned()).collect();
    assert_eq!(subtypes.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (variant, name, code, act) in TYPES {
        let subtypes: Vec<_> = subtypes[*variant].iter().map(|subtype| format!("`{subtype}`")).collect();
        writeln!(page, "| `{name}` | {code} | {act} | {} |", subtypes.join(", ")).unwrap();
    }
    is_current("exit-codes.md", &page);
}
