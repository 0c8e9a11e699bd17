//! Who is sent to: what is under way to each webhook, and when the store is to be asked for more. Nothing here waits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::room::{Cost, Room, Rooms};
use crate::{
    config::Webhook,
    webhook::store::{DeliveryId, Due},
};

/// How soon a webhook answers that is not counted among those that hang.
const PROMPT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Recipients {
    all: HashMap<String, Recipient>,
    /// Those that the store is to be asked about, each once, who has waited longest first.
    queue: VecDeque<String>,
    rooms: Rooms,
}

#[derive(Debug, Default)]
struct Recipient {
    /// `None` when it is not configured any more while something is under way.
    webhook: Option<Arc<Webhook>>,
    under_way: HashMap<DeliveryId, Taken>,
    /// When something is due for it that is not yet.
    wake: Option<Timestamp>,
    is_queued: bool,
    /// Whether it has answered soon enough when it was last sent something.
    is_prompt: bool,
    /// Of its requests at once, those that it has lost by not answering.
    lost: usize,
    /// What it waits for, when there was no room for it.
    needs: Cost,
}

/// What a request has taken, and out of which room.
#[derive(Clone, Copy, Debug)]
struct Taken {
    cost: Cost,
    is_prompt: bool,
}

impl Recipient {
    /// Requests at once. One that hangs is tried by one at a time.
    fn slots(&self) -> usize {
        let concurrency = self.webhook.as_ref().map_or(1, |webhook| webhook.concurrency);
        concurrency.saturating_sub(self.lost).max(1)
    }

    fn share_is_free(&self) -> bool {
        !self.under_way.values().any(|taken| taken.cost.takes_share())
    }

    /// Learns from how long an answer took, or that there was none.
    fn heard(&mut self, answer: Option<Duration>) {
        self.is_prompt = answer.is_some_and(|time| time <= PROMPT);
        self.lost = match answer {
            Some(_) => self.lost.saturating_sub(1),
            None => self.webhook.as_ref().map_or(0, |webhook| webhook.concurrency - 1),
        };
    }
}

/// What to ask the store about a webhook.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) webhook: Arc<Webhook>,
    pub(super) under_way: HashSet<DeliveryId>,
    pub(super) slots: usize,
    pub(super) share_is_free: bool,
    pub(super) is_prompt: bool,
}

impl Recipients {
    /// None yet. Their requests may have so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { all: HashMap::new(), queue: VecDeque::new(), rooms: Rooms::new(bytes) }
    }

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

    /// Takes out whom to ask about now, and the room that there is for them. Who has its fill, or finds no room, stays,
    /// and who finds none is the next to get some: those behind have no more than their share until then.
    pub(super) fn looks(&mut self) -> (VecDeque<Look>, Rooms) {
        let mut looks = VecDeque::new();
        let (all, mut rooms) = (&mut self.all, self.rooms);
        self.queue.retain(|name| {
            let Some(recipient) = all.get_mut(name) else { return false };
            let Some(webhook) = &recipient.webhook else { return true };
            let (slots, share_is_free) = (recipient.slots(), recipient.share_is_free());
            if recipient.under_way.len() >= slots {
                return true;
            }
            let room: &mut Room = rooms.of(recipient.is_prompt);
            if !share_is_free && !room.fits(Cost::of(0, false)) {
                return true;
            }
            if !room.fits(recipient.needs) {
                room.close();
                return true;
            }
            let under_way = recipient.under_way.keys().copied().collect();
            let is_prompt = recipient.is_prompt;
            looks.push_back(Look { webhook: Arc::clone(webhook), under_way, slots, share_is_free, is_prompt });
            recipient.is_queued = false;
            recipient.wake = None;
            recipient.needs = Cost::default();
            false
        });
        (looks, rooms)
    }

    pub(super) fn sleep_until(&mut self, name: &str, wake: Option<Timestamp>) {
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.wake = wake;
        }
    }

    /// There is no room yet for what is due for it.
    pub(super) fn wait_for(&mut self, name: &str, needs: Cost) {
        if let Some(recipient) = self.all.get_mut(name) {
            recipient.needs = needs;
        }
        self.ask(name);
    }

    pub(super) fn begin(&mut self, name: &str, due: &Due) {
        if let Some(recipient) = self.all.get_mut(name) {
            let cost = Cost::of(due.size, recipient.share_is_free());
            let is_prompt = recipient.is_prompt;
            self.rooms.of(is_prompt).take(cost);
            recipient.under_way.insert(due.id, Taken { cost, is_prompt });
        }
    }

    /// A try has ended, with an answer after so long or without any.
    pub(super) fn end(&mut self, name: &str, due: &Due, answer: Option<Duration>) {
        if let Some(recipient) = self.all.get_mut(name) {
            if let Some(Taken { cost, is_prompt }) = recipient.under_way.remove(&due.id) {
                self.rooms.of(is_prompt).give_back(cost);
            }
            recipient.heard(answer);
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
