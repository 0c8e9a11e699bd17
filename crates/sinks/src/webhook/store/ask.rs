//! Database operations of the command line.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Params, Transaction, named_params};

use super::{
    DeliveryStore, StoreError,
    record::{
        self, DELIVERY, Delivery, DeliveryCount, DeliveryDetail, DeliveryId, DeliveryQuery, DeliveryState,
        DisableCause, DisabledWebhook,
    },
};

/// [`DeliveryQuery`] as a condition.
const FITS: &str = "(:ids IS NULL OR deliveries.id IN (SELECT value FROM json_each(:ids)))
    AND (:webhook IS NULL OR webhook = :webhook)
    AND (:state IS NULL OR state = :state)
    AND (:since IS NULL OR created >= :since)
    AND (:event_type IS NULL OR output IN (SELECT number FROM outputs WHERE event_type = :event_type))";

impl DeliveryQuery {
    fn ids(&self) -> Option<String> {
        let ids: Vec<String> = self.ids.as_ref()?.iter().map(ToString::to_string).collect();
        Some(serde_json::Value::from(ids).to_string())
    }

    fn since(&self) -> Option<i64> {
        self.since.map(Timestamp::as_millisecond)
    }
}

/// Builds the parameters of [`FITS`], and those that follow.
macro_rules! fits {
    ($which:ident $($more:tt)*) => {
        named_params! {
            ":ids": $which.ids(),
            ":webhook": $which.webhook,
            ":state": $which.state,
            ":since": $which.since(),
            ":event_type": $which.event_type,
            $($more)*
        }
    };
}

impl DeliveryStore {
    /// Deliveries that match, the latest first, `limit` at most.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn list(&self, which: &DeliveryQuery, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY} FROM deliveries JOIN outputs ON output = number WHERE {FITS}
             ORDER BY deliveries.rowid DESC LIMIT :limit"
        );
        self.read(|connection| {
            let mut list = connection.prepare(&sql)?;
            list.query_map(fits!(which ":limit": limit), record::delivery)?.collect()
        })
    }

    /// Deliveries of one webhook, the latest first, `limit` at most.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn newest(&self, webhook: &str, state: Option<DeliveryState>, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY} FROM deliveries INDEXED BY by_webhook JOIN outputs ON output = number
             WHERE webhook = ?1 AND (?2 IS NULL OR state = ?2) ORDER BY deliveries.rowid DESC LIMIT ?3"
        );
        self.read(|connection| {
            connection.prepare(&sql)?.query_map((webhook, state, limit), record::delivery)?.collect()
        })
    }

    /// Calls `each` with the output's id and the webhook of every delivery, whatever its state.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn each_delivery(&self, mut each: impl FnMut(&str, &str)) -> Result<(), StoreError> {
        self.read(|connection| {
            let sql = "SELECT outputs.id, webhook FROM deliveries JOIN outputs ON output = number";
            let mut deliveries = connection.prepare(sql)?;
            let mut rows = deliveries.query(())?;
            while let Some(row) = rows.next()? {
                each(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            }
            Ok(())
        })
    }

    /// A delivery in detail, if it exists.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn show(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY}, outputs.id, subject, content_type, payload, answer
             FROM deliveries JOIN outputs ON output = number WHERE deliveries.id = ?"
        );
        let detail = |row: &rusqlite::Row<'_>| {
            Ok(DeliveryDetail {
                delivery: record::delivery(row)?,
                output_id: row.get(12)?,
                subject: row.get(13)?,
                content_type: row.get(14)?,
                payload: row.get(15)?,
                answer: row.get(16)?,
            })
        };
        self.read(|connection| connection.query_row(&sql, [id.to_string()], detail).optional())
    }

    /// Makes matching deliveries due at once, whatever their state, with all tries left. Those of
    /// disabled webhooks stay as they are. Returns the ids of the changed ones.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing has changed then.
    pub fn retry(&self, which: &DeliveryQuery, now: Timestamp) -> Result<Vec<DeliveryId>, StoreError> {
        let sql = format!(
            "UPDATE deliveries SET state = 'pending', attempts = 0, next_retry = :now, updated = :now
             WHERE {FITS} AND webhook NOT IN (SELECT webhook FROM disabled) RETURNING id"
        );
        self.write(|transaction| ids(transaction, &sql, fits!(which ":now": now.as_millisecond())))
    }

    /// Deletes matching deliveries, sent or not. Returns their ids.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing has changed then.
    pub fn drop(&self, which: &DeliveryQuery) -> Result<Vec<DeliveryId>, StoreError> {
        let sql = format!("DELETE FROM deliveries WHERE {FITS} RETURNING id");
        self.write(|transaction| ids(transaction, &sql, fits!(which)))
    }

    /// Number of deliveries by webhook and state, in this order, including webhooks that are not
    /// configured any more.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn counts(&self) -> Result<Vec<DeliveryCount>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT webhook, state, count(*) FROM deliveries GROUP BY webhook, state ORDER BY webhook, state";
            let count = |row: &rusqlite::Row<'_>| {
                let deliveries = row.get::<_, i64>(2)?.unsigned_abs();
                Ok(DeliveryCount { webhook: row.get(0)?, state: row.get(1)?, deliveries })
            };
            connection.prepare(sql)?.query_map((), count)?.collect()
        })
    }

    /// Disabled webhooks, by name.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn disabled(&self) -> Result<Vec<DisabledWebhook>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT webhook, cause, reason, since FROM disabled ORDER BY webhook";
            let disabled = |row: &rusqlite::Row<'_>| {
                let cause = if row.get::<_, String>(1)? == DisableCause::Gone.word() {
                    DisableCause::Gone
                } else {
                    DisableCause::Hand
                };
                Ok(DisabledWebhook {
                    webhook: row.get(0)?,
                    cause,
                    reason: row.get(2)?,
                    since: record::time(row.get(3)?),
                })
            };
            connection.prepare(sql)?.query_map((), disabled)?.collect()
        })
    }

    /// Disables a webhook and cancels its pending deliveries. Returns their number.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing has changed then.
    pub fn disable(&self, webhook: &str, reason: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.write(|transaction| disable(transaction, webhook, DisableCause::Hand, reason, now))
    }

    /// Enables a webhook for new deliveries. Returns `false` if it was not disabled.
    ///
    /// # Errors
    /// Returns an error if the database can't be written: nothing has changed then.
    pub fn enable(&self, webhook: &str) -> Result<bool, StoreError> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM disabled WHERE webhook = ?", [webhook])? > 0))
    }
}

fn ids(transaction: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<Vec<DeliveryId>> {
    transaction.prepare(sql)?.query_map(params, |row| record::id(row, 0))?.collect()
}

/// Disables a webhook. If it was disabled already, the first reason stays.
pub(super) fn disable(
    transaction: &Transaction<'_>,
    webhook: &str,
    cause: DisableCause,
    reason: &str,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let now = now.as_millisecond();
    transaction.execute(
        "INSERT INTO disabled (webhook, cause, reason, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (webhook, cause.word(), reason, now),
    )?;
    cancel(transaction, webhook, now)
}

/// Cancels the pending deliveries of a webhook.
pub(super) fn cancel(transaction: &Transaction<'_>, webhook: &str, now: i64) -> rusqlite::Result<usize> {
    transaction.execute(
        "UPDATE deliveries SET state = 'cancelled', next_retry = NULL, updated = ?2
         WHERE webhook = ?1 AND state = 'pending'",
        (webhook, now),
    )
}
