//! What happens to each event, for who writes a filter and watches: `trommel run --show`. Off, each of these costs the look
//! at a number.

use std::fmt;

use tracing::{Level, debug, enabled};

use crate::{event::Event, text};

/// The logs' target, which nobody sees who has not asked.
const TARGET: &str = "trommel::show";
/// What `--log` lets through when somebody has.
pub const DIRECTIVE: &str = "trommel::show=debug";
/// Bytes of a payload that are shown.
const SHOWN: usize = 300;

/// Whether somebody watches: for what has to be found out first.
pub fn is_on() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

/// An event has come in, and so many keys take it.
pub fn came_in(event: &Event, keys: usize) {
    let Event { id, event_type, subject, payload, .. } = event;
    debug!(target: TARGET, event = &**id, event_type = &**event_type, subject = &**subject, keys, payload = %Start(payload), "in");
}

/// A route lets nothing out of it.
pub fn dropped(event: &Event, key: &str, route: &str, why: impl fmt::Display) {
    debug!(target: TARGET, event = &*event.id, key, route, %why, "dropped");
}

/// A sink has it.
pub fn went_out(event: &Event, sink: &str, payload: &[u8]) {
    debug!(target: TARGET, event = &*event.id, sink, payload = %Start(payload), "out");
}

/// How a payload begins, on one line.
struct Start<'a>(&'a [u8]);

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::start(&String::from_utf8_lossy(self.0), SHOWN))
    }
}
