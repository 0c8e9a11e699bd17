//! What the source of lines promises: every line once or more, in order, none taken for done before
//! it is, and no line that ends the rest.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use trommel::{
    ack::Ticket,
    config::{self, EnvelopeFormat, LinesSource, SourceKind},
    fate::Fate,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{
        Source,
        finite::InputProgress,
        lines::{LinesInput, MAX_LINE},
    },
    stop::{Stopper, stop},
};

const PLAIN: EnvelopeFormat = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };

/// A source under way, with the test as its pipeline.
struct Rig {
    pipeline: PipelineDouble,
    progress: Arc<InputProgress>,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

fn lines(path: Option<PathBuf>, envelope: EnvelopeFormat, progress: &Arc<InputProgress>) -> anyhow::Result<LinesInput> {
    let lines = LinesSource { path };
    let kind = SourceKind::Lines(lines.clone());
    LinesInput::new(
        &config::SourceConfig { name: "orders".to_owned(), expect_every: None, envelope, kind },
        &lines,
        Arc::clone(progress),
    )
}

fn rig_with(text: impl AsRef<[u8]>, envelope: EnvelopeFormat, events: usize) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.ndjson");
    std::fs::write(&path, text).unwrap();
    let progress = Arc::default();
    let source = lines(Some(path), envelope, &progress).unwrap();
    let (intake, pipeline) = PipelineDouble::new(EventBudget { events, bytes: 64 << 20 });
    let (stopper, stop) = stop();
    let run = tokio::spawn(source.run(intake, stop));
    Rig { pipeline, progress, stopper, run, _folder: folder }
}

fn rig(text: impl AsRef<[u8]>) -> Rig {
    rig_with(text, PLAIN, 1000)
}

impl Rig {
    async fn next(&mut self) -> Ticket {
        self.pipeline.next().await.unwrap()
    }

    /// Ends when the source has.
    async fn ended(self) {
        self.run.await.unwrap().unwrap();
    }
}

fn payload(ticket: &Ticket) -> &str {
    std::str::from_utf8(&ticket.event().payload).unwrap()
}

#[tokio::test]
async fn every_line_is_an_event_in_order() {
    let mut rig = rig("{\"n\":1}\r\n\n  \n{\"n\":2}\nnot json\n\"last, without an end\"");
    for (sequence, expected) in [(1, "{\"n\":1}"), (4, "{\"n\":2}"), (5, "not json"), (6, "\"last, without an end\"")] {
        let ticket = rig.next().await;
        let event = ticket.event();
        assert_eq!((event.sequence, payload(&ticket), event.attempt), (sequence, expected, 1));
        assert_eq!((&*event.subject, &*event.event_type), ("orders", "orders"));
        assert!(event.id.ends_with(&format!("in.ndjson:{sequence}")), "{}", event.id);
        assert_eq!(event.origin.source, "orders");
        assert!(event.observed_at > 1_600_000_000_000_000_000, "nanoseconds");
        ticket.settle(Fate::Emitted);
    }
    rig.ended().await;
}

#[tokio::test]
async fn structured_cloudevents_are_read_line_by_line() {
    let text = r#"{"specversion":"1.0","id":"c-1","source":"/s","type":"paid","data":{"n":1}}
{"specversion":"1.0","id":"c-2"}"#;
    let mut rig = rig_with(text, EnvelopeFormat::CloudEvents, 10);
    let ticket = rig.next().await;
    assert_eq!((&*ticket.event().id, &*ticket.event().event_type, payload(&ticket)), ("c-1", "paid", "{\"n\":1}"));
    ticket.settle(Fate::Emitted);
    let refused = rig.pipeline.next_refused().await.unwrap();
    assert_eq!((refused.dead_letter, &*refused.ticket.event().id), (Some("bad_cloudevent"), "c-2"));
    refused.ticket.dead("bad_cloudevent");
    rig.ended().await;
}

