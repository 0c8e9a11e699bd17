//! One file an event, written under a hidden name and renamed, so that a reader never sees half of one (L117). A
//! redelivered event overwrites its own file. Payloads stay as they are; those that are no JSON are called `.bin`.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    Output, Refusal, Slot,
    blocking::{Blocking, Destination, Stopped},
    line,
};

const PREFIX: &str = ".trommel-";
const SUFFIX: &str = ".tmp";

/// Longest parts of a name, in bytes: together with the rest they stay under the 255 that file systems allow.
const MAX_TYPE: usize = 80;
const MAX_ID: usize = 120;

/// Opens the folder, makes it if it is not there, and removes what a crash has left half-written.
///
/// # Errors
/// When the folder can't be made or read.
pub fn open(path: &Path) -> anyhow::Result<Blocking<Folder>> {
    clean(path).with_context(|| format!("could not open folder `{}`", path.display()))?;
    Ok(Blocking::new(Folder { path: path.to_owned() })?)
}

fn clean(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub struct Folder {
    path: PathBuf,
}

impl Folder {
    fn write(&self, file: &NewFile) -> io::Result<()> {
        let extension = if line::is_json(&file.payload) { "json" } else { "bin" };
        let target = self.path.join(format!("{}.{extension}", file.stem));
        // The process id keeps routers apart that share a folder.
        let hidden = self.path.join(format!("{PREFIX}{}{SUFFIX}", std::process::id()));
        fs::write(&hidden, &file.payload).and_then(|()| fs::rename(&hidden, target)).inspect_err(|_| {
            // The error is on its way already, and the next start cleans up.
            let _ = fs::remove_file(&hidden);
        })
    }
}

/// What becomes of an output.
pub struct NewFile {
    /// The name without its extension.
    stem: String,
    payload: Bytes,
}

impl Destination for Folder {
    type Item = NewFile;

    fn item(output: &Output) -> NewFile {
        NewFile { stem: stem(output), payload: output.payload.clone() }
    }

    fn store(&mut self, batch: &[(Slot, NewFile)]) -> Result<(), Stopped> {
        for (at, (_, file)) in batch.iter().enumerate() {
            let mut written = self.write(file);
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                written = fs::create_dir_all(&self.path).and_then(|()| self.write(file));
            }
            written.map_err(|error| {
                let context = format!("could not write into folder `{}`", self.path.display());
                Stopped { at, why: Refusal::Later(anyhow::Error::new(error).context(context)) }
            })?;
        }
        Ok(())
    }
}

/// `TYPE_ID_INDEX-DIGEST`. Type and id are for people and made safe for that (L82, L130); the digest of the output's
/// id keeps names apart whatever was replaced or cut.
fn stem(output: &Output) -> String {
    let event = output.ticket.event();
    let digest = Sha256::digest(output.id().to_string());
    let digest = u64::from_be_bytes(std::array::from_fn(|index| digest[index]));
    let event_type = safe(&event.event_type, MAX_TYPE);
    let id = safe(&event.id, MAX_ID);
    format!("{event_type}_{id}_{}-{digest:016x}", output.index)
}

/// Letters, digits, `.`, `_` and `-`, with no dot first or next to another: never hidden, never the way to another folder.
fn safe(text: &str, max: usize) -> String {
    let mut safe = String::new();
    for char in text.chars().take(max) {
        let is_safe = char.is_ascii_alphanumeric()
            || matches!(char, '_' | '-')
            || (char == '.' && !safe.ends_with('.') && !safe.is_empty());
        safe.push(if is_safe { char } else { '_' });
    }
    if safe.is_empty() { "_".to_owned() } else { safe }
}

#[cfg(test)]
mod tests;
