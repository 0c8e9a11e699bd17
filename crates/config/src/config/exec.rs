//! Programs as sinks.

use std::{path::PathBuf, time::Duration};

/// A program that is run once for each route and takes its outputs on standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSink {
    /// Path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Folder that it runs in: the router's.
    pub directory: PathBuf,
    /// Variables of its environment, beside `PATH` and those that name its route.
    pub environment: Vec<(String, String)>,
    /// Names of the router's own variables that it gets too.
    pub pass_env: Vec<String>,
    pub confirm: ExecConfirm,
    /// Time for it to end after its standard input, and again after SIGTERM.
    pub stop_timeout: Duration,
}

/// The point at which an output counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecConfirm {
    /// The program has answered `ok` on standard output.
    Line,
    /// Its line is in the pipe. What the program has not worked on is lost if it dies.
    Write,
}
