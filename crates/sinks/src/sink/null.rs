//! Sink that takes everything and keeps nothing: for measuring, and for filters that are run for
//! their effects.

use super::{Confirmation, Output, Sink, SinkRefusal, Slot};

#[derive(Debug, Default)]
pub struct NullSink {
    last: Slot,
}

impl Sink for NullSink {
    async fn write(&mut self, slot: Slot, _output: &Output) -> Result<(), SinkRefusal> {
        self.last = slot;
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        Confirmation::Through(self.last)
    }
}
