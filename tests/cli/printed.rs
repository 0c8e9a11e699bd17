//! What a command prints, in the forms that tests compare.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// JSON, a value a line.
pub fn json_lines(bytes: impl AsRef<[u8]>) -> Vec<Value> {
    let text = text(bytes.as_ref());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Everything that a command prints, and its exit code. The folder is written as `DIR`.
pub fn printed(command: &mut Command, folder: &Path) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let printed = format!("{}--- stderr\n{}--- exit code {}", text(&stdout), text(&stderr), status.code().unwrap());
    printed.replace(&folder.display().to_string(), "DIR")
}

/// The standard output in [`printed`] of a command that succeeds, as JSON: a value a line, or one
/// in all.
pub fn json_in(printed: &str) -> Vec<Value> {
    let (stdout, rest) = printed.split_once("--- stderr\n").unwrap();
    assert_eq!(rest, "--- exit code 0", "{printed}");
    serde_json::Deserializer::from_str(stdout).into_iter().collect::<Result<_, _>>().unwrap()
}

/// Exit code and reason of a command that is refused. The folder is written as `DIR`.
pub fn refusal(command: &mut Command, folder: &Path) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(text(&stdout), "");
    let stderr = text(&stderr).replace(&folder.display().to_string(), "DIR");
    format!("{}: {stderr}", status.code().unwrap())
}