/// The end waits for what is open, and the progress is that of the settled prefix.
#[tokio::test]
async fn a_line_is_done_when_it_and_all_before_it_are_settled() {
    let mut rig = rig("1111\n2222\n3333\n4444\n");
    let mut tickets = Vec::new();
    for _ in 0..4 {
        tickets.push(Some(rig.next().await));
    }
    assert_eq!(rig.progress.share(), Some(0.0));
    let mut settle = |index: usize| tickets[index].take().unwrap().settle(Fate::Filtered);
    settle(2);
    settle(1);
    settle(0);
    share_reaches(&rig.progress, 0.75).await;
    assert!(!rig.run.is_finished(), "the last line is open");
    settle(3);
    let progress = Arc::clone(&rig.progress);
    rig.ended().await;
    assert_eq!(progress.share(), Some(1.0));
}

async fn share_reaches(progress: &InputProgress, share: f64) {
    while progress.share() != Some(share) {
        assert!(progress.share() < Some(share), "it never goes beyond");
        tokio::task::yield_now().await;
    }
}

/// A file can't redeliver, so the source does, after a wait that grows.
#[tokio::test(start_paused = true)]
async fn what_comes_back_is_pushed_again() {
    let mut rig = rig("first\nsecond\n");
    let (first, second) = (rig.next().await, rig.next().await);
    second.settle(Fate::Emitted);
    let mut before = Instant::now();
    drop(first);
    for (attempt, wait) in [(2, 100), (3, 200), (4, 400)] {
        let again = rig.next().await;
        assert_eq!((payload(&again), again.event().sequence, again.event().attempt), ("first", 1, attempt));
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(wait), "attempt {attempt} after {waited:?}");
        assert_eq!(rig.progress.share(), Some(0.0), "the second line does not count before the first");
        before = Instant::now();
        match attempt {
            4 => again.settle(Fate::Emitted),
            _ => drop(again),
        }
    }
    rig.ended().await;
}

/// One that never succeeds holds up neither the others nor the memory: the budget bounds what is
/// open.
#[tokio::test(start_paused = true)]
async fn one_that_comes_back_does_not_hold_up_the_rest() {
    let text: String = (1..=500).map(|n| format!("{n}\n")).collect();
    let mut rig = rig_with(text, PLAIN, 8);
    let mut done = 0;
    while done < 499 {
        let ticket = rig.next().await;
        match payload(&ticket) {
            "1" => drop(ticket),
            _ => {
                done += 1;
                ticket.settle(Fate::Emitted);
            }
        }
    }
    loop {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), "1");
        if ticket.event().attempt > 3 {
            ticket.settle(Fate::Emitted);
            break;
        }
    }
    rig.ended().await;
}

#[tokio::test]
async fn what_is_no_event_becomes_a_dead_letter_and_the_rest_goes_on() {
    let long = "x".repeat(MAX_LINE + 1);
    let text = [b"before\n\xff\xfe\n".as_slice(), long.as_bytes(), b"\nafter\n"].concat();
    let mut rig = rig(text);
    for (sequence, reason, kept) in [(2, "not_utf8", 2), (3, "too_large", 64 << 10)] {
        let refused = rig.pipeline.next_refused().await.unwrap();
        let event = refused.ticket.event();
        assert_eq!((refused.dead_letter, event.sequence, event.payload.len()), (Some(reason), sequence, kept));
        refused.ticket.dead(reason);
    }
    for expected in ["before", "after"] {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), expected);
        ticket.settle(Fate::Emitted);
    }
    rig.ended().await;
}

#[tokio::test]
async fn large_lines_pass_whole() {
    let text: Vec<String> = [1 << 20, MAX_LINE].map(|size| "x".repeat(size)).into();
    let mut rig = rig(text.join("\n"));
    for line in text {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket).len(), line.len());
        ticket.settle(Fate::Emitted);
    }
    rig.ended().await;
}

/// No room, no line: the budget reaches back to the reader.
#[tokio::test]
async fn no_more_is_taken_than_the_budget_allows() {
    let text: String = (0..1000).map(|n| format!("{n}\n")).collect();
    let mut rig = rig_with(text, PLAIN, 3);
    let mut held: Vec<_> = [rig.next().await, rig.next().await, rig.next().await].into();
    for next in 3..1000 {
        assert!(tokio::time::timeout(Duration::ZERO, rig.pipeline.next()).await.is_err(), "three are open");
        held.remove(0).settle(Fate::Emitted);
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), next.to_string());
        held.push(ticket);
    }
    held.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    rig.ended().await;
}

