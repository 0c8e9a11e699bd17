//! Rows of the database.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::Serialize;
use type_safe_id::{StaticType, TypeSafeId};

/// Prefix of delivery ids (C02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deli;

impl StaticType for Deli {
    const TYPE: &'static str = "deli";
}

/// Id such as `deli_01h2xcejqtf2nbrexx3vqjhp41`. Sorts by the time at which it was made.
pub type DeliveryId = TypeSafeId<Deli>;

/// Prefix of the names of webhooks that are made over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook;

impl StaticType for Hook {
    const TYPE: &'static str = "hook";
}

/// Name such as `hook_01h2xcejqtf2nbrexx3vqjhp41`, which no two webhooks have.
pub type WebhookId = TypeSafeId<Hook>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent, at once or later.
    Pending,
    Delivered,
    /// Given up: refused for good, or tried too often.
    Failed,
    /// Its webhook was disabled before it was sent.
    Cancelled,
}

impl DeliveryState {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Failed, Self::Cancelled];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for DeliveryState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|state| state.word() == text);
        known.ok_or("it is `pending`, `delivered`, `failed` or `cancelled`")
    }
}

impl ToSql for DeliveryState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

impl FromSql for DeliveryState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
    }
}

/// One output on its way to one webhook (C21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    #[serde(serialize_with = "display")]
    pub id: DeliveryId,
    pub webhook: String,
    pub state: DeliveryState,
    pub event_id: String,
    pub event_type: String,
    pub tenant: Option<String>,
    /// Tries since it was made, or since the last manual retry.
    pub attempts: u32,
    /// Status of the last answer.
    pub status_code: Option<u16>,
    /// Time of the next try, for pending deliveries only.
    pub next_retry: Option<Timestamp>,
    /// Error of the last try.
    pub error: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

fn display<S: serde::Serializer>(id: &DeliveryId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A delivery with its output and its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryDetail {
    pub delivery: Delivery,
    /// Id of the output: `EVENT-ID:KEY:ROUTE:INDEX`.
    pub output_id: String,
    pub subject: String,
    pub content_type: Option<String>,
    pub payload: Vec<u8>,
    /// The beginning of the last answer's body.
    pub answer: Option<Vec<u8>>,
}

/// A selection of deliveries: those that match every given field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    pub ids: Option<Vec<DeliveryId>>,
    pub webhook: Option<String>,
    pub state: Option<DeliveryState>,
    pub event_type: Option<String>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
}

/// Reason for which a webhook is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DisableCause {
    /// It answered 410.
    Gone,
    /// Disabled by a command.
    Hand,
}

impl DisableCause {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Hand => "hand",
        }
    }
}

/// A webhook that gets nothing until it is enabled again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DisabledWebhook {
    pub webhook: String,
    pub cause: DisableCause,
    pub reason: String,
    pub since: Timestamp,
}

/// Number of a webhook's deliveries in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryCount {
    pub webhook: String,
    pub state: DeliveryState,
    pub deliveries: u64,
}

/// The columns of a [`Delivery`], of `deliveries` and `outputs`.
pub(super) const DELIVERY: &str = "deliveries.id, webhook, state, event_id, event_type, tenant, attempts, status_code, \
     next_retry, error, created, updated";

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: id(row, 0)?,
        webhook: row.get(1)?,
        state: row.get(2)?,
        event_id: row.get(3)?,
        event_type: row.get(4)?,
        tenant: row.get(5)?,
        attempts: row.get(6)?,
        status_code: row.get(7)?,
        next_retry: row.get::<_, Option<i64>>(8)?.map(time),
        error: row.get(9)?,
        created: time(row.get(10)?),
        updated: time(row.get(11)?),
    })
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryId> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: type_safe_id::Error| FromSqlError::Other(Box::new(error)).into())
}

/// Converts milliseconds. A value out of range can only come from a clock that was far off, and is
/// clamped.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
