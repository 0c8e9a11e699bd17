//! One consumer, from its hello to its departure.

use std::{collections::BTreeMap, process, sync::Arc, time::Duration};

use tokio::time::interval;

use super::{
    attach::{AttachedConsumer, AttachedKey, KeyNews, KeyRequest},
    link::{LinkReader, LinkWriter},
    protocol::{ControlRequest, Farewell, Hello, HelloAck, Rejected, RouterAnswer, SourceState, VERSION},
    server::ControlState,
};
use crate::{
    condition::{self, Comparison, Condition},
    config::ParamProblem,
    registry::AttachError,
};

/// Interval at which the sources' connections are checked.
const LOOK: Duration = Duration::from_secs(1);

/// An entry in the list of attached consumers, removed on drop.
struct ListedConsumer<'a> {
    shared: &'a ControlState,
    number: u64,
}

impl Drop for ListedConsumer<'_> {
    fn drop(&mut self) {
        self.shared.remove(self.number);
    }
}

/// Attaches the consumer, sends it the outputs of its route, and detaches it when it leaves.
///
/// # Errors
/// Returns an error if the connection breaks.
pub(super) async fn serve(
    hello: Hello,
    reader: LinkReader,
    mut writer: LinkWriter,
    shared: &Arc<ControlState>,
) -> anyhow::Result<()> {
    if hello.version != VERSION {
        let message =
            format!("the router speaks version `{VERSION}` of the protocol, the consumer `{}`", hello.version);
        let hint = "stop the router with `trommel stop` and start it again with the same program";
        return Ok(reject(&mut writer, "version", message, Some(hint.to_owned())).await?);
    }
    let Hello { key, params, subject, conditions, pid, buffer, .. } = hello;
    let mut conditions = match condition::checked(&conditions) {
        Ok(conditions) => conditions,
        Err(error) => return Ok(reject(&mut writer, "where", format!("`where`: {error}"), None).await?),
    };
    if let Some(pattern) = subject {
        let (field, comparison) = ("subject".to_owned(), Comparison::Fits);
        conditions = condition::narrowed(
            conditions,
            Condition { field, elements: None, comparison, values: vec![pattern.into()] },
        );
    }
    let request = KeyRequest { key: key.clone(), params, conditions, who: format!("process {pid}"), buffer };
    let mut attached = match shared.view.desk.attach(request).await {
        Some(Ok(attached)) => attached,
        Some(Err(error)) => {
            let (subtype, hint) = match &error {
                AttachError::UnknownKey(_) => ("unknown_key", Some("`trommel keys list` shows all keys".to_owned())),
                AttachError::Params(problems) => ("params", Some(listed_problems(problems))),
                AttachError::Refused(_) => ("refused", None),
            };
            return Ok(reject(&mut writer, subtype, format!("key `{key}`: {error}"), hint).await?);
        }
        None => return Ok(say_farewell(&mut writer, shared).await?),
    };
    let (params, subscription_id) = (attached.served.params.clone(), attached.served.subscription_id.to_string());
    let consumer = AttachedConsumer {
        pid: Some(pid),
        key: key.clone(),
        subscription_id: subscription_id.clone(),
        ring: Arc::clone(&attached.ring),
    };
    let (number, ring) = (attached.number, Arc::clone(&attached.ring));
    let first_for_key = shared.add(number, consumer);
    let _listed = ListedConsumer { shared, number };
    // Listed before: a router without routes opens its sources for its first consumer.
    attached.ready().await;
    tracing::info!(key, pid, "consumer attached");
    let ack = HelloAck { version: VERSION.to_owned(), pid: process::id(), subscription_id, first_for_key, params };
    writer.send(&RouterAnswer::HelloAck(ack)).await?;
    let ended = send_all(reader, &mut writer, &mut attached, shared).await;
    let (received, dropped) = ring.counts();
    tracing::info!(key, pid, received, dropped, "consumer left");
    Ok(ended?)
}

/// Sends frames until the consumer leaves, or its route is lost, or the router has ended and no
/// frame is left.
async fn send_all(
    mut reader: LinkReader,
    writer: &mut LinkWriter,
    attached: &mut AttachedKey,
    shared: &ControlState,
) -> std::io::Result<()> {
    let leaves = async {
        while let Ok(Some(line)) = reader.next().await {
            if matches!(serde_json::from_slice(&line), Ok(ControlRequest::Bye)) {
                return;
            }
        }
    };
    let sends = async {
        let mut looks = interval(LOOK);
        let mut states = BTreeMap::new();
        loop {
            tokio::select! {
                news = attached.next() => match news {
                    KeyNews::Output(output) => {
                        let [begin, payload, end] = &attached.line(output).await?;
                        writer.send_parts([begin, payload, end]).await?;
                    }
                    KeyNews::Lost(message) => {
                        return writer.send(&RouterAnswer::Bye { reason: Farewell::Lost, message }).await;
                    }
                    KeyNews::End => return say_farewell(writer, shared).await,
                },
                _ = looks.tick() => tell_of_sources(&mut states, writer, shared).await?,
            }
        }
    };
    tokio::select! {
        () = leaves => Ok(()),
        sent = sends => sent,
    }
}

/// Reports sources that have lost or regained their connection since `states` was up to date.
async fn tell_of_sources(
    states: &mut BTreeMap<String, SourceState>,
    writer: &mut LinkWriter,
    shared: &ControlState,
) -> std::io::Result<()> {
    for (source, metrics) in shared.view.metrics.sources() {
        let state = SourceState::of(&metrics);
        // Sources count as connected at first, which needs no report.
        let before = states.insert(source.clone(), state).unwrap_or(SourceState::Connected);
        if state != before {
            writer.send(&RouterAnswer::SourceStatus { source, state }).await?;
        }
    }
    Ok(())
}

async fn say_farewell(writer: &mut LinkWriter, shared: &ControlState) -> std::io::Result<()> {
    let (reason, message) = match shared.view.stop.is_draining() {
        true => (Farewell::Stopped, "the router was stopped"),
        false => (Farewell::EndOfInput, "the sources have no more events"),
    };
    writer.send(&RouterAnswer::Bye { reason, message: message.to_owned() }).await
}

async fn reject(writer: &mut LinkWriter, subtype: &str, message: String, hint: Option<String>) -> std::io::Result<()> {
    writer.send(&RouterAnswer::Rejected(Rejected { subtype: subtype.to_owned(), message, hint })).await
}

fn listed_problems(problems: &[ParamProblem]) -> String {
    problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
}
