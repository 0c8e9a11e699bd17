//! The audit log: what operators changed, one JSON object a line, in a file of bounded size beside
//! one with what came before.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::Mutex, task::spawn_blocking};

const NAME: &str = "audit.ndjson";
const BEFORE: &str = "audit.1.ndjson";
/// Size from which the file is set aside.
const LARGEST: u64 = 4 << 20;

/// The audit log of a router.
#[derive(Debug)]
pub(super) struct AuditLog {
    folder: Arc<Path>,
    /// One line at a time.
    writing: Mutex<()>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct AuditEntry {
    time: Timestamp,
    who: String,
    #[serde(flatten)]
    operation: Value,
    result: &'static str,
    /// Why it was refused, or what is to be known of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl AuditLog {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), writing: Mutex::default() }
    }

    /// Notes what was done, or refused for the reason in `detail`.
    pub(super) async fn note(
        &self,
        who: &str,
        operation: &impl Serialize,
        result: &'static str,
        detail: Option<String>,
    ) {
        // Plain fields always serialize; if they did not, the rest of the line is better than nothing.
        let operation = serde_json::to_value(operation).unwrap_or_default();
        tracing::info!(target: "audit", who, %operation, result, detail, "an operator's request");
        let entry = AuditEntry { time: Timestamp::now(), who: who.to_owned(), operation, result, detail };
        let folder = Arc::clone(&self.folder);
        let _one = self.writing.lock().await;
        let written = spawn_blocking(move || append(&folder, &entry)).await.map_err(io::Error::other).flatten();
        if let Err(error) = written {
            let path = self.folder.join(NAME).display().to_string();
            tracing::error!(path, error = %error, "the audit log can't be written, the line above is all there is of it");
        }
    }
}

fn append(folder: &Path, entry: &AuditEntry) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path: PathBuf = folder.join(NAME);
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    let mut file = File::options().create(true).append(true).mode(0o600).open(&path)?;
    if file.metadata()?.len() >= LARGEST {
        fs::rename(&path, folder.join(BEFORE))?;
        file = File::options().create(true).append(true).mode(0o600).open(&path)?;
    }
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_log_is_bounded_and_keeps_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::new(folder.path());
        log.note("uid 0", &json!({ "action": "drain" }), "done", None).await;
        let path = folder.path().join(NAME);
        let line: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&line["who"], &line["action"], &line["result"]),
            (&"uid 0".into(), &"drain".into(), &"done".into())
        );
        File::options().append(true).open(&path).unwrap().set_len(LARGEST).unwrap();
        log.note("uid 0", &json!({ "action": "reload" }), "refused", Some("why".to_owned())).await;
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(fs::metadata(folder.path().join(BEFORE)).unwrap().len(), LARGEST);
    }
}
