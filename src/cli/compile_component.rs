//! `trommel compile-component`: subprocess in which a router compiles a component, within limits.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use crate::filter::{CodeQuality, CompilerLimits, MemoryReservations, compile_here};

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
    #[arg(long)]
    quick: bool,
}

impl CompileComponent {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let reservations = if self.small_reservations { MemoryReservations::Small } else { MemoryReservations::Large };
        let bounds = CompilerLimits { memory: self.memory, cpu: Duration::from_secs(self.cpu) };
        let quality = if self.quick { CodeQuality::Quick } else { CodeQuality::Optimised };
        compile_here(&self.folder, reservations, quality, bounds)?;
        Ok(ExitCode::SUCCESS)
    }
}
