//! Calls of `process`, for one event or for many at once.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use super::{GuestInstance, MAX_HANDED_OVER, within};
use crate::{
    event::Event,
    filter::{
        Failure, RouteSubscription, Verdict,
        batch::EventColumns,
        error::Violation,
        guest::GuestFunctions,
        outputs::OutputLimits,
        subscription::{ReadEvent, time_of_batch},
    },
};

impl GuestInstance {
    /// Calls `process`, on the thread's own stack where `has_stack` says that it is large enough
    /// and the guest has nothing to wait for and is quick.
    pub(in crate::filter) async fn process(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        read: &ReadEvent<'_>,
        attempt: u32,
        has_stack: bool,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let (wall, event) = (subscription.limits.process_wall, read.event);
        if has_stack
            && self.only_computes
            && self.pace.is_quick()
            && let Some(resource) = self.subscriptions.get(subscription)
        {
            let answer = self.process_at_once(resource, subscription, read, attempt);
            self.store.data().journal.end(subscription.key(), Some(event), answer.is_err());
            return answer;
        }
        let answer = within(wall, async {
            let (resource, limits) = self.begin_process(subscription, 1, event.payload.len()).await?;
            let reads = subscription.process_reads.parts;
            match &self.guest {
                GuestFunctions::V0_1(guest) => {
                    guest.process(&mut self.store, resource, event, attempt, reads, limits).await
                }
                GuestFunctions::V0_2(guest) => {
                    guest.process(&mut self.store, resource, subscription, read, limits).await
                }
            }
        })
        .await;
        self.pace.note(self.store.data().ticks_taken());
        self.store.data().journal.end(subscription.key(), Some(event), answer.is_err());
        answer
    }

    fn process_at_once(
        &mut self,
        resource: ResourceAny,
        subscription: &Arc<RouteSubscription>,
        read: &ReadEvent<'_>,
        attempt: u32,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let limits = self.open_process(subscription, 1, read.event.payload.len());
        self.store.data_mut().holds_thread = true;
        let answer = match &self.guest {
            GuestFunctions::V0_1(guest) => {
                let reads = subscription.process_reads.parts;
                guest.process_at_once(&mut self.store, resource, read.event, attempt, reads, limits)
            }
            GuestFunctions::V0_2(guest) => guest.process_at_once(&mut self.store, resource, subscription, read, limits),
        };
        self.store.data_mut().holds_thread = false;
        self.pace.note(self.store.data().ticks_taken());
        answer
    }

    /// Calls `process` for the events of the columns. The answers are in their order.
    pub(in crate::filter) async fn process_batch(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        events: &[&Event],
        columns: &EventColumns,
    ) -> wasmtime::Result<Vec<Result<Verdict, Failure>>> {
        let wall = subscription.limits.process_wall;
        let answers = within(wall, async {
            let (resource, limits) = self.begin_process(subscription, events.len(), columns.arena().len()).await?;
            match &self.guest {
                GuestFunctions::V0_1(_) => Err(Violation::Outcomes { found: 0, events: events.len() }.into()),
                GuestFunctions::V0_2(guest) => {
                    guest.process_batch(&mut self.store, resource, subscription, events, columns, limits).await
                }
            }
        })
        .await;
        self.store.data().journal.end(subscription.key(), None, answers.is_err());
        answers
    }

    /// Opens the budgets of a call about `count` events of `size` bytes.
    pub(super) async fn begin_process(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        count: usize,
        size: usize,
    ) -> wasmtime::Result<(ResourceAny, OutputLimits)> {
        self.store.data_mut().grant(&subscription.granted, subscription.limits.process_wall);
        let resource = self.resource(subscription).await?;
        Ok((resource, self.open_process(subscription, count, size)))
    }

    /// The same where the guest's object is known.
    fn open_process(&mut self, subscription: &Arc<RouteSubscription>, count: usize, size: usize) -> OutputLimits {
        self.calls += 1;
        let limits = &subscription.limits;
        self.store.data_mut().grant(&subscription.granted, limits.process_wall);
        let most = limits.output.saturating_mul(limits.emissions).min(self.limits.memory);
        self.store.set_hostcall_fuel(most.max(MAX_HANDED_OVER).min(self.most.0));
        let count_u32 = u32::try_from(count).unwrap_or(u32::MAX);
        let calls = limits.host_calls.saturating_mul(count_u32);
        let lines = limits.log_lines.saturating_mul(count_u32);
        self.store.data_mut().begin(time_of_batch(limits.process_cpu, count, size), calls, lines);
        self.store.data_mut().is_about_event = true;
        self.store.set_epoch_deadline(1);
        OutputLimits { size: limits.output.min(self.most.1), emissions: limits.emissions }
    }
}
