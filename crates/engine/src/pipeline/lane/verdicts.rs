//! Answers of `process` ahead for a run of events of one key: a filter that takes batches processes
//! all that are wanted in one call per route. Filters that call the API do not: the lane would wait
//! for it, and with it the events of other keys.

use crate::{
    event::Event,
    filter::{Failure, Filter, ProcessError, Verdict},
    pipeline::LaneItem,
    registry::Key,
    telemetry::{Stage, StageSpan},
};

/// Answer to one call of `process`.
pub(super) type ProcessAnswer = Result<Verdict, Failure>;

/// Answers ahead, route by route of the run's key.
#[derive(Default)]
pub(super) struct AheadVerdicts {
    answers: Vec<Option<ProcessAnswer>>,
    run: usize,
}

impl AheadVerdicts {
    /// Takes the answer for an event of the run. `None` if it is to be processed in its turn.
    pub(super) fn take(&mut self, route: usize, position: usize) -> Option<ProcessAnswer> {
        self.answers.get_mut(route * self.run + position)?.take()
    }

    /// Processes the events of a run that are `wanted`, route by route of the key.
    pub(super) async fn ask_ahead(&mut self, key: &Key, run: &[LaneItem], wanted: &[bool]) {
        self.answers.clear();
        let Some(filter) = key.filter.as_ref().filter(|filter| filter.processes_batches()) else { return };
        // More calls at once than the key has workers would be against its settings.
        let Ok(_worker) = key.workers.try_acquire() else { return };
        self.run = run.len();
        self.answers.resize_with(key.routes.len() * run.len(), || None);
        let by_route = self.answers.chunks_exact_mut(run.len()).zip(wanted.chunks_exact(run.len()));
        for (route, (answers, wanted)) in key.routes.iter().zip(by_route) {
            let Some(subscription) = &route.subscription else { continue };
            // What no queue has room for is not made.
            if route.sinks.iter().any(|sink| sink.queue.is_full()) {
                continue;
            }
            let chosen = run.iter().zip(answers).zip(wanted);
            let chosen = chosen.filter(|((item, _), wanted)| **wanted && !item.done.contains(&route.name));
            let (items, places): (Vec<&LaneItem>, Vec<_>) = chosen.map(|(chosen, _)| chosen).unzip();
            if items.len() < 2 {
                continue;
            }
            let events: Vec<&Event> = items.iter().map(|item| item.ticket.event()).collect();
            let spans = items.iter().map(|item| item.ticket.stage(Stage::Process, &key.name, &route.name));
            // Takes no memory where nothing is recorded.
            let mut spans: Vec<StageSpan> = spans.filter(|span| !span.is_none()).collect();
            match filter.process_batch(subscription, &events).await {
                Ok(said) => {
                    spans.iter_mut().for_each(|span| span.note("trommel.tries", 1));
                    places.into_iter().zip(said).for_each(|(place, answer)| *place = Some(answer));
                }
                Err(error) => {
                    spans.iter_mut().for_each(|span| span.give_up("the batch was not processed"));
                    warn_of(key, filter, &error);
                }
            }
        }
    }
}

fn warn_of(key: &Key, filter: &Filter, error: &ProcessError) {
    let (key, filter) = (&*key.name, filter.name());
    tracing::warn!(key, filter, %error, "a batch failed, its events are processed one by one");
}
