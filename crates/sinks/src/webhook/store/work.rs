//! Database operations of a router.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::{
    DeliveryStore, StoreError, ask,
    record::{self, DeliveryId, DeliveryState, DisableCause},
};

/// Finished deliveries that are deleted at once.
const PURGE: u32 = 1_000;

/// An output that webhooks want.
#[derive(Clone, Debug)]
pub struct NewOutput {
    /// Identifies repeats.
    pub id: String,
    pub event_id: ByteString,
    pub event_type: ByteString,
    pub subject: ByteString,
    pub tenant: Option<ByteString>,
    pub content_type: Option<ByteString>,
    pub traceparent: Option<ByteString>,
    pub payload: Bytes,
}

/// A pending delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    pub id: DeliveryId,
    /// Tries so far.
    pub attempts: u32,
    pub at: Timestamp,
    /// Bytes of its payload.
    pub size: u32,
}

/// The content of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContent {
    pub event_id: String,
    pub event_type: String,
    pub subject: String,
    pub tenant: Option<String>,
    pub content_type: Option<String>,
    pub traceparent: Option<String>,
    pub payload: Vec<u8>,
}

/// The result of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAttempt {
    pub id: DeliveryId,
    pub webhook: String,
    pub ended: Timestamp,
    pub status_code: Option<u16>,
    /// `None` if it has succeeded.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub answer: Option<Vec<u8>>,
    pub verdict: AttemptVerdict,
}

/// Consequence of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    Delivered,
    /// Another try after this time.
    Again(Duration),
    Failed,
    /// Failed, and the webhook is disabled.
    Gone,
}

