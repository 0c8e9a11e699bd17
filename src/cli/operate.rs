//! Operations on the router that runs from a folder.

use std::path::Path;

use super::{
    refusal::{CommandRefusal, RefusalKind},
    running::{running, unreachable},
    runtime,
};
use crate::control::{
    client,
    operation::{Operation, OperationRefusal, OperationResult, RefusalCause},
};

/// Has an operation carried out.
///
/// # Errors
/// Returns an error if no router runs, if it can't be reached, or if it refuses.
pub(super) fn operate(dir: &Path, operation: Operation) -> Result<OperationResult, CommandRefusal> {
    runtime()?.block_on(async {
        let mut link = running(dir).await?;
        let answer = client::operate(&mut link, operation).await.map_err(|error| unreachable(dir, &error))?;
        answer.map_err(CommandRefusal::from)
    })
}

/// Refusal for an answer to another operation.
pub(super) fn strange(dir: &Path) -> CommandRefusal {
    unreachable(dir, &std::io::Error::new(std::io::ErrorKind::InvalidData, "its answer is one to something else"))
}

impl From<OperationRefusal> for CommandRefusal {
    fn from(OperationRefusal { subtype, message, hint }: OperationRefusal) -> Self {
        let kind = match subtype {
            RefusalCause::BadRequest => RefusalKind::Validation,
            RefusalCause::UnknownPart
            | RefusalCause::AmbiguousPart
            | RefusalCause::PausedAlready
            | RefusalCause::NotPaused
            | RefusalCause::UnknownFilter
            | RefusalCause::NotQuarantined
            | RefusalCause::NoLog
            | RefusalCause::NotMade => RefusalKind::Precondition,
            RefusalCause::StillLoading | RefusalCause::Ending => RefusalKind::Api,
        };
        Self { kind, subtype: subtype.word(), param: None, message, hint }
    }
}
