//! What must have become of every event, and what has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    path::PathBuf,
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap,
    jetstream::{
        Context,
        consumer::{PullConsumer, pull},
    },
};
use serde_json::Value;
use tokio::time::sleep;
use trommel::webhook::store::{DeliveryQuery, DeliveryState, DeliveryStore};

use crate::{
    load::Fate,
    sightings::Sightings,
    tail::{FileTail, StreamTail},
};

/// How long the server may take to be back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Knows of each event where it has to be, and reads where it is.
pub struct Account {
    context: Context,
    seed: u64,
    folder: PathBuf,
    published: StreamTail,
    streams: [(StreamTail, Sightings); 2],
    file: (FileTail, Sightings),
    strange: (StreamTail, BTreeSet<u64>),
    letters: (StreamTail, Letters),
    /// The number of each message of the source's stream, in order.
    numbers: Vec<usize>,
    /// Where each number came first in the source's stream.
    places: BTreeMap<usize, u64>,
    in_folder: BTreeSet<usize>,
    stored: BTreeSet<usize>,
    /// Messages that were open when the server was killed. It may have forgotten that it has
    /// delivered them, and what it delivers anew comes late.
    forgotten: Vec<RangeInclusive<u64>>,
    /// How far acknowledged events were found to be accounted for, numbered and odd ones.
    verified: [u64; 2],
    /// Everything that was wrong.
    pub wrong: Vec<String>,
}

/// Sequences of events that are dead letters, by source and with the reasons.
#[derive(Default)]
struct Letters(BTreeMap<(String, u64), BTreeSet<String>>);

impl Letters {
    fn add(&mut self, record: &[u8]) {
        let letter: Value = serde_json::from_slice(record).unwrap();
        let text = |name: &str| letter[name].as_str().unwrap().to_owned();
        self.0.entry((text("source"), letter["sequence"].as_u64().unwrap())).or_default().insert(text("reason"));
    }

    fn has(&self, source: &str, sequence: u64) -> bool {
        self.0.contains_key(&(source.to_owned(), sequence))
    }
}

impl Account {
    pub fn new(context: Context, seed: u64, folder: PathBuf) -> Self {
        let stream = |name| (StreamTail::new(name), Sightings::default());
        Self {
            context,
            seed,
            published: StreamTail::new("IN"),
            streams: [stream("OUT"), stream("PLAIN")],
            file: (FileTail::new(folder.join("disk/all.ndjson")), Sightings::default()),
            strange: (StreamTail::new("STRANGE"), BTreeSet::new()),
            letters: (StreamTail::new("TROMMEL_DEAD"), Letters::default()),
            numbers: Vec::new(),
            places: BTreeMap::new(),
            in_folder: BTreeSet::new(),
            stored: BTreeSet::new(),
            forgotten: Vec::new(),
            verified: [0; 2],
            wrong: Vec::new(),
            folder,
        }
    }

