//! The router that runs from a folder, for commands that ask it something.

use std::{io, path::Path};

use crate::{
    cli::refusal::{Kind, Refusal},
    control::{
        Link, Place,
        client::{Found, find},
    },
};

/// # Errors
/// When none runs, or none that can be talked to.
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

/// What to say when it does not answer.
pub(super) fn unreachable(dir: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Kind::Network, "no_answer", format!("the router of `{}` does not answer: {error}", dir.display()))
}
