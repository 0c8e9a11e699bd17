//! What the sinks that write to files and streams promise: an output is done when its line is whole
//! in its place, in order, also when the disk is full, the file is taken away, or the reader is
//! slow or gone.

use crate::events;
use crate::patience::until;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use events::Ends;
use tokio::task::JoinHandle;
use trommel::{
    ack::Outcome,
    config::{FileSink, FileUpkeep, FolderSink, Fsync, OnFailure, PathPart, PathTemplate, RetryPolicy},
    event::Headers,
    metrics::SinkMetrics,
    sink::{
        Output, Sink,
        blocking::BlockingSink,
        file, folder,
        null::NullSink,
        outlet::{Outlet, OutletCapacity, OutletEnd, OutletPolicy, RefusedDestination, SinkQueue},
        stdout::StreamLines,
    },
    stop::{Stopper, stop},
};

const RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(5), max: Duration::from_millis(20), patience: Duration::from_secs(60) };

struct Rig {
    queue: SinkQueue,
    ends: Ends,
    metrics: Arc<SinkMetrics>,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<OutletEnd>>,
}

fn rig(sink: impl Sink) -> Rig {
    let metrics = Arc::<SinkMetrics>::default();
    let policy = OutletPolicy { on_failure: OnFailure::Retry, retry: RETRY, refused: RefusedDestination::Nowhere };
    let (queue, outlet) =
        Outlet::new(sink, "sink", OutletCapacity { outputs: 1000, bytes: 32 << 20 }, policy, Arc::clone(&metrics));
    let (stopper, stop) = stop();
    Rig { queue, ends: Ends::new(), metrics, stopper, run: tokio::spawn(outlet.run(stop)) }
}

impl Rig {
    /// Sends the outputs of these slots.
    async fn send(&self, slots: std::ops::Range<usize>) {
        for slot in slots {
            self.queue.send(self.ends.output(slot)).await;
        }
    }

    /// Sends an output with this payload.
    async fn send_payload(&self, slot: usize, payload: String) {
        self.queue.send(Output { payload: payload.into(), ..self.ends.output(slot) }).await;
    }

    /// The next events are done, in this order.
    async fn done(&mut self, slots: std::ops::Range<usize>) {
        for slot in slots {
            assert_eq!(self.ends.next().await, (slot, Outcome::Done));
        }
    }

    /// Ends when everything is written.
    async fn drained(self) -> OutletEnd {
        drop(self.queue);
        self.run.await.unwrap().unwrap()
    }
}

fn settings() -> FileSink {
    FileSink { upkeep: FileUpkeep { fsync: Fsync::Batch, ..FileUpkeep::default() }, ..FileSink::default() }
}

fn numbers(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn events_are_done_when_their_lines_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let mut rig = rig(file::open(path.clone(), &settings()).unwrap());
    for start in [0, 1, 101] {
        let slots = start..start * 2 + 1;
        rig.send(slots.clone()).await;
        rig.done(slots.clone()).await;
        assert_eq!(fs::read_to_string(&path).unwrap().lines().last(), Some(&*(slots.end - 1).to_string()));
        if start == 1 {
            rig.send(3..101).await;
            rig.done(3..101).await;
        }
    }
    assert_eq!(rig.metrics.written.get(), 203);
    assert_eq!(rig.drained().await, OutletEnd::Drained);
    assert_eq!(fs::read_to_string(&path).unwrap(), numbers(0..203));
}

/// No line is lost or doubled where one file ends and the next begins.
#[tokio::test]
async fn rotation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let mut settings = settings();
    settings.upkeep.max_size = Some(100);
    let mut rig = rig(file::open(path.clone(), &settings).unwrap());
    for start in (0..1000).step_by(50) {
        rig.send(start..start + 50).await;
        rig.done(start..start + 50).await;
    }
    assert_eq!(rig.drained().await, OutletEnd::Drained);
    assert!(files_oldest_first(&path).len() > 20);
    assert_eq!(all_text(&path), numbers(0..1000));
}

