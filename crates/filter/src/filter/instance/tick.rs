//! Calls by the clock.

use std::sync::Arc;

use super::{GuestInstance, within};
use crate::{
    event::Event,
    filter::{Failure, RouteSubscription, Verdict, guest::GuestFunctions},
};

impl GuestInstance {
    /// Calls `tick` with the time of the tick's event.
    pub(in crate::filter) async fn tick(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        tick: &Event,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let wall = subscription.limits.process_wall;
        let answer = within(wall, async {
            let (resource, limits) = self.begin_process(subscription, 1, 0).await?;
            match &self.guest {
                GuestFunctions::V0_1(_) => Ok(Ok(Verdict::Drop)),
                GuestFunctions::V0_2(guest) => {
                    guest.tick(&mut self.store, resource, subscription, tick.observed_at / 1_000_000, limits).await
                }
            }
        })
        .await;
        self.store.data().journal.end(subscription.key(), Some(tick), answer.is_err());
        answer
    }
}
