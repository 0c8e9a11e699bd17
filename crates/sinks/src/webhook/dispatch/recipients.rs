//! State per webhook: its requests under way, and whether the store is to be asked for more.
//! Nothing here waits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::room::{RequestCost, RequestRoom, RequestRooms};
use crate::{
    config::Webhook,
    webhook::store::{DeliveryId, DueDelivery},
};

/// Longest time to an answer with which a webhook is not counted among those that hang.
const PROMPT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct WebhookRecipients {
    all: HashMap<String, WebhookRecipient>,
    /// Webhooks to ask the store about, each once, the longest waiting first.
    queue: VecDeque<String>,
    rooms: RequestRooms,
}

#[derive(Debug, Default)]
struct WebhookRecipient {
    /// `None` if it is not configured any more while something is under way.
    webhook: Option<Arc<Webhook>>,
    under_way: HashMap<DeliveryId, TakenCost>,
    /// Time at which its next delivery is due, if that is in the future.
    wake: Option<Timestamp>,
    /// True while its name is in the queue, so that it is queued once without a search.
    is_queued: bool,
    /// True if its last request was answered within [`PROMPT`].
    is_prompt: bool,
    /// Number of its concurrent requests that it has lost by not answering.
    lost: usize,
    /// Room that it waits for, if there was too little.
    needs: RequestCost,
}

/// The cost of a request, and the room it was taken from.
#[derive(Clone, Copy, Debug)]
struct TakenCost {
    cost: RequestCost,
    is_prompt: bool,
}

impl WebhookRecipient {
    /// Number of concurrent requests: only one while the webhook hangs.
    fn slots(&self) -> usize {
        let concurrency = self.webhook.as_ref().map_or(1, |webhook| webhook.concurrency);
        concurrency.saturating_sub(self.lost).max(1)
    }

    fn share_is_free(&self) -> bool {
        !self.under_way.values().any(|taken| taken.cost.takes_share())
    }

    /// Updates the state from the time an answer took, or from its absence.
    fn heard(&mut self, answer: Option<Duration>) {
        self.is_prompt = answer.is_some_and(|time| time <= PROMPT);
        self.lost = match answer {
            Some(_) => self.lost.saturating_sub(1),
            None => self.webhook.as_ref().map_or(0, |webhook| webhook.concurrency - 1),
        };
    }
}

/// Parameters of a lookup in the store for one webhook.
#[derive(Debug)]
pub(super) struct StoreLookup {
    pub(super) webhook: Arc<Webhook>,
    pub(super) under_way: HashSet<DeliveryId>,
    pub(super) slots: usize,
    pub(super) share_is_free: bool,
    pub(super) is_prompt: bool,
}

impl WebhookRecipients {
    /// Creates an empty set whose requests may have so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { all: HashMap::new(), queue: VecDeque::new(), rooms: RequestRooms::new(bytes) }
    }

    /// Takes over the configured webhooks, and asks about all of them.
    pub(super) fn set<'a>(&mut self, webhooks: impl Iterator<Item = &'a Arc<Webhook>>) {
        self.all.values_mut().for_each(|recipient| recipient.webhook = None);
        for webhook in webhooks {
            self.all.entry(webhook.name.clone()).or_default().webhook = Some(Arc::clone(webhook));
        }
        self.all.retain(|_, recipient| recipient.webhook.is_some() || !recipient.under_way.is_empty());
        self.queue.retain(|name| self.all.contains_key(name));
        self.ask_all();
    }

    /// Queues a lookup for this webhook.
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

    /// Queues lookups for webhooks with a delivery that is due by now.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.ask_those(|recipient| recipient.wake.is_some_and(|wake| wake <= now));
    }

    fn ask_those(&mut self, which: impl Fn(&WebhookRecipient) -> bool) {
        for (name, recipient) in &mut self.all {
            if !recipient.is_queued && which(recipient) {
                recipient.is_queued = true;
                self.queue.push_back(name.clone());
            }
        }
    }

    /// Earliest time at which a webhook that is not queued is to be asked about.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let sleeping = self.all.values().filter(|recipient| !recipient.is_queued);
        sleeping.filter_map(|recipient| recipient.wake).min()
    }

    /// Takes out the webhooks to ask about now, and the room that there is for them. A webhook at
    /// its limit, or without room, stays queued. One without room is the next to get some: until
    /// then those behind it have no more than their share.
    pub(super) fn looks(&mut self) -> (VecDeque<StoreLookup>, RequestRooms) {
        let mut looks = VecDeque::new();
        let (all, mut rooms) = (&mut self.all, self.rooms);
        self.queue.retain(|name| {
            let Some(recipient) = all.get_mut(name) else { return false };
            let Some(webhook) = &recipient.webhook else { return true };
            let (slots, share_is_free) = (recipient.slots(), recipient.share_is_free());
            if recipient.under_way.len() >= slots {
                return true;
            }
            let room: &mut RequestRoom = rooms.of(recipient.is_prompt);
            if !share_is_free && !room.fits(RequestCost::of(0, false)) {
                return true;
            }
            if !room.fits(recipient.needs) {
                room.close();
                return true;
            }
            let under_way = recipient.under_way.keys().copied().collect();
            let is_prompt = recipient.is_prompt;
            looks.push_back(StoreLookup { webhook: Arc::clone(webhook), under_way, slots, share_is_free, is_prompt });
            recipient.is_queued = false;
            recipient.wake = None;
            recipient.needs = RequestCost::default();
            false
        });
        (looks, rooms)
    }

    pub(super) fn sleep_until(&mut self, name: &str, wake: Option<Timestamp>) {
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.wake = wake;
        }
    }

    /// Queues a webhook again whose due delivery has found no room.
    pub(super) fn wait_for(&mut self, name: &str, needs: RequestCost) {
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.needs = needs;
        }
        self.ask(name);
    }

    pub(super) fn begin(&mut self, name: &str, due: &DueDelivery) {
        if let Some(recipient) = self.all.get_mut(name) {
            let cost = RequestCost::of(due.size, recipient.share_is_free());
            let is_prompt = recipient.is_prompt;
            self.rooms.of(is_prompt).take(cost);
            recipient.under_way.insert(due.id, TakenCost { cost, is_prompt });
        }
    }

    /// Ends a try: `answer` is the time until the answer, `None` if there was none.
    pub(super) fn end(&mut self, name: &str, due: &DueDelivery, answer: Option<Duration>) {
        if let Some(recipient) = self.all.get_mut(name) {
            if let Some(TakenCost { cost, is_prompt }) = recipient.under_way.remove(&due.id) {
                self.rooms.of(is_prompt).give_back(cost);
            }
            recipient.heard(answer);
            if recipient.webhook.is_none() && recipient.under_way.is_empty() {
                self.all.remove(name);
            }
        }
        self.ask(name);
    }

    /// Returns whether something may be due.
    pub(super) fn is_asking(&self) -> bool {
        !self.queue.is_empty()
    }
}
