//! Reader of container files on a thread of its own: reading and decompressing must not hold
//! anything up.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{
    avro::{
        AvroSchema,
        container::{ContainerReader, ContainerRecord, RecordFault},
    },
    source::finite::InputBatch,
};

/// Largest JSON of a record that becomes an event, in bytes.
pub const MAX_RECORD: usize = 8 << 20;

/// Bytes of a larger one that are kept for its dead letter.
const KEPT: usize = 64 << 10;

/// Most records, and bytes of them, handed over at once.
const BATCH_RECORDS: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

/// Batches that may wait to be taken.
const BATCHES: usize = 2;

/// A record of one of the files.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// Index of its file.
    pub(super) file: usize,
    /// Number in its file, from 1.
    pub(super) number: u64,
    /// Bytes of all files up to the end of its block.
    pub(super) end: u64,
    /// Digest of this record and all before it in its file: files differ in it from their first
    /// different record on.
    pub(super) digest: u64,
    /// The record as JSON.
    pub(super) payload: Bytes,
    /// Reason code and detail of what is wrong with it.
    pub(super) fault: Option<(&'static str, String)>,
}

/// Starts to read the files. The channel closes at the end of the last one.
pub(super) fn start(
    paths: Vec<PathBuf>,
    reader: Option<AvroSchema>,
) -> io::Result<mpsc::Receiver<InputBatch<FileRecord>>> {
    let (sender, batches) = mpsc::channel(BATCHES);
    thread::Builder::new().name("avro files".into()).spawn(move || {
        let mut output = RecordBatches { batch: Vec::new(), bytes: 0, sender };
        let mut before = 0;
        for (file, path) in paths.iter().enumerate() {
            let read = read(path, reader.as_ref(), file, &mut before, &mut output);
            let failure = read.with_context(|| format!("could not read `{}`", path.display()));
            // What was read before a fault goes first. Neither is taken without a receiver.
            if !output.flush() {
                return;
            }
            if let Err(error) = failure {
                let _ = output.sender.blocking_send(Err(error));
                return;
            }
        }
    })?;
    Ok(batches)
}

/// Records that go out together.
struct RecordBatches {
    batch: Vec<FileRecord>,
    bytes: usize,
    sender: mpsc::Sender<InputBatch<FileRecord>>,
}

impl RecordBatches {
    /// Adds a record. Returns false without a receiver.
    fn push(&mut self, record: FileRecord) -> bool {
        self.bytes += record.payload.len();
        self.batch.push(record);
        (self.batch.len() < BATCH_RECORDS && self.bytes < BATCH_BYTES) || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.bytes = 0;
        self.batch.is_empty() || self.sender.blocking_send(Ok(std::mem::take(&mut self.batch))).is_ok()
    }
}

/// Reads one file, which begins behind the bytes `before`.
fn read(
    path: &Path,
    reader: Option<&AvroSchema>,
    file: usize,
    before: &mut u64,
    output: &mut RecordBatches,
) -> anyhow::Result<()> {
    let input = BufReader::with_capacity(BATCH_BYTES, File::open(path)?);
    let mut container = ContainerReader::open(input, reader)?;
    let begin = *before;
    let mut digest = 0;
    while let Some(record) = container.next_record()? {
        digest = chained(digest, record.datum);
        let record = file_record(record, file, begin, digest);
        *before = record.end;
        if !output.push(record) {
            return Ok(());
        }
    }
    Ok(())
}

fn file_record(record: ContainerRecord<'_>, file: usize, begin: u64, digest: u64) -> FileRecord {
    let (mut payload, mut fault) = match record.json {
        Ok(json) => (json, None),
        Err(RecordFault { error, written }) => (written, Some((error.reason, error.detail))),
    };
    if payload.len() > MAX_RECORD {
        let detail =
            format!("the record has {} bytes as JSON, more than {MAX_RECORD}; only its start is kept", payload.len());
        payload.truncate(KEPT);
        payload.shrink_to_fit();
        fault = Some(("too_large", detail));
    }
    FileRecord { file, number: record.number, end: begin + record.end, digest, payload: payload.into(), fault }
}

/// Digest of a record, chained to that of all before it.
fn chained(before: u64, datum: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(before.to_le_bytes()).chain_update(datum).finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}
