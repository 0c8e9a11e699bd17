//! New secrets, in files.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::crypto::ring::default_provider;

use super::PREFIX;

/// Bytes of a secret: as many as Standard Webhooks has at least.
const LENGTH: usize = 24;

/// Makes a secret that nobody knows, in a file that its owner alone can read. The folder is made when absent.
///
/// # Errors
/// When there is such a file, or it can't be written: then there is none.
pub fn make_secret_file(path: &Path) -> io::Result<()> {
    let mut key = [0; LENGTH];
    let random = default_provider().secure_random.fill(&mut key);
    random.map_err(|_| io::Error::other("the system has no random numbers"))?;
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = writeln!(file, "{PREFIX}{}", BASE64_STANDARD.encode(key)).and_then(|()| file.sync_all());
    written.inspect_err(|_| {
        // What is there of it is of no use; why it is not whole is what counts.
        let _ = fs::remove_file(path);
    })
}
