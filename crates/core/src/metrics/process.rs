//! What the system tells of this process, by the names that Prometheus has for it. Linux only.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// State of this process.
pub(super) struct ProcessStats {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) threads: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
    pub(super) start_seconds: f64,
}

impl ProcessStats {
    /// Reads it. `None` where there is no `/proc`.
    pub(super) fn read() -> Option<Self> {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let memory = fs::read_to_string("/proc/self/statm").ok()?;
        let mut pages = memory.split(' ').filter_map(|pages| pages.parse::<u64>().ok());
        let mut bytes = || Some(pages.next()?.saturating_mul(page_size() as u64));
        let (virtual_bytes, resident_bytes) = (bytes()?, bytes()?);
        // The name of the program, in brackets, may have anything in it. Behind it, from the third
        // field on, there are numbers.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
            resident_bytes,
            virtual_bytes,
            threads: field(20)?,
            // Without the one that reads the folder.
            open_fds: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            start_seconds: booted()? + field(22)? as f64 / clock_ticks_per_second() as f64,
        })
    }
}

/// Time at which the system was started, in Unix seconds.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}
