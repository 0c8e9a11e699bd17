//! `/tail?key=KEY`: what a key lets through, as server-sent events.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, RawQuery, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::AdminView;
use crate::{
    condition::{self, ConditionLists},
    control::{AttachedKey, KeyNews, KeyRequest, ListedFollower, MAX_BUFFER, WaitingOutput},
    listener::ClientPatience,
    registry::AttachError,
};

/// Clients at once. The rest of the listener's places is for the other pages.
const CLIENTS: usize = 32;
/// Longest pause without a line, which shows whether the client is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Header of a client that was here before: the `id` of the last event that it has.
const LAST_ID: &str = "last-event-id";

/// Places of the clients.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CLIENTS))
}

/// Answers with the outputs of one key from now on: `?key=order.paid&param=region=eu`.
pub(super) async fn tail(
    State((view, places)): State<(AdminView, Arc<Semaphore>)>,
    ConnectInfo(patience): ConnectInfo<ClientPatience>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (key, params, conditions) = match wanted(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let Ok(place) = places.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{CLIENTS} clients follow a key already\n")).into_response();
    };
    let who = "a client of the admin listener".to_owned();
    let request = KeyRequest { key: key.clone(), params, conditions, who, buffer: MAX_BUFFER };
    let attached = match view.desk.attach(request).await {
        Some(Ok(attached)) => attached,
        Some(Err(error)) => return refused(&key, &error),
        None => return (StatusCode::SERVICE_UNAVAILABLE, "the router ends\n").into_response(),
    };
    attached.ready().await;
    let last = headers.get(LAST_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let first = last.map_or_else(|| ": attached\n\n".to_owned(), |after: u64| missed("after", after));
    let listed = attached.follow(key);
    let parts = vec![first.into()];
    let tail = KeyTail { attached, patience, last: 0, parts, is_over: false, _listed: listed, _place: place };
    let body = Body::from_stream(stream::unfold(tail, |mut tail| async move {
        let part = tail.next().await?;
        Some((Ok::<_, Infallible>(part), tail))
    }));
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn wanted(query: &str) -> Result<(String, BTreeMap<String, String>, ConditionLists), String> {
    let (mut key, mut params, mut conditions) = (None, BTreeMap::new(), ConditionLists::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (&*name, value.split_once('=')) {
            ("key", _) => key = Some(value.into_owned()),
            ("param", Some((name, value))) => drop(params.insert(name.to_owned(), value.to_owned())),
            ("where", _) => {
                conditions = condition::checked(&value).map_err(|error| format!("`where` can't be used: {error}\n"))?;
            }
            ("param", None) => return Err(format!("`param` is `NAME=VALUE`, not `{value}`\n")),
            _ => return Err(format!("unknown parameter `{name}`: it is `key`, `param` or `where`\n")),
        }
    }
    let key = key.filter(|key| !key.is_empty()).ok_or("name a key, as in `/tail?key=order.paid`\n")?;
    Ok((key, params, conditions))
}

fn refused(key: &str, error: &AttachError) -> Response {
    let (status, mut text) = match error {
        AttachError::UnknownKey(_) => (StatusCode::NOT_FOUND, format!("{error}\n")),
        AttachError::Params(_) => (StatusCode::BAD_REQUEST, format!("key `{key}`: {error}\n")),
        AttachError::Refused(_) => (StatusCode::CONFLICT, format!("key `{key}`: {error}\n")),
    };
    if let AttachError::Params(problems) = error {
        text.extend(problems.iter().map(|problem| format!("{}\n", problem.message)));
    }
    (status, text).into_response()
}

/// The answer to one client. Whatever it does not read is dropped, the oldest first, and counted.
struct KeyTail {
    attached: AttachedKey,
    patience: ClientPatience,
    /// Number of the last output that was sent.
    last: u64,
    /// Parts that are due, in reverse.
    parts: Vec<Bytes>,
    is_over: bool,
    _listed: ListedFollower,
    _place: OwnedSemaphorePermit,
}

impl KeyTail {
    /// Waits for the next part of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.parts.is_empty() && !self.is_over {
            // The client's time stands still only while there is nothing for it to read.
            let _suspended = self.patience.clone().suspend();
            match timeout(HEARTBEAT, self.attached.next()).await {
                Err(_) => self.parts.push(Bytes::from_static(b":\n\n")),
                Ok(KeyNews::Output(output)) => self.add(output).await,
                Ok(KeyNews::Lost(reason)) => self.finish(&reason),
                Ok(KeyNews::End) => self.finish("the router ends"),
            }
        }
        self.parts.pop()
    }

    async fn add(&mut self, output: WaitingOutput) {
        let (number, sequence) = (output.number, output.sequence);
        let lost = number - self.last - 1;
        self.last = number;
        match self.attached.line(output).await {
            Ok([begin, payload, end]) => {
                let head = format!("id: {sequence}\ndata: ");
                // The line ends the field, one more the event.
                self.parts.extend([Bytes::from_static(b"\n"), end, payload, begin, head.into()]);
            }
            Err(error) => self.finish(&error.to_string()),
        }
        if lost > 0 {
            self.parts.push(missed("outputs", lost).into());
        }
    }

    fn finish(&mut self, reason: &str) {
        self.is_over = true;
        let reason = serde_json::json!({ "reason": reason });
        self.parts.push(format!("event: end\ndata: {reason}\n\n").into());
    }
}

/// The event that tells a client of outputs that it does not get.
fn missed(what: &str, number: u64) -> String {
    format!("event: missed\ndata: {{\"{what}\":{number}}}\n\n")
}
