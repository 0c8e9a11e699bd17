//! The database of deliveries. A router and the command line open the same file at once, so writes
//! are brief. All calls block.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::poison::ignore_poison;

mod ask;
mod record;
mod work;

pub use record::{
    Delivery, DeliveryCount, DeliveryDetail, DeliveryId, DeliveryQuery, DeliveryState, DisableCause, DisabledWebhook,
    WebhookId,
};
pub use work::{AttemptVerdict, DeliveryAttempt, DueDelivery, NewOutput, RequestContent};

/// `trml`
const APPLICATION: i32 = 0x7472_6d6c;
/// Version of the schema.
const VERSION: i32 = 1;
/// Longest wait for another connection's write.
const BUSY: Duration = Duration::from_secs(10);
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Times are Unix milliseconds. A pending delivery was postponed at `updated` until `next_retry`.
/// The payload is deleted with its last delivery.
const SCHEMA: &str = "
    CREATE TABLE outputs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        event_id TEXT NOT NULL,
        event_type TEXT NOT NULL,
        subject TEXT NOT NULL,
        tenant TEXT,
        content_type TEXT,
        traceparent TEXT,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY,
        webhook TEXT NOT NULL,
        output INTEGER NOT NULL REFERENCES outputs (number),
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'cancelled')),
        attempts INTEGER NOT NULL DEFAULT 0,
        status_code INTEGER,
        next_retry INTEGER CHECK ((next_retry IS NULL) = (state <> 'pending')),
        error TEXT,
        answer BLOB,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        UNIQUE (output, webhook)
    ) STRICT;
    CREATE INDEX due ON deliveries (webhook, next_retry) WHERE state = 'pending';
    CREATE INDEX finished ON deliveries (updated) WHERE state <> 'pending';
    CREATE TRIGGER last_delivery AFTER DELETE ON deliveries
        WHEN NOT EXISTS (SELECT 1 FROM deliveries WHERE output = OLD.output)
        BEGIN DELETE FROM outputs WHERE number = OLD.output; END;
    CREATE TABLE disabled (
        webhook TEXT PRIMARY KEY,
        cause TEXT NOT NULL CHECK (cause IN ('gone', 'hand')),
        reason TEXT NOT NULL,
        since INTEGER NOT NULL
    ) STRICT;
";

/// Finds the deliveries of one webhook among those of thousands. Databases of earlier versions get
/// it too.
const BY_WEBHOOK: &str = "CREATE INDEX IF NOT EXISTS by_webhook ON deliveries (webhook)";

/// Error while opening or using a database. The file is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no database `{}`", .0.display())]
    Missing(PathBuf),
    #[error("could not open database `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("database `{}` is {what}: put a copy back, or move it away and with it the deliveries that it \
        holds", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("`{}` holds something else than deliveries", .0.display())]
    Foreign(PathBuf),
    #[error("database `{}` has version {found}, made by a later trommel; this one knows version \
        {VERSION}", path.display())]
    Newer { path: PathBuf, found: i32 },
    #[error("could not use database `{}`", path.display())]
    Failed { path: PathBuf, source: rusqlite::Error },
}

/// The database, shared by all threads of a process. One thread reads or writes at a time.
#[derive(Debug)]
pub struct DeliveryStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl DeliveryStore {
    /// Opens the database, creating it if it does not exist, and checks all of it. Call it once in
    /// a process: SQLite loses its locks when the same process closes the file elsewhere.
    ///
    /// # Errors
    /// Returns an error if the database can't be made, or is not valid.
    pub fn make(path: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        if !path.try_exists().map_err(io)? {
            create(path)?;
        }
        let store = Self::open(path)?;
        let look =
            |connection: &Connection| connection.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
        match store.read(look)?.as_str() {
            "ok" => store.write(|transaction| transaction.execute_batch(BY_WEBHOOK)).map(|()| store),
            fault => Err(StoreError::Damaged { path: path.to_owned(), what: format!("damaged ({fault})") }),
        }
    }

