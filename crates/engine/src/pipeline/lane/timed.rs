//! Outputs whose time has not come. Their events stay open until they are sent, and take part of
//! their key's share of the budget meanwhile.

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    registry::HeldLoad,
    sink::{Output, outlet::SinkQueue},
};

/// An output and the time at which it is sent.
pub(super) struct TimedOutput {
    pub(super) due: Instant,
    pub(super) queue: SinkQueue,
    pub(super) output: Output,
}

/// Outputs that wait for their time, those of one event together. Dropping them gives their events
/// back.
#[derive(Default)]
pub(super) struct TimedOutputs {
    waits: JoinSet<()>,
    /// True if the router stops: what is to wait is given back.
    is_closed: bool,
}

impl TimedOutputs {
    /// Sends outputs of one event when their time comes. `load` is what they take of the key's
    /// share.
    pub(super) fn hold(&mut self, mut outputs: Vec<TimedOutput>, load: HeldLoad) {
        if self.is_closed {
            return;
        }
        // Stable: those of one time stay in order.
        outputs.sort_by_key(|timed| timed.due);
        self.waits.spawn(async move {
            for TimedOutput { due, queue, output } in outputs {
                sleep_until(due).await;
                queue.send(output).await;
            }
            drop(load);
        });
    }

    /// Tidies up after outputs that are sent. Cancel safe. Waits for ever if none waits.
    pub(super) async fn next(&mut self) {
        if self.waits.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Gives back the events of all outputs that wait, now and from now on.
    pub(super) fn give_back(&mut self) {
        self.is_closed = true;
        self.waits.abort_all();
    }
}
