//! Sandbox of one instance: its limits of memory, time and calls to the host, and an empty WASI.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{Deterministic, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{
    account::MemoryAccount,
    error::Violation,
    granted::GrantedResources,
    journal::{GuestLog, GuestOutput},
    measures::UndeclaredMetrics,
};

/// Store data of an instance.
pub(super) struct Sandbox {
    pub(super) memory: InstanceMemory,
    /// Computing time that the call may take.
    pub(super) cpu: Duration,
    /// Ticks of the epoch that are left of `cpu`.
    pub(super) ticks: u64,
    pub(super) journal: Arc<GuestLog>,
    /// Key that the call is for, with its grants.
    pub(super) granted: Arc<GrantedResources>,
    /// Deadline of calls to the API and to a bucket.
    pub(super) until: Instant,
    /// True if the call runs on its thread's own stack, and can't let others run.
    pub(super) holds_thread: bool,
    /// True if the call is about an event, which can wait for what is away.
    pub(super) is_about_event: bool,
    /// Wall clock of a match instance.
    clock: EventClock,
    pub(super) telemetry: CallTelemetry,
    host_calls: u32,
    host_call_limit: u32,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What a call has said of itself.
#[derive(Default)]
pub(super) struct CallTelemetry {
    /// True if the call has a span that is recorded.
    pub(super) is_traced: bool,
    /// Names and values for that span.
    pub(super) annotations: Vec<(String, String)>,
    pub(super) undeclared: Arc<UndeclaredMetrics>,
}

/// Purpose of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstanceKind {
    /// May call nothing: `describe`, the constructor, `conditions`, `matches`.
    Match,
    /// May call what was granted: `normalize-params`, `process`.
    Process,
}

impl Sandbox {
    /// Sets the key and grants of the calls that follow. They end after `wall`; the API must answer
    /// a tenth earlier, so that the guest can still use the result.
    pub(super) fn grant(&mut self, granted: &Arc<GrantedResources>, wall: Duration) {
        self.granted = Arc::clone(granted);
        if granted.api.is_some() || granted.state.as_ref().is_some_and(|scope| scope.is_shared()) {
            self.until = Instant::now() + wall - wall / 10;
        }
    }

    pub(super) fn new(journal: GuestLog, kind: InstanceKind, memory: InstanceMemory) -> Self {
        let (journal, clock) = (Arc::new(journal), EventClock::default());
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(GuestOutput { journal: Arc::clone(&journal), stream: "stdout" })
            .stderr(GuestOutput { journal: Arc::clone(&journal), stream: "stderr" })
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(64 << 10);
        if kind == InstanceKind::Match {
            wasi.wall_clock(clock.clone())
                .secure_random(Deterministic::new(SEED.to_vec()))
                .insecure_random(Deterministic::new(SEED.to_vec()))
                .insecure_random_seed(0);
        }
        Self {
            memory,
            cpu: Duration::ZERO,
            ticks: 0,
            journal,
            granted: Arc::default(),
            until: Instant::now(),
            holds_thread: false,
            is_about_event: false,
            clock,
            telemetry: CallTelemetry::default(),
            host_calls: 0,
            host_call_limit: 0,
            wasi: wasi.build(),
            table: ResourceTable::new(),
        }
    }

    /// Sets the wall clock of a match instance to the time at which the router saw an event.
    pub(super) fn set_clock(&self, observed_at: u64) {
        self.clock.0.store(observed_at, Ordering::Relaxed);
    }

    /// Opens the budgets of one call.
    pub(super) fn begin(&mut self, cpu: Duration, host_calls: u32, log_lines: u32) {
        (self.cpu, self.ticks) = (cpu, ticks(cpu));
        self.host_calls = 0;
        self.host_call_limit = host_calls;
        (self.memory.refused, self.memory.starved) = (false, false);
        self.journal.begin(log_lines);
    }

    /// Ticks that the call has taken.
    pub(super) fn ticks_taken(&self) -> u64 {
        ticks(self.cpu) - self.ticks
    }

    /// Counts one call to the host. Returns whether the budget allows it.
    ///
    /// # Errors
    /// If twice the budget is exceeded, to end the guest's call.
    pub(super) fn host_call(&mut self) -> Result<bool, Violation> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls > self.host_call_limit.saturating_mul(2) {
            return Err(Violation::HostCalls(self.host_calls));
        }
        Ok(self.host_calls <= self.host_call_limit)
    }
}

