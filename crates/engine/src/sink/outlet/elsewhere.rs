//! Return of the outputs that a sink holds while it is away, if other routers have sinks that take
//! them, and of those whose events other routers have taken over.

use crate::sink::{Output, Sink, Slot, outlet::Outlet};

impl<S: Sink> Outlet<S> {
    /// Drops, past the sink's patience, outputs that another router can have: their source gives
    /// them to one. `tried` stays, for the sink to be tried with.
    pub(super) fn give_back_others(&mut self, tried: Slot) {
        if self.metrics.refusing.lasts() < Some(self.policy.retry.patience) {
            return;
        }
        let given_back = self.window.give_back_others(tried);
        self.metrics.returned.inc_by(given_back);
        if given_back > 0 && !std::mem::replace(&mut self.gives_back, true) {
            tracing::warn!(sink = %self.name, given_back, "the sink is away, its events go to other routers");
        }
    }

    /// Returns whether an output that has just come is to go to another router, likewise, or belongs
    /// to one already.
    pub(super) fn goes_elsewhere(&self, output: &Output) -> bool {
        self.gives_back && output.ticket.can_go_elsewhere() || !output.ticket.may_leave()
    }

    /// Drops an output whose event belongs to another router by now.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.metrics.returned.inc();
        drop(self.window.give_up(slot, "another router has the event"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use anyhow::anyhow;
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{
        ack::{Acker, EventDelivery, Outcome},
        config::{OnFailure, RetryPolicy},
        fence::Fence,
        metrics::{SinkMetrics, SourceMetrics},
        sink::{
            Confirmation, SinkRefusal,
            double::output,
            outlet::{OutletCapacity, OutletPolicy, RefusedDestination},
        },
        stop::stop,
    };

    const OUTPUTS: usize = 30;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Sink that takes nothing until it is back.
    struct RemoteSink {
        is_back: Arc<AtomicBool>,
        words: Vec<Confirmation>,
    }

    impl Sink for RemoteSink {
        async fn write(&mut self, slot: Slot, _: &Output) -> Result<(), SinkRefusal> {
            if !self.is_back.load(Ordering::Relaxed) {
                return Err(SinkRefusal::Later(anyhow!("away")));
            }
            self.words.push(Confirmation::One(slot));
            Ok(())
        }

        fn keeps_order(&self) -> bool {
            false
        }

        async fn confirm(&mut self) -> Confirmation {
            match self.words.pop() {
                Some(word) => word,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the outcomes of the events that end before the sink is back, and of those that end
    /// after it.
    async fn ends(is_shared: bool, order: impl Fn(usize) -> Option<u64>) -> (Vec<Outcome>, Vec<Outcome>) {
        let (settle, mut settled) = mpsc::channel(OUTPUTS);
        let is_back = Arc::<AtomicBool>::default();
        let remote = RemoteSink { is_back: Arc::clone(&is_back), words: Vec::new() };
        let retry = RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(2), patience: PATIENCE };
        let policy = OutletPolicy { on_failure: OnFailure::Retry, retry, refused: RefusedDestination::Nowhere };
        let metrics = Arc::<SinkMetrics>::default();
        let (queue, outlet) =
            Outlet::new(remote, "remote", OutletCapacity { outputs: 8, bytes: 32 << 20 }, policy, Arc::clone(&metrics));
        let (stopper, stop) = stop();
        let outlet = tokio::spawn(outlet.run(stop));
        let source = Arc::<SourceMetrics>::default();
        source.paused.set(1);
        source.shared.set(is_shared.into());
        let outputs: Vec<_> = (0..OUTPUTS)
            .map(|number| {
                let made = output("t", &number.to_string(), "text");
                let event = made.ticket.event().clone();
                let ticket =
                    EventDelivery { event, acker: Acker::new(number, settle.clone()) }.open(Arc::clone(&source), None);
                Output { ticket, order: order(number), ..made }
            })
            .collect();
        let sender = queue.clone();
        tokio::spawn(async move {
            for output in outputs {
                sender.send(output).await;
            }
        });
        let mut ended = async |within| {
            let mut outcomes = Vec::new();
            while let Ok(Some((_, outcome))) = timeout(within, settled.recv()).await {
                outcomes.push(outcome);
            }
            outcomes
        };
        assert_eq!(ended(PATIENCE - Duration::from_secs(1)).await, [], "its patience is not over");
        assert!(queue.is_away());
        let before = ended(PATIENCE).await;
        assert_eq!(metrics.returned.get(), before.len() as u64);
        is_back.store(true, Ordering::Relaxed);
        let after = ended(PATIENCE).await;
        sleep(Duration::from_millis(1)).await;
        assert!(!queue.is_away());
        stopper.end();
        outlet.await.unwrap().unwrap();
        (before, after)
    }

    /// Nothing of an event leaves that another router may have by now: whether it waits in the queue,
    /// to be tried again, or behind others of its order.
    #[tokio::test(start_paused = true)]
    async fn what_is_behind_a_fence_that_has_lapsed_is_not_sent() {
        let (settle, mut settled) = mpsc::channel(OUTPUTS);
        let is_back = Arc::<AtomicBool>::default();
        let remote = RemoteSink { is_back: Arc::clone(&is_back), words: Vec::new() };
        let retry = RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(2), patience: PATIENCE };
        let policy = OutletPolicy { on_failure: OnFailure::Retry, retry, refused: RefusedDestination::Nowhere };
        let capacity = OutletCapacity { outputs: 8, bytes: 32 << 20 };
        let metrics = Arc::<SinkMetrics>::default();
        let (queue, outlet) = Outlet::new(remote, "remote", capacity, policy, Arc::clone(&metrics));
        let (stopper, stop) = stop();
        let outlet = tokio::spawn(outlet.run(stop));
        let fence = Arc::new(Fence::unlimited());
        let sender = queue.clone();
        let outputs: Vec<_> = (0..OUTPUTS)
            .map(|number| {
                let made = output("t", &number.to_string(), "text");
                let delivery =
                    EventDelivery { event: made.ticket.event().clone(), acker: Acker::new(number, settle.clone()) };
                let ticket = delivery.open(Arc::default(), (number % 2 == 0).then(|| Arc::clone(&fence)));
                Output { ticket, order: Some(number as u64 % 3), ..made }
            })
            .collect();
        tokio::spawn(async move {
            for output in outputs {
                sender.send(output).await;
            }
        });
        sleep(Duration::from_secs(1)).await;
        fence.lapse();
        is_back.store(true, Ordering::Relaxed);
        for _ in 0..OUTPUTS {
            let (number, outcome) = timeout(PATIENCE, settled.recv()).await.unwrap().unwrap();
            let expected = if number % 2 == 0 { Outcome::Retry(Duration::ZERO) } else { Outcome::Done };
            assert_eq!(outcome, expected, "output {number}");
        }
        assert_eq!(metrics.written.get(), OUTPUTS as u64 / 2);
        stopper.end();
        outlet.await.unwrap().unwrap();
    }

    /// Whatever the order of the waiting outputs: in one line, in several, or in none.
    #[tokio::test(start_paused = true)]
    async fn past_its_patience_all_but_one_goes_to_other_routers() {
        for orders in [1, 3, 100] {
            let (before, after) = ends(true, |number| Some(number as u64 % orders)).await;
            assert_eq!(before, [Outcome::Retry(Duration::ZERO); OUTPUTS - 1], "{orders} orders");
            assert_eq!(after, [Outcome::Done], "the one that the sink was tried with");
        }
        assert_eq!(ends(true, |_| None).await.0.len(), OUTPUTS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_other_router_reads_all_of_it_waits() {
        let (before, after) = ends(false, |number| Some(number as u64 % 3)).await;
        assert_eq!((before.len(), after), (0, vec![Outcome::Done; OUTPUTS]));
    }
}
