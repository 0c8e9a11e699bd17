//! Asking the server for messages. The client's own stream of pulled messages can lose count of what is under way and
//! then stall for half a minute; here a pull is counted before it is sent, and silence ends the count.

use std::{collections::VecDeque, time::Duration};

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    nats::{Connection, SUBSCRIPTION_CAPACITY},
    source::jetstream::consumer::Consumer,
};

/// How long one pull stays with the server.
const EXPIRES: Duration = Duration::from_secs(10);
/// How often the server shows that it still has a pull.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats and other statuses that may come beside the messages that were asked for.
const STATUSES: u64 = 16;
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Pull {
    connection: Connection,
    subject: String,
    batch: usize,
    inbox: String,
    subscription: Subscriber,
    /// What has come out of the subscription.
    taken: u64,
    /// Taken out of the subscription and not yet wanted, with the tick at which the server last heard of each.
    aside: VecDeque<(Message, u32)>,
    /// Messages asked for and neither received nor called off. Below zero when the server serves a pull that we have
    /// given up: what is counted is corrected by the next silence.
    pending: i64,
    not_before: Option<Instant>,
    wait: Duration,
}

/// What the server has to say about our pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// All is well.
    Fine,
    /// The consumer was deleted.
    Gone,
    /// No server answers for the consumer: it is gone, or nobody leads it now.
    NoResponders,
    /// The request itself is not to the server's liking.
    Refused(String),
}

impl Pull {
    pub(super) async fn new(consumer: &Consumer) -> anyhow::Result<Self> {
        let connection = consumer.connection.clone();
        let inbox = connection.client().new_inbox();
        let subscription = connection.client().subscribe(inbox.clone()).await?;
        Ok(Self {
            subject: consumer.pull_subject(),
            batch: consumer.settings.batch,
            connection,
            inbox,
            subscription,
            taken: 0,
            aside: VecDeque::new(),
            pending: 0,
            not_before: None,
            wait: MIN_WAIT,
        })
    }

    /// Gives the subscription up for a new one. What it still held is kept.
    pub(super) async fn reopen(&mut self, tick: u32) -> anyhow::Result<()> {
        let inbox = self.connection.client().new_inbox();
        let subscription = self.connection.client().subscribe(inbox.clone()).await?;
        self.set_aside(tick);
        self.subscription = subscription;
        self.taken = 0;
        self.inbox = inbox;
        self.forget();
        Ok(())
    }

    /// As [`Self::reopen`] for another consumer: what the old one delivered is void.
    pub(super) async fn start_over(&mut self) -> anyhow::Result<()> {
        self.reopen(0).await?;
        self.aside.clear();
        Ok(())
    }

    /// Takes what has arrived out of the subscription: it has to wait, and the server has to hear that.
    pub(super) fn set_aside(&mut self, tick: u32) {
        while let Some(Some(message)) = self.subscription.next().now_or_never() {
            self.taken += 1;
            if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
                self.aside.push_back((message, tick));
            }
        }
    }

    /// What waits, with the tick at which the server last heard of each.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = (&Message, &mut u32)> {
        self.aside.iter_mut().map(|(message, told)| (&*message, told))
    }

    /// The next message or status is this one again.
    pub(super) fn put_back(&mut self, message: Message, tick: u32) {
        self.aside.push_front((message, tick));
    }

    /// What was asked for does not count any more: the connection or the server has lost it.
    pub(super) fn forget(&mut self) {
        self.pending = 0;
        self.not_before = None;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.pending > 0
    }

    /// Asks for more when little is under way and there is room for it.
    pub(super) async fn ask(&mut self, room: usize) -> anyhow::Result<()> {
        let Some(count) = self.count(room) else { return Ok(()) };
        if self.not_before.is_some_and(|time| time > Instant::now()) {
            return Ok(());
        }
        self.not_before = None;
        let request = json!({
            "batch": count,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        // Before it is sent: messages may arrive before the call returns.
        self.pending += i64::try_from(count).unwrap_or(i64::MAX);
        let client = self.connection.client();
        client.publish_with_reply(self.subject.clone(), self.inbox.clone(), request.to_string().into()).await?;
        Ok(())
    }

    /// How many to ask for now: large pulls, so not until half of one is used up.
    fn count(&self, room: usize) -> Option<usize> {
        let pending = usize::try_from(self.pending).unwrap_or(0);
        let count = room.min(SUBSCRIPTION_CAPACITY / 2).saturating_sub(pending).min(self.batch);
        let is_low = pending <= self.batch / 2;
        let is_worth_it = pending == 0 || count >= self.batch / 4;
        (count > 0 && is_low && is_worth_it).then_some(count)
    }

    /// The next message or status. Cancel safe. `None` when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.aside.pop_front() {
            Some((message, _)) => Some(message),
            None => {
                let message = self.subscription.next().await;
                self.taken += 1;
                message
            }
        }
    }

    /// No more messages, except those that are on their way; [`Self::next`] ends after them.
    ///
    /// The client's own drain forgets the subscription before the server does, and with it what the server sends in
    /// between. So both are told a number of messages after which it ends, and what is missing up to there we send
    /// ourselves.
    pub(super) async fn end(&mut self, tick: u32) -> anyhow::Result<()> {
        self.set_aside(tick);
        let missing = u64::try_from(self.pending).unwrap_or(0) + STATUSES;
        self.subscription.unsubscribe_after(self.taken + missing).await?;
        for _ in 0..missing {
            self.connection.client().publish(self.inbox.clone(), Bytes::new()).await?;
        }
        Ok(())
    }

    /// A message has arrived.
    pub(super) fn received(&mut self) {
        self.pending -= 1;
        self.wait = MIN_WAIT;
    }

    /// A status has arrived instead of a message.
    pub(super) fn status(&mut self, code: StatusCode, message: &Message) -> Status {
        let description = message.description.as_deref().unwrap_or_default();
        let said = |part: &str| description.to_ascii_lowercase().contains(part);
        match code.as_u16() {
            100 => {
                self.wait = MIN_WAIT;
                return Status::Fine;
            }
            503 => {
                self.pending = 0;
                self.back_off();
                return Status::NoResponders;
            }
            _ => {}
        }
        let headers = message.headers.as_ref();
        let rest = headers.and_then(|headers| headers.get("Nats-Pending-Messages"));
        let rest = rest.and_then(|rest| rest.as_str().parse().ok());
        self.pending -= rest.unwrap_or(i64::try_from(self.batch).unwrap_or(i64::MAX));
        match code.as_u16() {
            409 if said("consumer deleted") || said("push based") => Status::Gone,
            409 if said("exceeded") => self.refused(description),
            // Leadership has changed, the server shuts down, a batch is complete: ask again.
            404 | 408 | 409 | 423 => Status::Fine,
            _ => self.refused(description),
        }
    }

    fn refused(&mut self, description: &str) -> Status {
        self.back_off();
        Status::Refused(description.to_owned())
    }

    /// Waits longer before each pull that follows, jittered, until the server answers again.
    fn back_off(&mut self) {
        self.not_before = Some(Instant::now() + self.wait.mul_f64(0.5 + fastrand::f64() / 2.0));
        self.wait = (self.wait * 2).min(MAX_WAIT);
    }
}
