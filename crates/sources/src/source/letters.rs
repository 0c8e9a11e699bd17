//! Dead letters as events again: each goes through the key and the route that it died in, and is
//! removed only once it is done there.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::{
    Source,
    envelope::{self, MalformedMessage, SourceMessage},
};
use crate::{
    ack::Outcome,
    config::{self, DeadLetterTarget, LetterChoice},
    dead_letters::{DeadLetter, LetterStore, LettersError, StoredLetter},
    event::{Event, Headers, Origin, TICKS},
    pipeline::Intake,
    stop::Stop,
};

mod journal;

pub use journal::{DeathCause, RetriedLetter, RetryEnd, RetryJournal};

/// Letters that may be read ahead.
const WAITING: usize = 16;

/// Reason codes of refusals by the source itself: no envelope has seen the message, and the letter
/// does not hold it. No later fix makes another event of it.
const UNREADABLE: [&str; 4] = ["too_large", "not_utf8", "bad_headers", "headers_not_utf8"];

/// Dead letters as a source.
pub struct LetterRetry {
    letters: LetterStore,
    settings: config::LetterSource,
    journal: Arc<RetryJournal>,
    origin: Arc<Origin>,
}

/// Ids of a letter and of its event while the event is open.
pub struct LetterReceipt {
    id: u64,
    event: String,
}

impl LetterRetry {
    /// # Errors
    /// Returns an error if the dead letters cannot be opened.
    pub async fn open(
        source: &config::SourceConfig,
        settings: &config::LetterSource,
        nats: Option<&config::NatsConfig>,
        journal: Arc<RetryJournal>,
    ) -> Result<Self, LettersError> {
        let letters = LetterStore::open(&settings.from, nats).await?;
        let stream = match &settings.from {
            DeadLetterTarget::Discard => String::new(),
            DeadLetterTarget::File(path) => path.display().to_string(),
            DeadLetterTarget::Stream { stream, .. } => stream.clone(),
        };
        let origin = Arc::new(Origin { source: source.name.clone(), stream });
        Ok(Self { letters, settings: settings.clone(), journal, origin })
    }
}

impl Source for LetterRetry {
    type Receipt = LetterReceipt;

    async fn run(self, mut intake: Intake<LetterReceipt>, mut stop: Stop) -> anyhow::Result<()> {
        let (sender, mut entries) = mpsc::channel(WAITING);
        let reading = tokio::spawn(read(self.letters.clone(), self.settings.which.clone(), sender));
        let mut given_up = stop.clone();
        let ended = tokio::select! {
            biased;
            // First: a run that ends settles nothing more, and open events keep their letters.
            () = given_up.ended() => Ok(()),
            retried = self.retry(&mut entries, &mut intake, &mut stop) => retried,
        };
        reading.abort();
        ended.map_err(anyhow::Error::from)
    }
}

impl LetterRetry {
    /// # Errors
    /// Returns an error if letters cannot be read on, once those that were read are settled; at
    /// once if one cannot be dropped.
    async fn retry(
        &self,
        entries: &mut mpsc::Receiver<Result<StoredLetter, LettersError>>,
        intake: &mut Intake<LetterReceipt>,
        stop: &mut Stop,
    ) -> Result<(), LettersError> {
        let (mut is_over, mut failed) = (false, Ok(()));
        while !is_over || intake.open() > 0 {
            tokio::select! {
                biased;
                () = stop.draining(), if !is_over => is_over = true,
                // Before new entries: settling makes room for them.
                first = intake.settled(), if intake.open() > 0 => {
                    let mut settled = vec![first];
                    while intake.open() > 0 && let Some(next) = intake.settled().now_or_never() {
                        settled.push(next);
                    }
                    self.settle(settled).await?;
                }
                entry = entries.recv(), if !is_over && intake.is_open() => match entry {
                    Some(Ok(entry)) => self.push(entry, intake).await,
                    Some(Err(error)) => (is_over, failed) = (true, Err(error)),
                    None => is_over = true,
                },
            }
        }
        failed
    }