    /// Notes that the server was killed and is back.
    pub async fn server_was_killed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let consumer: Result<PullConsumer, _> = self.context.get_consumer_from_stream("trommel", "IN").await;
            if let (Ok(consumer), Ok(stream)) = (consumer, self.context.get_stream("IN").await) {
                let floor = consumer.cached_info().ack_floor.stream_sequence;
                self.forgotten.push(floor + 1..=stream.cached_info().state.last_sequence);
                return;
            }
            assert!(Instant::now() < deadline, "the server does not come back");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads what is new everywhere.
    pub async fn read(&mut self) {
        let Self { context, numbers, places, forgotten, .. } = self;
        self.published
            .read(context, |sequence, message| {
                let number = number(&message.payload);
                numbers.push(number);
                places.entry(number).or_insert(sequence);
            })
            .await;
        // What is not in the source's stream can't have come out of it.
        let place = |number: usize| places.get(&number).copied();
        let mut see = |at: &str, sightings: &mut Sightings, number: usize| match place(number) {
            Some(place) => sightings.see(number, place, forgotten.iter().any(|range| range.contains(&place))),
            None => self.wrong.push(format!("{at} has event {number}, which was never published")),
        };
        for (tail, sightings) in &mut self.streams {
            tail.read(context, |_, message| see("a stream", sightings, number(&message.payload))).await;
        }
        let (tail, sightings) = &mut self.file;
        // What a crash has torn is a text.
        tail.read(|line| match serde_json::from_slice::<Value>(line) {
            Ok(Value::String(_)) => {}
            Ok(_) => see("the file", sightings, number(line)),
            Err(error) => panic!("the file has a line that is not JSON: {error}: {}", line.escape_ascii()),
        });
        let (tail, strange) = &mut self.strange;
        tail.read(context, |_, message| strange.extend([origin(message.headers.as_ref().unwrap())])).await;
        let (tail, letters) = &mut self.letters;
        tail.read(context, |_, message| letters.add(&message.payload)).await;
        let file = fs::read(self.folder.join("dead-letters.ndjson")).unwrap_or_default();
        file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| letters.add(line));
        self.read_folder();
    }

    fn read_folder(&mut self) {
        let Ok(entries) = fs::read_dir(self.folder.join("folder")) else { return };
        for name in entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            // `TYPE_ID_INDEX-DIGEST.json`
            let id = (!name.starts_with('.')).then(|| name.rsplit('_').nth(1)).flatten();
            self.in_folder.extend(id.and_then(|id| id.strip_prefix('e')?.parse::<usize>().ok()));
        }
    }

    /// Reads the database of deliveries, while no router has it open.
    pub fn read_deliveries(&mut self) {
        self.stored.extend(self.deliveries(&DeliveryQuery::default()));
    }

    /// Deliveries that are not made yet.
    pub fn undelivered(&self) -> Vec<usize> {
        let states = [DeliveryState::Pending, DeliveryState::Failed, DeliveryState::Cancelled];
        states
            .into_iter()
            .flat_map(|state| self.deliveries(&DeliveryQuery { state: Some(state), ..DeliveryQuery::default() }))
            .collect()
    }

    fn deliveries(&self, which: &DeliveryQuery) -> Vec<usize> {
        let Ok(store) = DeliveryStore::open(&self.folder.join("deliveries.db")) else { return Vec::new() };
        let deliveries = store.list(which, u32::MAX).unwrap();
        deliveries.iter().map(|delivery| delivery.event_id.strip_prefix('e').unwrap().parse().unwrap()).collect()
    }

    /// Checks that what is acknowledged is accounted for, after [`Self::read`] and while no router
    /// runs.
    pub async fn check_acknowledged(&mut self, when: &str) {
        for (index, stream) in ["IN", "ODD"].into_iter().enumerate() {
            let Ok(consumer) = self.context.get_consumer_from_stream::<pull::Config, _, _>("trommel", stream).await
            else {
                continue;
            };
            let floor = consumer.cached_info().ack_floor.stream_sequence;
            let lacking: Vec<_> =
                (self.verified[index] + 1..=floor).filter_map(|sequence| self.lacks(index, sequence)).collect();
            if !lacking.is_empty() {
                self.wrong.push(format!(
                    "{when}: {} events of {stream} are acknowledged too early: {:?}",
                    lacking.len(),
                    &lacking[..lacking.len().min(5)]
                ));
            }
            self.verified[index] = self.verified[index].max(floor);
        }
    }

    /// Checks that events came first in the order of their keys.
    pub fn check_order(&mut self, when: &str) {
        let [out, plain] = &mut self.streams;
        for (name, sightings) in [("OUT", &mut out.1), ("PLAIN", &mut plain.1), ("the file", &mut self.file.1)] {
            let late = std::mem::take(&mut sightings.out_of_order);
            if let [first, ..] = late[..] {
                self.wrong.push(format!("{when}: {} events are out of order in {name}, such as {first}", late.len()));
            }
        }
    }

    /// Where an event should be and is not.
    fn lacks(&self, source: usize, sequence: u64) -> Option<String> {
        if source == 1 {
            let is_there = self.strange.1.contains(&sequence) || self.letters.1.has("odd", sequence);
            return (!is_there).then(|| format!("odd message {sequence} is nowhere"));
        }
        let number = self.numbers[usize::try_from(sequence).unwrap() - 1];
        let [(_, out), (_, plain)] = &self.streams;
        let everywhere =
            [("OUT", out.has(number)), ("PLAIN", plain.has(number)), ("the file", self.file.1.has(number))];
        let sampled =
            [("the folder", self.in_folder.contains(&number)), ("the deliveries", self.stored.contains(&number))];
        let fate = Fate::of(number, self.seed);
        let wanted: Vec<_> = match fate {
            Fate::Kept => everywhere.to_vec(),
            Fate::Sampled => [&everywhere[..], &sampled].concat(),
            Fate::Dropped => Vec::new(),
            Fate::Poisoned => {
                vec![("the dead letters", self.letters.1.has("numbered", sequence) || self.is_repeat(number, sequence))]
            }
        };
        let lacking = wanted.into_iter().find(|(_, is_there)| !is_there);
        lacking.map(|(place, _)| format!("event {number} ({fate:?}, message {sequence}) is not in {place}"))
    }

    fn is_repeat(&self, number: usize, sequence: u64) -> bool {
        self.places[&number] < sequence
    }

    /// Checks everything, once all is settled and read.
    pub async fn check_all(&mut self, count: usize) {
        self.check_acknowledged("at the end").await;
        let published = self.numbers.len() as u64;
        if self.places.len() != count {
            self.wrong.push(format!("{} of {count} events were published", self.places.len()));
        }
        if self.verified[0] < published {
            self.wrong.push(format!("{} of {published} messages are acknowledged", self.verified[0]));
        }
        self.check_order("at the end");
        let [out, plain] = &self.streams;
        if out.1.repeats > 0 {
            self.wrong.push(format!("OUT has {} events twice, though their ids are known", out.1.repeats));
        }
        for (place, numbers) in [("the folder", &self.in_folder), ("the deliveries", &self.stored)] {
            let strangers = numbers.iter().filter(|number| Fate::of(**number, self.seed) != Fate::Sampled).count();
            if strangers > 0 {
                self.wrong.push(format!("{strangers} events in {place} do not belong there"));
            }
        }
        let is_kept = |number: &usize| matches!(Fate::of(*number, self.seed), Fate::Kept | Fate::Sampled);
        let let_out =
            self.places.keys().filter(|number| !is_kept(number) && (out.1.has(**number) || plain.1.has(**number)));
        let let_out = let_out.count();
        if let_out > 0 {
            self.wrong.push(format!("{let_out} events were let out that should not be"));
        }
        for ((source, sequence), reasons) in &self.letters.1.0 {
            if source == "numbered" {
                let number = self.numbers[usize::try_from(*sequence).unwrap() - 1];
                if Fate::of(number, self.seed) != Fate::Poisoned {
                    self.wrong.push(format!("event {number} is a dead letter: {reasons:?}"));
                }
            }
        }
    }

    /// Events that the receiver of webhooks must have got.
    pub fn sampled(&self) -> impl Iterator<Item = usize> {
        self.places.keys().copied().filter(|number| Fate::of(*number, self.seed) == Fate::Sampled)
    }

    /// What a run has seen.
    pub fn figures(&self) -> String {
        let [(_, out), (_, plain)] = &self.streams;
        format!(
            "{} messages; repeats: OUT {}, PLAIN {}, file {}; late after a kill of the server: {}; {} dead letters, {} odd messages came out, {} sampled",
            self.numbers.len(),
            out.repeats,
            plain.repeats,
            self.file.1.repeats,
            plain.late,
            self.letters.1.0.len(),
            self.strange.1.len(),
            self.stored.len()
        )
    }

    /// Messages of both sources that are not settled.
    pub async fn unsettled(&self) -> u64 {
        let mut count = 0;
        for stream in ["IN", "ODD"] {
            let consumer: Result<PullConsumer, _> = self.context.get_consumer_from_stream("trommel", stream).await;
            // While the server is away, more than any.
            let Ok(consumer) = consumer else { return u64::MAX };
            let info = consumer.cached_info();
            count += info.num_pending + info.num_ack_pending as u64;
        }
        count
    }
}

fn number(payload: &[u8]) -> usize {
    let payload: Value = serde_json::from_slice(payload).unwrap();
    usize::try_from(payload["n"].as_u64().unwrap()).unwrap()
}

/// The message that an output came from, as its id says: the second word of the event's unique id.
fn origin(headers: &HeaderMap) -> u64 {
    let id = headers.get("Nats-Msg-Id").unwrap().as_str();
    u64::from_str_radix(&id[16..32], 16).unwrap()
}
