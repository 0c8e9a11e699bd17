//! Stored messages of a stream as events: read in order to its end, with nothing acknowledged and
//! no durable consumer touched.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Source,
    envelope::{self, MalformedMessage, SourceMessage},
    finite::{self, FiniteInput, InputBatch, InputProgress, ItemReceipt, SettledPosition},
};
use crate::{
    config,
    event::{Event, Origin},
    nats::{Connection, StoredMessage, StreamHistory},
    pipeline::Intake,
    stop::Stop,
};

/// Messages handed over at once, and batches that may wait.
const BATCH: usize = 64;
const BATCHES: usize = 4;
/// Interval at which the rate is checked.
const TICK: Duration = Duration::from_millis(10);

/// Range of a stream as a source.
pub struct StreamReplay {
    history: StreamHistory,
    rate: Option<u64>,
    opener: ReplayOpener,
}

struct ReplayOpener {
    envelope: config::EnvelopeFormat,
    origin: Arc<Origin>,
    progress: Arc<InputProgress>,
}

impl StreamReplay {
    /// # Errors
    /// Returns an error if the stream does not exist, or the server does not answer.
    pub async fn open(
        connection: Connection,
        source: &config::SourceConfig,
        settings: &config::ReplaySource,
        progress: Arc<InputProgress>,
    ) -> anyhow::Result<Self> {
        let origin = Origin { source: source.name.clone(), stream: settings.range.stream.clone() };
        let history = StreamHistory::open(connection, settings.range.clone()).await?;
        progress.expect(Some(history.total()));
        let opener = ReplayOpener { envelope: source.envelope.clone(), origin: Arc::new(origin), progress };
        Ok(Self { history, rate: settings.rate, opener })
    }
}

impl Source for StreamReplay {
    type Receipt = ItemReceipt<ReplayItem>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let (sender, items) = mpsc::channel(BATCHES);
        let origin = Arc::clone(&self.opener.origin);
        let reading = tokio::spawn(read(self.history, self.rate, sender));
        let ended = finite::run(&origin.source, self.opener, items, intake, stop).await;
        reading.abort();
        ended.with_context(|| format!("could not replay stream `{}`", origin.stream))
    }
}

/// Message with its number among those that are replayed.
#[derive(Debug)]
pub struct ReplayItem {
    message: StoredMessage,
    number: u64,
}

impl FiniteInput for ReplayOpener {
    type Item = ReplayItem;

    const LEAVES_REST: bool = true;

    fn open(
        &self,
        ReplayItem { message, .. }: &ReplayItem,
        attempt: u32,
    ) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let unreadable = message.unreadable;
        let message = SourceMessage {
            subject: message.subject.as_str().into(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            // The time at which it was stored, so that each replay makes the same event of it.
            observed_at: u64::try_from(message.time.as_nanosecond()).unwrap_or_default(),
            attempt,
            origin: Arc::clone(&self.origin),
            sequence: message.sequence,
            incarnation: u64::try_from(message.time.as_nanosecond()).unwrap_or_default(),
        };
        match unreadable {
            None => envelope::open(&self.envelope, message),
            Some(reason) => Err(Box::new((message.into_event(), MalformedMessage::unreadable(reason)))),
        }
    }

    fn position(item: &ReplayItem) -> SettledPosition {
        SettledPosition { number: item.message.sequence, amount: item.number }
    }

    fn advance(&self, messages: u64) {
        self.progress.advance(messages);
    }
}

/// Reads until the end, or until the receiver is dropped; no faster than `rate` messages a second.
async fn read(mut history: StreamHistory, rate: Option<u64>, items: mpsc::Sender<InputBatch<ReplayItem>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let (mut batch, mut number) = (Vec::new(), 0);
    loop {
        let next = history.next().await;
        let (is_over, failure) = match next {
            Ok(Some(message)) => {
                number += 1;
                batch.push(ReplayItem { message, number });
                (false, None)
            }
            Ok(None) => (true, None),
            Err(error) => (true, Some(error)),
        };
        let is_full = is_over || batch.len() == BATCH || rate.is_some();
        if is_full && items.send(Ok(std::mem::take(&mut batch))).await.is_err() {
            return;
        }
        if let Some(error) = failure {
            // Fails only without a receiver, and then the error has no use.
            let _ = items.send(Err(error.into())).await;
        }
        if is_over {
            return;
        }
        while rate.is_some_and(|rate| number as f64 > began.elapsed().as_secs_f64() * rate as f64) {
            ticks.tick().await;
        }
    }
}
