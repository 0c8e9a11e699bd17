//! WASI's clock for measuring in calls that may only compute: it stands still, and a wait of any
//! length is over at once. A wait is no harm there, and Go's runtime waits before it says why it
//! panicked.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::{
    WasiView as _, async_trait,
    p2::{DynPollable, Pollable, bindings::clocks::monotonic_clock, subscribe},
};

use super::sandbox::Sandbox;

/// Nanoseconds that the clock shows: at 0, Go's runtime gives up.
const NOW: u64 = 1;

/// Links the clock in place of WASI's own.
pub(super) fn add_still_clock(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = monotonic_clock::add_to_linker::<_, HasStillClock>(linker, |sandbox| StillClock(sandbox));
    linker.allow_shadowing(false);
    added
}

struct HasStillClock;

impl HasData for HasStillClock {
    type Data<'a> = StillClock<'a>;
}

struct StillClock<'a>(&'a mut Sandbox);

impl monotonic_clock::Host for StillClock<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(NOW)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let table = self.0.ctx().table;
        let over = table.push(FinishedWait)?;
        subscribe(table, over)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(duration)
    }
}

/// A wait that is over.
struct FinishedWait;

#[async_trait]
impl Pollable for FinishedWait {
    async fn ready(&mut self) {}
}
