//! Who is sent to: what is under way to each webhook, and when the store is to be asked for more. Nothing here waits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    config::Webhook,
    webhook::store::{DeliveryId, Due},
};

/// Bytes that may be under way to all of them.
const ROOM: u64 = 64 << 20;
/// What a request counts for at least: it has a connection too.
const LEAST: u64 = 128 << 10;

#[derive(Debug, Default)]
pub(super) struct Recipients {
    all: HashMap<String, Recipient>,
    /// Those that the store is to be asked about, each once, who has waited longest first.
    queue: VecDeque<String>,
    /// Bytes under way.
    taken: u64,
}

#[derive(Debug, Default)]
struct Recipient {
    /// `None` when it is not configured any more while something is under way.
    webhook: Option<Arc<Webhook>>,
    under_way: HashSet<DeliveryId>,
    /// When something is due for it that is not yet.
    wake: Option<Timestamp>,
    is_queued: bool,
}

/// What to ask the store about a webhook.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) webhook: Arc<Webhook>,
    pub(super) under_way: HashSet<DeliveryId>,
}

impl Recipients {
    /// Takes over the webhooks that there are now, and asks about all of them.
    pub(super) fn set<'a>(&mut self, webhooks: impl Iterator<Item = &'a Arc<Webhook>>) {
        self.all.values_mut().for_each(|recipient| recipient.webhook = None);
        for webhook in webhooks {
            self.all.entry(webhook.name.clone()).or_default().webhook = Some(Arc::clone(webhook));
        }
        self.all.retain(|_, recipient| recipient.webhook.is_some() || !recipient.under_way.is_empty());
        self.queue.retain(|name| self.all.contains_key(name));
        self.ask_all();
    }

    /// There may be something for this one.
    pub(super) fn ask(&mut self, name: &str) {
        if let Some(recipient) = self.all.get_mut(name)
            && !mem::replace(&mut recipient.is_queued, true)
        {
            self.queue.push_back(name.to_owned());
        }
    }

    pub(super) fn ask_all(&mut self) {
        self.ask_those(|_| true);
    }

    /// Asks about those for whom something is due by now.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.ask_those(|recipient| recipient.wake.is_some_and(|wake| wake <= now));
    }

    fn ask_those(&mut self, which: impl Fn(&Recipient) -> bool) {
        for (name, recipient) in &mut self.all {
            if !recipient.is_queued && which(recipient) {
                recipient.is_queued = true;
                self.queue.push_back(name.clone());
            }
        }
    }

    /// When the next one is to be asked about, of those that are not yet.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let sleeping = self.all.values().filter(|recipient| !recipient.is_queued);
        sleeping.filter_map(|recipient| recipient.wake).min()
    }

    /// Takes out whom to ask about now. Who has its fill stays: it is asked about when something of it has ended.
    pub(super) fn looks(&mut self) -> VecDeque<Look> {
        let mut looks = VecDeque::new();
        if self.room() < LEAST {
            return looks;
        }
        let all = &mut self.all;
        self.queue.retain(|name| {
            let Some(recipient) = all.get_mut(name) else { return false };
            let Some(webhook) = &recipient.webhook else { return true };
            if recipient.under_way.len() >= webhook.concurrency {
                return true;
            }
            recipient.is_queued = false;
            recipient.wake = None;
            looks.push_back(Look { webhook: Arc::clone(webhook), under_way: recipient.under_way.clone() });
            false
        });
        looks
    }

    /// Bytes that may still be sent.
    pub(super) fn room(&self) -> u64 {
        ROOM.saturating_sub(self.taken)
    }

    pub(super) fn sleep_until(&mut self, name: &str, wake: Option<Timestamp>) {
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.wake = wake;
        }
    }

    pub(super) fn begin(&mut self, name: &str, due: &Due) {
        self.taken += cost(due);
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.under_way.insert(due.id);
        }
    }

    pub(super) fn end(&mut self, name: &str, due: &Due) {
        self.taken = self.taken.saturating_sub(cost(due));
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.under_way.remove(&due.id);
            if recipient.webhook.is_none() && recipient.under_way.is_empty() {
                self.all.remove(name);
            }
        }
        self.ask(name);
    }

    /// Whether there may be something that is due.
    pub(super) fn is_asking(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// What a delivery counts for. The largest ones find room when nothing else is under way.
pub(super) fn cost(due: &Due) -> u64 {
    u64::from(due.size).clamp(LEAST, ROOM)
}
