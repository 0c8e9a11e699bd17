//! Pulls of messages from the server. The client's own stream of pulled messages can lose count of
//! what is under way and then stall for half a minute; here a pull is counted before it is sent,
//! and silence resets the count.

use std::{collections::VecDeque, time::Duration};

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    nats::{Connection, SUBSCRIPTION_CAPACITY},
    source::jetstream::{
        consumer::{AckPolicy, DurableConsumer, PullLimits},
        pin::ConsumerPin,
    },
};

/// Time for which one pull stays with the server.
pub(super) const EXPIRES: Duration = Duration::from_secs(10);
/// Interval at which the server shows that it still has a pull.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats and other statuses that may come beside the messages that were asked for.
const STATUSES: u64 = 16;
/// Most bytes asked for: a server disconnects a client that leaves 64 MiB unread.
const MOST_BYTES: u64 = 32 << 20;
/// Assumed size of a message before any has come, with its subjects and headers.
const USUAL_BYTES: u64 = 4 << 10;
/// Waits before another pull while the server refuses them.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

pub(super) struct MessagePull {
    connection: Connection,
    subject: String,
    batch: usize,
    expires: Duration,
    most_bytes: u64,
    inbox: String,
    subscription: Subscriber,
    /// True once the client has ended: nothing more comes.
    has_ended: bool,
    /// Number of messages and statuses taken out of the subscription.
    taken: u64,
    /// Messages taken out of the subscription and not yet wanted, with the tick at which the server
    /// was last told of each.
    aside: VecDeque<(Message, u32)>,
    /// Messages asked for and neither received nor called off. Negative if the server serves a pull
    /// that we have given up: the next silence corrects the count.
    pending: i64,
    /// Bytes that these may still bring; at least what they do bring.
    pending_bytes: u64,
    /// Recent average size of a message.
    usual_bytes: u64,
    /// True if a message has come since the last pull was sent.
    brought: bool,
    /// True if the next message is larger than what a pull may bring: it is asked for alone,
    /// whatever its size.
    is_oversized: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// Last reason with which the server refused a pull, and how often in a row.
    refusal: (String, u32),
    /// `None` if the consumer is not one that is pinned.
    pub(super) pin: Option<ConsumerPin>,
}

/// Status of our pulls, by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PullStatus {
    /// Nothing is wrong.
    Fine,
    /// The consumer was deleted.
    Gone,
    /// The consumer is not pinned to this client any more.
    Unpinned,
    /// No server answers for the consumer: it is gone, or has no leader now.
    NoResponders,
    /// The server refuses the request itself, so many times in a row.
    Refused(String, u32),
}

/// Returns whether it is a status of the server's: a message may have a status header of its own.
pub(super) fn is_status(message: &Message) -> bool {
    message.status.is_some() && message.reply.is_none()
}

impl MessagePull {
    pub(super) async fn new(consumer: &DurableConsumer, limits: PullLimits) -> anyhow::Result<Self> {
        let connection = consumer.connection.clone();
        let inbox = connection.client().new_inbox();
        let subscription = connection.client().subscribe(inbox.clone()).await?;
        let mut pull = Self {
            subject: consumer.pull_subject(),
            batch: consumer.settings.batch,
            expires: EXPIRES,
            most_bytes: MOST_BYTES,
            connection,
            inbox,
            subscription,
            has_ended: false,
            taken: 0,
            aside: VecDeque::new(),
            pending: 0,
            pending_bytes: 0,
            usual_bytes: USUAL_BYTES,
            brought: false,
            is_oversized: false,
            not_before: None,
            backoff: BACKOFF,
            refusal: Default::default(),
            pin: (consumer.acks == AckPolicy::PinnedPrefix).then(ConsumerPin::new),
        };
        pull.keep_to(consumer, limits);
        Ok(pull)
    }

