//! `trommel webhooks test DIR NAME`: sends one signed event, outside of all deliveries, to check
//! that the receiver accepts it.

use std::{path::PathBuf, time::Instant};

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
    config::{LARGEST_SCHEMA, read},
    folder, text,
    webhook::{post::WebhookPoster, trial},
};

/// Longest part of a response that is shown, in characters.
const SHOWN: usize = 200;

#[derive(Args, Debug)]
pub(super) struct TestWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// Payload to send instead of an event of type `trommel.test`
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
}

impl TestWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        let webhook = self.webhook.find(&config)?;
        let payload = self.payload.as_ref().map(|path| {
            let unread = |error| CommandRefusal::new(RefusalKind::Validation, "payload", error).param("--payload");
            read(path, LARGEST_SCHEMA).map_err(|error| unread(format!("`{}`: {error}", path.display())))
        });
        let now = Timestamp::now();
        let request = trial::request(webhook, payload.transpose()?, now).map_err(|error| {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "unrenderable_body", format!("`{name}`: {error}"));
            refusal.hint("a delivery of such an event would fail: `--payload FILE` tries another")
        })?;
        let sent = webhook.body.as_ref().map(|_| String::from_utf8_lossy(&request.payload).into_owned());
        let runtime = runtime()?;
        let began = Instant::now();
        let answer = runtime.block_on(WebhookPoster::default().post(webhook, request, now));
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
            true => keys::json(
                &json!({ "webhook": name, "status_code": status, "millis": millis, "answer": first, "body": sent }),
            )?,
            false => match sent {
                Some(sent) => format!("{told}\n  sent was {sent}"),
                None => told,
            },
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
