//! Streams and files that grow, read from where the last reading ended.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use async_nats::jetstream::{
    Context, Message,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures_util::StreamExt;

/// A stream.
pub struct StreamTail {
    name: &'static str,
    next: u64,
}

impl StreamTail {
    pub fn new(name: &'static str) -> Self {
        Self { name, next: 1 }
    }

    /// What is new, with its sequence.
    pub async fn read(&mut self, context: &Context, mut each: impl FnMut(u64, &Message)) {
        let Ok(stream) = context.get_stream(self.name).await else { return };
        let last = stream.cached_info().state.last_sequence;
        if last < self.next {
            return;
        }
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: self.next };
        let consumer = stream.create_consumer(OrderedConfig { deliver_policy, ..Default::default() }).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        while self.next <= last {
            let message = messages.next().await.unwrap().unwrap();
            let sequence = message.info().unwrap().stream_sequence;
            assert_eq!(sequence, self.next, "stream {} has a hole", self.name);
            each(sequence, &message);
            self.next = sequence + 1;
        }
    }
}

/// A file of lines that is rotated.
pub struct FileTail {
    path: PathBuf,
    /// The file that was read last, by its number, and how far.
    read: Option<(u64, u64)>,
}

impl FileTail {
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: None }
    }

    /// The lines that are new. One without an end is left for the next time.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) {
        let files = self.files();
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let begin = self.read.and_then(|(last, _)| files.iter().position(|path| number(path) == last)).unwrap_or(0);
        for path in &files[begin..] {
            let number = number(path);
            let mut at = self.read.filter(|(last, _)| *last == number).map_or(0, |(_, at)| at);
            let mut file = File::open(path).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            let (mut input, mut line) = (BufReader::new(file), Vec::new());
            while input.read_until(b'\n', &mut line).unwrap() > 0 && line.ends_with(b"\n") {
                at += line.len() as u64;
                each(line.trim_ascii_end());
                line.clear();
            }
            self.read = Some((number, at));
        }
    }

    /// In the order in which they were begun: the times in the names of those that were rotated
    /// away sort so.
    fn files(&self) -> Vec<PathBuf> {
        let stem = self.path.file_stem().unwrap().to_str().unwrap();
        let Ok(entries) = fs::read_dir(self.path.parent().unwrap()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut rotated: Vec<_> = paths
            .filter(|path| {
                *path != self.path && path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{stem}."))
            })
            .collect();
        rotated.sort_unstable();
        rotated.extend(self.path.exists().then(|| self.path.clone()));
        rotated
    }
}
