//! Memory account of all components of a router: their grown instances, their machine code, and
//! large outputs for as long as they are referenced.

use std::{
    fmt, iter,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{Emission, Verdict, idle::IdleInstances};
use crate::{config::ComponentMemory, poison::ignore_poison};

/// Size up to which one event's outputs are not counted, in bytes: each key has as many as it has
/// workers, and sinks count all of them.
const SMALL: usize = 64 << 10;

/// Limits of the components' memory, and the amount in use.
pub(super) struct MemoryAccount {
    limits: ComponentMemory,
    used: AtomicUsize,
    /// Idle instances of every filter, dropped before a request for memory is refused.
    idle: Mutex<Vec<Weak<Mutex<IdleInstances>>>>,
}

impl fmt::Debug for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAccount").field("limits", &self.limits).field("used", &self.used).finish_non_exhaustive()
    }
}

impl MemoryAccount {
    pub(super) fn new(limits: ComponentMemory) -> Arc<Self> {
        Arc::new(Self { limits, used: AtomicUsize::new(0), idle: Mutex::default() })
    }

    /// Adds the idle instances of one more filter to those that can be dropped.
    pub(super) fn watch(&self, idle: &Arc<Mutex<IdleInstances>>) {
        let mut all = ignore_poison(self.idle.lock());
        all.retain(|idle| idle.strong_count() > 0);
        all.push(Arc::downgrade(idle));
    }

    /// Takes memory for a growing instance. Returns whether there was enough.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        self.take(bytes, self.limits.all)
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns whether memory is too short to keep idle instances: running calls need the rest.
    pub(super) fn is_tight(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limits.kept
    }

    /// Takes memory for machine code until the returned charge is dropped. `None` if there is not
    /// enough.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Option<MemoryCharge> {
        self.take(bytes, self.beside_work()).then(|| MemoryCharge { account: Arc::clone(self), bytes })
    }

    /// Largest total size of one event's outputs, and largest size of one output, in bytes.
    pub(super) fn most(&self) -> (usize, usize) {
        (self.limits.outputs, self.limits.output)
    }

    /// Counts outputs until their last reference is dropped. Returns `None`, and drops them, if
    /// there is not enough memory.
    pub(super) fn hold_outputs(self: &Arc<Self>, verdict: Verdict) -> Option<Verdict> {
        let total = match &verdict {
            Verdict::Drop | Verdict::Keep => 0,
            Verdict::Replace(payload) => payload.len(),
            Verdict::Emit(emissions) => emissions.iter().map(size).sum(),
        };
        if total <= SMALL {
            return Some(verdict);
        }
        if !self.take(total, self.beside_work()) {
            return None;
        }
        let held = |payload: Bytes, bytes| {
            let charge = MemoryCharge { account: Arc::clone(self), bytes };
            Bytes::from_owner(CountedPayload { payload, _charge: charge })
        };
        Some(match verdict {
            Verdict::Emit(mut emissions) => {
                for emission in &mut emissions {
                    let bytes = size(emission);
                    emission.payload = held(std::mem::take(&mut emission.payload), bytes);
                }
                Verdict::Emit(emissions)
            }
            Verdict::Replace(payload) => Verdict::Replace(held(payload, total)),
            other => other,
        })
    }

    /// Limit for machine code and outputs: memory beyond it is reserved for running instances.
    fn beside_work(&self) -> usize {
        self.limits.kept.saturating_add(self.limits.outputs)
    }

    /// Takes memory if no more than `most` is in use afterwards. Drops idle instances to make room.
    fn take(&self, bytes: usize, most: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        let claim = || self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        claim() || self.drop_idle() && claim()
    }

    /// Drops all idle instances. Returns whether there were any.
    fn drop_idle(&self) -> bool {
        let all = ignore_poison(self.idle.lock()).clone();
        let clear = |idle: Arc<Mutex<IdleInstances>>| ignore_poison(idle.lock()).clear();
        all.iter().filter_map(Weak::upgrade).map(clear).filter(|had_some| *had_some).count() > 0
    }
}

/// Size of an emission in bytes: payload, headers and subject.
fn size(Emission { payload, id, subject, headers, .. }: &Emission) -> usize {
    let lengths = headers.iter().flat_map(|(name, value)| [name.len(), value.as_ref().map_or(0, |value| value.len())]);
    let lengths = lengths.chain(id.as_ref().map(|id| id.len()));
    lengths.chain(subject.as_ref().map(|subject| subject.len())).chain(iter::once(payload.len())).sum()
}

/// Memory that is counted as in use until this is dropped.
#[derive(Debug)]
pub(super) struct MemoryCharge {
    account: Arc<MemoryAccount>,
    bytes: usize,
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// A payload whose memory is counted.
struct CountedPayload {
    payload: Bytes,
    _charge: MemoryCharge,
}

impl AsRef<[u8]> for CountedPayload {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> Arc<MemoryAccount> {
        MemoryAccount::new(ComponentMemory { all: 1000 << 10, kept: 400 << 10, outputs: 300 << 10, output: usize::MAX })
    }

    fn emission(payload: usize, value: usize) -> Emission {
        let headers = vec![("name".into(), Some("x".repeat(value).into()))];
        Emission { headers, ..Emission::new(vec![b'x'; payload]) }
    }

    #[test]
    fn outputs_leave_to_instances_what_these_need() {
        let account = account();
        let outputs = account.hold_outputs(Verdict::Replace(vec![0; 700 << 10].into())).unwrap();
        assert_eq!(account.hold_outputs(Verdict::Replace(vec![0; SMALL + 1].into())), None);
        assert!(account.is_tight() && account.grow(300 << 10) && !account.grow(1));
        account.give_back(300 << 10);
        drop(outputs);
        assert!(!account.is_tight() && account.hold_outputs(Verdict::Replace(vec![0; SMALL + 1].into())).is_some());
    }

    #[test]
    fn machine_code_counts_until_its_component_is_gone() {
        let account = account();
        let code = account.hold(700 << 10).unwrap();
        assert!(account.hold(1).is_none());
        drop(code);
        assert!(account.hold(1).is_some());
    }

    proptest! {
        /// For any outputs, dropped in any order: the memory counted is that of the outputs still
        /// held, except small ones.
        #[test]
        fn what_counts_is_what_is_there(
            events in prop::collection::vec(prop::collection::vec((0_usize..90 << 10, 0_usize..9 << 10), 0..5), 0..30),
            goes in prop::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let account = account();
            let mut there: Vec<(usize, Vec<Emission>)> = Vec::new();
            for (outputs, gone) in events.into_iter().zip(goes) {
                let emissions: Vec<_> = outputs.into_iter().map(|(payload, value)| emission(payload, value)).collect();
                let total: usize = emissions.iter().map(size).sum();
                let before = account.used.load(Ordering::Relaxed);
                let counts = if total > SMALL { total } else { 0 };
                match account.hold_outputs(Verdict::Emit(emissions.clone())) {
                    Some(Verdict::Emit(held)) => {
                        prop_assert_eq!(&held, &emissions);
                        there.push((counts, held));
                    }
                    none => {
                        prop_assert!(none.is_none() && before + counts > 700 << 10);
                        // Something has to go.
                        there.swap_remove(gone.index(there.len()));
                    }
                }
                let expected: usize = there.iter().map(|(counts, _)| counts).sum();
                prop_assert_eq!(account.used.load(Ordering::Relaxed), expected);
            }
            drop(there);
            prop_assert_eq!(account.used.load(Ordering::Relaxed), 0);
        }
    }
}
