//! What `process` makes of an event.

use std::{error, fmt, time::Duration};

use serde::Serialize;

use crate::{api, bindings::trommel::filter::types, state};

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not wanted after all.
    Drop,
    /// Send the event on as it is. Copies nothing back.
    Keep,
    /// Send the event on with this payload.
    Replace(Vec<u8>),
    /// Send these instead, in this order. None at all is `Drop`.
    Emit(Vec<Emission>),
}

impl Outcome {
    /// Sends the event on with this payload.
    pub fn replace(payload: impl Into<Vec<u8>>) -> Self {
        Self::Replace(payload.into())
    }

    /// Sends the event on with this as its payload, in JSON.
    ///
    /// # Errors
    /// When the value can't be put so, such as a map whose keys are no texts.
    pub fn replace_json(payload: &impl Serialize) -> Result<Self> {
        Ok(Self::Replace(serde_json::to_vec(payload)?))
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    payload: Vec<u8>,
    subject: Option<String>,
    headers: Vec<(String, String)>,
}

impl Emission {
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), subject: None, headers: Vec::new() }
    }

    /// # Errors
    /// As [`Outcome::replace_json`].
    pub fn json(payload: &impl Serialize) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(payload)?))
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `None` for the event's own.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Pairs of name and value.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Replaces the event's subject for the sinks that use it.
    #[must_use]
    pub fn with_subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Added to the event's headers; a name that is there already is replaced.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Why an event was not processed, or a param refused. With `?` errors of the API and of the store become `Failed`, any
/// other `Malformed`: it would be the same with the next try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The event can never be processed: straight to the dead letters.
    Malformed(String),
    /// Passing trouble: try again after this time, in whole milliseconds.
    Retry(Duration, String),
    /// Try again by the key's policy, then dead letter.
    Failed(String),
    /// The filter itself can't go on: it is quarantined, the event is kept.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Malformed(why) | Self::Retry(_, why) | Self::Failed(why) | Self::Broken(why)) = self;
        f.write_str(why)
    }
}

/// With its causes. `Failure` itself is no `Error`, so that this can be.
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
        if passes { Self::Failed(why) } else { Self::Malformed(why) }
    }
}

/// Whether another try may go better.
fn may_pass(error: &(dyn error::Error + 'static)) -> bool {
    error.is::<api::Error>() || error.is::<state::Error>()
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Drop => Self::Drop,
            Outcome::Keep => Self::Keep,
            Outcome::Replace(payload) => Self::Replace(payload),
            Outcome::Emit(emissions) => Self::Emit(emissions.into_iter().map(Into::into).collect()),
        }
    }
}

impl From<Emission> for types::Emission {
    fn from(Emission { payload, subject, headers }: Emission) -> Self {
        Self { payload, subject, headers }
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

        assert_eq!(size(), Err(Failure::Malformed("no size: number too large to fit in target type".to_owned())));
    }

    /// What is wrong with an event is wrong with the next try, too; an API may be back by then.
    #[test]
    fn only_errors_that_may_pass_are_tried_again() {
        #[derive(Debug)]
        struct Lookup(api::Error);

        impl fmt::Display for Lookup {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no name for the user")
            }
        }

        impl error::Error for Lookup {
            fn source(&self) -> Option<&(dyn error::Error + 'static)> {
                Some(&self.0)
            }
        }

        assert!(matches!(Failure::from(api::Error::Timeout), Failure::Failed(_)));
        assert!(matches!(Failure::from(Lookup(api::Error::Timeout)), Failure::Failed(_)));
        assert!(matches!(Failure::from(state::Error::Conflict), Failure::Failed(_)));
        assert!(matches!(Failure::from("x".parse::<u8>().unwrap_err()), Failure::Malformed(_)));
    }

    #[test]
    fn emissions_say_only_what_they_change() {
        let emission = Emission::json(&[1]).unwrap().with_subject("a.b").with_header("a", "1");
        let expected = types::Emission {
            payload: b"[1]".to_vec(),
            subject: Some("a.b".into()),
            headers: vec![("a".into(), "1".into())],
        };
        assert_eq!(types::Emission::from(emission), expected);
        assert_eq!(Outcome::replace_json(&"a"), Ok(Outcome::replace("\"a\"")));
    }
}
