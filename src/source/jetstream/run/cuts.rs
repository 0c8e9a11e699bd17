//! Disconnects that may be the fault of a message that the client can't read.

use std::time::Duration;

use tokio::time::Instant;

/// Two cuts within this time, or within a few `ack_wait`, are no accident.
const CUT_WINDOW: Duration = Duration::from_secs(10);

/// The last disconnect, and what it makes of the next one.
#[derive(Default)]
pub(super) struct Cuts {
    server: String,
    last: Option<Instant>,
    pub(super) suspicious: bool,
    /// The last such message was looked for and not found: the client can't read something that we take for sound.
    pub(super) in_vain: bool,
}

impl Cuts {
    pub(super) fn new(server: String) -> Self {
        Self { server, ..Self::default() }
    }

    /// Takes notice of one. It is suspicious where the same server has cut us off before, about one `ack_wait` ago.
    pub(super) fn happened(&mut self, server: String, ack_wait: Duration) {
        let is_same = std::mem::replace(&mut self.server, server) == self.server;
        let last = self.last.replace(Instant::now());
        let window = (ack_wait * 3).max(CUT_WINDOW);
        let is_suspicious = is_same && last.is_some_and(|last| last.elapsed() < window);
        self.suspicious |= is_suspicious;
        self.in_vain &= is_suspicious;
    }
}
