//! Consequences of a try: the answers that are final, and the time of the next try.

use std::time::Duration;

use super::{post::WebhookAnswer, store::AttemptVerdict};

/// Delays between tries, so there is one more try than delays.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];
/// Fraction by which a delay may be shorter or longer, so that deliveries that failed together are
/// not retried together.
const JITTER: f64 = 0.2;
/// Shortest and longest pause that a receiver may ask for with `Retry-After`.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// Consequence of a try after so many before it. `chance` is in 0..1 and chooses the delay.
pub fn verdict(outcome: &Result<WebhookAnswer, String>, before: u32, chance: f64) -> AttemptVerdict {
    match outcome {
        Ok(answer) if answer.is_success() => AttemptVerdict::Delivered,
        Ok(WebhookAnswer { status: 410, .. }) => AttemptVerdict::Gone,
        Ok(WebhookAnswer { status: 408 | 425 | 429 | 500.., retry_after, .. }) => again(before, chance, *retry_after),
        Ok(_) => AttemptVerdict::Failed,
        Err(_) => again(before, chance, None),
    }
}

fn again(before: u32, chance: f64, pause: Option<Duration>) -> AttemptVerdict {
    let delay = usize::try_from(before).ok().and_then(|before| DELAYS.get(before));
    let (least, most) = PAUSES;
    match (delay, pause) {
        (None, _) => AttemptVerdict::Failed,
        (Some(_), Some(pause)) => AttemptVerdict::Again(pause.clamp(least, most)),
        (Some(delay), None) => AttemptVerdict::Again(delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Result<WebhookAnswer, String> {
        Ok(WebhookAnswer { status, retry_after: None, body: Vec::new() })
    }

    /// C22, C23
    #[test]
    fn answers_are_final_or_not() {
        let again = AttemptVerdict::Again(Duration::from_secs(5));
        for (statuses, expected) in [
            (&[200, 201, 204, 299][..], AttemptVerdict::Delivered),
            (&[410], AttemptVerdict::Gone),
            (&[408, 425, 429, 500, 502, 503, 504, 599], again),
            (&[301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 411, 413, 422, 451], AttemptVerdict::Failed),
        ] {
            for status in statuses {
                assert_eq!(verdict(&answer(*status), 0, 0.5), expected, "{status}");
            }
        }
        assert_eq!(verdict(&Err("it is away".into()), 0, 0.5), again);
    }

    /// C23
    #[test]
    fn there_are_seven_tries_at_growing_distances() {
        let delays = |chance| (0..8).map(move |before| verdict(&answer(500), before, chance));
        let seconds = |delay: AttemptVerdict| match delay {
            AttemptVerdict::Again(delay) => delay.as_secs_f64().round(),
            _ => -1.0,
        };
        let middle: Vec<_> = delays(0.5).map(seconds).collect();
        assert_eq!(middle, [5.0, 30.0, 120.0, 600.0, 3_600.0, 21_600.0, -1.0, -1.0]);
        let shortest: Vec<_> = delays(0.0).map(seconds).collect();
        assert_eq!(shortest[..6], [4.0, 24.0, 96.0, 480.0, 2_880.0, 17_280.0]);
        let longest: Vec<_> = delays(1.0).map(seconds).collect();
        assert_eq!(longest[..6], [6.0, 36.0, 144.0, 720.0, 4_320.0, 25_920.0]);
        assert_eq!(verdict(&answer(500), 6, 0.5), AttemptVerdict::Failed);
    }

    #[test]
    fn receivers_may_ask_for_an_hour_at_most() {
        for (asked, granted) in [(0, 1), (2, 2), (600, 600), (3_600, 3_600), (86_400, 3_600)] {
            let retry_after = Some(Duration::from_secs(asked));
            let answer = Ok(WebhookAnswer { status: 429, retry_after, body: Vec::new() });
            assert_eq!(verdict(&answer, 0, 0.0), AttemptVerdict::Again(Duration::from_secs(granted)), "{asked}");
            assert_eq!(verdict(&answer, 6, 0.0), AttemptVerdict::Failed);
        }
    }
}
