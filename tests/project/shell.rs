//! The commands on the pages can be typed: each call of `trommel` is one that its parser takes.

use std::{env, fs, path::Path, process::Command};

use clap::Parser;
use trommel::cli::Cli;

use crate::{
    documentation::{blocks, pages, root},
    reference::command,
};

/// Splits a script into its commands, and these into words. What is in a here-document is left out.
fn commands(script: &str) -> Vec<Vec<String>> {
    let (mut all, mut words) = (Vec::new(), Vec::new());
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        while let Some(begin) = line.strip_suffix('\\') {
            line = begin.to_owned() + lines.next().unwrap_or_default();
        }
        let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, quote) {
                (c, Some(end)) if c == end => quote = None,
                ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
                (c, Some(_)) => word.get_or_insert_default().push(c),
                ('\'' | '"', None) => {
                    word.get_or_insert_default();
                    quote = Some(c);
                }
                ('#', None) if word.is_none() => break,
                (c, None) if c.is_whitespace() => words.extend(word.take()),
                ('|' | ';' | '&', None) => {
                    words.extend(word.take());
                    all.push(std::mem::take(&mut words));
                }
                (c, None) => word.get_or_insert_default().push(c),
            }
        }
        assert!(quote.is_none(), "an open quote in `{line}`");
        words.extend(word);
        if let Some(end) = words.iter().find_map(|word| word.strip_prefix("<<")) {
            let _ = lines.by_ref().find(|line| *line == end);
        }
        all.push(std::mem::take(&mut words));
    }
    all.retain(|words| !words.is_empty());
    all
}

/// The arguments of a command that calls the router, with the program's name in front.
fn call(words: &[String]) -> Option<Vec<String>> {
    let begin = words.iter().position(|word| !word.contains('='))?;
    let words = match &words[begin..] {
        [cargo, run, rest @ ..] if cargo == "cargo" && run == "run" => {
            let begin = rest.iter().position(|word| word == "--")?;
            [&["trommel".to_owned()], &rest[begin + 1..]].concat()
        }
        words => words.to_vec(),
    };
    let end = words.iter().position(|word| word.starts_with(['<', '>'])).unwrap_or(words.len());
    (words.first()? == "trommel").then(|| words[..end].to_vec())
}

#[test]
fn every_call_in_a_shell_block_is_one_that_the_command_line_takes() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, block) in blocks(&["sh", "bash"]) {
        for words in commands(&block) {
            let Some(call) = call(&words) else { continue };
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&call) {
                wrong.push(format!("{}: {}: {error}", page.display(), call.join(" ")));
            }
        }
    }
    assert!(seen > 8, "only {seen} calls were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files of this tree that a shell block names are there, but for those that a page has made.
#[test]
fn what_a_shell_block_names_is_there() {
    let (mut seen, blocks) = (0, blocks(&["sh", "bash"]));
    for (page, block) in &blocks {
        for word in commands(block).into_iter().flatten() {
            let is_ours = ["examples/", "plugins/", "tests/"].iter().any(|folder| word.starts_with(folder));
            let is_made = blocks.iter().any(|(of, block)| of == page && block.contains(&format!("> {word}")));
            if is_ours && !is_made {
                seen += 1;
                assert!(root().join(&word).exists(), "{}: `{word}` is not there", page.display());
            }
        }
    }
    assert!(seen > 5, "only {seen} paths were found");
}

/// The lines that need no server are run as they stand.
#[test]
fn the_calls_on_the_quickstart_succeed() {
    let program = Path::new(env!("CARGO_BIN_EXE_trommel"));
    let path = env::join_paths(
        [program.parent().unwrap().to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let mut seen = 0;
    for (page, block) in blocks(&["sh", "bash"]) {
        for line in block.lines().filter(|line| line.contains("trommel ") && line.contains("examples/quickstart")) {
            seen += 1;
            let ran = Command::new("sh").args(["-ec", line]).env("PATH", &path).current_dir(root()).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success() && !ran.stdout.is_empty(), "{}: {line}\n{said}", page.display());
        }
    }
    assert!(seen > 0, "no line was found");
}

/// Commands and options that the text mentions are there.
#[test]
fn every_command_that_is_mentioned_is_there() {
    let (whole, mut seen) = (command(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for mention in text.split('`').filter_map(|span| span.strip_prefix("trommel ")) {
            let mut command = &whole;
            let mut words = mention.split_whitespace().peekable();
            while let Some(sub) = words.peek().and_then(|word| command.find_subcommand(word)) {
                command = sub;
                words.next();
            }
            seen += 1;
            let shown = page.strip_prefix(root()).unwrap().display();
            let is_named = command.get_name() != "trommel" || mention.starts_with(['-', 'C', '…']);
            assert!(is_named, "{shown}: `trommel {mention}` names no command");
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let option = option.trim_end_matches(|c: char| !c.is_alphanumeric());
                let is_there = command.get_arguments().any(|argument| argument.get_long() == Some(option));
                assert!(is_there, "{shown}: `trommel {mention}` has no option `--{option}`");
            }
        }
    }
    assert!(seen > 30, "only {seen} commands were found");
}

#[test]
fn scripts_are_split_as_a_shell_does() {
    let script = "a 'b c' \"d\\\"e\" # f\ncat > g <<'END'\nh i\nEND\nX=1 trommel run j | k; l\n";
    let words: Vec<_> = commands(script).into_iter().map(|words| words.join(",")).collect();
    assert_eq!(words, ["a,b c,d\"e", "cat,>,g,<<END", "X=1,trommel,run,j", "k", "l"]);
}
