//! Payloads as JSON on one line. The line of a large one is made once for all its consumers, off
//! the threads that sources and sinks run on.

use std::{collections::VecDeque, io};

use bytes::Bytes;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::json::line;

/// Size in bytes from which a payload is shared by its consumers, both as received and as a line.
pub(super) const SHARED: usize = 16 << 10;
/// Recently made lines, the last one at the end.
#[derive(Debug)]
pub(super) struct LineCache {
    made: Mutex<VecDeque<CachedLine>>,
    /// Bytes of lines that are kept for further consumers.
    most: usize,
}

#[derive(Debug)]
struct CachedLine {
    /// Kept because its address identifies it: no other payload may take its place in memory.
    payload: Bytes,
    line: Bytes,
}

impl LineCache {
    pub(super) fn new(most: usize) -> Self {
        Self { made: Mutex::default(), most }
    }

    /// The payload on one line, without its end.
    ///
    /// # Errors
    /// Returns an error if making it panicked.
    pub(super) async fn of(&self, payload: Bytes) -> io::Result<Bytes> {
        if payload.len() < SHARED {
            return Ok(on_one_line(payload));
        }
        // Held while a line is made, so that concurrent requests for the same payload make it once.
        let mut made = self.made.lock().await;
        let is_same =
            |made: &&CachedLine| made.payload.as_ptr() == payload.as_ptr() && made.payload.len() == payload.len();
        if let Some(found) = made.iter().find(is_same) {
            return Ok(found.line.clone());
        }
        let given = payload.clone();
        let line = spawn_blocking(move || on_one_line(given)).await?;
        made.push_back(CachedLine { payload, line: line.clone() });
        let mut kept: usize = made.iter().map(|made| made.line.len()).sum();
        while kept > self.most
            && let Some(oldest) = made.pop_front()
        {
            kept -= oldest.line.len();
        }
        Ok(line)
    }
}

fn on_one_line(payload: Bytes) -> Bytes {
    if !payload.contains(&b'\n') && !payload.contains(&b'\r') && line::is_json(&payload) {
        return payload;
    }
    let mut made = Vec::with_capacity(payload.len() + 1);
    line::append(&mut made, &payload);
    made.pop();
    made.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 16 << 20;

    fn large(begin: &str) -> Bytes {
        format!("{begin}\"{}\"", "x".repeat(SHARED)).into()
    }

    #[tokio::test]
    async fn a_large_payload_is_one_line_that_all_share() {
        let lines = LineCache::new(KEPT);
        let (plain, spread) = (large(""), large("\n"));
        // A payload that is a line already is not copied; any other line is made once.
        assert_eq!(lines.of(plain.clone()).await.unwrap().as_ptr(), plain.as_ptr());
        let (first, second) = (lines.of(spread.clone()).await.unwrap(), lines.of(spread.clone()).await.unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(first, plain);
        assert_ne!(
            lines.of(Bytes::copy_from_slice(&spread)).await.unwrap().as_ptr(),
            first.as_ptr(),
            "another payload"
        );
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let lines = LineCache::new(KEPT);
        for _ in 0..40 {
            lines.of(Bytes::from(vec![b'\xff'; 1 << 20])).await.unwrap();
        }
        let kept = lines.made.lock().await;
        assert!(kept.iter().map(|made| made.line.len()).sum::<usize>() <= KEPT && !kept.is_empty());
        drop(kept);
        lines.of(Bytes::from(vec![b'\xff'; KEPT])).await.unwrap();
        assert!(lines.made.lock().await.is_empty(), "it is larger than all that is kept");
    }

    #[tokio::test]
    async fn small_payloads_are_lines_as_well() {
        for (payload, expected) in [("{\n\"a\": 1}", "{\"a\":1}"), ("plain", "\"plain\""), ("7", "7"), ("", "\"\"")] {
            assert_eq!(LineCache::new(KEPT).of(payload.into()).await.unwrap(), expected);
        }
    }
}
