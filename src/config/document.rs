//! One TOML file: its text, the places in it, and what is wrong with its syntax.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    problem::{Place, Position, Problem, Report},
    read::{LARGEST_TOML, read_text},
    table::Table,
};

/// Words that make a line unfit to be shown, for it may hold a secret.
const SECRETS: [&str; 7] = ["password", "token", "url", "nats:", "headers", "Authorization", "X-"];

pub(super) struct Document<'a> {
    /// The router's folder.
    pub(super) dir: &'a Path,
    pub(super) report: &'a Report,
    /// Relative to the folder.
    file: PathBuf,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'a> Document<'a> {
    /// Opens `dir/file`. `None` when it can't be read, which the report then says.
    pub(super) fn open(dir: &'a Path, file: &Path, report: &'a Report) -> Option<Self> {
        let text = read(&dir.join(file)).map_err(|(position, message)| {
            report.add(Problem::error(Place { file: file.to_owned(), position }, message));
        });
        Some(Self::of(dir, file, text.ok()?, report))
    }

    /// A text that is called `file` where something is said of it.
    pub(super) fn of(dir: &'a Path, file: &Path, text: String, report: &'a Report) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Self { dir, report, file: file.to_owned(), text, lines }
    }

    /// Lets `fields` read the file's outermost table. `None` when the syntax is broken, which the report then says.
    pub(super) fn read<T>(&self, fields: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        if errors.is_empty() {
            return Some(Table::read(self, root.span(), root.into_inner(), fields));
        }
        let mut problems: Vec<Problem> = errors.iter().map(|error| self.broken(error)).collect();
        // Later errors of a line mostly follow from its first.
        problems.sort_by_key(|problem| problem.place.position);
        problems.dedup_by_key(|problem| problem.place.position.map(|position| position.line));
        problems.into_iter().for_each(|problem| self.report.add(problem));
        None
    }

    fn broken(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or_default();
        let position = self.position(span.start);
        let line = self.line(position.line - 1);
        let excerpt = (!SECRETS.iter().any(|word| line.contains(word)))
            .then(|| format!("{line}\n{:>column$}", "^", column = position.column));
        Problem { excerpt, ..Problem::error(self.place(span), error.message()) }
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file.clone(), position: Some(self.position(span.start)) }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1) - 1;
        let before = self.text.get(self.lines[line]..offset).unwrap_or_default();
        Position { line: line + 1, column: before.chars().count() + 1 }
    }

    fn line(&self, index: usize) -> &str {
        self.text.lines().nth(index).unwrap_or_default()
    }
}

fn read(path: &Path) -> Result<String, (Option<Position>, String)> {
    let bytes = read_text(path, LARGEST_TOML).map_err(|error| (None, error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
        let position = Position { line, column: column.chars().count() + 1 };
        (Some(position), "the file is not UTF-8 from here on".into())
    })
}
