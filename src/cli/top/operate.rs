//! What `top` asks of the router.

use std::{io, path::Path, process::Command};

use serde_json::{Value, json};

use super::parts::PartKindView;
use crate::{cli::running::running, control::client::PATIENCE};

/// Asks the router to pause or resume a part, or to reload. Returns what to tell the user.
pub(super) async fn operate(dir: &Path, action: &str, part: Option<(PartKindView, &str)>) -> String {
    // A reload may take long, and its end shows in the picture.
    let mut operation =
        if action == "reload" { json!({ "action": action, "wait": false }) } else { json!({ "action": action }) };
    if let Some((view, name)) = part {
        operation["kind"] = view.word().into();
        operation["name"] = name.into();
    }
    let done = match part {
        Some((view, name)) => format!("{action}: {} `{name}`", view.word()),
        None => action.to_owned(),
    };
    match ask(dir, &operation).await {
        Ok(()) => format!("{done}: done"),
        Err(why) => format!("{done}: {why}"),
    }
}

async fn ask(dir: &Path, operation: &Value) -> Result<(), String> {
    let mut link = running(dir).await.map_err(|refusal| refusal.message)?;
    let asked = link.writer.send(&json!({ "type": "operate", "operation": operation })).await;
    let answer = match asked {
        Ok(()) => link.reader.next_within(PATIENCE).await,
        Err(error) => Err(error),
    };
    let answer: Value = match answer {
        Ok(line) => serde_json::from_slice(&line).map_err(|error| format!("the answer is not JSON: {error}"))?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err("the router does not know this: it is of another version".to_owned());
        }
        Err(error) => return Err(format!("the router does not answer: {error}")),
    };
    if answer["type"] == "operated" {
        return Ok(());
    }
    let said = ["message", "hint"].iter().filter_map(|part| answer[part].as_str());
    Err(said.collect::<Vec<_>>().join("; "))
}

/// Shows what becomes of the key's next event, on the terminal as it is.
pub(super) fn explain(dir: &Path, key: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("explain").arg(dir).args(["--live", "--limit=1"]);
    command.arg(format!("--key={key}"));
    command.status().map(drop)
}
