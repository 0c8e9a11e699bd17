//! Standard output and standard error of commands, escaped: untrusted text in them can't control a
//! terminal.

use std::io::{self, BufWriter, StderrLock, StdoutLock};

use crate::text::Harmless;

pub(super) fn stdout() -> Harmless<StdoutLock<'static>> {
    Harmless(io::stdout().lock())
}

/// [`stdout`] with a buffer, for many lines: it has to be flushed.
pub(super) fn buffered() -> Harmless<BufWriter<StdoutLock<'static>>> {
    Harmless(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
}

pub(super) fn stderr() -> Harmless<StderrLock<'static>> {
    Harmless(io::stderr().lock())
}
