//! Health of a filter: one that breaks on nearly everything, or wastes too much of the time of
//! others, is quarantined. One that breaks on some events is not: what it was sent is at fault.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::poison::ignore_poison;

/// Length of the window, and the total of charges within it at which a filter is quarantined.
const WINDOW: Duration = Duration::from_secs(30);
/// Charges of less than this time apart are added up.
const SPAN: Duration = Duration::from_secs(1);
/// Number of breaks in the window that quarantine a filter, unless it answered now and then.
const BREAKS: u64 = 5;
/// The same for a filter that has answered often since it was loaded: it was sound before these
/// events came.
const PROVEN_BREAKS: u64 = 100;
/// Answers since it was loaded that are worth one break.
const ANSWERS_FOR_A_BREAK: u64 = 10;
/// Breaks for each answer between them below which the events, not the filter, are at fault.
const BREAKS_FOR_AN_ANSWER: u64 = 9;

/// A call about an event, each with a health of its own: a filter whose `process` breaks on
/// everything is not sound because its `matches` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventCall {
    Matches,
    Process,
}

impl EventCall {
    const ALL: [Self; 2] = [Self::Matches, Self::Process];
}

#[derive(Debug, Default)]
pub(super) struct FilterHealth {
    quarantined: AtomicBool,
    /// True once another component is in service.
    replaced: AtomicBool,
    /// Events answered since it was loaded, by call.
    answers: [AtomicU64; 2],
    charges: Mutex<VecDeque<HealthSpan>>,
}

/// The charges of a short time.
#[derive(Debug)]
struct HealthSpan {
    began: Instant,
    wasted: Duration,
    breaks: [u64; 2],
    /// Events answered before.
    answers: [u64; 2],
}

impl FilterHealth {
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    pub(super) fn set_replaced(&self, is_replaced: bool) {
        self.replaced.store(is_replaced, Ordering::Relaxed);
    }

    /// Counts events that the filter answered, whatever the answer.
    pub(super) fn record_answers(&self, call: EventCall, events: u64) {
        self.answers[call as usize].fetch_add(events, Ordering::Relaxed);
    }

    /// Counts an event that the filter broke on. Returns true if this one quarantines the filter.
    pub(super) fn record_break(&self, call: EventCall) -> bool {
        self.charge(|span| span.breaks[call as usize] += 1)
    }

    /// Counts the time of a call without a result: five calls that never end come less close
    /// together than five that trap, and harm more. Returns true if this one quarantines the
    /// filter.
    pub(super) fn waste(&self, time: Duration) -> bool {
        !time.is_zero() && self.charge(|span| span.wasted = span.wasted.saturating_add(time))
    }

    fn charge(&self, add: impl FnOnce(&mut HealthSpan)) -> bool {
        let now = Instant::now();
        let answers = EventCall::ALL.map(|call| self.answers[call as usize].load(Ordering::Relaxed));
        let mut spans = ignore_poison(self.charges.lock());
        while spans.front().is_some_and(|first| now.duration_since(first.began) >= WINDOW) {
            spans.pop_front();
        }
        if spans.back().is_none_or(|last| now.duration_since(last.began) >= SPAN) {
            spans.push_back(HealthSpan { began: now, wasted: Duration::ZERO, breaks: [0; 2], answers });
        }
        if let Some(last) = spans.back_mut() {
            add(last);
        }
        let wasted = spans.iter().fold(Duration::ZERO, |sum, span| sum.saturating_add(span.wasted));
        let broken: Duration = EventCall::ALL.map(|call| charge_of_breaks(&spans, call, answers)).into_iter().sum();
        wasted.saturating_add(broken) >= WINDOW && self.quarantine()
    }

    /// Quarantines the filter. Returns true if it was not in quarantine before.
    pub(super) fn quarantine(&self) -> bool {
        !self.quarantined.swap(true, Ordering::Relaxed)
    }

    pub(super) fn lift(&self) {
        ignore_poison(self.charges.lock()).clear();
        self.quarantined.store(false, Ordering::Relaxed);
    }
}

