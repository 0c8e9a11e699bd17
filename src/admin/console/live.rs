//! `/console/feed`: the live picture as server-sent events.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;

use super::{ConsoleState, history::HistoryPoint};
use crate::listener::ClientPatience;

/// The first message: what the page may do, and the plots' past.
#[derive(Serialize)]
#[serde(tag = "type", rename = "hello")]
struct Hello {
    version: &'static str,
    /// True if the token lets a client change something.
    changes: bool,
    /// True if this program has the commands that the page runs.
    commands: bool,
    /// True if there are webhooks to deliver to.
    delivers: bool,
    history: Vec<HistoryPoint>,
}

/// Answers with a message a second, for as long as it is read: a client that is slow gets fewer.
pub(super) async fn feed(
    State(console): State<ConsoleState>,
    ConnectInfo(patience): ConnectInfo<ClientPatience>,
) -> Response {
    let Some(reader) = console.view.feed.subscribe() else {
        let why = "as many clients watch the router as may; close one, or ask again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION"),
        changes: console.changes,
        commands: console.view.commands.is_some(),
        delivers: console.view.commands.as_ref().is_some_and(|commands| commands.delivers),
        history: console.history.points(),
    };
    let body = Body::from_stream(stream::unfold((reader, Some(hello)), move |(mut reader, hello)| {
        let patience = patience.clone();
        async move {
            if let Some(hello) = hello {
                return Some((sent(&hello), (reader, None)));
            }
            // The client's time stands still only while there is nothing for it to read.
            let _suspended = patience.suspend();
            let message = reader.next().await?;
            Some((sent(&message), (reader, None)))
        }
    }));
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn sent(message: &impl Serialize) -> Result<String, Infallible> {
    // What is sent has no maps with keys that are not strings, the one reason to fail.
    Ok(format!("data: {}\n\n", serde_json::to_string(message).unwrap_or_default()))
}
