//! Timestamps as RFC 3339, to the last digit that their unit has.

use std::{borrow::Cow, fmt};

use jiff::{Timestamp, tz::TimeZone};

use super::types::TimeUnit;

/// The form of timestamps in decoded JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeForm {
    /// The number on the wire.
    #[default]
    Integer,
    /// RFC 3339 in UTC, with as many digits of a second as it takes.
    Rfc3339,
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Millis => "milliseconds",
            Self::Micros => "microseconds",
            Self::Nanos => "nanoseconds",
        })
    }
}

/// Formats a count since the epoch. `None` if RFC 3339, whose years have four digits, can't have
/// it.
pub(super) fn to_text(count: i64, unit: TimeUnit) -> Option<String> {
    let time = match unit {
        TimeUnit::Millis => Timestamp::from_millisecond(count),
        TimeUnit::Micros => Timestamp::from_microsecond(count),
        TimeUnit::Nanos => Timestamp::from_nanosecond(count.into()),
    };
    let time = time.ok()?;
    (time.to_zoned(TimeZone::UTC).year() >= 0).then(|| time.to_string())
}

/// Parses a time as a count since the epoch.
///
/// # Errors
/// Returns what was expected.
pub(super) fn from_text(text: &str, unit: TimeUnit) -> Result<i64, Cow<'static, str>> {
    let time: Timestamp = text.parse().map_err(|_| "expected RFC 3339, such as `2026-05-01T00:00:00Z`, or long")?;
    let nanoseconds = time.as_nanosecond();
    let divisor = match unit {
        TimeUnit::Millis => 1_000_000,
        TimeUnit::Micros => 1_000,
        TimeUnit::Nanos => 1,
    };
    if nanoseconds % divisor != 0 {
        return Err(format!("is finer than the {unit} of its schema").into());
    }
    i64::try_from(nanoseconds / divisor).map_err(|_| format!("does not fit the 64 bits of its {unit}").into())
}
