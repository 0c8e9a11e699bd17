//! Coarse clock. Nothing on the way of a message reads the time: it leaves a mark, and the tick
//! counts.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Longest silence after which the server or the link has lost our pulls: it shows every second
/// that it has them.
const SILENCE: Duration = Duration::from_secs(2);
/// Time without a message after which the server is asked whether it has any.
const WATCH: Duration = Duration::from_secs(10);

pub(super) struct CoarseClock {
    pub(super) interval: Interval,
    period: Duration,
    /// Ticks so far.
    pub(super) now: u32,
    /// True if something came from the server since the last tick.
    pub(super) heard: bool,
    /// True if that was a message, not only a sign of life.
    pub(super) received: bool,
    silence: Duration,
    without_message: Duration,
    /// Silences in a row.
    pub(super) missed: u32,
}

/// Finding of a tick.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TickFinding {
    Enough,
    /// Signs of life without a message, for long.
    NoMessage,
    Nothing,
}

impl CoarseClock {
    pub(super) fn new(period: Duration) -> Self {
        let mut interval = interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (silence, without_message) = (Duration::ZERO, Duration::ZERO);
        Self { interval, period, now: 0, heard: false, received: false, silence, without_message, missed: 0 }
    }

    /// Counts a period. With `expects`, something should have come in it.
    pub(super) fn listen(&mut self, expects: bool) -> TickFinding {
        if std::mem::take(&mut self.heard) {
            self.missed = 0;
            self.silence = Duration::ZERO;
        }
        if std::mem::take(&mut self.received) {
            self.without_message = Duration::ZERO;
        }
        if !expects {
            self.silence = Duration::ZERO;
            return TickFinding::Enough;
        }
        self.silence += self.period;
        self.without_message += self.period;
        if self.silence > SILENCE {
            self.silence = Duration::ZERO;
            self.missed += 1;
            return TickFinding::Nothing;
        }
        if self.without_message >= WATCH {
            self.without_message = Duration::ZERO;
            return TickFinding::NoMessage;
        }
        TickFinding::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> CoarseClock {
        CoarseClock::new(Duration::from_millis(500))
    }

    #[tokio::test]
    async fn silence_is_noticed_after_two_missed_heartbeats() {
        let mut clock = clock();
        let silent = (0..10).map(|_| clock.listen(true)).position(|heard| heard == TickFinding::Nothing);
        assert_eq!((silent, clock.missed), (Some(4), 1));
        clock.heard = true;
        assert_eq!((clock.listen(true), clock.missed), (TickFinding::Enough, 0));
    }

    #[tokio::test]
    async fn where_nothing_is_expected_nothing_is_missed() {
        let mut clock = clock();
        for _ in 0..100 {
            assert_eq!(clock.listen(false), TickFinding::Enough);
        }
    }

    #[tokio::test]
    async fn heartbeats_without_messages_make_it_ask() {
        let mut clock = clock();
        let asked = (0..100).map(|_| {
            clock.heard = true;
            clock.listen(true)
        });
        assert_eq!(asked.filter(|heard| *heard == TickFinding::NoMessage).count(), 5);
    }
}
