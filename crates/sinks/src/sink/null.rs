//! Sink that takes everything and keeps nothing: for measuring, and for filters that are run for
//! their effects.

use super::{Confirmation, Output, Refusal, Sink, Slot};

#[derive(Debug, Default)]
pub struct Null {
    last: Slot,
}

impl Sink for Null {
    async fn write(&mut self, slot: Slot, _output: &Output) -> Result<(), Refusal> {
        self.last = slot;
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        Confirmation::Through(self.last)
    }
}
