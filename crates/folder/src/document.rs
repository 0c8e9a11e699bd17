//! One TOML file: its text, positions in it, and its syntax errors.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use crate::{
    config::{ConfigPlace, LARGEST_TOML, Problem, TextPosition},
    listing::FolderFiles,
    problem::ProblemReport,
    table::TomlTable,
};

pub(crate) struct TomlDocument<'a> {
    /// The router's folder.
    pub(crate) dir: &'a Path,
    pub(crate) report: &'a ProblemReport,
    /// Path relative to the folder.
    file: PathBuf,
    text: String,
    /// Offset of each line's first byte.
    lines: Vec<usize>,
}

impl<'a> TomlDocument<'a> {
    /// Opens a file of the folder. Returns `None` if it can't be read; the error is then in the
    /// report.
    pub(crate) fn open(files: &'a FolderFiles, file: &Path, report: &'a ProblemReport) -> Option<Self> {
        let text = read(files, file).map_err(|(position, message)| {
            report.add(Problem::error(ConfigPlace { file: file.to_owned(), position }, message));
        });
        Some(Self::of(&files.dir, file, text.ok()?, report))
    }

    /// Creates a document from a text, which messages call `file`.
    pub(crate) fn of(dir: &'a Path, file: &Path, text: String, report: &'a ProblemReport) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Self { dir, report, file: file.to_owned(), text, lines }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Lets `fields` read the file's outermost table. Returns `None` if the syntax is broken; the
    /// errors are then in the report.
    pub(crate) fn read<T>(&self, fields: impl FnOnce(&mut TomlTable<'_>) -> T) -> Option<T> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        if errors.is_empty() {
            return Some(TomlTable::read(self, root.span(), root.into_inner(), fields));
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
        let excerpt = self.excerpt(position);
        let hint = self.is_bare(position).then(|| "text stands in quotes".to_owned());
        Problem { excerpt, hint, ..Problem::error(self.place(span), error.message()) }
    }

    pub(crate) fn place(&self, span: Range<usize>) -> ConfigPlace {
        ConfigPlace { file: self.file.clone(), position: Some(self.position(span.start)) }
    }

    fn position(&self, offset: usize) -> TextPosition {
        let line = self.lines.partition_point(|start| *start <= offset).max(1) - 1;
        let before = self.text.get(self.lines[line]..offset).unwrap_or_default();
        TextPosition { line: line + 1, column: before.chars().count() + 1 }
    }

    /// The setting that a line names, or the header that it is, with a mark below it. Values are
    /// left out, as is a line that does not begin like a setting: they may be secrets.
    fn excerpt(&self, TextPosition { line, column }: TextPosition) -> Option<String> {
        let before = self.text.get(..self.lines[line - 1]).unwrap_or_default();
        let is_in_text = ["\"\"\"", "'''"].iter().any(|quotes| before.matches(quotes).count() % 2 == 1);
        let text = self.line(line - 1);
        let name = text.split('=').next().unwrap_or_default();
        let is_shown = |c: char| c.is_ascii_lowercase() || " \t._-[]".contains(c);
        if is_in_text || !name.chars().all(is_shown) {
            return None;
        }
        let (shown, end) = match name.len() == text.len() {
            true if name.trim_start().starts_with('[') => (name.to_owned(), text.len() + 1),
            true => return None,
            false => (format!("{name}= …"), name.len() + 1),
        };
        Some(if column <= end { format!("{shown}\n{:>column$}", "^") } else { shown })
    }

    /// Returns whether the value at this position is text without quotes.
    fn is_bare(&self, TextPosition { line, column }: TextPosition) -> bool {
        let text = self.line(line - 1);
        let Some((name, value)) = text.split_once('=') else { return false };
        let word = value.trim_start().chars().next().is_some_and(char::is_alphabetic);
        word && column > name.chars().count() && !["true", "false", "inf", "nan"].contains(&value.trim())
    }

    fn line(&self, index: usize) -> &str {
        self.text.lines().nth(index).unwrap_or_default()
    }
}

fn read(files: &FolderFiles, file: &Path) -> Result<String, (Option<TextPosition>, String)> {
    let bytes = files.read(&files.dir.join(file), LARGEST_TOML).map_err(|error| (None, error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
        let position = TextPosition { line, column: column.chars().count() + 1 };
        (Some(position), "the file is not UTF-8 from here on".into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All syntax errors of a text.
    fn said(text: &str) -> String {
        let report = ProblemReport::default();
        TomlDocument::of(Path::new("."), Path::new("a.toml"), text.to_owned(), &report)
            .read(|table| table.ignore_rest());
        let problems = report.conclude(None::<()>).map(drop).unwrap_err();
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn the_name_is_shown_and_not_the_value() {
        for (text, expected) in [
            ("a b = 1", "a b = …\n    ^"),
            ("[nats", "[nats\n       ^"),
            ("  batch = 1o", "  batch = …"),
            ("token = \"SECRET\" x", "token = …"),
        ] {
            let said = said(text);
            assert!(said.ends_with(&format!("\n  {}\n", expected)), "{said}");
        }
    }

    const WHOLE: &str = "[nats]\nurl = [\n  \"tls://u:SECRET@host\",\n  'tls://SECRET@b',\n]\ntoken = \"SECRET\"\n[api.headers]\n\
        api-key = 'SECRET'\n\"X-Key\" = \"SECRET==\"\n[hook]\ntext = \"\"\"\nSECRET = SECRET\n\"SECRET\" SECRET\n\"\"\"\nmore = { a = \"SECRET\" }\n";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// A mistyped character anywhere in the text shows no secret.
        #[test]
        fn no_mistake_shows_a_secret(at in 0..WHOLE.len(), typed in "[ \"'=\\[\\]{}\n#,a.-]|", removed in 0..2usize) {
            let mut text = WHOLE.to_owned();
            text.replace_range(at..at + removed, &typed);
            let said = said(&text);
            let (shown, _) = said.split_once("SECRET").unwrap_or_default();
            prop_assert!(!said.contains("SECRET"), "{shown}");
        }
    }
}
