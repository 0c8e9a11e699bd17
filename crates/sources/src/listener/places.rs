//! Places of connections. If none is left, a connection that keeps us waiting has to leave for the
//! next: at the address that has the most, the one that has been waited for longest.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{ClientPatience, ListenerLimits};
use crate::{metrics::ConnectionMetrics, poison::ignore_poison};

/// Shortest time that a connection keeps its place: a request is on its way.
const GRACE: Duration = Duration::from_secs(1);
/// Time after which a connection that still waits for a place has another one leave.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct ConnectionPlaces {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<TakenPlaces>>,
    metrics: Arc<ConnectionMetrics>,
}

#[derive(Default)]
struct TakenPlaces {
    all: HashMap<u64, (IpAddr, ClientPatience)>,
    /// Number of the next place.
    next: u64,
}

/// Place of a connection, which is free again once this is dropped.
pub(super) struct ConnectionPlace {
    number: u64,
    taken: Arc<Mutex<TakenPlaces>>,
    metrics: Arc<ConnectionMetrics>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionPlaces {
    pub(super) fn new(count: usize, metrics: Arc<ConnectionMetrics>) -> Self {
        metrics.limit.set(i64::try_from(count).unwrap_or(i64::MAX));
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default(), metrics }
    }

    /// Waits for a place, and begins the time limit of the connection that gets it. Cancel safe.
    pub(super) async fn take(&self, address: IpAddr, limits: ListenerLimits) -> (ConnectionPlace, ClientPatience) {
        let permit = loop {
            if self.free.available_permits() == 0 {
                self.make_room();
            }
            // The semaphore is never closed, so there always is a place in the end.
            if let Ok(permit) = timeout(PAUSE, Arc::clone(&self.free).acquire_owned()).await {
                break permit.ok();
            }
        };
        let patience = ClientPatience::new(limits);
        let mut taken = lock(&self.taken);
        let number = taken.next;
        taken.next += 1;
        taken.all.insert(number, (network(address), patience.clone()));
        self.metrics.open.inc();
        let (taken, metrics) = (Arc::clone(&self.taken), Arc::clone(&self.metrics));
        (ConnectionPlace { number, taken, metrics, _permit: permit }, patience)
    }

    fn make_room(&self) {
        let taken = lock(&self.taken);
        let mut count = HashMap::<IpAddr, usize>::new();
        taken.all.values().for_each(|(address, _)| *count.entry(*address).or_default() += 1);
        let now = Instant::now();
        let waited = |(address, patience): &'_ (IpAddr, ClientPatience)| {
            let waited = now.saturating_duration_since(patience.since()?);
            (waited >= GRACE).then(|| ((count.get(address).copied(), waited), patience.clone()))
        };
        let longest = taken.all.values().filter_map(waited).max_by_key(|(rank, _)| *rank);
        if let Some((_, patience)) = longest {
            patience.end();
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        lock(&self.taken).all.remove(&self.number);
        self.metrics.open.dec();
    }
}

fn lock(taken: &Mutex<TakenPlaces>) -> MutexGuard<'_, TakenPlaces> {
    ignore_poison(taken.lock())
}

/// Returns the network that counts as one client: for IPv6 the first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const LIMITS: ListenerLimits = ListenerLimits { connections: 4, head: HOUR, idle: HOUR, max_head: 1 };

    /// Returns whether its connection would have to leave.
    fn is_over(patience: &ClientPatience) -> bool {
        patience.until(futures_util::task::noop_waker_ref()).is_some_and(|until| until <= Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_and_is_waited_for_longest_has_to_leave() {
        let (many, few) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let metrics = Arc::<ConnectionMetrics>::default();
        let places = ConnectionPlaces::new(4, Arc::clone(&metrics));
        let mut kept = Vec::new();
        for address in [few, many, many, many] {
            kept.push(places.take(address, LIMITS).await);
            advance(Duration::from_millis(10)).await;
        }
        // A connection that is worked for stays, though it is the oldest of its address.
        let worked = kept[1].1.clone().suspend();
        let mut next = Box::pin(places.take(few, LIMITS));
        assert!((&mut next).now_or_never().is_none());
        advance(Duration::from_millis(500)).await;
        assert!((&mut next).now_or_never().is_none());
        assert!(kept.iter().all(|(_, patience)| !is_over(patience)), "within its grace");
        advance(GRACE).await;
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(kept.iter().map(|(_, patience)| is_over(patience)).collect::<Vec<_>>(), [false, false, true, false]);
        assert_eq!((metrics.open.get(), metrics.limit.get()), (4, 4));
        drop(kept.remove(2));
        assert_eq!(metrics.open.get(), 3);
        next.await;
        drop(worked);
    }

    #[test]
    fn an_address_is_what_one_client_has() {
        for (address, expected) in
            [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
        {
            assert_eq!(network(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
