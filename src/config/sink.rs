//! `[[sink]]` and `[dead_letter]`.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    DeadLetter, Retry, Template,
    limits::{SINK_RETRY, retry},
    table::{At, Table},
    template::{file_name, subject},
    unique::Unique,
    values,
};

const WINDOW: usize = 1024;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const DEAD_STREAM: &str = "TROMMEL_DEAD";
const DEAD_SUBJECT: &str = "trommel.dead";
const DEAD_FILE: &str = "dead-letters.ndjson";

#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    pub name: String,
    pub on_failure: OnFailure,
    pub retry: Retry,
    pub kind: SinkKind,
}

/// What happens to an output that a sink refuses for good, or for longer than its patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Keep trying. What can never be taken becomes a dead letter.
    Retry,
    DeadLetter,
    /// Count it and go on.
    Skip,
    /// Stop the router; nothing open is acknowledged.
    Stop,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Stdout,
    File(FileSink),
    Folder(FolderSink),
    Nats(NatsSink),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FileSink {
    pub path: PathBuf,
    /// Bytes after which the file is rotated away.
    pub max_size: Option<u64>,
    pub max_age: Option<Duration>,
    /// Rotated files to keep; `None` keeps all.
    pub keep: Option<NonZeroUsize>,
    pub fsync: Fsync,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FolderSink {
    pub path: PathBuf,
    /// What files are called; `None` is `TYPE_ID_INDEX-DIGEST`.
    pub name: Option<Template>,
    /// JSON with line breaks.
    pub pretty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// The default. The operating system decides: what was written survives our crash, not the machine's.
    Never,
    /// Before a batch of outputs is confirmed.
    Batch,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NatsSink {
    pub subject: Template,
    /// Wait for JetStream's publish ack; otherwise core NATS, which promises nothing.
    pub jetstream: bool,
    /// Send the output's id as `Nats-Msg-Id`, so that the stream drops repeats.
    pub message_id: bool,
    /// Publishes under way at once.
    pub window: usize,
    pub ack_timeout: Duration,
}

/// What several sinks may not share.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) names: Unique,
    files: Unique,
}

pub(super) fn sink(table: &mut Table<'_>, taken: &mut Taken) -> Option<At<Sink>> {
    let name = taken.names.name(table, "sink");
    let on_failure = table.choice(
        "on_failure",
        &[
            ("retry", OnFailure::Retry),
            ("dead_letter", OnFailure::DeadLetter),
            ("skip", OnFailure::Skip),
            ("stop", OnFailure::Stop),
        ],
    );
    let retry = retry(table, SINK_RETRY);
    type Kind = fn(&mut Table<'_>, &mut Unique) -> Option<SinkKind>;
    let kinds: [(&str, Kind); 5] = [
        ("stdout", |_, _| Some(SinkKind::Stdout)),
        ("file", file),
        ("folder", |table, _| folder(table)),
        ("nats", |table, _| nats(table)),
        ("null", |_, _| Some(SinkKind::Null)),
    ];
    let kind = match table.required("type", |table, field| table.choice(field, &kinds)) {
        Some(kind) => kind(table, &mut taken.files),
        None => {
            table.ignore_rest();
            None
        }
    };
    let on_failure = on_failure.unwrap_or(OnFailure::Retry);
    Some(At { value: Sink { name: name?, on_failure, retry, kind: kind? }, place: table.place() })
}

fn file(table: &mut Table<'_>, taken: &mut Unique) -> Option<SinkKind> {
    let path = table.required("path", Table::path);
    let max_size = table.size("max_size");
    let max_age = table.duration("max_age");
    let keep = table.positive("keep", usize::MAX);
    let fsync = table.choice("fsync", &[("never", Fsync::Never), ("batch", Fsync::Batch)]);
    if table.has("keep") && !table.has("max_size") && !table.has("max_age") {
        let hint = "say when to rotate with `max_size` or `max_age`".to_owned();
        table.error(table.place_of("keep"), "`keep` means nothing for a file that is never rotated", Some(hint));
    }
    let path = path?;
    claim_file(table, &path, "path", taken);
    Some(SinkKind::File(FileSink { path, max_size, max_age, keep, fsync: fsync.unwrap_or(Fsync::Never) }))
}

fn folder(table: &mut Table<'_>) -> Option<SinkKind> {
    let path = table.required("path", Table::path);
    let name = table.parsed("file_name", file_name);
    let pretty = table.flag("pretty").unwrap_or(false);
    Some(SinkKind::Folder(FolderSink { path: path?, name, pretty }))
}

/// Two writers of one file would rotate it away under each other.
fn claim_file(table: &Table<'_>, path: &Path, field: &str, taken: &mut Unique) {
    let path = path.display().to_string();
    taken.claim(table, &path, table.place_of(field), format!("the file `{path}`"));
}

fn nats(table: &mut Table<'_>) -> Option<SinkKind> {
    let subject = table.required("subject", |table, field| table.parsed(field, subject));
    let jetstream = table.flag("jetstream").unwrap_or(true);
    let message_id = table.flag("message_id").unwrap_or(true);
    // The server holds back a stream with 100,000 publishes under way.
    let window = table.positive("window", 50_000).map_or(WINDOW, |window| window.get());
    let ack_timeout = table.duration("ack_timeout").unwrap_or(ACK_TIMEOUT);
    Some(SinkKind::Nats(NatsSink { subject: subject?, jetstream, message_id, window, ack_timeout }))
}

/// Where dead letters go when nothing is said: to a stream where there is a server, else to a file.
pub(super) fn default_dead_letter(dir: &Path, has_server: bool) -> DeadLetter {
    if has_server {
        DeadLetter::Stream { stream: DEAD_STREAM.into(), subject: DEAD_SUBJECT.into() }
    } else {
        DeadLetter::File(dir.join(DEAD_FILE))
    }
}

/// `None` when it says neither, or something wrong.
pub(super) fn dead_letter(table: &mut Table<'_>, has_server: bool, taken: &mut Taken) -> Option<DeadLetter> {
    let file = table.path("file");
    let stream = table.parsed("stream", values::server_name);
    let subject = table.parsed("subject", values::server_subject);
    let to_stream = table.has("stream") || table.has("subject");
    if table.has("file") && to_stream {
        table.error(table.place_of("file"), "dead letters go to a `file` or to a `stream`, not to both", None);
    }
    if to_stream && !has_server {
        table.error(table.place(), "a stream of dead letters needs a server", Some(super::settings::NO_SERVER.into()));
    }
    if let Some(file) = file {
        claim_file(table, &file, "file", &mut taken.files);
        return Some(DeadLetter::File(file));
    }
    to_stream.then(|| DeadLetter::Stream {
        stream: stream.unwrap_or_else(|| DEAD_STREAM.into()),
        subject: subject.unwrap_or_else(|| DEAD_SUBJECT.into()),
    })
}
