//! Stopping, passed in as an argument so that whoever owns the run decides when.

use tokio::sync::watch;

/// How far the router has gone in stopping. Later phases include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ended,
}

/// Gives the word to stop.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// Hears the word to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Phase>);

/// A pair that starts out running.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Take nothing new, finish what is open.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Give up what is open. It comes back from the broker.
    pub fn end(&self) {
        self.advance(Phase::Ended);
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }
}

impl Stop {
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Resolves when the drain begins. Cancel safe.
    pub async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when open work is to be given up. Cancel safe.
    pub async fn ended(&mut self) {
        self.reached(Phase::Ended).await;
    }

    async fn reached(&mut self, wanted: Phase) {
        // An error means that every `Stopper` is gone, and with them whoever could want work done.
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
