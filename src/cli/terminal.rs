//! Standard output and standard error of commands, escaped: untrusted text in them can't control a
//! terminal.

use std::io::{self, BufWriter, StderrLock, StdoutLock};

use crate::text::HarmlessWriter;

pub(super) fn stdout() -> HarmlessWriter<StdoutLock<'static>> {
    HarmlessWriter(io::stdout().lock())
}

/// [`stdout`] with a buffer, for many lines: it has to be flushed.
pub(super) fn buffered() -> HarmlessWriter<BufWriter<StdoutLock<'static>>> {
    HarmlessWriter(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
}

pub(super) fn stderr() -> HarmlessWriter<StderrLock<'static>> {
    HarmlessWriter(io::stderr().lock())
}
