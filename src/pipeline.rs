//! From a source to the sinks. A source owns an [`Intake`]: budget, dedup window and the table of open events. Lanes
//! run in parallel and keep the order of events that agree in their ordering key.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    ack::Ticket,
    registry::{Key, Snapshots},
    sink::outlet::Queue,
};

mod dedup;
pub mod double;
mod intake;

pub use intake::Intake;
use intake::Waiting;

/// How much one source may have open at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub events: usize,
    /// Bytes of payload.
    pub bytes: u64,
}

/// An event on its way through one key.
#[derive(Debug)]
pub struct Item {
    pub ticket: Ticket,
    pub key: Arc<Key>,
    /// The registry's generation that `key` belongs to.
    pub generation: u64,
}

/// Where intakes send what they take.
#[derive(Clone, Debug)]
pub struct Doors {
    lanes: Vec<mpsc::Sender<Item>>,
    snapshots: Snapshots,
    dead_letters: Queue,
}

impl Doors {
    /// Sends the first of what waits, if there is a place for it, and says whether it did. What can never have a place,
    /// because its lane has ended, is dropped: its event goes back to its source.
    fn send_front(&self, waiting: &mut VecDeque<Waiting>) -> bool {
        match waiting.front() {
            Some(Waiting::DeadLetter(_)) => {
                let Some(place) = self.dead_letters.try_reserve() else { return false };
                if let Some(Waiting::DeadLetter(output)) = waiting.pop_front() {
                    place.send(output);
                }
            }
            Some(Waiting::Item(lane, item)) => {
                let place = match self.lanes[*lane].try_reserve() {
                    Ok(place) => place,
                    Err(mpsc::error::TrySendError::Full(())) => return false,
                    Err(mpsc::error::TrySendError::Closed(())) => return waiting.pop_front().is_some(),
                };
                let Ok(buffer) = item.key.buffer.try_acquire() else { return false };
                buffer.forget();
                if let Some(Waiting::Item(_, item)) = waiting.pop_front() {
                    place.send(item);
                }
            }
            None => return false,
        }
        true
    }

    /// Resolves when there may be a place. Cancel safe. Waits for ever when nothing needs one.
    async fn place_for(&self, waiting: Option<&Waiting>) {
        // Whether the place is still there is seen when it is taken; an error means that there is nobody to wait for.
        match waiting {
            Some(Waiting::DeadLetter(_)) => self.dead_letters.has_place().await,
            Some(Waiting::Item(lane, item)) => {
                let _ = item.key.buffer.acquire().await;
                let _ = self.lanes[*lane].reserve().await;
            }
            None => std::future::pending().await,
        }
    }
}