    /// Opens an existing database, likewise once.
    ///
    /// # Errors
    /// Returns an error if the database does not exist, or is not valid.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        check_header(path)?;
        let store = Self::connect(path)?;
        let pragma =
            |name| store.read(|connection| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)));
        if pragma("application_id")? != APPLICATION {
            return Err(StoreError::Foreign(path.to_owned()));
        }
        let found = pragma("user_version")?;
        if found > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found });
        }
        Ok(store)
    }

    fn connect(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| failed(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        // A commit returns once the data is on the disk.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON").map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        read(&self.lock()).map_err(|error| failed(&self.path, error))
    }

    /// Runs `write` in a transaction: all of it takes effect, or nothing.
    fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.and_then(|transaction| {
            let result = write(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        written.map_err(|error| failed(&self.path, error))
    }

    /// Ignores poisoning: a panic in a transaction has rolled it back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        ignore_poison(self.connection.lock())
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Damaged { path, what: format!("damaged ({source})") }
        }
        _ => StoreError::Failed { path, source },
    }
}

/// Makes an empty database atomically: a partial one is never visible, and no existing file is
/// overwritten.
fn create(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    // SQLite would take a log that is left over for the new database's.
    if log_of(path).try_exists().map_err(io)? {
        let what = "gone, and its log `-wal` is left".into();
        // Another router may have made it just now.
        let is_there = path.try_exists().map_err(io)?;
        return if is_there { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned(), what }) };
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = folder.join(format!(".{name}-{}.tmp", std::process::id()));
    // An earlier process with this id may have left it.
    let _ = fs::remove_file(&hidden);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden).map_err(io)?;
    let made = fill(&hidden).map_err(|error| failed(path, error)).and_then(|()| {
        File::open(&hidden).and_then(|file| file.sync_all()).map_err(io)?;
        // Unlike a rename, a link replaces no file.
        match fs::hard_link(&hidden, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    });
    let _ = fs::remove_file(&hidden);
    made?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.execute_batch(&format!(
        "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {SCHEMA} COMMIT"
    ))?;
    connection.close().map_err(|(_, error)| error)
}

/// Checks that this is a whole database, as far as its header shows. SQLite reports it less clearly
/// or not at all: it takes an empty file for a new database.
fn check_header(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::Missing(path.to_owned())),
        Err(error) => return Err(io(error)),
    };
    if !found.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    if found.len() == 0 {
        return Err(damaged("empty".into()));
    }
    let mut header = Vec::new();
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(io)?;
    if !header.starts_with(MAGIC) && !MAGIC.starts_with(&header) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let Some(field) = whole(&header) else { return Err(damaged("cut off".into())) };
    // While there is a log, pages may still be in it.
    let log = fs::metadata(log_of(path)).map_or(0, |log| log.len());
    if log == 0 && field > found.len() {
        return Err(damaged(format!("cut off, {} bytes of {field} are left", found.len())));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
    }
    Ok(())
}

/// Size of the database in bytes according to its header; `None` if the header is cut off.
fn whole(header: &[u8]) -> Option<u64> {
    let size = header.get(16..18)?;
    let size = match u64::from(u16::from_be_bytes([size[0], size[1]])) {
        1 => 65_536,
        size => size,
    };
    let count = header.get(28..32)?;
    (header.len() == 100).then(|| size * u64::from(u32::from_be_bytes([count[0], count[1], count[2], count[3]])))
}

/// Path of the write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[cfg(test)]
impl DeliveryStore {
    /// Simulates a full disk: `INSERT` or `UPDATE` of deliveries fails until [`Self::forgive`].
    pub(crate) fn refuse(&self, what: &str) {
        let sql = format!("CREATE TRIGGER refuse BEFORE {what} ON deliveries BEGIN SELECT RAISE(FAIL, 'full'); END");
        self.lock().execute_batch(&sql).unwrap();
    }

    pub(crate) fn forgive(&self) {
        self.lock().execute_batch("DROP TRIGGER refuse").unwrap();
    }
}

#[cfg(test)]
mod tests;
