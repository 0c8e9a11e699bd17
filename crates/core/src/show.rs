//! Log of each event's way, for authors of filters: `trommel run --show`. If it is off, each call
//! only checks a number.

use std::fmt;

use tracing::{Level, debug, enabled};

use crate::{event::Event, text};

/// Target of these logs, which are off unless asked for.
const TARGET: &str = "trommel::show";
/// Directive for `--log` that switches them on.
pub const DIRECTIVE: &str = "trommel::show=debug";
/// Bytes of a payload that are shown.
const SHOWN: usize = 300;

/// Returns whether events are shown, for values that have to be computed first.
pub fn is_on() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

/// Logs an event that came in, and the number of keys that take it.
pub fn came_in(event: &Event, keys: usize) {
    let Event { id, event_type, subject, payload, .. } = event;
    debug!(
        target: TARGET, event = &**id, event_type = &**event_type, subject = &**subject, keys,
        payload = %PayloadStart(payload),
        "in"
    );
}

/// Logs that a route lets nothing out of an event.
pub fn dropped(event: &Event, key: &str, route: &str, why: impl fmt::Display) {
    debug!(target: TARGET, event = &*event.id, key, route, %why, "dropped");
}

/// Logs that a sink has the event.
pub fn went_out(event: &Event, sink: &str, payload: &[u8]) {
    debug!(target: TARGET, event = &*event.id, sink, payload = %PayloadStart(payload), "out");
}

/// Beginning of a payload, on one line.
struct PayloadStart<'a>(&'a [u8]);

impl fmt::Display for PayloadStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::start(&String::from_utf8_lossy(self.0), SHOWN))
    }
}