/// The rotated files, then the one that is written.
fn files_oldest_first(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|file| (file == path, file.clone()));
    files
}

fn all_text(path: &Path) -> String {
    files_oldest_first(path).iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let mut rig = rig(file::open(path.clone(), &settings()).unwrap());
    rig.send(0..3).await;
    rig.done(0..3).await;
    fs::rename(&path, folder.path().join("a")).unwrap();
    rig.send(3..6).await;
    rig.done(3..6).await;
    fs::remove_file(&path).unwrap();
    rig.send(6..9).await;
    rig.done(6..9).await;
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), numbers(0..3));
    assert_eq!(fs::read_to_string(&path).unwrap(), numbers(6..9));
}

/// Runs in a process of its own that may not write large files. See the test that starts it.
#[tokio::test]
#[ignore = "started by another test with a limit on file sizes"]
async fn disk_full_child() {
    let path = PathBuf::from(std::env::var_os("TROMMEL_TEST_FILE").unwrap());
    let mut rig = rig(file::open(path.clone(), &settings()).unwrap());
    let payload = |slot: usize| format!("{{\"slot\":{slot},\"filler\":\"{}\"}}", "x".repeat(100));
    for slot in 0..500 {
        rig.send_payload(slot, payload(slot)).await;
    }
    let (mut done, mut moved) = (0, 0);
    while done < 500 {
        let full = rig.metrics.retried.get();
        tokio::select! {
            end = rig.ends.next() => {
                assert_eq!(end, (done, Outcome::Done));
                done += 1;
                continue;
            }
            () = grows(&rig.metrics, full) => {}
        }
        // Make room, unless the sink has not come back since the last time.
        if fs::rename(&path, path.with_extension(format!("{moved:05}"))).is_ok() {
            moved += 1;
        }
    }
    assert_eq!(rig.drained().await, OutletEnd::Drained);
    let expected: String = (0..500).map(|slot| payload(slot) + "\n").collect();
    assert!(all_text(&path) == expected, "every line once and in order");
    assert!(moved > 2, "the limit was met");
}

async fn grows(metrics: &SinkMetrics, from: u64) {
    until("it tries again", async || metrics.retried.get() > from).await;
}