#[tokio::test]
async fn a_drain_takes_nothing_new_and_settles_what_is_open() {
    let mut rig = rig_with("1\n2\n3\n", PLAIN, 1);
    let open = rig.next().await;
    rig.stopper.drain();
    // The drain is heard before the room that this makes is used.
    open.settle(Fate::Emitted);
    assert!(rig.pipeline.next().await.is_none(), "the source has ended");
    rig.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_still_pushes_again_what_comes_back() {
    let mut rig = rig("1\n");
    let open = rig.next().await;
    rig.stopper.drain();
    drop(open);
    rig.next().await.settle(Fate::Emitted);
    rig.ended().await;
}

/// A drain waits for what is open. The end does not, and nothing from there on counts as done.
#[tokio::test(start_paused = true)]
async fn the_end_gives_up_what_is_open() {
    let mut rig = rig("1\n2\n3\n4\n");
    rig.next().await.settle(Fate::Emitted);
    let open = rig.next().await;
    rig.next().await.settle(Fate::Emitted);
    rig.next().await.settle(Fate::Emitted);
    rig.stopper.drain();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(!rig.run.is_finished(), "a drain waits");
    rig.stopper.end();
    let progress = Arc::clone(&rig.progress);
    timeout(Duration::from_secs(60), rig.ended()).await.expect("the end waits for nothing");
    assert_eq!((payload(&open), progress.share()), ("2", Some(0.25)));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none.ndjson"), folder.path().to_owned()] {
        let error = lines(Some(path.clone()), PLAIN, &Arc::default()).err().unwrap();
        assert!(format!("{error:#}").contains(&*path.to_string_lossy()), "{error:#}");
    }
}

/// What was read before the fault is finished first, then the source fails.
#[tokio::test]
async fn a_file_that_can_not_be_read_ends_the_source_with_an_error() {
    let source = lines(Some(Path::new("/proc/self/mem").to_owned()), PLAIN, &Arc::default()).unwrap();
    let (intake, _pipeline) = PipelineDouble::new(EventBudget { events: 1, bytes: 1 });
    let (_stopper, stop) = stop();
    let error = source.run(intake, stop).await.unwrap_err();
    assert!(format!("{error:#}").starts_with("could not read `/proc/self/mem`: "), "{error:#}");
}

/// Runs in a process of its own, for its standard input. See the tests that start it.
#[tokio::test]
#[ignore = "started by other tests with an input"]
async fn stdin_child() {
    let progress = Arc::default();
    let source = lines(None, PLAIN, &progress).unwrap();
    let (intake, mut pipeline) = PipelineDouble::new(EventBudget { events: 10, bytes: 1000 });
    let (stopper, stop) = stop();
    let run = tokio::spawn(source.run(intake, stop));
    while let Some(ticket) = pipeline.next().await {
        assert_eq!((&*ticket.event().origin.stream, progress.share()), ("stdin", None));
        let text = payload(&ticket).to_owned();
        ticket.settle(Fate::Emitted);
        writeln!(io::stderr(), "got {text}").unwrap();
        if text == "drain" {
            stopper.drain();
        }
    }
    run.await.unwrap().unwrap();
    writeln!(io::stderr(), "ended").unwrap();
}

/// Starts this test binary on its `stdin_child`, gives it `input`, and returns what that reported.
fn report_of_child(input: &str, close: bool) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lines_source::stdin_child", "--ignored", "--nocapture", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    if close {
        stdin.take();
    }
    // `wait_with_output` would close an input that is still the child's.
    let report = io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{report}");
    drop(stdin);
    report
}

#[test]
fn standard_input_is_read_to_its_end() {
    assert_eq!(report_of_child("one\ntwo", true), "got one\ngot two\nended\n");
}

/// The input stays open and silent, and a read waits on it.
#[test]
fn a_silent_standard_input_does_not_hold_up_a_drain() {
    assert_eq!(report_of_child("one\ndrain\n", false), "got one\ngot drain\nended\n");
}
