//! Repair of the end of a file that an earlier run wrote.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use crate::json::line;

/// Longest last line without a newline that counts as torn by a crash.
const MAX_TORN: u64 = 64 << 20;
const BLOCK: u64 = 64 << 10;

/// Makes the file end with a newline. A last line that a crash has torn becomes a JSON string: its
/// event was not confirmed and comes again, but no content of a file is thrown away. Returns the
/// file's length.
pub(super) fn mend(file: &mut File, path: &Path) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let start = last_line(file, len)?;
    if start == len {
        return Ok(len);
    }
    let mut torn = vec![0; usize::try_from(len - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut torn, start)?;
    if line::is_json(&torn) {
        file.write_all(b"\n")?;
    } else {
        tracing::warn!(path = %path.display(), offset = start, "last line is torn, made a JSON string");
        let mut whole = Vec::new();
        line::append(&mut whole, &torn);
        file.set_len(start)?;
        file.write_all(&whole)?;
    }
    Ok(file.metadata()?.len())
}

/// Returns the offset of a last line without a newline; the file's end if there is none.
fn last_line(file: &File, len: u64) -> io::Result<u64> {
    let mut block = [0; BLOCK as usize];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        if len - start > MAX_TORN {
            let message = "its last line is endless, so it is not NDJSON: name another file";
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        std::fs::write(&path, text).unwrap();
        let mut file = File::options().read(true).append(true).open(&path).unwrap();
        let len = mend(&mut file, &path).unwrap();
        let mended = std::fs::read(&path).unwrap();
        assert_eq!(len, mended.len() as u64);
        mended
    }

    #[test]
    fn whole_files_stay_as_they_are() {
        for text in [&b""[..], b"\n", b"{}\n", b"not json\n"] {
            assert_eq!(mended(text), text);
        }
    }

    #[test]
    fn a_torn_line_becomes_a_line_of_its_own() {
        assert_eq!(mended(b"{\"a\":1}\n{\"b\""), b"{\"a\":1}\n\"{\\\"b\\\"\"\n");
        assert_eq!(mended(b"{\"a\":1}\n{\"b\":2}"), b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(mended(b"\xff"), b"{\"base64\":\"/w==\"}\n");
    }

    #[test]
    fn a_torn_line_may_be_longer_than_a_block() {
        let block = usize::try_from(BLOCK).unwrap();
        for size in [block - 1, block, block + 1, 3 * block] {
            let torn = format!("1\n{}", "x".repeat(size));
            assert_eq!(mended(torn.as_bytes()), format!("1\n\"{}\"\n", "x".repeat(size)).into_bytes());
        }
    }

    #[test]
    fn a_file_without_lines_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let mut file = File::options().read(true).append(true).create(true).open(&path).unwrap();
        file.set_len(MAX_TORN + BLOCK + 1).unwrap();
        assert!(mend(&mut file, &path).unwrap_err().to_string().contains("not NDJSON"));
        assert_eq!(file.metadata().unwrap().len(), MAX_TORN + BLOCK + 1);
    }
}
