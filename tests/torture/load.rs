//! What is published: numbered events, each of which says what must become of it, and odd messages
//! as they are.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    Context,
    context::{ContextBuilder, PublishAckFuture, PublishError},
    message::PublishMessage,
};
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::odd::Odd;

/// Ordering values of numbered events.
pub const KEYS: usize = 16;
/// Events whose publishing is under way together.
const BURST: usize = 1_000;
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// What must become of a numbered event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the streams and the file.
    Kept,
    /// And to the folder and the webhook.
    Sampled,
    Dropped,
    /// Its component traps: it becomes a dead letter.
    Poisoned,
}

impl Fate {
    /// The same for a number and a seed, whoever asks.
    pub fn of(number: usize, seed: u64) -> Self {
        match Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).u8(..100) {
            0..3 => Self::Sampled,
            3..10 => Self::Dropped,
            10 => Self::Poisoned,
            _ => Self::Kept,
        }
    }
}

fn payload(number: usize, fate: Fate) -> String {
    let (kept, sampled) = (matches!(fate, Fate::Kept | Fate::Sampled), fate == Fate::Sampled);
    format!(r#"{{"n":{number},"keep":{kept},"sample":{sampled}}}"#)
}

fn subject(number: usize, fate: Fate) -> String {
    if fate == Fate::Poisoned { "in.poison".to_owned() } else { format!("in.key.{}", number % KEYS) }
}

/// A connection that comes back by itself.
pub async fn connect(address: SocketAddr) -> Context {
    let client =
        async_nats::ConnectOptions::new().retry_on_initial_connect().connect(address.to_string()).await.unwrap();
    ContextBuilder::new().timeout(Duration::from_secs(2)).build(client)
}

/// Publishes events and waits until the stream has them. What is refused, as by a server that is
/// away, is published again under its id.
pub async fn publish(context: &Context, numbers: Range<usize>, seed: u64) {
    let deadline = Instant::now() + PATIENCE;
    let mut numbers: Vec<usize> = numbers.collect();
    while !numbers.is_empty() {
        let rest = numbers.split_off(numbers.len().min(BURST));
        let mut burst = numbers;
        while !burst.is_empty() {
            assert!(Instant::now() < deadline, "can't publish");
            burst = publish_burst(context, burst, seed).await;
            if !burst.is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        }
        numbers = rest;
    }
}

/// Returns the events that the stream has not confirmed.
async fn publish_burst(context: &Context, burst: Vec<usize>, seed: u64) -> Vec<usize> {
    let mut acks = Vec::new();
    for number in burst {
        let fate = Fate::of(number, seed);
        let message = PublishMessage::build().payload(payload(number, fate).into()).message_id(format!("e{number}"));
        acks.push((number, context.send_publish(subject(number, fate), message).await));
    }
    // Together: the time that each may take begins when it is awaited.
    let unstored = join_all(acks.into_iter().map(|(number, ack)| unstored(number, ack))).await;
    unstored.into_iter().flatten().collect()
}

/// The event, when the stream does not confirm it.
async fn unstored(number: usize, ack: Result<PublishAckFuture, PublishError>) -> Option<usize> {
    let is_stored = match ack {
        Ok(ack) => ack.await.is_ok(),
        Err(_) => false,
    };
    (!is_stored).then_some(number)
}

/// Sends messages as they are, and waits until the server has them all.
pub fn send(address: SocketAddr, messages: impl Iterator<Item = Odd>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n").unwrap();
    for Odd { subject, headers, body } in messages {
        let (verb, sizes) = match headers.len() {
            0 => ("PUB", body.len().to_string()),
            length => ("HPUB", format!("{length} {}", length + body.len())),
        };
        let head = [verb.as_bytes(), b" ", &subject, b" ", sizes.as_bytes(), b"\r\n"].concat();
        stream.write_all(&[&*head, &headers, &body, b"\r\n"].concat()).unwrap();
    }
    stream.write_all(b"PING\r\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("PONG") {
        line.clear();
        assert!(answers.read_line(&mut line).unwrap() > 0, "the server has left");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}
