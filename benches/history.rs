//! What reading a stream costs: `trommel history` and `replay` of 100,000 events, beside an ordered
//! consumer of the client alone. `cargo bench --bench history`; medians of rounds in which the
//! cases take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "../tests/common/nats.rs"]
mod nats;

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use async_nats::jetstream::{self, consumer::pull::OrderedConfig, stream};
use futures_util::StreamExt as _;
use nats::NatsServer;

const EVENTS: usize = 100_000;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let server = NatsServer::start().await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    fill(&context).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[nats]\nurl = \"{}\"\n[[source]]\nname = \"in\"\ntype = \"jetstream\"\nstream = \"IN\"\ndurable = \"d\"\n",
        server.url()
    );
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    std::fs::write(folder.path().join("trommel.toml"), settings).unwrap();
    std::fs::write(folder.path().join("keys/all.toml"), "[[key]]\nkey = \"all\"\nsubject = \">\"\n").unwrap();
    let trommel = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trommel"));
        command.arg(words[0]).arg(folder.path()).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        assert!(command.status().unwrap().success());
        EVENTS as f64 / began.elapsed().as_secs_f64()
    };
    let mut rounds = [const { Vec::new() }; 4];
    for _ in 0..=ROUNDS {
        rounds[0].push(plain(&server.url()).await);
        rounds[1].push(trommel(&["history", "--limit", "0", "--json"]));
        rounds[2].push(trommel(&["history", "--limit", "0"]));
        rounds[3].push(trommel(&["replay", "--key", "all", "--from-seq", "1"]));
    }
    let names = ["ordered consumer (floor)", "history --json", "history", "replay through a key, to stdout"];
    println!("{:<36} {:>12} {:>8}", "rows a second, medians", "", "ratio");
    // The first round was for warming up.
    let floor: Vec<f64> = rounds[0][1..].to_vec();
    for (name, round) in names.iter().zip(&rounds) {
        let ratios = round[1..].iter().zip(&floor).map(|(rows, floor)| rows / floor).collect();
        println!("{name:<36} {:>12.0} {:>8.2}", median(round[1..].to_vec()), median(ratios));
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

async fn fill(context: &jetstream::Context) {
    let config = stream::Config { name: "IN".to_owned(), subjects: vec!["in.*".to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
    let padding = "x".repeat(200);
    let mut acks = Vec::new();
    for n in 0..EVENTS {
        let payload = format!(r#"{{"n":{n},"padding":"{padding}"}}"#);
        acks.push(context.publish(format!("in.{}", n % 8), payload.into()).await.unwrap().into_future());
        if acks.len() == 1000 {
            futures_util::future::try_join_all(acks.drain(..)).await.unwrap();
        }
    }
}

/// Rows a second of a consumer that does nothing with them, from connecting on.
async fn plain(url: &str) -> f64 {
    let began = Instant::now();
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let stream = context.get_stream("IN").await.unwrap();
    let mut messages = stream.create_consumer(OrderedConfig::default()).await.unwrap().messages().await.unwrap();
    for _ in 0..EVENTS {
        messages.next().await.unwrap().unwrap();
    }
    EVENTS as f64 / began.elapsed().as_secs_f64()
}
