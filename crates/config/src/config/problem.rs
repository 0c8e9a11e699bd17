//! Problems of a router's folder, with their positions.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use crate::text;

/// A line and a column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TextPosition {
    pub line: usize,
    pub column: usize,
}

/// A position in a file, or the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigPlace {
    /// Path relative to the router's folder.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    #[serde(flatten)]
    pub position: Option<TextPosition>,
}

/// Serializes a path as text: a file name need not be UTF-8, JSON must.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl ConfigPlace {
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), position: None }
    }
}

impl fmt::Display for ConfigPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)?;
        match self.position {
            Some(TextPosition { line, column }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The folder can't be used.
    Error,
    /// The folder can be used, but perhaps not as intended.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(flatten)]
    pub place: ConfigPlace,
    pub severity: Severity,
    pub message: String,
    /// Hint on how to resolve it.
    pub hint: Option<String>,
    /// The offending line with a mark under it, for syntax errors.
    #[serde(skip)]
    pub excerpt: Option<String>,
}

impl Problem {
    pub fn error(place: ConfigPlace, message: impl Into<String>) -> Self {
        Self { place, severity: Severity::Error, message: message.into(), hint: None, excerpt: None }
    }

    pub fn warning(place: ConfigPlace, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Logs a warning that does not prevent the use of the folder.
    pub fn warn(&self) {
        tracing::warn!(hint = self.hint, "{}: {}", self.place, self.message);
    }
}

/// Shows `FILE:LINE:COLUMN: MESSAGE`, then, indented, the excerpt and the hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{}: {warning}{}", self.place, text::line(&self.message))?;
        for line in self.excerpt.iter().chain(&self.hint).flat_map(|text| text.lines()) {
            write!(f, "\n  {}", text::lines(line))?;
        }
        Ok(())
    }
}

/// The problem of a name that refers to nothing, wherever it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    pub message: String,
    /// Names that may be meant.
    pub hint: String,
}

/// All problems, warnings included, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the problems.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Self(problems)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problems> for Vec<Problem> {
    fn from(problems: Problems) -> Self {
        problems.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
