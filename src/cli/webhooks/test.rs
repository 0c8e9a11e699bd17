//! `trommel webhooks test DIR NAME`: sends one signed event, outside of all deliveries, to check
//! that the receiver accepts it.

use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        keys::{self, print},
        refusal::{CommandRefusal, RefusalKind},
        runtime,
    },
    folder, text,
    webhook::{
        post::{WebhookPoster, WebhookRequest},
        store::DeliveryId,
    },
};

/// Longest part of a response that is shown, in characters.
const SHOWN: usize = 200;

#[derive(Args, Debug)]
pub(super) struct TestWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
}

impl TestWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        let webhook = self.webhook.find(&config)?;
        let (id, now) = (DeliveryId::new().to_string(), Timestamp::now());
        let event = json!({ "id": id, "type": "trommel.test", "webhook": name, "timestamp": now });
        let letter = WebhookRequest { id, content_type: None, traceparent: None, payload: event.to_string().into() };
        let runtime = runtime()?;
        let began = Instant::now();
        let answer = runtime.block_on(WebhookPoster::default().post(webhook, letter, now));
        let millis = began.elapsed().as_millis();
        let answer = answer.map_err(|why| {
            let refusal =
                CommandRefusal::new(RefusalKind::Network, "no_answer", format!("`{name}` did not answer: {why}"));
            refusal.hint(AGAIN)
        })?;
        let body = String::from_utf8_lossy(&answer.body);
        let first: String = text::line(body.lines().next().unwrap_or_default()).chars().take(SHOWN).collect();
        let status = answer.status;
        let shown = if first.is_empty() { String::new() } else { format!(": {first}") };
        let told = format!("`{name}` answered {status} after {millis} ms{shown}");
        if !answer.is_success() {
            return Err(CommandRefusal::new(RefusalKind::Api, "not_taken", told).hint(way_out(status)));
        }
        print(&match folder.json {
            true => keys::json(&json!({ "webhook": name, "status_code": status, "millis": millis, "answer": first }))?,
            false => told,
        })
    }
}

const AGAIN: &str = "a delivery would be tried again, for hours";

fn way_out(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed: let `url` be the address that it leads to",
        401 | 403 => "does the receiver verify with the same secret, and is its clock right?",
        404 | 405 => "is `url` the receiver's whole address, with its path?",
        410 => "it wants no events any more: a delivery would disable the webhook",
        408 | 425 | 429 | 500.. => AGAIN,
        _ => "a delivery would fail at once",
    }
}
