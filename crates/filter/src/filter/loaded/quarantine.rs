//! Quarantine of a component, and whether it is the one that its name stands for.

use super::{Filter, FilterInner};
use crate::filter::{BrokenCall, health::EventCall};

impl Filter {
    /// Counts an event that became a dead letter because of this break. Returns true if this one
    /// quarantines the filter.
    pub fn record_break(&self, broken: &BrokenCall) -> bool {
        let call = if broken.call.starts_with("matches") { EventCall::Matches } else { EventCall::Process };
        let quarantined = self.0.health.record_break(call);
        self.0.show_health();
        quarantined
    }

    /// Quarantines the filter, as requested by [`FailureKind::Broken`](crate::filter::FailureKind::Broken). Returns true if new.
    pub fn quarantine(&self) -> bool {
        let quarantined = self.0.health.quarantine();
        self.0.show_health();
        quarantined
    }

    /// Returns whether the filter is quarantined. Costs one relaxed load.
    pub fn is_quarantined(&self) -> bool {
        self.0.health.is_quarantined()
    }

    /// Lifts the quarantine and clears the record of breaks.
    pub fn lift(&self) {
        self.0.health.lift();
        self.0.show_health();
    }

    /// Notes that it is the component in service, whose quarantine its name is shown with.
    pub fn enter_service(&self) {
        self.0.health.set_replaced(false);
        self.0.show_health();
    }

    /// Notes that another component is in service: what becomes of the calls under way is not
    /// shown as that one's.
    pub fn leave_service(&self) {
        self.0.health.set_replaced(true);
    }
}

impl FilterInner {
    pub(super) fn show_health(&self) {
        if !self.health.is_replaced() {
            self.metrics.quarantined.set(self.health.is_quarantined().into());
        }
    }
}
