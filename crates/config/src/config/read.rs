//! Bounded reads of files in a router's folder, which may turn out to be pipes, devices, or larger
//! than memory.

use std::{
    fs::{self, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Largest `trommel.toml` or key file, in bytes.
pub const LARGEST_TOML: u64 = 4 << 20;
/// Largest schema, in bytes.
pub const LARGEST_SCHEMA: u64 = 16 << 20;

/// Largest file with a secret, or with several, in bytes.
pub const LARGEST_SECRET: u64 = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Error while reading a file.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableFile {
    #[error("can't read the file: {0}")]
    Io(#[from] io::Error),
    #[error("this is {0}, not a file: nothing is read from it")]
    NotAFile(&'static str),
    #[error("the file has {size} bytes, more than the limit of {limit}")]
    TooLarge { size: u64, limit: u64 },
}

impl UnreadableFile {
    /// The cause alone, for a message that already names the file.
    pub fn cause(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            Self::NotAFile(_) | Self::TooLarge { .. } => self.to_string(),
        }
    }
}

/// Reads a regular file of at most `limit` bytes. Waits for the file system, never for another
/// process.
///
/// # Errors
/// Returns an error if it is not a regular file, is larger, or can't be read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, UnreadableFile> {
    // Checked before the open, as opening a device can have side effects.
    check_kind(fs::metadata(path)?.file_type())?;
    // Checked again after the open, as the file may have been replaced: opening a pipe would wait
    // for its writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    check_kind(found.file_type())?;
    let size = found.len();
    if size > limit {
        return Err(UnreadableFile::TooLarge { size, limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // One byte more than the limit reveals a file that has grown meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    if size > limit { Err(UnreadableFile::TooLarge { size, limit }) } else { Ok(bytes) }
}

/// Reads a text file, without the byte order mark that some editors put first.
pub fn read_text(path: &Path, limit: u64) -> Result<Vec<u8>, UnreadableFile> {
    let mut bytes = read(path, limit)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

fn check_kind(kind: FileType) -> Result<(), UnreadableFile> {
    let name = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(UnreadableFile::NotAFile(name))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::net::UnixListener, process::Command};

    use super::*;

    fn refused(path: &Path) -> String {
        read(path, 10).unwrap_err().to_string()
    }

    #[test]
    fn only_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "ten bytes!").unwrap();
        assert_eq!(read(&at("file"), 10).unwrap(), b"ten bytes!");
        // A sparse file of 3 GiB, which takes no disk space.
        File::create(at("sparse")).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(refused(&at("sparse")), "the file has 3221225472 bytes, more than the limit of 10");
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("pipe"), "a named pipe"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            assert_eq!(refused(&path), format!("this is {kind}, not a file: nothing is read from it"));
        }
        assert!(refused(&at("none")).starts_with("can't read the file: No such file"));
    }

    #[test]
    fn texts_lose_their_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        for (content, expected) in [("\u{feff}a", "a"), ("a\u{feff}", "a\u{feff}"), ("", "")] {
            fs::write(&path, content).unwrap();
            assert_eq!(read_text(&path, 10).unwrap(), expected.as_bytes());
        }
    }
}
