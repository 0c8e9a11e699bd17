//! Destinations of a consumer's outputs: standard output, or a file each.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    process,
};

use indicatif::ProgressBar;
use jiff::Timestamp;
use tokio::io::{AsyncWriteExt, Stdout};

use crate::text;

pub(super) enum ConsumerOutputs {
    /// NDJSON.
    Stdout(Stdout),
    /// NDJSON in colour, written around the live line.
    Terminal(ProgressBar),
    /// Files named `NANOSECONDS_PID_NUMBER.json` (L117).
    Folder { path: PathBuf, written: u64 },
}

impl ConsumerOutputs {
    pub(super) fn stdout(line: &ProgressBar) -> Self {
        if io::stdout().is_terminal() { Self::Terminal(line.clone()) } else { Self::Stdout(tokio::io::stdout()) }
    }

    /// Makes the folder if it does not exist. `path` was checked by [`inside`].
    ///
    /// # Errors
    /// Returns an error if the folder can't be made.
    pub(super) fn folder(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        Ok(Self::Folder { path: path.to_owned(), written: 0 })
    }

    /// Writes one JSON value. Not cancel safe: a cancelled write may leave part of the value.
    ///
    /// # Errors
    /// Returns an error if the value can't be written; `BrokenPipe` if the reader has closed the
    /// pipe.
    pub(super) async fn write(&mut self, json: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                stdout.write_all(&[json, b"\n"].concat()).await?;
                stdout.flush().await
            }
            Self::Terminal(live_line) => {
                let line = trommel_jq::in_colour(json).unwrap_or_else(|| json.to_vec());
                let line = text::coloured(&String::from_utf8_lossy(&line)).into_owned() + "\n";
                // Blocks while the terminal is stopped (Ctrl-S): the next signal from the keyboard
                // resumes it.
                live_line.suspend(|| io::stdout().write_all(line.as_bytes()))
            }
            Self::Folder { path, written } => {
                let name = format!("{}_{}_{written}.json", Timestamp::now().as_nanosecond(), process::id());
                *written += 1;
                let temporary = path.join(format!(".{name}.tmp"));
                let mut file = File::options().create_new(true).write(true).mode(0o600).open(&temporary)?;
                file.write_all(json)?;
                fs::rename(temporary, path.join(name))
            }
        }
    }
}

/// Parses a folder below the current one. Others are refused, so that outputs never land in an
/// unexpected place (L117).
///
/// # Errors
/// Returns the reason for which the path is refused.
pub(super) fn inside(path: &str) -> Result<PathBuf, &'static str> {
    if path.starts_with('~') {
        return Err("`~` stands for nothing here, only a shell knows it");
    }
    let mut depth = 0_i32;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => {
                return Err("only a folder below the present one can be given");
            }
        }
        if depth < 0 {
            return Err("it leads out of the present folder");
        }
    }
    if path.is_empty() { Err("it is empty") } else { Ok(path.into()) }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::mpsc, thread};

    use super::*;

    /// L117: a name appears with the whole value behind it.
    #[tokio::test]
    async fn files_are_written_aside_and_renamed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out/large");
        let mut outputs = ConsumerOutputs::folder(&path).unwrap();
        let value = vec![b'7'; 4 << 20];
        let (is_over, over) = mpsc::channel::<()>();
        let (folder, length) = (path.clone(), value.len() as u64);
        let reader = thread::spawn(move || {
            let visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
            while over.try_recv() == Err(mpsc::TryRecvError::Empty) {
                for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(visible) {
                    assert_eq!(entry.metadata().unwrap().len(), length, "{entry:?}");
                }
            }
        });
        for _ in 0..20 {
            outputs.write(&value).await.unwrap();
        }
        drop(is_over);
        reader.join().unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o755);
        let mut numbers: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| number(&entry.unwrap().path())).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());

        /// The number in the name of a file, the rest of which is as expected.
        fn number(file: &Path) -> u64 {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
            let name = file.file_name().unwrap().to_str().unwrap();
            let parts: Vec<_> = name.strip_suffix(".json").unwrap().split('_').collect();
            let [time, process, number] = parts[..] else { panic!("{name}") };
            assert!(time.parse::<i128>().unwrap() > 1_700_000_000_000_000_000, "{name}");
            assert_eq!(process, process::id().to_string());
            number.parse().unwrap()
        }
    }

    /// L117
    #[test]
    fn only_folders_below_the_present_one_are_taken() {
        for good in ["out", "./out", "a/b/../c", "a b"] {
            assert_eq!(inside(good), Ok(good.into()));
        }
        for bad in ["", "/tmp/out", "~/out", "~", "..", "../out", "a/../../out"] {
            assert!(inside(bad).is_err(), "{bad}");
        }
    }
}