    /// Limits requests to what the consumer allows of one pull.
    pub(super) fn keep_to(&mut self, consumer: &DurableConsumer, limits: PullLimits) {
        self.batch = consumer.settings.batch.min(limits.batch);
        self.expires = EXPIRES.min(limits.expires);
        self.most_bytes = MOST_BYTES.min(limits.bytes);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Replaces the subscription by a new one. Messages that it still held are kept.
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

    /// Takes over the messages, the averages and the pin of a pull whose client has ended.
    pub(super) fn inherit(&mut self, ended: &mut Self) {
        self.pin = ended.pin.take();
        self.aside = std::mem::take(&mut ended.aside);
        self.usual_bytes = ended.usual_bytes;
    }

    /// As [`Self::reopen`] for another consumer: deliveries of the old one are void.
    pub(super) async fn start_over(&mut self) -> anyhow::Result<()> {
        self.reopen(0).await?;
        self.aside.clear();
        if let Some(pin) = &mut self.pin {
            pin.lose();
        }
        Ok(())
    }

    /// Takes arrived messages out of the subscription: they have to wait, and the server has to be
    /// told so.
    pub(super) fn set_aside(&mut self, tick: u32) {
        while let Some(next) = self.subscription.next().now_or_never() {
            let Some(message) = next else {
                self.has_ended = true;
                return;
            };
            self.taken += 1;
            if !is_status(&message) || message.status != Some(StatusCode::IDLE_HEARTBEAT) {
                self.aside.push_back((message, tick));
            }
        }
    }

    /// Waiting messages, with the tick at which the server was last told of each.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = (&Message, &mut u32)> {
        self.aside.iter_mut().map(|(message, told)| (&*message, told))
    }

    /// Puts a message or status back, to be the next one.
    pub(super) fn put_back(&mut self, message: Message, tick: u32) {
        self.aside.push_front((message, tick));
    }

    /// Resets the count of what was asked for: the connection or the server has lost it.
    pub(super) fn forget(&mut self) {
        self.pending = 0;
        self.pending_bytes = 0;
        self.not_before = None;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.pending > 0
    }

    /// Asks for more if little is under way and there is room for it: for so many messages, and so
    /// many bytes.
    pub(super) async fn ask(&mut self, room: usize, room_bytes: u64) -> anyhow::Result<()> {
        let Some((count, bytes)) = self.count(room, room_bytes) else { return Ok(()) };
        if self.not_before.is_some_and(|time| time > Instant::now()) {
            return Ok(());
        }
        self.not_before = None;
        let mut request = json!({
            "batch": count,
            "expires": self.expires.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.min(self.expires / 2).as_nanos() as u64,
        });
        match bytes {
            Some(bytes) => request["max_bytes"] = bytes.into(),
            None => self.is_oversized = false,
        }
        if let Some(pin) = &mut self.pin {
            pin.sign(&mut request);
        }
        // Counted before it is sent: messages may arrive before the call returns.
        self.pending = self.pending.max(0) + i64::try_from(count).unwrap_or(i64::MAX);
        // Nothing beside a message of any size.
        self.pending_bytes += bytes.unwrap_or(MOST_BYTES);
        self.brought = false;
        let client = self.connection.client();
        client.publish_with_reply(self.subject.clone(), self.inbox.clone(), request.to_string().into()).await?;
        Ok(())
    }

    /// Keeps the pin, if it is time for it: without room for messages, none are asked for.
    pub(super) async fn keep_pin(&mut self) {
        if let Some(request) = self.pin.as_mut().and_then(ConsumerPin::renewal) {
            // Nothing listens there: the answer is that no message is so small.
            let reply = format!("{}.pin", self.inbox);
            let client = self.connection.client();
            // Fails only if the client has ended, which is noticed where messages come from.
            let _ = client.publish_with_reply(self.subject.clone(), reply, request.to_string().into()).await;
        }
    }

    /// Number of messages and bytes to ask for now: large pulls, so not until half of one is used
    /// up. Messages that were pulled and not taken yet count; only one that is too large for that
    /// comes without a limit, and alone.
    fn count(&self, room: usize, room_bytes: u64) -> Option<(usize, Option<u64>)> {
        let pending = usize::try_from(self.pending).unwrap_or(0);
        if self.is_oversized {
            return (pending == 0 && self.aside.is_empty() && room > 0).then_some((1, None));
        }
        let count = room.min(SUBSCRIPTION_CAPACITY / 2).saturating_sub(pending).min(self.batch);
        let is_low = pending <= self.batch / 2;
        let is_worth_it = pending == 0 || count >= self.batch / 4;
        let aside: u64 = self.aside.iter().map(|(message, _)| message.length as u64).sum();
        // A count that is too high, because a pull ended before its bytes did, ends with the last
        // pull under way.
        let under_way = if pending == 0 { 0 } else { self.pending_bytes };
        let room_bytes =
            room_bytes.saturating_sub(aside).min(MOST_BYTES).saturating_sub(under_way).min(self.most_bytes);
        let bytes = room_bytes.min(self.usual_bytes.saturating_mul(2 * count as u64));
        let is_worth_it = is_worth_it && (pending == 0 || bytes > self.usual_bytes);
        (count > 0 && bytes > 0 && is_low && is_worth_it).then_some((count, Some(bytes)))
    }

