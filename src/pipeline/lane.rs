//! A lane: one task that takes events in order through conditions, `matches` and `process` to the sinks' queues.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use crate::{
    ack::{Fate, Ticket},
    avro::Undecodable,
    config::OnQuarantine,
    event::{Event, Headers},
    filter::{Broken, Emission, Facts, Failure, Fault, Filter, ProcessError, Subscription, Verdict},
    pipeline::Item,
    registry::{Key, Route, Snapshot, Snapshots, Target},
    show,
    sink::{
        Output,
        dead_letter::{self, Place},
        outlet::Queue,
    },
    telemetry::{Span, Stage},
};

mod matchers;

use matchers::Matchers;

pub(super) struct Lane {
    items: mpsc::Receiver<Vec<Item>>,
    snapshots: Snapshots,
    snapshot: Arc<Snapshot>,
    matchers: Matchers,
    /// Events whose filter is quarantined, in order, until there is a newer snapshot.
    parked: VecDeque<Work>,
    dead_letters: Queue,
    quarantined: Arc<Notify>,
}

/// What is left to do for an event and a key.
struct Work {
    ticket: Ticket,
    key: Arc<Key>,
    generation: u64,
    /// Routes that are through with the event already.
    done: Vec<Arc<str>>,
}

/// How a route ended for an event.
enum Step {
    Filtered,
    Handed,
    DeadLettered,
    /// Given back to the source: the host itself could not go on.
    Returned,
    /// To be taken up again with the next snapshot.
    Parked,
}

impl Lane {
    pub(super) fn new(
        items: mpsc::Receiver<Vec<Item>>,
        mut snapshots: Snapshots,
        dead_letters: Queue,
        quarantined: Arc<Notify>,
    ) -> Self {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let (matchers, parked) = Default::default();
        Self { items, snapshots, snapshot, matchers, parked, dead_letters, quarantined }
    }

    /// Runs until every intake is gone. What is parked then goes back to its source.
    pub(super) async fn run(mut self) {
        loop {
            let batch = tokio::select! {
                batch = self.items.recv() => match batch {
                    Some(batch) => batch,
                    None => return,
                },
                changed = self.snapshots.changed(), if !self.parked.is_empty() => match changed {
                    Ok(()) => Vec::new(),
                    Err(_) => return,
                },
            };
            self.adopt().await;
            // Places are given back together: one by one, each would wake its source for a single event.
            for same in batch.chunk_by(|one, next| Arc::ptr_eq(&one.key, &next.key)) {
                if let [Item { key, .. }, ..] = same {
                    key.buffer.add_permits(same.len());
                    key.metrics.matched.inc_by(same.len() as u64);
                }
            }
            let mut items = batch.into_iter();
            while let [first, ..] = items.as_slice() {
                let run = matchers::run(items.as_slice());
                let length = run.len();
                // What waited through a change of the registry has another key by now, and is asked about in its turn.
                let asked = first.generation == self.snapshot.generation && self.matchers.ask_ahead(&first.key, run);
                for (position, item) in items.by_ref().take(length).enumerate() {
                    let Item { ticket, key, generation, done } = item;
                    self.take(Work { ticket, key, generation, done }, asked.then_some(position)).await;
                }
            }
        }
    }

    /// Goes over to the newest snapshot, and takes up what waited for it.
    async fn adopt(&mut self) {
        let newest = Arc::clone(&self.snapshots.borrow_and_update());
        if newest.generation == self.snapshot.generation {
            return;
        }
        self.snapshot = newest;
        let snapshot = &self.snapshot;
        self.matchers.retain(|filter| snapshot.keys().any(|key| key.filter.as_ref() == Some(filter)));
        for work in std::mem::take(&mut self.parked) {
            self.take(work, None).await;
        }
    }

