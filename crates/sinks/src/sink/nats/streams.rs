//! Order guarantees of the streams behind a sink: whether they store outputs under way together in
//! the order of their arrival.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use crate::nats::Connection;

/// Time for which an answer counts: streams are changed while routers run.
const FRESH: Duration = Duration::from_secs(30);

/// Confirmations of one stream after which the clock is read.
const LOOK: u32 = 32;

/// Streams that have confirmed something.
#[derive(Default)]
pub(super) struct ConfirmedStreams {
    known: HashMap<String, KnownStream>,
    /// Stream that confirmed last.
    last: String,
    /// Pending request for a stream's settings.
    asked: Option<(String, oneshot::Receiver<bool>)>,
    /// Confirmations of the last one since the clock was read.
    unlooked: u32,
}

struct KnownStream {
    keeps_order: bool,
    asked: Instant,
}

impl ConfirmedStreams {
    /// Notes that a stream has confirmed something, and asks for its settings unless they are
    /// known.
    pub(super) fn confirmed(&mut self, stream: &str, connection: &Connection) {
        self.hear();
        // Read for every confirmation, the clock would cost more than all else here.
        if self.last == stream && self.unlooked < LOOK {
            self.unlooked += 1;
            return;
        }
        self.unlooked = 0;
        stream.clone_into(&mut self.last);
        let is_fresh = |known: &KnownStream| known.asked.elapsed() < FRESH;
        if self.asked.is_some() || self.known.get(stream).is_some_and(is_fresh) {
            return;
        }
        let (answer, answered) = oneshot::channel();
        self.asked = Some((stream.to_owned(), answered));
        let known = self.known.entry(stream.to_owned());
        known.or_insert(KnownStream { keeps_order: false, asked: Instant::now() }).asked = Instant::now();
        let (connection, request) = (connection.clone(), format!("STREAM.INFO.{stream}"));
        tokio::spawn(async move {
            // Without an answer, or without the permission to ask, order is not taken for granted.
            let info = connection.api(&request, &json!({})).await;
            let _ = answer.send(info.is_ok_and(|info| keeps_order(&info)));
        });
    }

    /// Notes that a stream has refused one of several outputs.
    pub(super) fn refused(&mut self) {
        self.known.values_mut().for_each(|known| known.keeps_order = false);
    }

    /// Returns whether all known streams keep the order.
    pub(super) fn keep_order(&self) -> bool {
        !self.known.is_empty() && self.known.values().all(|known| known.keeps_order)
    }

    fn hear(&mut self) {
        let Some((stream, answered)) = &mut self.asked else { return };
        match answered.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return,
            heard => {
                if let Some(known) = self.known.get_mut(stream) {
                    known.keeps_order = heard.unwrap_or_default();
                }
            }
        }
        self.asked = None;
    }
}

/// Returns whether a stream keeps the order. With one replica it stores in the order of arrival, or
/// the connection ends. With more, a leader that fails takes along what it has not passed on, and a
/// stream that refuses new messages takes later ones once it is emptied.
fn keeps_order(info: &Value) -> bool {
    let config = &info["config"];
    config["num_replicas"] == json!(1) && config["discard"] != json!("new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_and_refusals_break_the_order() {
        let info = |replicas: u32, discard: &str| json!({ "config": { "num_replicas": replicas, "discard": discard } });
        assert!(keeps_order(&info(1, "old")));
        for other in [info(3, "old"), info(1, "new"), json!({}), json!({ "config": {} })] {
            assert!(!keeps_order(&other), "{other}");
        }
    }
}
