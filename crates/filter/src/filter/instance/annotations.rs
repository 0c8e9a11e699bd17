//! What a guest adds to the span of a call.

use super::GuestInstance;
use crate::telemetry::StageSpan;

impl GuestInstance {
    /// Has the annotations of the next call kept if the span is recorded.
    pub(in crate::filter) fn trace(&mut self, span: &mut StageSpan) {
        self.store.data_mut().telemetry.is_traced = span.is_recording();
    }

    /// Gives the span the annotations of the call that is over.
    pub(in crate::filter) fn annotate(&mut self, span: &mut StageSpan) {
        let telemetry = &mut self.store.data_mut().telemetry;
        if telemetry.is_traced {
            telemetry.is_traced = false;
            telemetry.annotations.drain(..).for_each(|(name, value)| span.annotate(&name, value));
        }
    }
}
