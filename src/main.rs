//! The `trommel` command.

use std::process::ExitCode;

use clap::Parser;
use trommel::{cli::Cli, open_files};

fn main() -> ExitCode {
    open_files::raise_limit();
    Cli::parse().execute()
}
