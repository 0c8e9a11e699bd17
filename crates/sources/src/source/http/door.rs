//! Admission by room and by rate. A request gets a place for each of its events, or none.

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, clock::Clock as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    refusal::RequestRefusal,
    tenant_shares::{TenantPlace, TenantShares},
    work::TakenEvent,
};
use crate::{config, event::Event, pause::PauseSwitch, pipeline::KeyShares};

/// Time after which to send again if there is no room now.
const NO_ROOM: Duration = Duration::from_secs(1);

/// An event's share of what the source may have open, given back on drop.
#[derive(Debug)]
pub(super) struct EventPlace {
    _event: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _tenant: Option<TenantPlace>,
}

pub(super) struct RequestAdmission {
    events: PlaceGate,
    bytes: PlaceGate,
    /// Bytes of bodies that are read and have no place yet.
    reading: PlaceGate,
    rate: Option<RateGate>,
    /// Shares of the tenants, where they share the listener.
    tenants: Option<TenantShares>,
    /// Shares of the keys; unset before the source runs, and where events are stored and not taken.
    shares: OnceLock<KeyShares>,
    /// Switch of an operator; unset before the source runs.
    switch: OnceLock<Arc<PauseSwitch>>,
    /// Channel to the worker. It is closed once the drain has begun.
    inside: mpsc::WeakSender<Vec<TakenEvent>>,
}

struct PlaceGate {
    places: Arc<Semaphore>,
    all: u32,
}

struct RateGate {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
}

impl RequestAdmission {
    pub(super) fn new(
        (pipeline, bodies): (config::PipelineConfig, usize),
        rate: Option<config::RateLimit>,
        inside: mpsc::WeakSender<Vec<TakenEvent>>,
    ) -> Self {
        let rate = rate.map(|config::RateLimit { events, burst }| {
            let limiter = DefaultDirectRateLimiter::direct(Quota::per_second(events).allow_burst(burst));
            RateGate { limiter, burst }
        });
        let (bytes, reading) = (PlaceGate::new(pipeline.in_flight_bytes), PlaceGate::new(bodies as u64));
        let (shares, switch) = (OnceLock::new(), OnceLock::new());
        Self {
            events: PlaceGate::new(pipeline.in_flight.get() as u64),
            bytes,
            reading,
            rate,
            tenants: None,
            shares,
            switch,
            inside,
        }
    }

    /// Keeps each tenant from taking what the others need.
    pub(super) fn shared_by_tenants(self, rate: Option<config::RateLimit>) -> Self {
        Self { tenants: Some(TenantShares::new(rate)), ..self }
    }

    /// Limits each key to its share of the room.
    pub(super) fn share(&self, shares: KeyShares) {
        // A source runs once.
        let _ = self.shares.set(shares);
    }

    /// Lets nothing in while an operator has paused the source.
    pub(super) fn obey(&self, switch: Arc<PauseSwitch>) {
        // A source runs once.
        let _ = self.switch.set(switch);
    }

    /// Most events that a request may ever hold.
    pub(super) fn most(&self) -> usize {
        self.events.all as usize
    }

    /// Reserves room for a part of a body that has come in.
    pub(super) fn read(&self, part: usize) -> Result<OwnedSemaphorePermit, RequestRefusal> {
        let room = u32::try_from(part).ok().and_then(|part| self.reading.places(part));
        room.ok_or_else(|| RequestRefusal::later("no_room", "the router reads as much at once as it may", NO_ROOM))
    }

    /// Reserves a place for each event: for all or for none.
    pub(super) fn admit(&self, asking: &[Event]) -> Result<Vec<EventPlace>, RequestRefusal> {
        if self.switch.get().is_some_and(|switch| switch.is_on()) {
            return Err(RequestRefusal::paused());
        }
        let count = u32::try_from(asking.len()).unwrap_or(u32::MAX);
        let total = asking.iter().fold(0, |total: u32, event| total.saturating_add(bytes(event)));
        if count > self.events.all {
            return Err(RequestRefusal::too_many(self.most()));
        }
        if total > self.bytes.all {
            let message = format!("the request has {total} bytes, and the router takes {} at once", self.bytes.all);
            return Err(RequestRefusal::too_large("too_large", message));
        }
        let in_use = (self.inside(), self.bytes.in_use());
        let exceeded = |event| self.shares.get()?.exceeded(event, in_use);
        if let Some(key) = asking.iter().find_map(exceeded) {
            let message = format!("key `{}` lets as many events wait as it may", key.name);
            return Err(RequestRefusal::later("no_room", message, NO_ROOM));
        }
        if let Some(tenants) = &self.tenants {
            tenants.check_room(asking, (self.most() - self.inside(), self.bytes.free()))?;
        }
        let mut events = self.events.places(count).ok_or_else(no_room)?;
        let mut all_bytes = self.bytes.places(total).ok_or_else(no_room)?;
        // Last: a request without room must not use up the rate.
        if let Some(rate) = &self.rate {
            rate.check(count)?;
        }
        if let Some(tenants) = &self.tenants {
            tenants.check_rate(asking)?;
        }
        let place = |event| {
            let _tenant = self.tenants.as_ref().map(|tenants| tenants.enter(event));
            Some(EventPlace { _event: events.split(1)?, _bytes: all_bytes.split(bytes(event) as usize)?, _tenant })
        };
        asking.iter().map(place).collect::<Option<_>>().ok_or_else(no_room)
    }

    /// Hands over events that have their places. On an error none is taken.
    pub(super) fn enter(&self, taken: Vec<TakenEvent>) -> Result<(), RequestRefusal> {
        let inside = self.inside.upgrade().ok_or_else(RequestRefusal::stopping)?;
        inside.try_send(taken).map_err(|_| RequestRefusal::stopping())
    }

    /// Resolves when nothing is inside.
    pub(super) async fn all_left(&self) {
        // Never closed.
        let _ = self.events.places.acquire_many(self.events.all).await;
    }

    /// Number of events inside.
    pub(super) fn inside(&self) -> usize {
        self.most() - self.events.places.available_permits()
    }
}

/// Size of an event. One that is larger than a gate can count never gets through.
fn bytes(event: &Event) -> u32 {
    u32::try_from(event.size()).unwrap_or(u32::MAX)
}

impl PlaceGate {
    fn new(all: u64) -> Self {
        let all = u32::try_from(all).unwrap_or(u32::MAX).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { places: Arc::new(Semaphore::new(all as usize)), all }
    }

    fn in_use(&self) -> u64 {
        u64::from(self.all).saturating_sub(self.free())
    }

    fn free(&self) -> u64 {
        self.places.available_permits() as u64
    }

    fn places(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_many_owned(count).ok()
    }
}

impl RateGate {
    fn check(&self, count: u32) -> Result<(), RequestRefusal> {
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => {
                let wait = early.wait_time_from(self.limiter.clock().now());
                Err(RequestRefusal::later("rate", "events come faster than the rate that is set here", wait))
            }
            Err(_) => {
                let message = format!("the request has {count} events, and at most {} may come at once", self.burst);
                Err(RequestRefusal::too_large("too_many", message))
            }
        }
    }
}

fn no_room() -> RequestRefusal {
    RequestRefusal::later("no_room", "the router has as many events open as it may", NO_ROOM)
}