    /// `position` is the one in the run that was asked about ahead.
    async fn take(&mut self, mut work: Work, position: Option<usize>) {
        if work.generation != self.snapshot.generation {
            let Some(key) = self.snapshot.key(&work.key.name) else {
                work.ticket.settle(Fate::Filtered);
                return;
            };
            work.key = Arc::clone(key);
            work.generation = self.snapshot.generation;
        }
        // Behind a parked event of its key an event must wait too, or it would overtake.
        if self.parked.iter().any(|parked| parked.key.name == work.key.name) {
            self.parked.push_back(work);
            return;
        }
        let key = Arc::clone(&work.key);
        let ticket = work.ticket.share();
        let decoded = match key.decoding.as_ref().map(|decoding| decoding.payload(ticket.event())) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(payload))) => Some(Event { payload, ..ticket.event().clone() }),
            Some(Err(Undecodable { reason, detail })) => {
                let event = ticket.event();
                tracing::warn!(key = %key.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail, "event becomes a dead letter");
                let place = Place { key: &key.name, ..Place::default() };
                self.dead_letters.send(dead_letter::of_event(ticket, place, reason, &detail)).await;
                key.metrics.dead_lettered.inc();
                work.ticket.settle(Fate::Filtered);
                return;
            }
        };
        let event = decoded.as_ref().unwrap_or(ticket.event());
        let mut facts = Facts::new(event);
        let mut wanted = !work.done.is_empty();
        for (index, route) in key.routes.iter().enumerate() {
            if work.done.contains(&route.name) {
                continue;
            }
            let said = position.and_then(|position| self.matchers.answer(index, position));
            match self.through(At { key: &key, route, ticket: &ticket, event, said }, &mut facts).await {
                Step::Filtered => {}
                Step::Handed => wanted = true,
                Step::DeadLettered => {
                    wanted = true;
                    key.metrics.dead_lettered.inc();
                }
                // Unsettled, the tickets give the event back to its source.
                Step::Returned => return,
                Step::Parked => {
                    self.parked.push_back(work);
                    return;
                }
            }
            if key.routes.len() > 1 {
                work.done.push(Arc::clone(&route.name));
            }
        }
        if !wanted {
            key.metrics.filtered.inc();
        }
        // What became of the outputs counts more.
        ticket.settle(Fate::Filtered);
        work.ticket.settle(Fate::Filtered);
    }

    /// Takes an event through one route.
    async fn through<'a>(&mut self, at: At<'a>, facts: &mut Facts<'a>) -> Step {
        let At { key, route, event, .. } = at;
        let (verdict, tries) = match (&key.filter, &route.subscription) {
            (Some(filter), Some(subscription)) => match self.ask(at, filter, subscription, facts).await {
                ControlFlow::Continue(answer) => answer,
                ControlFlow::Break(step) => return step,
            },
            _ => (Verdict::Keep, 0),
        };
        // Looked at whole before the first is sent: a dead letter beside half of the outputs would double them later.
        if let Some(detail) = mismatch(key, event, &verdict) {
            return self.dead_letter(at, "schema_mismatch", &detail, tries).await;
        }
        match encoded(at, &verdict) {
            Ok(encoded) => hand_over(at, verdict, encoded).await,
            Err(detail) => self.dead_letter(at, "avro_unencodable", &detail, tries).await,
        }
    }

    /// What the filter makes of an event, and how often it was tried.
    async fn ask<'a>(
        &mut self,
        at: At<'_>,
        filter: &Filter,
        subscription: &'a Arc<Subscription>,
        facts: &mut Facts<'a>,
    ) -> ControlFlow<Step, (Verdict, u32)> {
        if filter.is_quarantined() {
            return ControlFlow::Break(self.quarantine(at, "the filter is quarantined", 0).await);
        }
        let mut span = at.stage(Stage::Match);
        let asked = match at.said {
            Some(said) => Ok(Ok(said)),
            None => subscription
                .conditions()
                .test(facts)
                .map(|passed| if passed { self.matchers.matches(filter, subscription, at.event) } else { Ok(false) }),
        };
        span.note("trommel.matched", matches!(asked, Ok(Ok(true))));
        drop(span);
        match asked {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                if show::is_on() {
                    at.show_dropped(&why(subscription, facts));
                }
                return ControlFlow::Break(Step::Filtered);
            }
            Ok(Err(Fault::Broke(broken))) => return ControlFlow::Break(self.broke(at, filter, &broken, 0).await),
            Ok(Err(Fault::Host(error))) => return ControlFlow::Break(returned(at, 0, &error)),
            Err(error) => {
                return ControlFlow::Break(self.dead_letter(at, "not_json", &error.to_string(), 0).await);
            }
        }
        if !subscription.has_process() {
            return ControlFlow::Continue((Verdict::Keep, 0));
        }
        let mut span = at.stage(Stage::Process);
        let processed = self.process(at, filter, subscription, &mut span).await;
        match &processed {
            ControlFlow::Continue((_, tries)) => span.note("trommel.tries", i64::from(*tries)),
            ControlFlow::Break(_) => span.give_up("the event was not processed"),
        }
        processed
    }

    /// Calls `process`, again where the failure allows it: in place, so that the order is kept.
    async fn process(
        &mut self,
        at: At<'_>,
        filter: &Filter,
        subscription: &Arc<Subscription>,
        span: &mut Span,
    ) -> ControlFlow<Step, (Verdict, u32)> {
        let At { key, event, .. } = at;
        let started = Instant::now();
        let mut wait = key.retry.min;
        let (mut tries, mut breaks) = (0, 0);
        loop {
            let outcome = {
                // The semaphore is never closed; without a permit the call would only not be bounded.
                let _worker = key.workers.acquire().await;
                filter.process(subscription, event, event.attempt + tries).await
            };
            tries += 1;
            let (at_least, trouble) = match outcome {
                Ok(verdict) => return ControlFlow::Continue((verdict, tries)),
                Err(ProcessError::Broke(broken)) => {
                    span.failed(&broken);
                    breaks += 1;
                    if breaks == 2 {
                        return ControlFlow::Break(self.broke(at, filter, &broken, tries).await);
                    }
                    continue;
                }
                Err(ProcessError::Said(Failure::Malformed(detail))) => {
                    span.failed(&detail);
                    return ControlFlow::Break(self.dead_letter(at, "malformed", &detail, tries).await);
                }
                Err(ProcessError::Said(Failure::Broken(detail))) => {
                    span.failed(&detail);
                    filter.quarantine();
                    return ControlFlow::Break(self.quarantine(at, &detail, tries).await);
                }
                Err(ProcessError::Said(Failure::Retry(after, detail))) => (after, Ok(detail)),
                Err(ProcessError::Said(Failure::Failed(detail))) => (Duration::ZERO, Ok(detail)),
                Err(ProcessError::Host(error)) => (Duration::ZERO, Err(error)),
            };
            match &trouble {
                Ok(detail) => span.failed(detail),
                Err(error) => span.failed(error),
            }
            let pause = wait.mul_f64(0.5 + fastrand::f64()).max(at_least);
            wait = (wait * 2).min(key.retry.max);
            if started.elapsed() + pause > key.retry.patience {
                return ControlFlow::Break(match trouble {
                    Ok(detail) => self.dead_letter(at, "failed", &detail, tries).await,
                    Err(error) => returned(at, tries, &error),
                });
            }
            key.metrics.retried.inc();
            tracing::debug!(key = %key.name, event = %event.id, tries, ?trouble, ?pause, "will try again");
            sleep(pause).await;
            if filter.is_quarantined() {
                return ControlFlow::Break(self.quarantine(at, "the filter is quarantined", tries).await);
            }
        }
    }

    /// The guest broke twice on this event.
    async fn broke(&mut self, at: At<'_>, filter: &Filter, broken: &Broken, tries: u32) -> Step {
        let At { key, event, .. } = at;
        let detail = broken.to_string();
        tracing::warn!(key = %key.name, filter = filter.name(), event = %event.id, tenant = event.tenant(), trace = event.trace_id(), reason = broken.reason.code(), detail, "the filter broke");
        if filter.record_break() || filter.is_quarantined() {
            return self.quarantine(at, &detail, tries).await;
        }
        self.dead_letter(at, broken.reason.code(), &detail, tries).await
    }

    /// The filter is quarantined: whoever can roll it back is told, the event is held or becomes a dead letter.
    async fn quarantine(&mut self, at: At<'_>, detail: &str, tries: u32) -> Step {
        self.quarantined.notify_one();
        match at.key.on_quarantine {
            OnQuarantine::Pause => Step::Parked,
            OnQuarantine::DeadLetter => self.dead_letter(at, "quarantined", detail, tries).await,
        }
    }

    async fn dead_letter(&mut self, at: At<'_>, reason: &'static str, detail: &str, tries: u32) -> Step {
        let At { key, route, ticket, event, .. } = at;
        tracing::warn!(key = %key.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail, "event becomes a dead letter");
        let place = Place {
            key: &key.name,
            route: &route.name,
            filter: key.filter.as_ref().map_or("", Filter::name),
            filter_digest: key.filter.as_ref().map_or("", Filter::digest),
            sink: "",
            tries,
        };
        self.dead_letters.send(dead_letter::of_event(ticket.share(), place, reason, detail)).await;
        Step::DeadLettered
    }
}