impl DeliveryStore {
    /// Stores a delivery for each of the named webhooks of each output, unless it has one already
    /// or is disabled. The deliveries are on the disk on return. Returns the webhooks that have got
    /// new ones.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing is stored then.
    pub fn insert<'a>(
        &self,
        outputs: impl IntoIterator<Item = (&'a NewOutput, &'a [&'a str])>,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        let now = now.as_millisecond();
        self.write(|transaction| {
            let names = |row: &rusqlite::Row<'_>| row.get(0);
            let mut disabled = transaction.prepare("SELECT webhook FROM disabled")?;
            let disabled: BTreeSet<String> = disabled.query_map((), names)?.collect::<Result<_, _>>()?;
            // The update changes nothing: it makes `RETURNING` give the number of an existing row.
            let mut output = transaction.prepare(
                "INSERT INTO outputs (id, event_id, event_type, subject, tenant, content_type, traceparent, payload)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING number",
            )?;
            let mut delivery = transaction.prepare(
                "INSERT INTO deliveries (id, webhook, output, next_retry, created, updated)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?4) ON CONFLICT (output, webhook) DO NOTHING",
            )?;
            let mut fresh = BTreeSet::new();
            for (new, webhooks) in outputs {
                let mut webhooks = webhooks.iter().filter(|webhook| !disabled.contains(**webhook)).peekable();
                if webhooks.peek().is_none() {
                    continue;
                }
                let NewOutput { id, event_id, event_type, subject, tenant, content_type, traceparent, payload } = new;
                let [tenant, content_type, trace] = [tenant, content_type, traceparent].map(Option::as_deref);
                let row = (id, &**event_id, &**event_type, &**subject, tenant, content_type, trace, &**payload);
                let number: i64 = output.query_one(row, |row| row.get(0))?;
                for webhook in webhooks {
                    let id = DeliveryId::new().to_string();
                    if delivery.execute((id, webhook, number, now))? > 0 && !fresh.contains(*webhook) {
                        fresh.insert((*webhook).to_owned());
                    }
                }
            }
            Ok(fresh)
        })
    }

    /// Pending deliveries of a webhook, the earliest first, `limit` at most: due ones, ones under
    /// way, and later ones.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn due(&self, webhook: &str, limit: usize) -> Result<Vec<DueDelivery>, StoreError> {
        self.read(|connection| {
            let mut due = connection.prepare(
                "SELECT deliveries.id, attempts, next_retry, length(payload) FROM deliveries
                 JOIN outputs ON output = number
                 WHERE webhook = ? AND state = 'pending' ORDER BY next_retry LIMIT ?",
            )?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(DueDelivery {
                    id: record::id(row, 0)?,
                    attempts: row.get(1)?,
                    at: record::time(row.get(2)?),
                    size: row.get(3)?,
                })
            };
            due.query_map((webhook, i64::try_from(limit).unwrap_or(i64::MAX)), row)?.collect()
        })
    }

    /// The content of a delivery, if it still exists.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn message(&self, id: DeliveryId) -> Result<Option<RequestContent>, StoreError> {
        let sql = "SELECT event_id, event_type, subject, tenant, content_type, traceparent, payload
            FROM deliveries JOIN outputs ON output = number WHERE deliveries.id = ?";
        let message = |row: &rusqlite::Row<'_>| {
            Ok(RequestContent {
                event_id: row.get(0)?,
                event_type: row.get(1)?,
                subject: row.get(2)?,
                tenant: row.get(3)?,
                content_type: row.get(4)?,
                traceparent: row.get(5)?,
                payload: row.get(6)?,
            })
        };
        self.read(|connection| connection.query_row(sql, [id.to_string()], message).optional())
    }

    /// Records results of tries. A dropped delivery stays dropped, and a cancelled one stays
    /// cancelled unless it has been delivered.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing is recorded then.
    pub fn record(&self, attempts: &[DeliveryAttempt]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut note = transaction.prepare(
                "UPDATE deliveries SET state = ?2, attempts = attempts + 1, status_code = ?3, next_retry = ?4,
                 error = ?5, answer = ?6, updated = ?7 WHERE id = ?1 AND (state = 'pending' OR ?2 = 'delivered')",
            )?;
            for DeliveryAttempt { id, webhook, ended, status_code, error, answer, verdict } in attempts {
                let millis = ended.as_millisecond();
                let (state, next) = match verdict {
                    AttemptVerdict::Delivered => (DeliveryState::Delivered, None),
                    AttemptVerdict::Again(after) => {
                        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
                        (DeliveryState::Pending, Some(millis.saturating_add(after)))
                    }
                    AttemptVerdict::Failed | AttemptVerdict::Gone => (DeliveryState::Failed, None),
                };
                note.execute((id.to_string(), state, status_code, next, error, answer, millis))?;
                if *verdict == AttemptVerdict::Gone {
                    ask::disable(transaction, webhook, DisableCause::Gone, "it answered 410", *ended)?;
                }
            }
            Ok(())
        })
    }

    /// Cancels the pending deliveries of a webhook. Returns their number.
    ///
    /// # Errors
    /// If the database can't be written.
    pub fn cancel(&self, webhook: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.write(|transaction| ask::cancel(transaction, webhook, now.as_millisecond()))
    }

    /// Number of pending deliveries by webhook, including webhooks that are not configured any
    /// more.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn pending(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT webhook, count(*) FROM deliveries WHERE state = 'pending' GROUP BY webhook";
            let count = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
            connection.prepare(sql)?.query_map((), count)?.collect()
        })
    }

    /// Deletes some of the deliveries that were finished before this time. Returns `false` if there
    /// were none.
    ///
    /// # Errors
    /// If the database can't be written.
    pub fn purge(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let sql = "DELETE FROM deliveries WHERE id IN
                (SELECT id FROM deliveries WHERE state <> 'pending' AND updated < ? LIMIT ?)";
            Ok(transaction.execute(sql, (before.as_millisecond(), PURGE))? > 0)
        })
    }

    /// Adapts postponed deliveries to a clock that went back: each waits for its original delay,
    /// counted from now.
    ///
    /// # Errors
    /// If the database can't be written.
    pub fn follow_clock(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE deliveries SET next_retry = next_retry - updated + ?1, updated = ?1
                WHERE state = 'pending' AND updated > ?1";
            transaction.execute(sql, [now.as_millisecond()]).map(drop)
        })
    }

    /// A number that changes whenever another connection changes the database.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn version(&self) -> Result<i64, StoreError> {
        self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }
}
