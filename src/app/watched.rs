//! A sink that records the letters whose outputs it took, for a retry.

use std::{collections::BTreeMap, mem, sync::Arc};

use crate::{
    sink::{Confirmation, Output, Sink, SinkRefusal, Slot},
    source::letters::RetryJournal,
};

pub(super) struct JournaledSink<S> {
    sink: S,
    name: String,
    journal: Arc<RetryJournal>,
    /// Letters of the outputs under way.
    written: BTreeMap<Slot, u64>,
}

impl<S> JournaledSink<S> {
    pub(super) fn new(sink: S, name: &str, journal: Arc<RetryJournal>) -> Self {
        Self { sink, name: name.to_owned(), journal, written: BTreeMap::new() }
    }
}

impl<S: Sink> Sink for JournaledSink<S> {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        self.sink.write(slot, output).await?;
        // A retried event's sequence is that of its letter.
        let letter = output.ticket.event().sequence;
        match output.dead_letter {
            Some(reason) => self.journal.died(letter, reason, &output.payload),
            None => {
                self.written.insert(slot, letter);
            }
        }
        Ok(())
    }

    fn keeps_order(&self) -> bool {
        self.sink.keeps_order()
    }

    async fn confirm(&mut self) -> Confirmation {
        let word = self.sink.confirm().await;
        match &word {
            Confirmation::Through(last) => {
                let behind = self.written.split_off(&(last + 1));
                let taken = mem::replace(&mut self.written, behind);
                taken.values().for_each(|letter| self.journal.emitted(*letter, &self.name));
            }
            Confirmation::One(slot) | Confirmation::Known(slot) => {
                let taken = self.written.remove(slot);
                taken.iter().for_each(|letter| self.journal.emitted(*letter, &self.name));
            }
            Confirmation::Returned(slot) | Confirmation::Refused(slot, _) => {
                self.written.remove(slot);
            }
        }
        word
    }

    async fn close(self) {
        self.sink.close().await;
    }
}
