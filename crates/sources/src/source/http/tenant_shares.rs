//! Shares of a listener that many tenants have in common: one that sends more than its rate, or
//! whose events pile up, is told to come again, and the others do not notice.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytestring::ByteString;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

use super::refusal::RequestRefusal;
use crate::{config, event::Event, poison::ignore_poison};

/// Tenants whose rates are remembered at once. Those that have not used theirs up need no memory,
/// so that only as many that send too fast together are too many.
const MAX_TENANTS: usize = 65_536;
/// Time after which to send again if there is no room now.
const NO_ROOM: Duration = Duration::from_secs(1);

pub(super) struct TenantShares {
    rate: Option<TenantRate>,
    inside: InsideCounts,
}

struct TenantRate {
    /// By hashes of tenants, whose names may be long.
    limiter: DefaultKeyedRateLimiter<u64>,
    hasher: RandomState,
    burst: NonZeroU32,
}

/// What each tenant has inside, of those that have something.
type InsideCounts = Arc<Mutex<HashMap<ByteString, TenantUse>>>;

#[derive(Clone, Copy, Debug, Default)]
struct TenantUse {
    events: usize,
    bytes: u64,
}

/// An event's share of its tenant, given back on drop.
#[derive(Debug)]
pub(super) struct TenantPlace {
    inside: InsideCounts,
    tenant: ByteString,
    bytes: u64,
}

impl TenantShares {
    pub(super) fn new(rate: Option<config::RateLimit>) -> Self {
        let rate = rate.map(|config::RateLimit { events, burst }| TenantRate {
            limiter: RateLimiter::keyed(Quota::per_second(events).allow_burst(burst)),
            hasher: RandomState::new(),
            burst,
        });
        Self { rate, inside: Arc::default() }
    }

    /// Checks that no tenant gets more than is then free for the others: one alone has half of the
    /// room, and each that comes later half of the rest.
    pub(super) fn check_room(&self, asking: &[Event], (events, bytes): (usize, u64)) -> Result<(), RequestRefusal> {
        let inside = ignore_poison(self.inside.lock());
        for (tenant, asked) in by_tenant(asking) {
            let own = inside.get(tenant).copied().unwrap_or_default();
            // A tenant without anything inside always gets one event, however large.
            let is_first = own.events == 0 && asked.events == 1;
            if !is_first && (own.events + asked.events > events || own.bytes + asked.bytes > bytes) {
                let message = "this tenant has as many events open as leave room for the others";
                return Err(RequestRefusal::later("no_room", message, NO_ROOM));
            }
        }
        Ok(())
    }

    /// Checks the rates, and uses them up.
    pub(super) fn check_rate(&self, asking: &[Event]) -> Result<(), RequestRefusal> {
        let Some(TenantRate { limiter, hasher, burst }) = &self.rate else { return Ok(()) };
        for (tenant, asked) in by_tenant(asking) {
            let Some(count) = u32::try_from(asked.events).ok().and_then(NonZeroU32::new) else { continue };
            if limiter.len() >= MAX_TENANTS {
                limiter.retain_recent();
                if limiter.len() >= MAX_TENANTS {
                    return Err(RequestRefusal::later("rate", "too many tenants send at once", NO_ROOM));
                }
            }
            match limiter.check_key_n(&hasher.hash_one(tenant), count) {
                Ok(Ok(())) => {}
                Ok(Err(early)) => {
                    let wait = early.wait_time_from(limiter.clock().now());
                    let message = "events of this tenant come faster than the rate that is set for each";
                    return Err(RequestRefusal::later("rate", message, wait));
                }
                Err(_) => {
                    let message =
                        format!("the request has {count} events of a tenant, of which {burst} may come at once");
                    return Err(RequestRefusal::too_large("too_many", message));
                }
            }
        }
        Ok(())
    }

    /// Counts an event as inside.
    pub(super) fn enter(&self, event: &Event) -> TenantPlace {
        let (tenant, bytes) = (ByteString::from(event.tenant().unwrap_or_default()), event.size());
        let mut inside = ignore_poison(self.inside.lock());
        let own = inside.entry(tenant.clone()).or_default();
        own.events += 1;
        own.bytes += bytes;
        TenantPlace { inside: Arc::clone(&self.inside), tenant, bytes }
    }
}

impl Drop for TenantPlace {
    fn drop(&mut self) {
        let mut inside = ignore_poison(self.inside.lock());
        if let Some(own) = inside.get_mut(&self.tenant) {
            own.events -= 1;
            own.bytes -= self.bytes;
            if own.events == 0 {
                inside.remove(&self.tenant);
            }
        }
    }
}

/// Events and bytes of a request, by tenant; those without one together.
fn by_tenant(asking: &[Event]) -> BTreeMap<&str, TenantUse> {
    let mut asked = BTreeMap::<_, TenantUse>::new();
    for event in asking {
        let one = asked.entry(event.tenant().unwrap_or_default()).or_default();
        one.events += 1;
        one.bytes += event.size();
    }
    asked
}
