//! Disconnects that may be caused by a message that the client can't read.

use std::time::Duration;

use tokio::time::Instant;

/// Two cuts within this time, or within a few `ack_wait`, suggest a poison message rather than a
/// network fault.
const CUT_WINDOW: Duration = Duration::from_secs(10);

/// Last disconnect, and whether it makes the next one suspicious.
#[derive(Default)]
pub(super) struct DisconnectSuspicion {
    server: String,
    last: Option<Instant>,
    /// True since a suspicious disconnect, until the search for its message is planned.
    pub(super) suspicious: bool,
    /// True if the last search for such a message found none: the client can't read something that
    /// we take for sound.
    pub(super) in_vain: bool,
}

impl DisconnectSuspicion {
    pub(super) fn new(server: String) -> Self {
        Self { server, ..Self::default() }
    }

    /// Notes a disconnect. It is suspicious if the same server has cut us off before, about one
    /// `ack_wait` ago.
    pub(super) fn happened(&mut self, server: String, ack_wait: Duration) {
        let is_same = std::mem::replace(&mut self.server, server) == self.server;
        let last = self.last.replace(Instant::now());
        let window = (ack_wait * 3).max(CUT_WINDOW);
        let is_suspicious = is_same && last.is_some_and(|last| last.elapsed() < window);
        self.suspicious |= is_suspicious;
        self.in_vain &= is_suspicious;
    }
}