/// The limit on file sizes stands for a full disk: a write is taken in part, the next one refused.
#[test]
fn a_full_disk_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    // The signal would end the process where a full disk only refuses.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact file_sinks::disk_full_child --ignored"])
        .arg(std::env::current_exe().unwrap())
        .env("TROMMEL_TEST_FILE", folder.path().join("out.ndjson"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    assert!(fs::read_dir(folder.path()).unwrap().count() > 2, "the child has run");
}

/// L122.
#[tokio::test]
async fn a_closed_pipe_ends_the_outlet_in_good_order() {
    let (reader, writer) = io::pipe().unwrap();
    let rig = rig(BlockingSink::new(StreamLines::new(writer)).unwrap());
    drop(reader);
    rig.send(0..3).await;
    assert_eq!(rig.run.await.unwrap().unwrap(), OutletEnd::ReaderLeft);
    let mut ends = rig.ends;
    let came_back = [ends.next().await, ends.next().await, ends.next().await].map(|(slot, outcome)| {
        assert_eq!(outcome, Outcome::Retry(Duration::ZERO));
        slot
    });
    assert_eq!(BTreeSet::from(came_back), BTreeSet::from([0, 1, 2]));
}

/// A pipe that nobody reads holds up its own outputs, and neither the runtime nor the end.
#[tokio::test]
async fn a_reader_that_stops_reading_holds_up_nothing_else() {
    let (reader, writer) = io::pipe().unwrap();
    let mut rig = rig(BlockingSink::new(StreamLines::new(writer)).unwrap());
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    rig.send_payload(0, large.clone()).await;
    rig.send_payload(1, "1".to_owned()).await;
    // This test has one thread: that the timer runs shows that the write does not hold it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.ends.so_far(), []);

    let read = std::thread::spawn(move || {
        let lines: Vec<_> = BufReader::new(&reader).lines().take(2).map(Result::unwrap).collect();
        (lines, reader)
    });
    rig.done(0..2).await;
    let (lines, _reader) = read.join().unwrap();
    assert_eq!(lines, [large.clone(), "1".to_owned()]);

    rig.send_payload(2, large).await;
    rig.stopper.end();
    assert_eq!(rig.run.await.unwrap().unwrap(), OutletEnd::Drained);
    assert_eq!(rig.ends.next().await, (2, Outcome::Retry(Duration::ZERO)));
}

/// `FOLDER/{date}/{header:Node}.ndjson`
fn by_node(folder: &Path) -> PathTemplate {
    let node = vec![PathPart::Header("Node".to_owned()), PathPart::Literal(".ndjson".to_owned())];
    PathTemplate { root: folder.join("raw"), names: vec![vec![PathPart::Date], node] }
}

impl Rig {
    /// Sends the outputs of these slots, in turns for each node.
    async fn send_for(&self, nodes: &[&str], slots: std::ops::Range<usize>) {
        for slot in slots {
            let headers = [("node".into(), nodes[slot % nodes.len()].to_owned().into())];
            self.queue.send(Output { headers: Some(Headers::from_iter(headers)), ..self.ends.output(slot) }).await;
        }
    }
}

/// J22: what a file gets is in order, also what it refused before, and no other file waits for it.
#[tokio::test]
async fn a_partition_that_is_in_trouble_holds_up_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(file::open_partitions(by_node(folder.path()), &settings()).unwrap());
    let file = |node: &str| folder.path().join(format!("raw/1970-01-01/{node}.ndjson"));
    fs::create_dir_all(file("b")).unwrap();
    for start in [0, 40, 80] {
        rig.send_for(&["a", "b", "../c", "d"], start..start + 40).await;
        // All but every fourth.
        let mut done = BTreeSet::new();
        while done.len() < 30 {
            let (slot, outcome) = rig.ends.next().await;
            assert_eq!(outcome, Outcome::Done);
            done.insert(slot);
        }
        assert_eq!(done, (start..start + 40).filter(|slot| slot % 4 != 1).collect());
    }
    let numbers = |first: usize| (first..120).step_by(4).map(|number| format!("{number}\n")).collect::<String>();
    assert_eq!(fs::read_to_string(file("a")).unwrap(), numbers(0), "nothing was written twice");
    assert_eq!(fs::read_to_string(file("d")).unwrap(), numbers(3));
    grows(&rig.metrics, rig.metrics.retried.get()).await;

    fs::remove_dir(file("b")).unwrap();
    for slot in (1..120).step_by(4) {
        assert_eq!(rig.ends.next().await, (slot, Outcome::Done));
    }
    assert_eq!(rig.drained().await, OutletEnd::Drained);
    assert_eq!(fs::read_to_string(file("b")).unwrap(), numbers(1));
    assert_eq!(
        fs::read_dir(folder.path().join("raw/1970-01-01")).unwrap().count(),
        4,
        "`../c` is a file beside the others"
    );
}

#[tokio::test]
async fn a_folder_gets_a_file_for_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let mut rig = rig(folder::open(&FolderSink {
        path: path.clone(),
        name: None,
        pretty: false,
        fsync: Fsync::Never,
        container: None,
    })
    .unwrap());
    rig.send(0..100).await;
    rig.done(0..100).await;
    rig.send(0..100).await;
    rig.done(0..100).await;
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut numbers: Vec<usize> = files.iter().map(|file| fs::read_to_string(file).unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "a repeated output overwrites its own file");
}

#[tokio::test]
async fn null_takes_everything() {
    let mut rig = rig(NullSink::default());
    rig.send(0..1000).await;
    rig.done(0..1000).await;
    assert_eq!((rig.metrics.written.get(), rig.metrics.retried.get()), (1000, 0));
    assert_eq!(rig.drained().await, OutletEnd::Drained);
}
