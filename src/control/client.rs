//! The client side of the control socket: finding a router, and sending it a request.

use std::{
    fs::{self, File, TryLockError},
    io,
    time::Duration,
};

use super::{
    ControlLink, SocketPlace,
    operation::{Operation, OperationRefusal, OperationResult},
    plane::RELOAD,
    protocol::{ControlRequest, MAX_ANSWER, PluginStatus, RouterAnswer, RouterLine, RouterStatus},
};
use crate::{event::GivenEvent, recent::RecentQuery};

/// Longest wait for a router's answer (L84).
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a change: the router itself ends a wait that is longer.
const OPERATION: Duration = RELOAD.saturating_add(PATIENCE);

/// Result of looking for a router at its socket.
#[derive(Debug)]
pub enum RouterLookup {
    Running(ControlLink),
    /// A router runs without listening: its socket was removed, or it hangs. Holds its process id,
    /// if that is known.
    Orphan(Option<u32>),
    NotRunning,
}

/// Looks for a running router.
///
/// # Errors
/// If the state folder can't be read.
pub async fn find(place: &SocketPlace) -> io::Result<RouterLookup> {
    match ControlLink::connect(&place.socket(), MAX_ANSWER).await {
        Ok(link) => Ok(RouterLookup::Running(link)),
        // There is no socket or no listener: the lock tells whether a router runs.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(if is_locked(place)? { RouterLookup::Orphan(pid(place)) } else { RouterLookup::NotRunning })
        }
        Err(error) => Err(error),
    }
}

/// Returns whether a router holds the lock (L87).
///
/// # Errors
/// Returns an error if the lock can't be tried.
pub fn is_locked(place: &SocketPlace) -> io::Result<bool> {
    let file = match File::open(place.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process id in the file of the last router.
pub fn pid(place: &SocketPlace) -> Option<u32> {
    fs::read_to_string(place.pid()).ok()?.lines().next()?.parse().ok()
}

/// Sends one request.
///
/// # Errors
/// Returns an error if the router does not answer in time, or with something else than an answer.
pub async fn ask(link: &mut ControlLink, request: &ControlRequest) -> io::Result<RouterAnswer> {
    link.writer.send(request).await?;
    answer(link, PATIENCE).await
}

async fn answer(link: &mut ControlLink, patience: Duration) -> io::Result<RouterAnswer> {
    let line = link.reader.next_within(patience).await?;
    match RouterLine::parse(&line)? {
        RouterLine::Answer(answer) => Ok(answer),
        RouterLine::Event(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "an event where an answer should be")),
    }
}

fn older() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is of an older version")
}

/// Status of a router, with the most recently ended events if `events` asks for them.
///
/// # Errors
/// Returns an error if the router does not answer in time, or not with a status.
pub async fn status(link: &mut ControlLink, events: Option<RecentQuery>) -> io::Result<RouterStatus> {
    match ask(link, &ControlRequest::StatusQuery { events }).await? {
        RouterAnswer::StatusResponse(status) => Ok(status),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no status where one should be")),
    }
}

/// Components that a router has loaded.
///
/// # Errors
/// Returns an error if the router does not answer in time, or not with components.
pub async fn plugins(link: &mut ControlLink) -> io::Result<Vec<PluginStatus>> {
    match ask(link, &ControlRequest::PluginsQuery).await? {
        RouterAnswer::PluginsResponse { plugins } => Ok(plugins),
        _ => Err(older()),
    }
}

/// Has an operation carried out, which may take as long as a reload.
///
/// # Errors
/// Returns an error if the router does not answer in time, or not as it should.
pub async fn operate(
    link: &mut ControlLink,
    operation: Operation,
) -> io::Result<Result<OperationResult, OperationRefusal>> {
    link.writer.send(&ControlRequest::Operate { operation }).await?;
    match answer(link, OPERATION).await {
        Ok(RouterAnswer::Operated { result }) => Ok(Ok(result)),
        Ok(RouterAnswer::Refused(refusal)) => Ok(Err(refusal)),
        Ok(_) => Err(older()),
        // A router that does not know the request ends the connection.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(older()),
        Err(error) => Err(error),
    }
}

/// Begins a drain. [`drain_news`] then tells of it.
///
/// # Errors
/// Returns an error if the router does not take the request.
pub async fn begin_drain(link: &mut ControlLink) -> io::Result<()> {
    link.writer.send(&ControlRequest::Drain).await
}

/// The next news of a drain.
///
/// # Errors
/// Returns an error if the router does not answer in time, or not as it should.
pub async fn drain_news(link: &mut ControlLink) -> io::Result<RouterAnswer> {
    match answer(link, PATIENCE).await? {
        news @ (RouterAnswer::Draining { .. } | RouterAnswer::Drained { .. }) => Ok(news),
        _ => Err(older()),
    }
}

/// The next event that comes in to a router; `None` if none came for a while.
///
/// # Errors
/// Returns an error if the router does not answer in time, or not with a sample.
pub async fn sample(link: &mut ControlLink) -> io::Result<Option<GivenEvent>> {
    match ask(link, &ControlRequest::SampleQuery).await? {
        RouterAnswer::SampleResponse { event } => Ok(event),
        _ => Err(older()),
    }
}
