//! Digests that represent outputs and dead letters, so that neither is kept.

use sha2::{Digest as _, Sha256};

/// The first half of a SHA-256 digest over a name's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputDigest([u8; 16]);

impl OutputDigest {
    /// Digest of a message that carries the output's id.
    pub fn message_id(id: &str) -> Self {
        Self::of(&["id", id], &[])
    }

    /// Digest of a message without an id.
    pub fn message(subject: &str, payload: &[u8]) -> Self {
        Self::of(&["message", subject], payload)
    }

    /// Digest of a delivery in the database of webhooks.
    pub fn delivery(output_id: &str, webhook: &str) -> Self {
        Self::of(&["delivery", output_id, webhook], &[])
    }

    /// Digest of a file in a folder, which is looked for at once.
    pub(super) fn file(output_id: &str, sink: &str) -> Self {
        Self::of(&["file", output_id, sink], &[])
    }

    /// Digest of a dead letter about an event: with its key, route and sink, as far as the letter
    /// names them.
    pub(super) fn letter(event: u64, key: &str, route: &str, sink: &str) -> Self {
        Self::of(&["letter", key, route, sink], &event.to_le_bytes())
    }

    fn of(names: &[&str], content: &[u8]) -> Self {
        let mut digest = DigestWriter::new(names);
        digest.update(content);
        digest.finish()
    }
}

/// Writer of a digest whose content comes in pieces.
pub(super) struct DigestWriter(Sha256);

impl DigestWriter {
    /// Begins the digest of a line in a sink's files.
    pub(super) fn line(sink: &str) -> Self {
        Self::new(&["line", sink])
    }

    fn new(names: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for name in names {
            // Prefixed with their lengths, so that no two lists of names read the same.
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name);
        }
        Self(digest)
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    pub(super) fn finish(self) -> OutputDigest {
        let digest = self.0.finalize();
        OutputDigest(std::array::from_fn(|index| digest[index]))
    }
}