/// The ticker's period.
pub(super) const TICK: Duration = Duration::from_millis(1);

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A wall clock that shows when the router saw the event, so that a guest can only decide by the
/// event. It stands at 0 where there is none.
#[derive(Clone, Default)]
struct EventClock(Arc<AtomicU64>);

impl HostWallClock for EventClock {
    fn resolution(&self) -> Duration {
        TICK
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Seed of random bytes where a guest must not depend on chance.
const SEED: [u8; 8] = *b"trommel\0";

/// Memory account of one instance: bytes of all its memories and tables.
pub(super) struct InstanceMemory {
    pub(super) used: usize,
    limit: usize,
    /// Size of the growth under way.
    asked: usize,
    /// True if the guest was denied memory during this call.
    pub(super) refused: bool,
    /// True if the memory denied was within its limit: all components together had no more.
    pub(super) starved: bool,
    account: Arc<MemoryAccount>,
}

impl InstanceMemory {
    pub(super) fn new(limit: usize, account: Arc<MemoryAccount>) -> Self {
        Self { used: 0, limit, asked: 0, refused: false, starved: false, account }
    }

    /// Returns whether the instance should be replaced between calls: past three quarters of its
    /// memory, because interpreters leak, or if all components together are short of memory.
    pub(super) fn is_worn(&self) -> bool {
        self.used > self.limit / 4 * 3 || self.account.is_tight()
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let is_allowed = self.used.saturating_add(bytes) <= self.limit;
        let fits = is_allowed && self.account.grow(bytes);
        self.starved |= is_allowed && !fits;
        if fits {
            self.used += bytes;
            self.asked = bytes;
        } else {
            self.asked = 0;
            self.refused = true;
        }
        fits
    }

    fn growth_failed(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.used -= asked;
        self.account.give_back(asked);
        self.refused = true;
    }
}

impl Drop for InstanceMemory {
    fn drop(&mut self) {
        self.account.give_back(self.used);
    }
}

impl ResourceLimiter for InstanceMemory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.growth_failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.growth_failed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ComponentMemory;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut memory = InstanceMemory::new(1000, MemoryAccount::new(ComponentMemory::UNLIMITED));
        assert!(memory.memory_growing(0, 600, None).unwrap());
        assert!(memory.table_growing(0, 25, None).unwrap());
        assert!(memory.is_worn());
        assert!(!memory.memory_growing(600, 801, None).unwrap());
        assert!(memory.refused && !memory.starved);
        assert!(memory.memory_growing(600, 800, None).unwrap());
    }

    #[test]
    fn instances_share_what_all_components_have() {
        let account = MemoryAccount::new(ComponentMemory { all: 1000, kept: 500, outputs: 0, output: 0 });
        let instance = || InstanceMemory::new(1000, Arc::clone(&account));
        let (mut one, mut other) = (instance(), instance());
        assert!(one.memory_growing(0, 500, None).unwrap());
        assert!(!one.is_worn());
        assert!(other.memory_growing(0, 500, None).unwrap());
        assert!(one.is_worn(), "what is idle is needed by those that work");
        assert!(!other.memory_growing(500, 501, None).unwrap());
        assert!(other.refused && other.starved);
        drop(one);
        assert!(other.memory_growing(500, 1000, None).unwrap());
        other.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(instance().memory_growing(0, 500, None).unwrap(), "what failed is given back");
    }

    #[test]
    fn a_growth_that_failed_is_given_back_once() {
        let mut memory = InstanceMemory::new(1000, MemoryAccount::new(ComponentMemory::UNLIMITED));
        memory.memory_growing(0, 900, None).unwrap();
        memory.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        memory.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert_eq!(memory.used, 0);
        assert!(memory.refused);
    }

    #[test]
    fn host_calls_are_refused_past_the_budget_and_end_the_call_at_twice_the_budget() {
        let memory = InstanceMemory::new(0, MemoryAccount::new(ComponentMemory::UNLIMITED));
        let mut sandbox = Sandbox::new(GuestLog::new("f".into(), Arc::default()), InstanceKind::Process, memory);
        sandbox.begin(Duration::from_millis(1), 2, 0);
        let allowed: Vec<Option<bool>> = (0..5).map(|_| sandbox.host_call().ok()).collect();
        assert_eq!(allowed, [Some(true), Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn time_is_counted_in_whole_ticks() {
        assert_eq!(ticks(Duration::from_micros(1)), 1);
        assert_eq!(ticks(Duration::from_millis(10)), 10);
        assert_eq!(ticks(Duration::MAX), u64::MAX);
    }
}
