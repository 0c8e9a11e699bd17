//! One consumer, from its hello to its departure.

use std::{collections::BTreeMap, process, sync::Arc, time::Duration};

use tokio::{sync::watch, time::interval};

use super::{
    link::{LinkReader, LinkWriter},
    protocol::{ControlRequest, EVENT_END, Farewell, Hello, HelloAck, Rejected, RouterAnswer, SourceState, VERSION},
    ring::{MOST, OutputRing, WaitingOutput, ring},
    server::{AttachedConsumer, ControlState},
};
use crate::{
    condition,
    config::{OnFailure, ParamProblem, RetryPolicy},
    registry::{AttachError, AttachRequest, ConsumerStanding, RegistryChange, ServedConsumer},
    sink::outlet::{Outlet, OutletCapacity, OutletPolicy, RefusedDestination},
};

/// Outputs on their way to the ring.
const QUEUE: usize = 64;
/// Interval at which the sources' connections are checked.
const LOOK: Duration = Duration::from_secs(1);
/// Outputs that may wait for one consumer (L05).
const MAX_BUFFER: usize = 1000;

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
    let (inlet, ring) = ring(hello.buffer.clamp(1, MAX_BUFFER), &shared.rings);
    let number = shared.number();
    let name: Arc<str> = format!("attached-{number}").into();
    let retry = RetryPolicy { min: Duration::ZERO, max: Duration::ZERO, patience: Duration::ZERO };
    // The ring refuses nothing, so there is nothing to retry.
    let policy = OutletPolicy { on_failure: OnFailure::Skip, retry, refused: RefusedDestination::Nowhere };
    let capacity = OutletCapacity { outputs: QUEUE, bytes: MOST.min(shared.view.room) };
    let (queue, outlet) = Outlet::new(inlet, &name, capacity, policy, Arc::default());
    tokio::spawn(outlet.run(shared.view.stop.clone()));
    let (standing, mut stands) = watch::channel(ConsumerStanding::Waiting);
    let Hello { key, params, conditions, pid, .. } = hello;
    let conditions = match condition::checked(&conditions) {
        Ok(conditions) => conditions,
        Err(error) => return Ok(reject(&mut writer, "where", format!("`where`: {error}"), None).await?),
    };
    let who = format!("process {pid}");
    let attach = AttachRequest { name: Arc::clone(&name), key: key.clone(), who, params, conditions, queue, standing };
    if shared.view.changes.send(RegistryChange::Attach(attach)).await.is_err() {
        return Ok(say_farewell(&mut writer, shared).await?);
    }
    let ended = match first_word(&mut stands).await {
        Some(Ok(ServedConsumer { params, subscription_id })) => {
            let subscription_id = subscription_id.to_string();
            let consumer = AttachedConsumer {
                pid,
                key: key.clone(),
                subscription_id: subscription_id.clone(),
                ring: Arc::clone(&ring),
            };
            let first_for_key = shared.add(number, consumer);
            let _listed = ListedConsumer { shared, number };
            // Acknowledged only once the sources are open: a consumer that is ready misses no later
            // event.
            let _ = shared.view.started.clone().wait_for(|started| *started).await;
            tracing::info!(key, pid, "consumer attached");
            let (version, pid_of_router) = (VERSION.to_owned(), process::id());
            let ack = HelloAck { version, pid: pid_of_router, subscription_id, first_for_key, params };
            writer.send(&RouterAnswer::HelloAck(ack)).await?;
            let ended = send_all(reader, &mut writer, &ring, &mut stands, shared).await;
            let (received, dropped) = ring.counts();
            tracing::info!(key, pid, received, dropped, "consumer left");
            ended
        }
        Some(Err(error)) => {
            let (subtype, hint) = match &error {
                AttachError::UnknownKey(_) => ("unknown_key", Some("`trommel keys list` shows all keys".to_owned())),
                AttachError::Params(problems) => ("params", Some(listed_problems(problems))),
                AttachError::Refused(_) => ("refused", None),
            };
            reject(&mut writer, subtype, format!("key `{key}`: {error}"), hint).await
        }
        None => say_farewell(&mut writer, shared).await,
    };
    let _ = shared.view.changes.send(RegistryChange::Detach(name)).await;
    Ok(ended?)
}

/// Waits until the consumer is served or rejected. `None` if the router ends before that.
async fn first_word(stands: &mut watch::Receiver<ConsumerStanding>) -> Option<Result<ServedConsumer, AttachError>> {
    let standing = stands.wait_for(|standing| !matches!(standing, ConsumerStanding::Waiting)).await.ok()?;
    match &*standing {
        ConsumerStanding::Serving(serving) => Some(Ok(serving.clone())),
        ConsumerStanding::Lost(error) => Some(Err(error.clone())),
        ConsumerStanding::Waiting => None,
    }
}

/// Sends frames until the consumer leaves, or its route is lost, or the router has ended and no
/// frame is left.
async fn send_all(
    mut reader: LinkReader,
    writer: &mut LinkWriter,
    ring: &OutputRing,
    stands: &mut watch::Receiver<ConsumerStanding>,
    shared: &ControlState,
) -> std::io::Result<()> {
    let leaves = async {
        while let Ok(Some(line)) = reader.next().await {
            if matches!(serde_json::from_slice(&line), Ok(ControlRequest::Bye)) {
                return;
            }
        }
    };
    let lost = async {
        match stands
            .wait_for(|standing| matches!(standing, ConsumerStanding::Lost(_)))
            .await
            .map(|standing| standing.clone())
        {
            Ok(ConsumerStanding::Lost(error)) => error.to_string(),
            // The loader has ended: outputs in the ring are still sent.
            _ => std::future::pending().await,
        }
    };
    let sends = async {
        let mut looks = interval(LOOK);
        let mut states = BTreeMap::new();
        loop {
            tokio::select! {
                frame = ring.next() => match frame {
                    Some(WaitingOutput { begin, payload }) => {
                        let payload = shared.lines.of(payload).await?;
                        writer.send_parts([&begin, &payload, EVENT_END]).await?;
                    }
                    None => return say_farewell(writer, shared).await,
                },
                _ = looks.tick() => tell_of_sources(&mut states, writer, shared).await?,
            }
        }
    };
    let message = tokio::select! {
        () = leaves => return Ok(()),
        sent = sends => return sent,
        message = lost => message,
    };
    writer.send(&RouterAnswer::Bye { reason: Farewell::Lost, message }).await
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
