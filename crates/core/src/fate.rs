//! Final states of events.

use serde::{Deserialize, Serialize};

/// Final state of an event. Of several routes the greatest counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// No key, condition or filter accepted it.
    #[default]
    Filtered,
    /// A sink skipped an output that it can't take, as configured.
    Skipped,
    /// At least one sink took an output.
    Emitted,
    /// Its dead letter is stored.
    DeadLettered,
    /// Given back to the source.
    Failed,
}

impl Fate {
    /// All variants, each at the index of its numeric value.
    pub const ALL: [Self; 5] = [Self::Filtered, Self::Skipped, Self::Emitted, Self::DeadLettered, Self::Failed];

    /// Returns its name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Skipped => "skipped",
            Self::Emitted => "emitted",
            Self::DeadLettered => "dead_lettered",
            Self::Failed => "failed",
        }
    }
}