    /// Next message or status; `None` if the connection has ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.aside.pop_front() {
            Some((message, _)) => Some(message),
            None => {
                let message = self.subscription.next().await;
                self.taken += 1;
                self.has_ended = message.is_none();
                message
            }
        }
    }

    /// Stops the subscription after the messages that are on their way; [`Self::next`] ends after
    /// them.
    ///
    /// The client's own drain forgets the subscription before the server does, and with it what the
    /// server sends in between. So both are told a number of messages after which it ends, and
    /// those missing up to there we send ourselves.
    pub(super) async fn end(&mut self, tick: u32) -> anyhow::Result<()> {
        self.set_aside(tick);
        let missing = u64::try_from(self.pending).unwrap_or(0) + STATUSES;
        self.subscription.unsubscribe_after(self.taken + missing).await?;
        for _ in 0..missing {
            self.connection.client().publish(self.inbox.clone(), Bytes::new()).await?;
        }
        Ok(())
    }

    /// Counts a message of so many bytes that has arrived.
    pub(super) fn received(&mut self, length: usize) {
        let length = length as u64;
        self.pending -= 1;
        self.pending_bytes = if self.pending > 0 { self.pending_bytes.saturating_sub(length) } else { 0 };
        self.usual_bytes = (self.usual_bytes * 7 + length) / 8;
        self.brought = true;
        self.answered();
    }

    /// Returns whether the server refuses our pulls.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.1 > 0
    }

    /// Notes that the server serves our pulls.
    fn answered(&mut self) {
        self.backoff.reset();
        self.refusal.1 = 0;
    }

    /// Handles a status that has arrived instead of a message.
    pub(super) fn status(&mut self, code: StatusCode, message: &Message) -> PullStatus {
        let description = message.description.as_deref().unwrap_or_default();
        let said = |part: &str| description.to_ascii_lowercase().contains(part);
        match code.as_u16() {
            100 => {
                self.answered();
                return PullStatus::Fine;
            }
            503 => {
                self.forget();
                self.back_off();
                return PullStatus::NoResponders;
            }
            _ => {}
        }
        let headers = message.headers.as_ref();
        let rest = |name: &str| headers.and_then(|headers| headers.get(name)?.as_str().parse::<u32>().ok());
        self.pending -= rest("Nats-Pending-Messages").map_or(i64::try_from(self.batch).unwrap_or(i64::MAX), i64::from);
        let rest_bytes = rest("Nats-Pending-Bytes").map_or(0, u64::from);
        self.pending_bytes = if self.pending > 0 { self.pending_bytes.saturating_sub(rest_bytes) } else { 0 };
        match code.as_u16() {
            409 if said("consumer deleted") || said("push based") => PullStatus::Gone,
            // The rest of a pull is too small for the next message. If nothing has come at all, so
            // was the whole pull.
            409 if said("exceeds maxbytes") => {
                self.is_oversized |= !self.brought;
                PullStatus::Fine
            }
            409 if said("exceeded") => self.refused(description),
            423 if self.pin.as_mut().is_some_and(ConsumerPin::lose) => PullStatus::Unpinned,
            423 if self.pin.is_some() => PullStatus::Fine,
            // Leadership has changed, the server shuts down, a batch is complete: ask again.
            404 | 408 | 409 => PullStatus::Fine,
            _ => self.refused(description),
        }
    }

    fn refused(&mut self, description: &str) -> PullStatus {
        self.back_off();
        if self.refusal.0 != description {
            self.refusal = (description.to_owned(), 0);
        }
        self.refusal.1 += 1;
        PullStatus::Refused(description.to_owned(), self.refusal.1)
    }

    /// Waits longer before each pull that follows, until the server answers again.
    fn back_off(&mut self) {
        self.not_before = Some(Instant::now() + self.backoff.next_wait());
    }
}
