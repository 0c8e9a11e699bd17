use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Stream that follows its plan at each write: so many bytes, or an error. After the plan it takes
/// everything.
#[derive(Default)]
struct Stream {
    plan: VecDeque<Result<usize, ErrorKind>>,
    taken: Vec<u8>,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.plan.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(plan: impl IntoIterator<Item = Result<usize, ErrorKind>>) -> StreamLines<Stream> {
    StreamLines::new(Stream { plan: plan.into_iter().collect(), taken: Vec::new() })
}

fn batch(slots: std::ops::Range<u64>) -> Vec<(Slot, Bytes)> {
    slots.map(|slot| (slot, format!("\"line {slot}\"").into())).collect()
}

fn text(lines: &StreamLines<Stream>) -> &str {
    std::str::from_utf8(&lines.stream.taken).unwrap()
}

/// L116.
#[test]
fn every_output_is_a_line() {
    let mut lines = lines([Ok(3), Err(ErrorKind::Interrupted)]);
    lines.store(&batch(0..3)).unwrap();
    assert_eq!(text(&lines), "\"line 0\"\n\"line 1\"\n\"line 2\"\n");
}

/// L122.
#[test]
fn a_closed_pipe_is_a_reader_that_has_left() {
    let mut lines = lines([Err(ErrorKind::BrokenPipe)]);
    let stopped = lines.store(&batch(0..3)).unwrap_err();
    assert!(matches!(stopped, StoppedBatch { at: 0, why: SinkRefusal::Closed, .. }));
}

#[test]
fn a_torn_line_is_ended_when_its_output_is_tried_again() {
    let mut lines = lines([Ok(12), Err(ErrorKind::StorageFull)]);
    let stopped = lines.store(&batch(0..3)).unwrap_err();
    assert!(matches!(stopped, StoppedBatch { at: 1, why: SinkRefusal::Later(_), .. }), "one line is whole");
    lines.store(&batch(1..3)).unwrap();
    assert_eq!(text(&lines), "\"line 0\"\n\"line 1\"\n\"line 2\"\n");
}

#[test]
fn a_torn_line_is_ended_even_if_its_output_was_given_up() {
    let mut lines = lines([Ok(2), Err(ErrorKind::StorageFull), Ok(1), Err(ErrorKind::StorageFull)]);
    assert_eq!(lines.store(&batch(0..1)).unwrap_err().at, 0);
    assert_eq!(lines.store(&batch(7..8)).unwrap_err().at, 0);
    lines.store(&batch(7..8)).unwrap();
    assert_eq!(text(&lines), "\"line 0\"\n\"line 7\"\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_passing_fault() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let stopped = StreamLines::new(full).store(&batch(0..1)).unwrap_err();
    let StoppedBatch { at: 0, why: SinkRefusal::Later(cause), .. } = stopped else { panic!("{stopped:?}") };
    assert_eq!(cause.downcast_ref::<io::Error>().unwrap().kind(), ErrorKind::StorageFull);
}

proptest! {
    /// Every line comes out whole, once and in order, however writes are cut and fail.
    #[test]
    fn lines_survive_any_stream(
        plan in prop::collection::vec(
            prop_oneof![3 => (1_usize..30).prop_map(Ok), 1 => Just(Err(ErrorKind::StorageFull))],
            0..40,
        ),
    ) {
        let mut lines = lines(plan);
        let all = batch(0..20);
        let mut stored = 0;
        while let Err(stopped) = lines.store(&all[stored..]) {
            stored += stopped.at;
        }
        let expected: String = (0..20).map(|slot| format!("\"line {slot}\"\n")).collect();
        prop_assert_eq!(text(&lines), expected);
    }
}
