//! Progress of finite inputs, for a live line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Progress counters, shared by all sources whose input ends.
#[derive(Debug, Default)]
pub struct InputProgress {
    /// Amount that is settled, with all before it: bytes of lines, or messages.
    done: AtomicU64,
    total: AtomicU64,
    /// True if at least one input has no known end.
    endless: AtomicBool,
}

impl InputProgress {
    /// Share of the input that is settled, from 0 to 1. `None` if it is not known, as with standard
    /// input.
    pub fn share(&self) -> Option<f64> {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let is_known = total > 0 && !self.endless.load(Ordering::Relaxed);
        // A file may grow while it is read.
        is_known.then(|| (done as f64 / total as f64).min(1.0))
    }

    /// Expects one more input, of unknown size if `None`.
    pub(in crate::source) fn expect(&self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                self.total.fetch_add(bytes, Ordering::Relaxed);
            }
            None => self.endless.store(true, Ordering::Relaxed),
        }
    }

    pub(in crate::source) fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_covers_all_inputs() {
        let progress = InputProgress::default();
        assert_eq!(progress.share(), None);
        progress.expect(Some(30));
        progress.expect(Some(10));
        progress.advance(20);
        assert_eq!(progress.share(), Some(0.5));
        progress.advance(100);
        assert_eq!(progress.share(), Some(1.0));
        progress.expect(None);
        assert_eq!(progress.share(), None);
    }
}
