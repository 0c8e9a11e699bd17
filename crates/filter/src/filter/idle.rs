//! Idle instances, kept for the key that used them.

use std::sync::Arc;

use super::instance::GuestInstance;
use crate::config::InstanceScope;

/// Most idle instances of one filter whose keys take turns; for another key an instance is made
/// anew, which takes microseconds.
const MAX_IDLE: usize = 32;

/// Idle instances of one filter. An instance is reused only for the same key, as the guest may
/// remember that key's events, unless the keys share instances.
pub(super) struct IdleInstances<T = GuestInstance> {
    are_shared: bool,
    /// Sorted by use, the most recent last.
    instances: Vec<(Arc<str>, T)>,
}

impl<T> IdleInstances<T> {
    pub(super) fn new(instances: InstanceScope) -> Self {
        Self { are_shared: instances == InstanceScope::Filter, instances: Vec::new() }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<T> {
        let fits = |(of, _): &(Arc<str>, T)| self.are_shared || **of == *key;
        let position = self.instances.iter().rposition(fits)?;
        Some(self.instances.remove(position).1)
    }

    /// Keeps an instance. Beyond the limit, drops the instance of another key that has waited
    /// longest.
    pub(super) fn put_back(&mut self, key: &Arc<str>, instance: T) {
        if self.instances.len() >= MAX_IDLE
            && !self.are_shared
            && let Some(position) = self.instances.iter().position(|(of, _)| of != key)
        {
            self.instances.remove(position);
        }
        self.instances.push((Arc::clone(key), instance));
    }

    /// Drops all instances. Returns whether there were any.
    pub(super) fn clear(&mut self) -> bool {
        let had_some = !self.instances.is_empty();
        self.instances.clear();
        had_some
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &T> {
        self.instances.iter().map(|(_, instance)| instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn an_instance_serves_the_key_that_it_served_before() {
        let mut idle = IdleInstances::new(InstanceScope::Key);
        idle.put_back(&key("a"), 1);
        idle.put_back(&key("b"), 2);
        idle.put_back(&key("a"), 3);
        assert_eq!(idle.take("c"), None);
        assert_eq!((idle.take("a"), idle.take("a"), idle.take("a")), (Some(3), Some(1), None));
        assert_eq!(idle.take("b"), Some(2));
    }

    #[test]
    fn shared_instances_serve_any_key() {
        let mut idle = IdleInstances::new(InstanceScope::Filter);
        idle.put_back(&key("a"), 1);
        assert_eq!(idle.take("b"), Some(1));
    }

    #[test]
    fn keys_that_take_turns_leave_a_bounded_number_behind() {
        let mut idle = IdleInstances::new(InstanceScope::Key);
        for number in 0..1000 {
            idle.put_back(&key(&number.to_string()), number);
        }
        assert_eq!(idle.all().len(), MAX_IDLE);
        assert_eq!((idle.take("967"), idle.take("968")), (None, Some(968)));
        // A key with many workers has as many as it needs.
        for number in 0..100 {
            idle.put_back(&key("busy"), number);
        }
        assert_eq!(idle.all().len(), 100);
        assert!(idle.clear() && !idle.clear());
    }
}