/// The host itself could not go on: neither the event nor the filter is to blame.
fn returned(at: At<'_>, tries: u32, error: &anyhow::Error) -> Step {
    let At { key, event, .. } = at;
    let error = format!("{error:#}");
    tracing::error!(key = %key.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), tries, error, "can't run the filter, event goes back to its source");
    Step::Returned
}

/// Where in the router an event is.
#[derive(Clone, Copy)]
struct At<'a> {
    key: &'a Key,
    route: &'a Route,
    ticket: &'a Ticket,
    /// The ticket's, as the filter sees it: decoded.
    event: &'a Event,
    /// Whether the route's conditions and `matches` want it, when that is known already.
    said: Option<bool>,
}

/// Why a route's conditions and `matches` turned an event away, for who watches.
fn why<'a>(subscription: &'a Subscription, facts: &mut Facts<'a>) -> String {
    let conditions = subscription.conditions();
    match conditions.test(facts) {
        Ok(true) => "`matches` said no".to_owned(),
        _ => match conditions.failing(facts) {
            Ok(failing) => format!("no list of conditions holds: {}", failing.join(" | ")),
            Err(error) => error.to_string(),
        },
    }
}

impl At<'_> {
    fn show_dropped(&self, why: &str) {
        show::dropped(self.ticket.event(), &self.key.name, &self.route.name, why);
    }

    /// Begins a stage of the event's way.
    fn stage(&self, stage: Stage<'_>) -> Span {
        self.ticket.stage(stage, &self.key.name, &self.route.name)
    }
}

