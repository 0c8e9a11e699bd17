//! Bounded queue in front of a sink.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::{
    metrics::{HeldBytes, OutputTime, SinkMetrics},
    sink::Output,
};

/// Sender of outputs to a sink. Cheap to clone; the outlet ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct SinkQueue {
    name: Arc<str>,
    outputs: mpsc::Sender<Output>,
    bytes: Arc<Semaphore>,
    /// Total of `bytes`.
    most: u32,
    metrics: Arc<SinkMetrics>,
    /// True while the sink refuses what it has. Only for dead letters, whose senders don't wait
    /// then: their events go back.
    refuses: Option<watch::Receiver<bool>>,
}

impl SinkQueue {
    pub(super) fn new(
        name: &str,
        (outputs, bytes): (mpsc::Sender<Output>, usize),
        metrics: Arc<SinkMetrics>,
        refuses: Option<watch::Receiver<bool>>,
    ) -> Self {
        let most = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let bytes = Arc::new(Semaphore::new(most as usize));
        // A second queue of the name is one of a test, and counts with the first.
        let _ = metrics.held.set(HeldBytes { free: Arc::downgrade(&bytes), limit: most });
        Self { name: name.into(), outputs, bytes, most, metrics, refuses }
    }

    /// Creates a queue that drops its outputs, for previews.
    pub fn closed(name: &str) -> Self {
        Self::double(name, 1).0
    }

    /// Creates a queue whose outputs go to the test.
    pub fn double(name: &str, capacity: usize) -> (Self, mpsc::Receiver<Output>) {
        let (outputs, receiver) = mpsc::channel(capacity);
        (Self::new(name, (outputs, 32 << 20), Arc::default(), None), receiver)
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns whether this is the queue of the same sink.
    pub fn is_same(&self, other: &Self) -> bool {
        self.outputs.same_channel(&other.outputs)
    }

    /// Returns a place for one output, if there is one now. If the sink has ended, or refuses dead
    /// letters and has no place, there always is one: what is sent there is dropped as by
    /// [`Self::send`].
    pub fn try_reserve(&self) -> Option<QueuePlace<'_>> {
        match self.outputs.try_reserve() {
            Ok(permit) => Some(QueuePlace { permit: Some(permit), metrics: &self.metrics }),
            Err(mpsc::error::TrySendError::Closed(())) => Some(QueuePlace { permit: None, metrics: &self.metrics }),
            Err(mpsc::error::TrySendError::Full(())) if self.is_refusing() => {
                Some(QueuePlace { permit: None, metrics: &self.metrics })
            }
            Err(mpsc::error::TrySendError::Full(())) => None,
        }
    }

    /// Returns whether the sink has taken nothing for a while.
    pub fn is_away(&self) -> bool {
        self.metrics.refusing.is_away()
    }

    /// Returns whether nothing more can be sent now. Outputs that are made all the same wait, and
    /// take memory meanwhile.
    pub fn is_full(&self) -> bool {
        (self.outputs.capacity() == 0 || self.bytes.available_permits() == 0) && !self.outputs.is_closed()
    }

    /// Resolves when [`Self::is_full`] may have become false. Cancel safe.
    pub async fn has_room(&self) {
        // Errors mean that the sink has ended: what is sent then is dropped at once.
        let _ = self.bytes.acquire().await;
        let _ = self.outputs.reserve().await;
    }

    /// Hands an output over if there is a place for it now, and returns it if there is none.
    pub fn try_send(&self, mut output: Output) -> Option<Output> {
        let bytes = self.bytes_of(&output);
        if bytes > 0 {
            match Arc::clone(&self.bytes).try_acquire_many_owned(bytes) {
                Ok(share) => output.share = Some(share),
                Err(_) => return Some(output),
            }
        }
        match self.try_reserve() {
            Some(place) => {
                place.send(output);
                None
            }
            None => {
                output.share = None;
                Some(output)
            }
        }
    }

    /// Resolves when [`Self::try_reserve`] may succeed. Cancel safe.
    pub async fn has_place(&self) {
        tokio::select! {
            _ = self.outputs.reserve() => {}
            () = self.refusing() => {}
        }
    }

    /// Hands an output over. Waits while the queue is full, by number or by bytes. If the sink has
    /// ended, or refuses dead letters and has no place, the output is dropped and with it its
    /// ticket: the event goes back to its source. Cancel safe in that sense.
    pub async fn send(&self, mut output: Output) {
        let place = async {
            output.share = self.share(&output).await;
            self.outputs.reserve().await.ok()
        };
        let permit = tokio::select! {
            biased;
            // First, as a sink that refuses still takes what it has a place for.
            permit = place => permit,
            () = self.refusing() => None,
        };
        QueuePlace { permit, metrics: &self.metrics }.send(output);
    }

    /// Takes the output's part of the sink's bytes. One that is larger than all of them takes them
    /// all.
    async fn share(&self, output: &Output) -> Option<OwnedSemaphorePermit> {
        let bytes = self.bytes_of(output);
        if bytes == 0 {
            return None;
        }
        // The semaphore is never closed.
        Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok()
    }

    /// Returns the bytes that count for an output.
    fn bytes_of(&self, output: &Output) -> u32 {
        u32::try_from(output.own_bytes()).unwrap_or(self.most).min(self.most)
    }

    fn is_refusing(&self) -> bool {
        self.refuses.as_ref().is_some_and(|refuses| *refuses.borrow())
    }

    async fn refusing(&self) {
        match self.refuses.clone() {
            // An error means that the sink has ended, which the queue itself reports.
            Some(mut refuses) => drop(refuses.wait_for(|refuses| *refuses).await),
            None => std::future::pending().await,
        }
    }
}

/// Place in a queue.
pub struct QueuePlace<'a> {
    /// `None` if what is sent goes back to its source.
    permit: Option<mpsc::Permit<'a, Output>>,
    metrics: &'a SinkMetrics,
}

impl QueuePlace<'_> {
    pub fn send(self, mut output: Output) {
        output.queued = OutputTime::begin(self.metrics.queued.inc());
        match self.permit {
            Some(permit) => permit.send(output),
            None => {
                self.metrics.returned.inc();
            }
        }
    }
}
