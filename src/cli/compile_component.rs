//! `trommel compile-component`: subprocess in which a router compiles a component, within limits.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use crate::filter::{Bounds, Reservations, compile_here};

#[derive(Args, Debug)]
pub struct CompileComponent {
    #[arg(long)]
    folder: PathBuf,
    /// Bytes
    #[arg(long)]
    memory: usize,
    /// Seconds
    #[arg(long)]
    cpu: u64,
    #[arg(long)]
    small_reservations: bool,
}

impl CompileComponent {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let reservations = if self.small_reservations { Reservations::Small } else { Reservations::Large };
        let bounds = Bounds { memory: self.memory, cpu: Duration::from_secs(self.cpu) };
        compile_here(&self.folder, reservations, bounds)?;
        Ok(ExitCode::SUCCESS)
    }
}
