//! Last resort for dead letters, with their proof: a smaller record if the event can be read again,
//! and a file if nothing else takes it.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::BURIED;
use crate::{
    signature::{LetterSigner, PROOF},
    sink::Output,
};

/// Longest text, in bytes, of a letter that is cut to what names its event.
const LONGEST: usize = 200;

/// Fallbacks for dead letters that their destination will never take as they are.
#[derive(Clone, Debug)]
pub struct LastResort {
    /// The sources whose messages can be read again from their stream.
    streams: Arc<HashSet<String>>,
    /// File for letters that can be stored nowhere else, whole.
    path: PathBuf,
    /// Appends one line to the file and waits until it is on the disk. Blocks.
    append: Append,
    signer: LetterSigner,
}

/// Function that appends a record to a file as one line.
pub type Append = fn(PathBuf, &[u8]) -> anyhow::Result<()>;

impl LastResort {
    pub fn new(streams: HashSet<String>, path: PathBuf, append: Append, signer: LetterSigner) -> Self {
        Self { streams: Arc::new(streams), path, append, signer }
    }

    /// Returns the letter's record with the proof that the router wrote it.
    pub(in crate::sink) fn signed(&self, letter: &Output) -> Bytes {
        self.signer.sign(letter.payload.to_vec()).into()
    }

    pub(in crate::sink) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Returns a smaller record: first without the payload, which its stream has, then with only
    /// what names the event. `None` if there is none that loses nothing.
    pub(in crate::sink) fn smaller(&self, letter: &Output) -> Option<Bytes> {
        // What a filter has made of an event is in no stream.
        if letter.dead_letter == Some(BURIED) {
            return None;
        }
        let event = letter.ticket.event();
        let mut record: Map<String, Value> = serde_json::from_slice(&letter.payload).ok()?;
        record.remove(PROOF);
        // A letter that is retried keeps the place of its event, which is not the origin's.
        let is_in_stream = record.get("source").and_then(Value::as_str).is_some_and(|name| self.streams.contains(name));
        if !is_in_stream {
            return None;
        }
        let payloads = ["payload", "payload_text", "payload_base64"];
        if payloads.iter().filter_map(|name| record.remove(*name)).count() > 0 {
            record.insert("payload_bytes".into(), json!(event.payload.len()));
            record.insert("payload_sha256".into(), json!(format!("{:x}", Sha256::digest(&event.payload))));
        } else {
            let mut is_cut = false;
            is_cut |= record.remove("headers").is_some();
            for value in record.values_mut() {
                if let Value::String(text) = value
                    && text.len() > LONGEST
                {
                    text.truncate(text.floor_char_boundary(LONGEST));
                    is_cut = true;
                }
            }
            if !is_cut {
                return None;
            }
            record.insert("cut".into(), json!(true));
        }
        serde_json::to_vec(&record).ok().map(|record| self.signer.sign(record).into())
    }

    /// Appends the letter to the file.
    ///
    /// # Errors
    /// Returns an error if it can't be written.
    pub(in crate::sink) async fn store(&self, letter: &Output) -> anyhow::Result<()> {
        let (append, path, payload) = (self.append, self.path.clone(), letter.payload.clone());
        let appended = tokio::task::spawn_blocking(move || append(path, &payload)).await;
        appended.context("the thread that writes has ended")?
    }
}