/// The first thing about what a route lets out that does not fit the key's schema.
fn mismatch(key: &Key, event: &Event, verdict: &Verdict) -> Option<String> {
    let validation = key.validation.as_ref().filter(|validation| validation.concerns(event))?;
    let check = |(index, output): (usize, &Bytes)| {
        let mismatch = validation.check(output).err()?;
        Some(format!("output {index} {mismatch}"))
    };
    match verdict {
        Verdict::Drop => None,
        Verdict::Keep => check((0, &event.payload)),
        Verdict::Replace(payload) => check((0, payload)),
        Verdict::Emit(emissions) => emissions.iter().map(|emission| &emission.payload).enumerate().find_map(check),
    }
}

/// What a route lets out, encoded for those of its sinks that want it so, output by output. Made whole before the first
/// is sent, as the schema is looked at.
fn encoded(At { route, event, .. }: At<'_>, verdict: &Verdict) -> Result<std::vec::IntoIter<Bytes>, String> {
    let mut encoded = Vec::new();
    let mut encode = |(index, output): (usize, &Bytes)| -> Result<(), String> {
        for encoder in route.sinks.iter().filter_map(|sink| sink.encoder.as_ref()) {
            let output = encoder.encode(output).map_err(|error| format!("output {index}: {error}"))?;
            encoded.push(output.into());
        }
        Ok(())
    };
    match verdict {
        _ if route.sinks.iter().all(|sink| sink.encoder.is_none()) => Ok(()),
        Verdict::Drop => Ok(()),
        Verdict::Keep => encode((0, &event.payload)),
        Verdict::Replace(payload) => encode((0, payload)),
        Verdict::Emit(emissions) => emissions.iter().map(|emission| &emission.payload).enumerate().try_for_each(encode),
    }?;
    Ok(encoded.into_iter())
}

/// Hands what a route lets out to each of its sinks.
async fn hand_over(at: At<'_>, verdict: Verdict, mut encoded: impl Iterator<Item = Bytes>) -> Step {
    let At { key, route, event, .. } = at;
    // In the order in which they were encoded.
    let mut payload_for = |sink: &Target, json: &Bytes| match &sink.encoder {
        Some(_) => encoded.next().unwrap_or_default(),
        None => json.clone(),
    };
    let emissions = match verdict {
        Verdict::Drop => {
            at.show_dropped("`process` dropped it");
            return Step::Filtered;
        }
        Verdict::Emit(emissions) => emissions,
        Verdict::Keep | Verdict::Replace(_) => {
            let payload = if let Verdict::Replace(payload) = verdict { payload } else { event.payload.clone() };
            for sink in &route.sinks {
                key.metrics.outputs.inc();
                sink.queue.send(output(at, 0, payload_for(sink, &payload))).await;
            }
            return Step::Handed;
        }
    };
    for (index, Emission { payload, subject, headers }) in (0..).zip(emissions) {
        let headers = (!headers.is_empty()).then(|| merge(&event.headers, &headers));
        for sink in &route.sinks {
            key.metrics.outputs.inc();
            let (subject, headers) = (subject.clone(), headers.clone());
            sink.queue.send(Output { subject, headers, ..output(at, index, payload_for(sink, &payload)) }).await;
        }
    }
    Step::Handed
}

fn output(At { key, route, ticket, .. }: At<'_>, index: u32, payload: Bytes) -> Output {
    Output {
        ticket: ticket.share(),
        key: Arc::clone(&key.name),
        route: Arc::clone(&route.name),
        index,
        payload,
        subject: None,
        headers: None,
        order: key.ordering.order(&key.name, ticket.event()),
        dead_letter: None,
        share: None,
    }
}

/// The event's headers, with those of the same name replaced.
fn merge(event: &Headers, set: &[(ByteString, ByteString)]) -> Headers {
    let is_set = |name: &str| set.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    event.iter().filter(|(name, _)| !is_set(name)).chain(set).cloned().collect()
}
