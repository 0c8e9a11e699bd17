//! Where events come from. A source turns messages into events, hands them to its [`Intake`] and settles what the
//! intake returns; at least once: a message is acknowledged only after its event was settled.

use std::time::SystemTime;

use crate::{pipeline::Intake, stop::Stop};

mod again;
pub mod bus;
pub mod envelope;
pub mod finite;
pub mod http;
pub mod jetstream;
pub mod letters;
pub mod lines;
pub mod replay;

/// A stream of events with a duty to settle each.
pub trait Source: Send + 'static {
    /// What the source needs to settle one event: a reply subject, a line number.
    type Receipt: Send + 'static;

    /// Runs until the input ends or `stop` says so. On drain it takes nothing new and settles what is open; at the end
    /// it gives up the rest, which comes back where the source can redeliver.
    ///
    /// # Errors
    /// Only what trying again can't mend: a passing fault of the broker is waited out inside.
    fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// When an event is seen, in Unix nanoseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
