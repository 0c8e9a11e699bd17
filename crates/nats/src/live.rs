//! Messages of core NATS, which no server keeps: what is not taken in time is dropped and counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::{ConnectError, ConnectTrouble, Connection, event::Headers, headers};

/// Memory that a waiting message takes beside its subject, headers and payload, in bytes.
const OVERHEAD: u64 = 256;

/// A message as it was published.
#[derive(Clone, Debug)]
pub struct LiveMessage {
    pub subject: String,
    pub headers: Headers,
    pub payload: Bytes,
}

impl LiveMessage {
    fn size(&self) -> u64 {
        (self.subject.len() + self.headers.size() + self.payload.len()) as u64 + OVERHEAD
    }
}

/// Subscription to core NATS with a bounded buffer. It survives reconnects; what is published
/// meanwhile is lost.
pub struct LiveSubscription {
    connection: Connection,
    messages: mpsc::Receiver<LiveMessage>,
    counts: Arc<BufferCounts>,
    /// Tells the readers to end; dropping it does so, too.
    end: watch::Sender<()>,
}

/// What the readers and the subscription count together.
#[derive(Debug, Default)]
struct BufferCounts {
    /// Bytes of the messages that wait.
    waiting: AtomicU64,
    dropped: watch::Sender<u64>,
}

impl Connection {
    /// Subscribes to subjects of core NATS, in a queue group if one is named: each message then
    /// goes to one subscriber of the group. Messages that wait take at most `capacity` bytes. A
    /// message that fits several patterns comes once for each.
    ///
    /// # Errors
    /// Returns an error if the connection has ended.
    pub async fn subscribe_live(
        &self,
        patterns: &[String],
        queue: Option<&str>,
        capacity: u64,
    ) -> Result<LiveSubscription, ConnectError> {
        let failed = |pattern: &str, source: anyhow::Error| ConnectError {
            trouble: ConnectTrouble::Network,
            at: format!("`{pattern}`"),
            source,
        };
        let counts = Arc::<BufferCounts>::default();
        // More messages than this have more bytes than there may be.
        let most = usize::try_from(capacity / OVERHEAD).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let (sender, messages) = mpsc::channel(most);
        let (end, ended) = watch::channel(());
        for pattern in patterns {
            let subscriber = match queue {
                Some(queue) => self.client().queue_subscribe(pattern.clone(), queue.to_owned()).await,
                None => self.client().subscribe(pattern.clone()).await,
            };
            let reader = LiveReader {
                subscriber: subscriber.map_err(|error| failed(pattern, error.into()))?,
                sender: sender.clone(),
                counts: Arc::clone(&counts),
                capacity,
            };
            tokio::spawn(reader.run(ended.clone()));
        }
        // Only then does the server have the subscriptions.
        self.flush().await.map_err(|error| failed(&patterns.join(" "), error))?;
        Ok(LiveSubscription { connection: self.clone(), messages, counts, end })
    }
}

/// Mover of messages from the client's buffer, which is bounded in number only, to a subscription.
struct LiveReader {
    subscriber: Subscriber,
    sender: mpsc::Sender<LiveMessage>,
    counts: Arc<BufferCounts>,
    capacity: u64,
}

impl LiveReader {
    async fn run(mut self, mut ended: watch::Receiver<()>) {
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                // First: a busy subject would otherwise keep the end from being seen.
                end = ended.changed(), if is_open => {
                    // What the client has received already is still read.
                    if end.is_err() || self.subscriber.unsubscribe().await.is_err() {
                        return;
                    }
                    is_open = false;
                }
                next = self.subscriber.next() => match next {
                    Some(message) => self.take(message),
                    None => return,
                }
            }
        }
    }

    fn take(&self, message: async_nats::Message) {
        let headers = message.headers.as_ref().map(headers).unwrap_or_default();
        let message = LiveMessage { subject: message.subject.into_string(), headers, payload: message.payload };
        let size = message.size();
        let has_room = self.counts.waiting.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= self.capacity;
        // It is refused as well if the subscription is gone, which ends this task.
        if !has_room || self.sender.try_send(message).is_err() {
            self.counts.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.send_modify(|dropped| *dropped += 1);
        }
    }
}

impl LiveSubscription {
    /// The next message; `None` once the subscription or the connection has ended and all messages
    /// are read. Cancel safe.
    pub async fn next(&mut self) -> Option<LiveMessage> {
        let message = self.messages.recv().await?;
        self.counts.waiting.fetch_sub(message.size(), Ordering::Relaxed);
        Some(message)
    }

    /// The next message if one waits.
    pub fn try_next(&mut self) -> Option<LiveMessage> {
        let message = self.messages.try_recv().ok()?;
        self.counts.waiting.fetch_sub(message.size(), Ordering::Relaxed);
        Some(message)
    }

    /// Messages dropped so far because the buffer was full.
    pub fn dropped(&self) -> u64 {
        *self.counts.dropped.borrow()
    }

    /// The count of dropped messages, for callers that wait for it to change.
    pub fn drops(&self) -> watch::Receiver<u64> {
        self.counts.dropped.subscribe()
    }

    /// The connection that it reads from.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Takes no new messages. Those that wait can still be read.
    pub fn unsubscribe(&self) {
        self.end.send_replace(());
    }
}
