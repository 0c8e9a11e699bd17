//! Why an event was not processed.

use std::{error, fmt, time::Duration};

use crate::{
    api,
    bindings::trommel::filter::types::{self, Cause},
    state,
};

pub use crate::bindings::trommel::filter::types::FailureKind;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why an event was not processed, or a route refused. With `?` errors of the API and of the store
/// become `failed`, any other `malformed`: it would be the same with the next try.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub kind: FailureKind,
    pub cause: Cause,
}

impl Failure {
    /// The event can never be processed: straight to the dead letters.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Malformed, detail)
    }

    /// Passing trouble: try again after this time at the earliest, in whole milliseconds.
    pub fn retry(after: Duration, detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Retry(short_milliseconds(after)), detail)
    }

    /// Try again by the key's policy, then dead letter.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, detail)
    }

    /// No failure: the event's time has not come. Ask again after this time, as often as need be.
    pub fn defer(after: Duration, detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Defer(short_milliseconds(after)), detail)
    }

    /// The filter itself can't go on: it is quarantined, the event is kept.
    pub fn broken(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Broken, detail)
    }

    /// Tells such failures from others by a word of your own, in lower case with underscores:
    /// `dlq list --reason` finds it.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.cause.code = Some(code.into());
        self
    }

    fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, cause: Cause { code: None, detail: detail.into() } }
    }
}

fn short_milliseconds(time: Duration) -> u32 {
    time.as_millis().try_into().unwrap_or(u32::MAX)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause.detail)
    }
}

/// With its causes. `Failure` itself is not an `Error`, so that this can be.
impl<E: error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut passes = may_pass(&error);
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            passes |= may_pass(error);
            cause = error.source();
        }
        if passes { Self::failed(why) } else { Self::malformed(why) }
    }
}

/// Whether another try may go better.
fn may_pass(error: &(dyn error::Error + 'static)) -> bool {
    error.is::<api::Error>() || error.is::<state::Error>()
}

impl From<Failure> for types::Failure {
    fn from(Failure { kind, cause }: Failure) -> Self {
        Self { kind, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_failure_with_its_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);

        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no size")
            }
        }

        impl error::Error for Outer {
            fn source(&self) -> Option<&(dyn error::Error + 'static)> {
                Some(&self.0)
            }
        }

        fn size() -> Result<u8> {
            Ok("300".parse().map_err(Outer)?)
        }

        assert_eq!(size(), Err(Failure::malformed("no size: number too large to fit in target type")));
    }

    /// What is wrong with an event is wrong with the next try, too; an API may be back by then.
    #[test]
    fn only_errors_that_may_pass_are_tried_again() {
        assert_eq!(Failure::from(api::Error::Timeout).kind, FailureKind::Failed);
        assert_eq!(Failure::from(state::Error::Conflict).kind, FailureKind::Failed);
        assert_eq!(Failure::from("x".parse::<u8>().unwrap_err()).kind, FailureKind::Malformed);
    }

    #[test]
    fn times_are_whole_milliseconds_within_what_the_contract_has() {
        assert_eq!(Failure::retry(Duration::from_micros(1_700), "").kind, FailureKind::Retry(1));
        assert_eq!(Failure::defer(Duration::MAX, "").kind, FailureKind::Defer(u32::MAX));
        assert_eq!(Failure::failed("x").code("no_rate").cause.code.as_deref(), Some("no_rate"));
    }
}
