//! `commands.md`, made of the command line's own definition.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::{Arg, Command, CommandFactory};
use trommel::cli::Cli;

use super::{cell, is_current};

const INTRODUCTION: &str = "# Commands

Generated from the command line itself; `trommel COMMAND --help` says the same. DIR is a router's folder, with
`trommel.toml` in it. [Exit codes](exit-codes.md) and [JSON rows](events.md) have pages of their own. The tasks
are told elsewhere: [operate](../how-to/operate.md), [consume one key](../how-to/consume.md), [look into
streams](../how-to/streams.md), [send webhooks](../how-to/webhooks.md), [repair dead
letters](../how-to/dead-letters.md), [verify a stretch](../how-to/verify.md), [test a
router](../how-to/test-a-router.md), [write a filter](../tutorials/first-filter.md).";

/// Variables that are read beside those of options, and the head of the table.
const ENVIRONMENT: &str = "
## Environment

| variable | stands for |
|---|---|
| `TROMMEL_STATE_DIR` | the folder of control sockets; else `$XDG_STATE_HOME/trommel`, else `~/.local/state/trommel` |
| `XDG_CACHE_HOME` | what compiled components are kept below; else `~/.cache` |
| `OTEL_RESOURCE_ATTRIBUTES` | attributes of all spans, with `[telemetry]` |
";

/// The command line with everything that clap derives from it.
pub fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Commands that do something themselves, with their full names.
fn leaves(command: &Command) -> Vec<&Command> {
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help").collect();
    match subcommands.is_empty() {
        true => vec![command],
        false => subcommands.into_iter().flat_map(leaves).collect(),
    }
}

fn full_name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(command.get_name())
}

fn page() -> String {
    let command = command();
    let leaves = leaves(&command);
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| command | what it does |\n|---|---|\n");
    for leaf in &leaves {
        let name = full_name(leaf);
        let about = leaf.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "| [`{name}`](#{}) | {} |", name.replace(' ', "-"), cell(&about)).unwrap();
    }
    for leaf in &leaves {
        section(leaf, &mut page);
    }
    page.push_str(ENVIRONMENT);
    let arguments = leaves.iter().flat_map(|leaf| leaf.get_arguments());
    let variables: BTreeMap<_, _> =
        arguments.filter_map(|argument| Some((argument.get_env()?.to_string_lossy(), written(argument)))).collect();
    for (variable, option) in variables {
        writeln!(page, "| `{variable}` | `{option}`, where that is not given |").unwrap();
    }
    page
}

fn section(command: &Command, page: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    write!(page, "\n## {}\n\n```\n{usage}\n```\n", full_name(command)).unwrap();
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        write!(page, "\n{about}\n").unwrap();
    }
    let arguments: Vec<_> = command.get_arguments().filter(|argument| is_shown(argument)).collect();
    if arguments.is_empty() {
        return;
    }
    page.push_str("\n| argument | default | meaning |\n|---|---|---|\n");
    for argument in arguments {
        writeln!(page, "| `{}` | {} | {} |", cell(&written(argument)), default(argument), meaning(argument)).unwrap();
    }
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

/// An argument as it is written on the command line.
fn written(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>();
    let mut values = names.join(" ");
    if argument.get_num_args().is_some_and(|number| number.max_values() > 1 && names.len() < 2) {
        values.push_str("...");
    }
    let takes_values = argument.get_num_args().is_some_and(|number| number.takes_values());
    let option = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => return values,
    };
    if takes_values { format!("{option} {values}") } else { option }
}

fn default(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    match () {
        () if argument.is_required_set() => "*required*".to_owned(),
        () if values.is_empty() || values == ["false"] => "–".to_owned(),
        () => format!("`{}`", cell(&values.join(" "))),
    }
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = cell(&help);
    let choices: Vec<_> =
        argument.get_possible_values().iter().map(|choice| format!("`{}`", choice.get_name())).collect();
    let takes_values = argument.get_num_args().is_some_and(|number| number.takes_values());
    if takes_values && !choices.is_empty() {
        write!(meaning, "; one of {}", choices.join(", ")).unwrap();
    }
    if let Some(variable) = argument.get_env() {
        write!(meaning, "; environment: `{}`", variable.to_string_lossy()).unwrap();
    }
    meaning
}

#[test]
fn the_commands_are_those_of_the_command_line() {
    is_current("commands.md", &page());
}

#[test]
fn every_command_says_what_it_does() {
    let command = command();
    for leaf in leaves(&command) {
        assert!(leaf.get_about().is_some(), "`{}` has no description", full_name(leaf));
        for argument in leaf.get_arguments().filter(|argument| is_shown(argument)) {
            assert!(argument.get_help().is_some(), "`{}` of `{}`", argument.get_id(), full_name(leaf));
        }
    }
}
