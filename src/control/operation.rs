//! What operators ask of a running router, over the control socket and the admin listener alike,
//! and its answers.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    config::Problem,
    pause::{PausableKind, PausedPart},
    registry::{RegistryDifference, ReleaseError},
};

/// A request of an operator.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Operation {
    /// Reads the folder's keys, filters, schemas and components now.
    Reload(ReloadWish),
    Pause(PartName),
    Resume(PartName),
    /// Lifts a quarantine.
    Release(FilterName),
    /// Changes the level of the logs.
    Log(LogWish),
    /// Takes nothing new, finishes what is open, and ends.
    Drain(DrainWish),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadWish {
    /// Whether to answer only when the result is in force or refused.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PartName {
    pub name: String,
    /// Needed where parts of several kinds have the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PausableKind>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilterName {
    pub filter: String,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogWish {
    /// A level or directives, as for `trommel run --log`; `None` is what the router was started
    /// with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Time after which the level is what it was at the start, as in `10m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWish {}

/// Answer to an operation that was carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum OperationResult {
    Reload(ReloadResult),
    Pause(PauseResult),
    Resume(ResumeResult),
    Release { filter: String, generation: u64 },
    Log { level: Option<String>, until: Option<Timestamp> },
    Drain { in_flight: i64 },
}

/// Result of a reload.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReloadResult {
    /// False if the reload was asked for and is not waited for.
    pub done: bool,
    /// The new generation, if there is one.
    pub generation: Option<u64>,
    pub changes: RegistryDifference,
    /// Problems for which something was refused: what was good before is in force.
    pub problems: Vec<ReloadProblem>,
    /// What has changed in `trommel.toml`, which only a start takes into service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_next_start: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReloadProblem {
    /// `FILE:LINE:COLUMN`, or the file alone.
    pub place: String,
    pub message: String,
    pub hint: Option<String>,
}

impl From<Problem> for ReloadProblem {
    fn from(Problem { place, message, hint, .. }: Problem) -> Self {
        Self { place: place.to_string(), message, hint }
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PauseResult {
    #[serde(flatten)]
    pub part: PausedPart,
    /// False if the pause ends with the router, for the reason in `note`.
    pub kept: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ResumeResult {
    pub kind: PausableKind,
    pub name: String,
    /// False if the part is paused again by a restart, for the reason in `note`.
    pub kept: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Reason why an operation was not carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OperationRefusal {
    pub subtype: RefusalCause,
    pub message: String,
    pub hint: Option<String>,
}

/// What has to change that an operation is carried out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCause {
    /// The request is malformed, or a value in it is.
    BadRequest,
    UnknownPart,
    AmbiguousPart,
    PausedAlready,
    NotPaused,
    UnknownFilter,
    NotQuarantined,
    /// The program that embeds the router has its own logs.
    NoLog,
    /// The change takes longer than an answer may.
    StillLoading,
    /// The change was tried and could not be made.
    NotMade,
    Ending,
}

impl RefusalCause {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownPart => "unknown_part",
            Self::AmbiguousPart => "ambiguous_part",
            Self::PausedAlready => "paused_already",
            Self::NotPaused => "not_paused",
            Self::UnknownFilter => "unknown_filter",
            Self::NotQuarantined => "not_quarantined",
            Self::NoLog => "no_log",
            Self::StillLoading => "still_loading",
            Self::NotMade => "not_made",
            Self::Ending => "ending",
        }
    }
}

impl OperationRefusal {
    pub fn new(subtype: RefusalCause, message: impl Into<String>) -> Self {
        Self { subtype, message: message.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// An operator's order to the task that keeps the registry, which answers when it is carried out.
pub enum RegistryOrder {
    Reload(oneshot::Sender<ReloadResult>),
    /// Pauses the keys of these names, and resumes all others.
    PauseKeys(BTreeSet<String>, oneshot::Sender<Result<(), Vec<Problem>>>),
    /// Lifts the quarantine of a filter. Answers with the generation, or the reason and the names
    /// of all filters.
    Release(String, oneshot::Sender<Result<u64, (ReleaseError, Vec<String>)>>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_its_action_and_its_fields() {
        let part = PartName { name: "a".to_owned(), kind: None };
        for (operation, written) in [
            (Operation::Pause(part), json!({ "action": "pause", "name": "a" })),
            (Operation::Reload(ReloadWish { wait: true }), json!({ "action": "reload", "wait": true })),
            (Operation::Drain(DrainWish {}), json!({ "action": "drain" })),
        ] {
            assert_eq!(serde_json::to_value(&operation).unwrap(), written);
            assert_eq!(serde_json::from_value::<Operation>(written).unwrap(), operation);
        }
        let reload = serde_json::from_value::<Operation>(json!({ "action": "reload" })).unwrap();
        assert_eq!(reload, Operation::Reload(ReloadWish { wait: true }));
        let mistyped = json!({ "action": "log", "level": "debug", "fro": "10m" });
        assert!(serde_json::from_value::<Operation>(mistyped).is_err());
    }

    #[test]
    fn a_cause_has_the_same_word_everywhere() {
        for cause in [RefusalCause::BadRequest, RefusalCause::UnknownPart, RefusalCause::NotMade, RefusalCause::Ending]
        {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.word());
        }
    }
}
