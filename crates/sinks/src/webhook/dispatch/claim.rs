//! The lock that lets only one of several routers on a database send deliveries.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time::sleep};

use super::{HEARD, TICK};
use crate::stop::Stop;

/// Waits until no other router sends the deliveries of this database, and locks others out until
/// the file is dropped. Returns `None` if this router ends before. Names received from `fresh`
/// meanwhile are left to the other router.
pub(super) async fn claim(
    database: &Path,
    fresh: &mut mpsc::Receiver<BTreeSet<String>>,
    stop: &mut Stop,
) -> anyhow::Result<Option<File>> {
    let claim = open(database)?;
    let mut names = Vec::new();
    let mut is_told = false;
    loop {
        match claim.try_lock() {
            Ok(()) => return Ok(Some(claim)),
            Err(TryLockError::WouldBlock) if is_told => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("another router sends the deliveries");
                is_told = true;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("could not reserve the deliveries"),
        }
        tokio::select! {
            () = sleep(TICK) => {}
            // Drained, so that the sink is not held up while another router sends.
            heard = fresh.recv_many(&mut names, HEARD) => {
                if heard == 0 {
                    return Ok(None);
                }
                names.clear();
            }
            () = stop.draining() => return Ok(None),
        }
    }
}

/// Opens the lock file beside the database, whose own locks belong to SQLite.
fn open(database: &Path) -> anyhow::Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push("-sender");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    opened.with_context(|| format!("could not open `{}`", Path::new(&path).display()))
}
