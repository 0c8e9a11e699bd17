//! The `trommel` command.

use std::process::ExitCode;

use clap::Parser;
use trommel::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
