//! Counts by reason code.

use std::{collections::BTreeMap, sync::Mutex};

use crate::poison::ignore_poison;

/// Counts by reason code. All codes are our own, so there are few.
#[derive(Debug, Default)]
pub struct ReasonCounts(Mutex<BTreeMap<&'static str, u64>>);

impl ReasonCounts {
    pub fn add(&self, reason: &'static str) {
        *ignore_poison(self.0.lock()).entry(reason).or_default() += 1;
    }

    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        ignore_poison(self.0.lock()).clone()
    }
}
