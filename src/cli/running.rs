//! Connection to the router that runs from a folder, for commands that query it.

use std::{io, path::Path};

use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    control::{
        ControlLink, SocketPlace,
        client::{RouterLookup, find},
    },
};

/// Connects to the router that runs from the folder.
///
/// # Errors
/// Returns an error if no router runs, or if it can't be reached.
pub(super) async fn running(dir: &Path) -> Result<ControlLink, CommandRefusal> {
    let place = SocketPlace::of(dir).map_err(|error| {
        CommandRefusal::new(RefusalKind::Precondition, "state_folder", error.to_string()).param("DIR")
    })?;
    let shown = dir.display();
    match find(&place).await.map_err(|error| unreachable(dir, &error))? {
        RouterLookup::Running(link) => Ok(link),
        RouterLookup::Orphan(_) => Err(unreachable(dir, &io::ErrorKind::NotConnected.into())),
        RouterLookup::NotRunning => {
            let refusal =
                CommandRefusal::new(RefusalKind::Precondition, "not_running", format!("no router runs from `{shown}`"));
            Err(refusal.hint(format!("start it: `trommel run {shown}`")))
        }
    }
}

/// Refusal for a router that does not answer.
pub(super) fn unreachable(dir: &Path, error: &io::Error) -> CommandRefusal {
    CommandRefusal::new(
        RefusalKind::Network,
        "no_answer",
        format!("the router of `{}` does not answer: {error}", dir.display()),
    )
}