/// Returns the charge for the breaks of a call in the window: none if events were answered between
/// them.
fn charge_of_breaks(spans: &VecDeque<HealthSpan>, call: EventCall, answers: [u64; 2]) -> Duration {
    let call = call as usize;
    let Some(first) = spans.iter().find(|span| span.breaks[call] > 0) else { return Duration::ZERO };
    let breaks: u64 = spans.iter().map(|span| span.breaks[call]).sum();
    let answered = answers[call].saturating_sub(first.answers[call]);
    if breaks < answered.saturating_mul(BREAKS_FOR_AN_ANSWER) {
        return Duration::ZERO;
    }
    let enough = (first.answers[call] / ANSWERS_FOR_A_BREAK).clamp(BREAKS, PROVEN_BREAKS);
    WINDOW.mul_f64(breaks as f64 / enough as f64)
}

#[cfg(test)]
mod tests {
    use super::{EventCall::*, *};

    fn breaks_until_quarantine(health: &FilterHealth) -> usize {
        (1..1_000).find(|_| health.record_break(Process)).expect("never quarantined")
    }

    #[tokio::test(start_paused = true)]
    async fn only_breaks_close_together_count() {
        let health = FilterHealth::default();
        for _ in 0..20 {
            assert!(!health.record_break(Process));
            tokio::time::advance(WINDOW / 4).await;
        }
        assert!(!health.is_quarantined());
        for _ in 0..3 {
            health.record_break(Process);
        }
        assert!(health.is_quarantined());
    }

    #[tokio::test(start_paused = true)]
    async fn the_break_that_quarantines_is_told_once() {
        let health = FilterHealth::default();
        let told: Vec<bool> = (0..7).map(|_| health.record_break(Matches)).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        health.lift();
        assert!(!health.is_quarantined());
        assert!(!health.record_break(Matches));
        assert!(health.quarantine());
    }

    /// Every other event would do, however many there are.
    #[tokio::test(start_paused = true)]
    async fn breaks_among_answers_do_not_quarantine() {
        let health = FilterHealth::default();
        for _ in 0..10_000 {
            health.record_answers(Process, 1);
            assert!(!health.record_break(Process));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_matches_do_not_excuse_process() {
        let health = FilterHealth::default();
        for _ in 0..4 {
            health.record_answers(Matches, 1_000);
            assert!(!health.record_break(Process));
        }
        assert!(health.record_break(Process));
    }

    /// A burst of bad events costs a filter that has proven itself no more than these events.
    #[tokio::test(start_paused = true)]
    async fn a_proven_filter_is_given_more_time() {
        for (answers, breaks) in [(0, 5), (59, 5), (600, 60), (1_000_000, 100)] {
            let health = FilterHealth::default();
            health.record_answers(Process, answers);
            assert_eq!(breaks_until_quarantine(&health), breaks, "after {answers} answers");
        }
    }

    /// What is remembered does not grow with the number of events.
    #[tokio::test(start_paused = true)]
    async fn the_window_is_bounded() {
        let health = FilterHealth::default();
        for _ in 0..100_000 {
            health.record_answers(Matches, 1);
            health.record_break(Matches);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(health.charges.lock().unwrap().len() <= 31);
    }

    /// Two calls of five seconds for each event, one event after the other, as with the default
    /// limits.
    #[tokio::test(start_paused = true)]
    async fn calls_that_never_end_count_by_the_time_that_they_take() {
        let health = FilterHealth::default();
        let mut events = 0;
        while !health.is_quarantined() {
            for _ in 0..2 {
                tokio::time::advance(Duration::from_secs(5)).await;
                health.waste(Duration::from_secs(5));
            }
            health.record_break(Process);
            events += 1;
        }
        assert_eq!(events, 2);
    }

    /// Every other call hangs and the retry succeeds: no event breaks, and time is lost all the
    /// same.
    #[tokio::test(start_paused = true)]
    async fn wasted_time_alone_is_enough() {
        let health = FilterHealth::default();
        health.record_answers(Process, 1_000_000);
        let told: Vec<bool> = (0..6).map(|_| health.waste(Duration::from_secs(5))).collect();
        assert_eq!(told, [false, false, false, false, false, true]);
        assert!(!FilterHealth::default().waste(Duration::ZERO));
    }
}
