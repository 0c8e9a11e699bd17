//! Creation of new secrets in files.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::crypto::ring::default_provider;

use super::PREFIX;

/// Length of a secret in bytes: the minimum of Standard Webhooks.
const LENGTH: usize = 24;

/// Creates a random secret in a file that only its owner can read. Creates the folder if it is
/// absent.
///
/// # Errors
/// Returns an error if the file exists already, or if it can't be written; a partial file is
/// removed.
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
        // The partial file is of no use; the error that cut it short is returned.
        let _ = fs::remove_file(path);
    })
}
