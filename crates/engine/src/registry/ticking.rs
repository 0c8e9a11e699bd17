//! Routes whose filter is called by the clock.

use std::{sync::Arc, time::Duration};

use super::Snapshot;

/// A route, by the names of its key and its own.
pub type RouteName = (Arc<str>, Arc<str>);

/// Returns the routes whose filter ticks, with the interval; none of a key that is paused.
pub fn ticking(snapshot: &Snapshot) -> impl Iterator<Item = (RouteName, Duration)> {
    let keys = snapshot.keys().filter(|key| !key.is_paused);
    let keys = keys.filter_map(|key| Some((key, key.filter.as_ref()?.manifest().interval?)));
    keys.flat_map(|(key, interval)| {
        key.routes.iter().map(move |route| ((Arc::clone(&key.name), Arc::clone(&route.name)), interval))
    })
}
