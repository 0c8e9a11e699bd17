//! Test doubles of the pipeline, for sources and sinks.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::{
    ack::Ticket,
    config::RetryPolicy,
    pipeline::{EventBudget, Intake, LaneItem, LaneQueue, LaneSenders},
    registry::{Key, KeyInterest, KeyOrdering, Route, Snapshot},
    sink::{Output, outlet::SinkQueue},
};

/// Far end of an [`Intake`] without a pipeline: the test decides the outcome of each event.
pub struct PipelineDouble {
    batches: mpsc::Receiver<Vec<LaneItem>>,
    /// Items received and not handed to the test yet.
    items: VecDeque<LaneItem>,
    taken: Arc<Notify>,
    dead_letters: mpsc::Receiver<Output>,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl PipelineDouble {
    /// Creates an intake that hands every event to the test, and the far end. There is no dedup
    /// window.
    pub fn new<R: Send + 'static>(budget: EventBudget) -> (Intake<R>, Self) {
        let (dead_letters_queue, dead_letters) = SinkQueue::double("dead-letters", budget.events);
        let (sinks, _) = SinkQueue::double("sink", 1);
        let (lane, batches) = mpsc::channel(budget.events);
        let retry = RetryPolicy { min: Default::default(), max: Default::default(), patience: Default::default() };
        let key = Key {
            name: "all".into(),
            ordering: KeyOrdering::None,
            workers: Arc::new(Semaphore::new(1)),
            buffer: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            load: Default::default(),
            retry,
            decoding: None,
            schema_requests: None,
            filter: None,
            on_quarantine: Default::default(),
            sets_identity: false,
            validation: None,
            routes: vec![Route {
                name: "all".into(),
                conditions: Vec::new(),
                subscription: None,
                sinks: vec![sinks.into()],
            }],
            subject: None,
            is_isolated: false,
            is_paused: false,
            metrics: Default::default(),
        };
        let interest = KeyInterest::Named { subject: None, event_type: None };
        let (sender, snapshots) = watch::channel(Arc::new(Snapshot::new(1, vec![(interest, key)])));
        let taken = Arc::<Notify>::default();
        let doors = LaneSenders {
            lanes: vec![LaneQueue { items: lane, metrics: Default::default() }],
            taken: Arc::clone(&taken),
            snapshots,
            dead_letters: dead_letters_queue,
        };
        (
            Intake::new(budget, None, doors, Default::default(), None),
            Self { batches, items: VecDeque::new(), taken, dead_letters, _snapshots: sender },
        )
    }

    /// Returns the next event that the source pushed. Cancel safe. `None` once the intake is
    /// dropped.
    pub async fn next(&mut self) -> Option<Ticket> {
        while self.items.is_empty() {
            self.items.extend(self.batches.recv().await?);
            self.taken.notify_waiters();
        }
        self.items.pop_front().map(|item| item.ticket)
    }

    /// Returns the next event that the source refused, as a dead letter.
    pub async fn next_refused(&mut self) -> Option<Output> {
        self.dead_letters.recv().await
    }
}
