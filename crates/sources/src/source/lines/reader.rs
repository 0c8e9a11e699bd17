//! Line reader on a thread of its own: a read that waits for input can't be cancelled, and must not
//! hold anything up.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::fd::AsFd,
    path::PathBuf,
    thread,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{json, source::finite};

/// Longest line that becomes an event, in bytes without its end.
pub const MAX_LINE: usize = 8 << 20;

/// Bytes of a longer line that are kept for its dead letter.
const KEPT: usize = 64 << 10;

/// Most lines, and bytes of them, handed over at once.
const BATCH_LINES: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

/// Batches that may wait to be taken.
const BATCHES: usize = 2;

/// A line that is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputLine {
    /// Line number from 1, blank lines counted.
    pub(super) number: u64,
    /// Bytes of the input up to the line's end.
    pub(super) end: u64,
    /// Digest of this line and all before it: inputs differ in it from their first different line
    /// on.
    pub(super) digest: u64,
    pub(super) text: LineText,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineText {
    Whole(Bytes),
    /// More than [`MAX_LINE`] bytes: the length, and the start of the line.
    TooLong(u64, Bytes),
}

impl LineText {
    /// Removes the byte order mark that the input may begin with. `None` if nothing else is left.
    fn without_mark(self) -> Option<Self> {
        match self {
            Self::Whole(text) => {
                Some(json::without_mark(text)).filter(|text| !text.trim_ascii().is_empty()).map(Self::Whole)
            }
            too_long => Some(too_long),
        }
    }
}

type LineBatch = finite::InputBatch<InputLine>;

/// Starts to read a file, or standard input. The channel closes at the end of the input.
pub(super) fn start(path: Option<PathBuf>) -> io::Result<mpsc::Receiver<LineBatch>> {
    let (sender, batches) = mpsc::channel(BATCHES);
    thread::Builder::new().name("lines".into()).spawn(move || {
        // Opened here, as opening a named pipe waits for its writer.
        let read = open(path).and_then(|input| {
            // A file that is read again holds the same events; those of a pipe never come again.
            let seed = if input.metadata()?.is_file() { 0 } else { fastrand::u64(..) };
            read(BufReader::with_capacity(BATCH_BYTES, input), seed, &sender)
        });
        if let Err(error) = read {
            // Fails only without a receiver, and then the error has no use.
            let _ = sender.blocking_send(Err(error.into()));
        }
    })?;
    Ok(batches)
}

fn open(path: Option<PathBuf>) -> io::Result<File> {
    match path {
        Some(path) => File::open(path),
        None => Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?)),
    }
}

/// Sends batches until the input ends or the receiver is dropped. Lines that are there never wait
/// for more.
fn read(mut input: BufReader<impl Read>, seed: u64, batches: &mpsc::Sender<LineBatch>) -> io::Result<()> {
    let (mut number, mut end, mut digest) = (0, 0, seed);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut buffer = Vec::new();
    while let Some((length, text)) = next(&mut input, &mut buffer)? {
        number += 1;
        end += length;
        let text = if number == 1 { text.and_then(LineText::without_mark) } else { text };
        if let Some(text) = text {
            digest = chained(digest, &buffer);
            batch.push(InputLine { number, end, digest, text });
            bytes += buffer.len();
        }
        let more_is_there = input.buffer().contains(&b'\n');
        let is_full = batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES;
        if !batch.is_empty() && (is_full || !more_is_there) {
            if batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
            bytes = 0;
        }
    }
    Ok(())
}

