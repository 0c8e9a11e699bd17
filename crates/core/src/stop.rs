//! Stop signal, passed in as an argument so that the owner of the run decides when to stop.

use tokio::sync::watch;

/// Phase of stopping. Later phases include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StopPhase {
    Running,
    Draining,
    Ended,
}

/// Sender of the stop signal.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<StopPhase>);

/// Receiver of the stop signal.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<StopPhase>);

/// Creates a pair that starts out running.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(StopPhase::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Begins the drain: take nothing new, finish what is open.
    pub fn drain(&self) {
        self.advance(StopPhase::Draining);
    }

    /// Ends the run: give up what is open, which comes back from the broker.
    pub fn end(&self) {
        self.advance(StopPhase::Ended);
    }

    fn advance(&self, to: StopPhase) {
        self.0.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }
}

impl Stop {
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= StopPhase::Draining
    }

    /// Resolves when the drain begins. Cancel safe.
    pub async fn draining(&mut self) {
        self.reached(StopPhase::Draining).await;
    }

    /// Resolves when open work is to be given up. Cancel safe.
    pub async fn ended(&mut self) {
        self.reached(StopPhase::Ended).await;
    }

    async fn reached(&mut self, wanted: StopPhase) {
        // An error means that every `Stopper` is gone, and with them any owner that could want work
        // done.
        let _ = self.0.wait_for(|phase| *phase >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_is_never_taken_back() {
        let (stopper, mut stop) = stop();
        assert!(!stop.is_draining());
        stopper.end();
        stopper.drain();
        stop.draining().await;
        stop.ended().await;
    }
}