    async fn push(&self, entry: StoredLetter, intake: &mut Intake<LetterReceipt>) {
        let id = entry.id;
        if !self.settings.accept_unproven
            && entry.letter.is_ok()
            && let Err(why) = self.settings.signer.verify(&entry.record).check()
        {
            return self.journal.refused(id, "unproven", why.to_string()).await;
        }
        if entry.letter.as_ref().is_ok_and(|letter| letter.source == TICKS) {
            let why = "it holds an output that a filter made at a tick, and no event that could be sent through \
                again: publish its payload where it belongs, then drop it";
            return self.journal.refused(id, "no_event", why.to_owned()).await;
        }
        let payload = match &entry.letter {
            Ok(letter) => self.letters.payload(&entry, letter).await,
            Err(_) => Ok(Bytes::new()),
        };
        let (letter, payload) = match entry.letter.and_then(|letter| Ok((letter, payload?))) {
            Ok(letter) => letter,
            Err(no_letter) => {
                let why = format!("{:#}", anyhow::Error::from(no_letter));
                return self.journal.refused(id, "no_letter", why).await;
            }
        };
        let receipt = LetterReceipt { id, event: letter.id.clone() };
        let (key, route) = (letter.key.clone(), letter.route.clone());
        match self.open_event(id, letter, payload) {
            Ok(event) if key.is_empty() => intake.push(event, receipt),
            Ok(event) => intake.push_to(event, receipt, &key, &route),
            Err(refused) => {
                let (event, MalformedMessage { reason, detail }) = *refused;
                intake.refuse(event, receipt, reason, &detail);
            }
        }
    }

    /// Restores the event as it was. If it died at its source, its envelope is opened again: the
    /// payload is raw.
    fn open_event(&self, id: u64, letter: DeadLetter, payload: Bytes) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let died_at_source = letter.key.is_empty();
        let uid = letter.uid.as_deref().and_then(|uid| uid.parse().ok());
        let message = SourceMessage {
            subject: letter.subject.into(),
            headers: letter.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Headers>(),
            payload,
            // The original time, so that each retry makes the same event of it.
            observed_at: u64::try_from(letter.time.as_nanosecond()).unwrap_or_default(),
            attempt: letter.attempts.saturating_add(1),
            // The id is made of these where the message has none.
            origin: Arc::new(Origin { source: letter.source.clone(), stream: letter.stream }),
            sequence: letter.sequence,
            incarnation: 0,
        };
        let refused = |message: SourceMessage, reason, detail| {
            Err(Box::new((message.into_event(), MalformedMessage { reason, detail })))
        };
        let unreadable = UNREADABLE.into_iter().find(|reason| *reason == letter.reason);
        let opened = match (unreadable, self.settings.envelopes.get(&letter.source)) {
            _ if !died_at_source => Ok(Event {
                id: letter.id.into(),
                event_type: letter.event_type.into(),
                source_time: letter.source_time.map(ByteString::from),
                ..message.into_event()
            }),
            (Some(reason), _) => refused(message, reason, letter.detail),
            (None, Some(envelope)) => envelope::open(envelope, message),
            (None, None) => refused(message, "no_source", format!("there is no source `{}` any more", letter.source)),
        };
        // The letter's id is how sinks and source refer to the same letter.
        let placed = |event: Event| Event {
            origin: Arc::clone(&self.origin),
            sequence: id,
            // The old uid: by it, destinations recognize what they have already.
            uid: uid.unwrap_or(event.uid),
            ..event
        };
        opened.map(placed).map_err(|refused| {
            let (event, malformed) = *refused;
            Box::new((placed(event), malformed))
        })
    }

    /// Drops the letters whose events went through, then reports the result of each.
    async fn settle(&self, settled: Vec<(LetterReceipt, Outcome)>) -> Result<(), LettersError> {
        if !self.settings.keep {
            let done = settled.iter().filter(|(_, outcome)| *outcome == Outcome::Done).map(|(receipt, _)| receipt.id);
            self.letters.drop(done.collect()).await?;
        }
        for (LetterReceipt { id, event }, outcome) in settled {
            self.journal.settled(id, event, outcome).await;
        }
        Ok(())
    }
}

/// Reads until the end, or until the receiver is dropped.
async fn read(letters: LetterStore, which: LetterChoice, entries: mpsc::Sender<Result<StoredLetter, LettersError>>) {
    if let Err(error) = read_all(&letters, which, &entries).await {
        // Fails only without a receiver, and then the error has no use.
        let _ = entries.send(Err(error)).await;
    }
}

async fn read_all(
    letters: &LetterStore,
    which: LetterChoice,
    entries: &mpsc::Sender<Result<StoredLetter, LettersError>>,
) -> Result<(), LettersError> {
    match which {
        LetterChoice::These(ids) => {
            for id in ids {
                // A letter that was dropped meanwhile needs no retry.
                let entry = letters.at(id).await?.filter(|entry| entry.id == id);
                if let Some(entry) = entry
                    && entries.send(Ok(entry)).await.is_err()
                {
                    return Ok(());
                }
            }
        }
        LetterChoice::Like(alike) => {
            let mut reader = letters.read(0).await?;
            while let Some(entry) = reader.next().await? {
                if entry.is_like(&alike) && entries.send(Ok(entry)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