/// Digest of a line, chained to that of all before it.
fn chained(before: u64, line: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(before.to_le_bytes()).chain_update(line).finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// Reads the next line: its length with its end, and its text unless it is blank. `None` at the end
/// of the input.
fn next(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Option<(u64, Option<LineText>)>> {
    buffer.clear();
    // Room for the longest line and the longest end, `\r\n`.
    let limit = MAX_LINE as u64 + 2;
    let mut length = input.by_ref().take(limit).read_until(b'\n', buffer)? as u64;
    if length == 0 {
        return Ok(None);
    }
    if length == limit && !buffer.ends_with(b"\n") {
        length += input.skip_until(b'\n')? as u64;
    }
    let line = buffer.strip_suffix(b"\n").unwrap_or(buffer);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = if line.len() > MAX_LINE {
        Some(LineText::TooLong(length, Bytes::copy_from_slice(&line[..KEPT])))
    } else if line.trim_ascii().is_empty() {
        None
    } else {
        Some(LineText::Whole(Bytes::copy_from_slice(line)))
    };
    Ok(Some((length, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as (number, end, text), however they were batched.
    fn lines(input: &[u8]) -> Vec<InputLine> {
        let (sender, mut batches) = mpsc::channel(1000);
        read(BufReader::with_capacity(16, input), 0, &sender).unwrap();
        drop(sender);
        std::iter::from_fn(|| batches.blocking_recv()).flat_map(Result::unwrap).collect()
    }

    /// A line without its digest.
    fn line(number: u64, end: u64, text: &'static str) -> InputLine {
        InputLine { number, end, digest: 0, text: LineText::Whole(Bytes::from_static(text.as_bytes())) }
    }

    fn undigested(input: &[u8]) -> Vec<InputLine> {
        lines(input).into_iter().map(|line| InputLine { digest: 0, ..line }).collect()
    }

    #[test]
    fn digests_tell_inputs_apart_from_where_they_differ() {
        let digests = |input: &[u8]| lines(input).iter().map(|line| line.digest).collect::<Vec<_>>();
        let (one, same, other) = (digests(b"a\nb\nc\n"), digests(b"a\nb\nc\nd\n"), digests(b"a\nx\nc\n"));
        assert_eq!(one, same[..3], "a file that has grown");
        assert_eq!(one[0], other[0]);
        assert!(one[1] != other[1] && one[2] != other[2], "{one:?} {other:?}");
    }

    #[test]
    fn lines_end_as_they_like() {
        assert_eq!(lines(b""), []);
        assert_eq!(undigested(b"a\nb"), [line(1, 2, "a"), line(2, 3, "b")]);
        assert_eq!(undigested(b"a\r\nb\r"), [line(1, 3, "a"), line(2, 5, "b")]);
        assert_eq!(undigested(b"\n \t\na\n\n"), [line(3, 6, "a")]);
        assert_eq!(undigested(b"\xef\xbb\xbfa\n\xef\xbb\xbfb"), [line(1, 5, "a"), line(2, 9, "\u{feff}b")]);
        assert_eq!(undigested(b"\xef\xbb\xbf\r\na\n"), [line(2, 7, "a")]);
        assert_eq!(lines(b" a \xff\n")[0].text, LineText::Whole(Bytes::from_static(b" a \xff")));
        let many: Vec<_> = lines(&b"x\n".repeat(1000)).iter().map(|line| line.number).collect();
        assert_eq!(many, (1..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        for (length, end) in [(MAX_LINE, "\n"), (MAX_LINE, "\r\n"), (MAX_LINE, "")] {
            let input = ["x".repeat(length), end.to_owned()].concat();
            assert_eq!(lines(input.as_bytes())[0].text, LineText::Whole("x".repeat(length).into()));
        }
        for length in [MAX_LINE + 1, MAX_LINE + 2, MAX_LINE + 3, 2 * MAX_LINE] {
            let input = ["x".repeat(length), "\nnext\n".to_owned()].concat();
            let [long, next] = undigested(input.as_bytes()).try_into().unwrap();
            assert_eq!(long.text, LineText::TooLong(length as u64 + 1, "x".repeat(KEPT).into()));
            assert_eq!(next, line(2, length as u64 + 6, "next"));
        }
    }

    #[test]
    fn what_is_there_is_not_held_back() {
        let (sender, mut batches) = mpsc::channel(1000);
        let (input, mut output) = io::pipe().unwrap();
        let reader = thread::spawn(move || read(BufReader::new(input), 0, &sender));
        for text in ["one\n", "two\n"] {
            io::Write::write_all(&mut output, text.as_bytes()).unwrap();
            assert_eq!(batches.blocking_recv().unwrap().unwrap().len(), 1);
        }
        drop(output);
        reader.join().unwrap().unwrap();
    }
}
