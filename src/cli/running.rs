//! Connection to the router that runs from a folder, for commands that query it.

use std::{io, path::Path};

use crate::{
    cli::refusal::{Kind, Refusal},
    control::{
        Link, Place,
        client::{Found, find},
    },
};

/// Connects to the router that runs from the folder.
///
/// # Errors
/// Returns an error if no router runs, or if it can't be reached.
pub(super) async fn running(dir: &Path) -> Result<Link, Refusal> {
    let place = Place::of(dir)
        .map_err(|error| Refusal::new(Kind::Precondition, "state_folder", error.to_string()).param("DIR"))?;
    let shown = dir.display();
    match find(&place).await.map_err(|error| unreachable(dir, &error))? {
        Found::Running(link) => Ok(link),
        Found::Orphan(_) => Err(unreachable(dir, &io::ErrorKind::NotConnected.into())),
        Found::NotRunning => {
            let refusal = Refusal::new(Kind::Precondition, "not_running", format!("no router runs from `{shown}`"));
            Err(refusal.hint(format!("start it: `trommel run {shown}`")))
        }
    }
}

/// Refusal for a router that does not answer.
pub(super) fn unreachable(dir: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Kind::Network, "no_answer", format!("the router of `{}` does not answer: {error}", dir.display()))
}
