//! `trommel deliveries show DIR ID`

use std::borrow::Cow;

use clap::Args;
use serde::Serialize;

use super::{
    FolderArgs,
    chosen::{delivery_id, unknown_ids},
};
use crate::{
    cli::{
        columns::TableColumns,
        keys::{json, print},
        refusal::CommandRefusal,
    },
    json::{JsonPayload, check, pretty},
    text,
    webhook::store::{Delivery, DeliveryDetail, DeliveryId},
};

#[derive(Args, Debug)]
pub(super) struct ShowDelivery {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Id of the delivery, as `list` shows it
    #[arg(value_parser = delivery_id)]
    id: DeliveryId,
}

/// A delivery as JSON output.
#[derive(Serialize)]
struct ShownDelivery<'a> {
    #[serde(flatten)]
    delivery: &'a Delivery,
    output_id: &'a str,
    subject: &'a str,
    content_type: Option<&'a str>,
    /// Beginning of the last response's body.
    answer: Option<Cow<'a, str>>,
    #[serde(flatten)]
    payload: JsonPayload<'a>,
}

impl ShowDelivery {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let (_, store) = self.folder.open_deliveries()?;
        let detail = store.map(|store| store.show(self.id)).transpose()?.flatten();
        let detail = detail.ok_or_else(|| unknown_ids(&[self.id.to_string()], &self.folder))?;
        print(&if self.folder.json { json(&shown(&detail))? } else { text(&detail) })
    }
}

fn shown(detail: &DeliveryDetail) -> ShownDelivery<'_> {
    ShownDelivery {
        delivery: &detail.delivery,
        output_id: &detail.output_id,
        subject: &detail.subject,
        content_type: detail.content_type.as_deref(),
        answer: detail.answer.as_deref().map(String::from_utf8_lossy),
        payload: JsonPayload::of(&detail.payload),
    }
}

fn text(detail: &DeliveryDetail) -> String {
    let DeliveryDetail { delivery, output_id, subject, content_type, payload, answer } = detail;
    let facts = [
        ("webhook", Some(delivery.webhook.clone())),
        ("state", Some(delivery.state.to_string())),
        ("tries", Some(delivery.attempts.to_string())),
        ("status", delivery.status_code.map(|status| status.to_string())),
        ("error", delivery.error.clone()),
        ("answer", answer.as_deref().map(|answer| String::from_utf8_lossy(answer).into_owned())),
        ("next try", delivery.next_retry.map(|time| time.to_string())),
        ("made", Some(delivery.created.to_string())),
        ("changed", Some(delivery.updated.to_string())),
        ("event", Some(delivery.event_id.clone())),
        ("type", Some(delivery.event_type.clone())),
        ("tenant", delivery.tenant.clone()),
        ("subject", Some(subject.clone())),
        ("output", Some(output_id.clone())),
        ("content type", content_type.clone()),
    ];
    let fact = |(name, fact): (&str, Option<String>)| Some([name.to_owned(), fact?]);
    let rows: Vec<_> = facts.into_iter().filter_map(fact).collect();
    let columns = TableColumns::fit(&rows);
    let lines = std::iter::once(delivery.id.to_string()).chain(rows.iter().map(|row| columns.line(row)));
    [lines.collect::<Vec<_>>().join("\n"), readable(payload)].join("\n\n")
}

/// Formats a payload for people: JSON with one member per line, other text as it is.
fn readable(payload: &[u8]) -> String {
    let text = if check(payload).is_ok() { pretty(payload).into() } else { Cow::Borrowed(payload) };
    match std::str::from_utf8(&text) {
        Ok(payload) => text::lines(payload).trim_end().to_owned(),
        Err(_) => format!("{} bytes that are no text; `--json` shows them as base64", payload.len()),
    }
}
