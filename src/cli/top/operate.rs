//! What `top` asks of the router.

use std::{io, path::Path, process::Command, time::Duration};

use tokio::time::timeout;

use super::parts::PartKindView;
use crate::{
    cli::running::running,
    control::{
        client,
        operation::{Operation, OperationRefusal, PartName, ReloadWish},
    },
    pause::PausableKind,
};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Asks the router to pause or to resume a part, as `operation` says. Returns what to tell the
/// user.
pub(super) async fn switch(
    dir: &Path,
    operation: fn(PartName) -> Operation,
    (view, name): (PartKindView, &str),
) -> String {
    let kind = match view {
        PartKindView::Sources => PausableKind::Source,
        PartKindView::Keys => PausableKind::Key,
        PartKindView::Sinks => PausableKind::Sink,
        PartKindView::Filters => return "a filter can't be paused, but the keys that name it can".to_owned(),
    };
    let operation = operation(PartName { name: name.to_owned(), kind: Some(kind) });
    let verb = if matches!(operation, Operation::Pause(_)) { "pause" } else { "resume" };
    told(&format!("{verb}: {} `{name}`", view.word()), ask(dir, operation).await)
}

/// Asks the router to reload, which may take long, and its end shows in the picture. Returns what
/// to tell the user.
pub(super) async fn reload(dir: &Path) -> String {
    told("reload", ask(dir, Operation::Reload(ReloadWish { wait: false })).await)
}

fn told(what: &str, answer: Result<(), String>) -> String {
    match answer {
        Ok(()) => format!("{what}: done"),
        Err(why) => format!("{what}: {why}"),
    }
}

async fn ask(dir: &Path, operation: Operation) -> Result<(), String> {
    let mut link = running(dir).await.map_err(|refusal| refusal.message)?;
    // Keys are not looked at meanwhile.
    let Ok(answer) = timeout(ANSWER, client::operate(&mut link, operation)).await else {
        return Err(format!("the router has not answered for {ANSWER:?}"));
    };
    match answer {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(OperationRefusal { message, hint: Some(hint), .. })) => Err(format!("{message}; {hint}")),
        Ok(Err(OperationRefusal { message, .. })) => Err(message),
        Err(error) => Err(format!("the router does not answer: {error}")),
    }
}

/// Shows what becomes of the key's next event, on the terminal as it is.
pub(super) fn explain(dir: &Path, key: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("explain").arg(dir).args(["--live", "--limit=1"]);
    command.arg(format!("--key={key}"));
    command.status().map(drop)
}
