//! Problems of a router's folder, with their positions.

use std::{cell::RefCell, io, path::Path};

use crate::config::{ConfigPlace, Problem, Problems, Severity};

/// Collects the problems of all files, so that one mistake does not hide the next.
#[derive(Debug, Default)]
pub(crate) struct ProblemReport(RefCell<Vec<Problem>>);

impl ProblemReport {
    /// Reports a folder that can't be listed.
    pub(crate) fn unlisted(&self, folder: &Path, error: &io::Error) {
        self.add(Problem::error(ConfigPlace::file(folder), format!("can't list the folder: {error}")));
    }

    pub(crate) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.0.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Returns the result with its warnings, or all problems if one is an error. `result` is `None`
    /// only after an error.
    pub(crate) fn conclude<T>(self, result: Option<T>) -> Result<(T, Vec<Problem>), Problems> {
        let problems = Problems::new(self.0.into_inner());
        match result {
            Some(result) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
                Ok((result, problems.into()))
            }
            _ => Err(problems),
        }
    }
}
