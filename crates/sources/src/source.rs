//! Event sources. A source turns messages into events, hands them to its [`Intake`] and settles
//! what the intake returns; at least once: a message is acknowledged only after its event was
//! settled.

use std::time::SystemTime;

use crate::{pipeline::Intake, stop::Stop};

mod again;
pub mod avro_file;
pub mod bus;
pub mod core_nats;
pub mod envelope;
pub mod finite;
pub mod http;
pub mod jetstream;
pub mod letters;
pub mod lines;
pub mod replay;

/// A stream of events with a duty to settle each.
///
/// It pushes events while [`Intake::is_open`], and polls [`Intake::settled`] after every burst and
/// until it has heard of each: `Done` and `Dead` are the end of an event, after which its input may
/// forget it; after `Retry` it is to be pushed again, or given back to where it came from. An
/// event's `uid` is the same whenever it is delivered.
pub trait Source: Send + 'static {
    /// Data that the source needs to settle one event: a reply subject, a line number.
    type Receipt: Send + 'static;

    /// Runs until the input ends or `stop` ends the run. A drain takes nothing new and settles what
    /// is open; at the end the rest is given up, and comes back where the source can redeliver.
    ///
    /// # Errors
    /// Returns an error only if a retry cannot help: transient faults of the broker are waited out
    /// inside.
    fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Current time in Unix nanoseconds, for `observed_at`.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
