//! The other side of the control socket: finding a router, and asking it something.

use std::{
    fs::{self, File, TryLockError},
    io,
    time::Duration,
};

use super::{
    Link, Place,
    protocol::{Answer, Line, MAX_ANSWER, PluginStatus, Request, Status},
};
use crate::{event::GivenEvent, recent::Asked};

/// How long a router may take to answer (L84).
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is found where a router's socket should be.
#[derive(Debug)]
pub enum Found {
    Running(Link),
    /// A router runs, but nothing listens: its socket was removed, or it hangs. Holds its process id, if that is known.
    Orphan(Option<u32>),
    NotRunning,
}

/// Looks for a running router.
///
/// # Errors
/// When the state folder can't be read.
pub async fn find(place: &Place) -> io::Result<Found> {
    match Link::connect(&place.socket(), MAX_ANSWER).await {
        Ok(link) => Ok(Found::Running(link)),
        // A socket that nobody listens to, or none: the lock tells whether there is a router.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(if is_locked(place)? { Found::Orphan(pid(place)) } else { Found::NotRunning })
        }
        Err(error) => Err(error),
    }
}

/// Whether a router holds the lock (L87).
///
/// # Errors
/// When the lock can't be tried.
pub fn is_locked(place: &Place) -> io::Result<bool> {
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

/// The process id that the last router left.
pub fn pid(place: &Place) -> Option<u32> {
    fs::read_to_string(place.pid()).ok()?.lines().next()?.parse().ok()
}

/// Asks one thing.
///
/// # Errors
/// When the router does not answer in time, or not as it should.
pub async fn ask(link: &mut Link, request: &Request) -> io::Result<Answer> {
    link.writer.send(request).await?;
    let line = link.reader.next_within(PATIENCE).await?;
    match Line::parse(&line)? {
        Line::Answer(answer) => Ok(answer),
        Line::Event(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "an event where an answer should be")),
    }
}

/// How a router is, with the events that ended last if somebody wants to see them.
///
/// # Errors
/// When the router does not answer in time, or not as it should.
pub async fn status(link: &mut Link, events: Option<Asked>) -> io::Result<Status> {
    match ask(link, &Request::StatusQuery { events }).await? {
        Answer::StatusResponse(status) => Ok(status),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no status where one should be")),
    }
}

/// What a router has loaded.
///
/// # Errors
/// When the router does not answer in time, or not as it should.
pub async fn plugins(link: &mut Link) -> io::Result<Vec<PluginStatus>> {
    match ask(link, &Request::PluginsQuery).await? {
        Answer::PluginsResponse { plugins } => Ok(plugins),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is of an older version")),
    }
}

/// The next event that comes in to a router; `None` when none came for a while.
///
/// # Errors
/// When the router does not answer in time, or not as it should.
pub async fn sample(link: &mut Link) -> io::Result<Option<GivenEvent>> {
    match ask(link, &Request::SampleQuery).await? {
        Answer::SampleResponse { event } => Ok(event),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is of an older version")),
    }
}
