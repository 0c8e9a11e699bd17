//! How an event ended.

use serde::{Deserialize, Serialize};

/// How far an event got. Of several routes the greatest counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// No key, condition or filter wanted it.
    #[default]
    Filtered,
    /// A sink was told to skip what it can't take.
    Skipped,
    /// At least one sink took an output.
    Emitted,
    /// Its dead letter is stored.
    DeadLettered,
    /// Given back to the source.
    Failed,
}

impl Fate {
    /// All of them, each at the position that it is as a number.
    pub const ALL: [Self; 5] = [Self::Filtered, Self::Skipped, Self::Emitted, Self::DeadLettered, Self::Failed];

    /// As it is written in JSON.
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
