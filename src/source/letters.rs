//! Dead letters as events, once more: each through the key and the route that it died in, and gone for good only when that
//! is done with it.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::{
    Source,
    envelope::{self, Malformed, Message},
};
use crate::{
    ack::Outcome,
    config::{self, DeadLetter, Which},
    dead_letters::{Entry, Letter, Letters, LettersError},
    event::{Event, Headers, Origin},
    pipeline::Intake,
    stop::Stop,
};

mod journal;

pub use journal::{Cause, End, Journal, Retried};

/// Letters that may wait to be taken.
const WAITING: usize = 16;

/// Reason codes of the source's own: it refused what no envelope has seen and the letter does not hold. Nothing that could
/// be mended makes another event of it.
const UNREADABLE: [&str; 4] = ["too_large", "not_utf8", "bad_headers", "headers_not_utf8"];

/// Dead letters as a source.
pub struct Retry {
    letters: Letters,
    settings: config::LetterSource,
    journal: Arc<Journal>,
    origin: Arc<Origin>,
}

/// What is left of a letter while its event is open.
pub struct Receipt {
    id: u64,
    event: String,
}

impl Retry {
    /// # Errors
    /// When there is no getting at the letters.
    pub async fn open(
        source: &config::Source,
        settings: &config::LetterSource,
        nats: Option<&config::Nats>,
        journal: Arc<Journal>,
    ) -> Result<Self, LettersError> {
        let letters = Letters::open(&settings.from, nats).await?;
        let stream = match &settings.from {
            DeadLetter::Discard => String::new(),
            DeadLetter::File(path) => path.display().to_string(),
            DeadLetter::Stream { stream, .. } => stream.clone(),
        };
        let origin = Arc::new(Origin { source: source.name.clone(), stream });
        Ok(Self { letters, settings: settings.clone(), journal, origin })
    }
}

impl Source for Retry {
    type Receipt = Receipt;

    async fn run(self, mut intake: Intake<Receipt>, mut stop: Stop) -> anyhow::Result<()> {
        let (sender, mut entries) = mpsc::channel(WAITING);
        let reading = tokio::spawn(read(self.letters.clone(), self.settings.which.clone(), sender));
        let mut given_up = stop.clone();
        let ended = tokio::select! {
            biased;
            // What is open keeps its letters.
            () = given_up.ended() => Ok(()),
            retried = self.retry(&mut entries, &mut intake, &mut stop) => retried,
        };
        reading.abort();
        ended.map_err(anyhow::Error::from)
    }
}

impl Retry {
    /// # Errors
    /// When letters can't be read on, once those that were read are settled; at once when one can't be dropped.
    async fn retry(
        &self,
        entries: &mut mpsc::Receiver<Result<Entry, LettersError>>,
        intake: &mut Intake<Receipt>,
        stop: &mut Stop,
    ) -> Result<(), LettersError> {
        let (mut is_over, mut failed) = (false, Ok(()));
        while !is_over || intake.open() > 0 {
            tokio::select! {
                biased;
                () = stop.draining(), if !is_over => is_over = true,
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

    async fn push(&self, entry: Entry, intake: &mut Intake<Receipt>) {
        let id = entry.id;
        if !self.settings.accept_unproven
            && entry.letter.is_ok()
            && let Err(why) = self.settings.signer.verify(&entry.record).check()
        {
            return self.journal.refused(id, "unproven", why.to_string()).await;
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
        let receipt = Receipt { id, event: letter.id.clone() };
        let (key, route) = (letter.key.clone(), letter.route.clone());
        match self.open_event(id, letter, payload) {
            Ok(event) if key.is_empty() => intake.push(event, receipt),
            Ok(event) => intake.push_to(event, receipt, &key, &route),
            Err(refused) => {
                let (event, Malformed { reason, detail }) = *refused;
                intake.refuse(event, receipt, reason, &detail);
            }
        }
    }

    /// The event as it was. One that got no further than its source is opened again: its payload is raw.
    fn open_event(&self, id: u64, letter: Letter, payload: Bytes) -> Result<Event, Box<(Event, Malformed)>> {
        let died_at_source = letter.key.is_empty();
        let uid = letter.uid.as_deref().and_then(|uid| uid.parse().ok());
        let message = Message {
            subject: letter.subject.into(),
            headers: letter.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Headers>(),
            payload,
            // As it was then, so that what is made of it is the same each time.
            observed_at: u64::try_from(letter.time.as_nanosecond()).unwrap_or_default(),
            attempt: letter.attempts.saturating_add(1),
            // Where the message has no id, this is what makes one.
            origin: Arc::new(Origin { source: letter.source.clone(), stream: letter.stream }),
            sequence: letter.sequence,
            incarnation: 0,
        };
        let refused =
            |message: Message, reason, detail| Err(Box::new((message.into_event(), Malformed { reason, detail })));
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
        // The place among the letters is how sinks and source know of which one they speak.
        let placed = |event: Event| Event {
            origin: Arc::clone(&self.origin),
            sequence: id,
            // Destinations know what they took of it already.
            uid: uid.unwrap_or(event.uid),
            ..event
        };
        opened.map(placed).map_err(|refused| {
            let (event, malformed) = *refused;
            Box::new((placed(event), malformed))
        })
    }

    /// Drops the letters whose events went through, then says what became of each.
    async fn settle(&self, settled: Vec<(Receipt, Outcome)>) -> Result<(), LettersError> {
        if !self.settings.keep {
            let done = settled.iter().filter(|(_, outcome)| *outcome == Outcome::Done).map(|(receipt, _)| receipt.id);
            self.letters.drop(done.collect()).await?;
        }
        for (Receipt { id, event }, outcome) in settled {
            self.journal.settled(id, event, outcome).await;
        }
        Ok(())
    }
}

/// Reads until the end, or until nobody takes it any more.
async fn read(letters: Letters, which: Which, entries: mpsc::Sender<Result<Entry, LettersError>>) {
    if let Err(error) = read_all(&letters, which, &entries).await {
        // Without a receiver there is nobody to tell.
        let _ = entries.send(Err(error)).await;
    }
}

async fn read_all(
    letters: &Letters,
    which: Which,
    entries: &mpsc::Sender<Result<Entry, LettersError>>,
) -> Result<(), LettersError> {
    match which {
        Which::These(ids) => {
            for id in ids {
                // One that was dropped meanwhile needs nothing any more.
                let entry = letters.at(id).await?.filter(|entry| entry.id == id);
                if let Some(entry) = entry
                    && entries.send(Ok(entry)).await.is_err()
                {
                    return Ok(());
                }
            }
        }
        Which::Like(alike) => {
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
