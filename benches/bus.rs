//! What an event costs on its way to 1, 10 and 100 subscriptions, publishing and reading together,
//! beside `tokio::sync::broadcast` and as many `flume` channels, which have neither subjects nor
//! policies; then what it costs that nothing is remembered of subjects. `cargo bench --bench bus`;
//! cases take turns, figures are medians.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "common/turns.rs"]
mod turns;

use std::{hint::black_box, sync::Arc};

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::{runtime::Builder, sync::broadcast};
use trommel::bus::{Bus, BusSubscription, Envelope};
use turns::medians;

const SUBSCRIPTIONS: [usize; 3] = [1, 10, 100];
/// Envelopes that are published before all are read.
const BURST: usize = 32;
/// Envelopes that are published and read by tasks of their own.
const FLOW: usize = 1000;

/// With nothing left for the bus to fill in.
fn envelope(subject: &str) -> Arc<Envelope> {
    let mut envelope = Envelope::new(subject.to_owned()).unwrap().with_json(format!("{:?}", "x".repeat(250)));
    envelope.id = "9m4e2mr0ui3e8a215n4g".into();
    envelope.time = Some(Timestamp::UNIX_EPOCH);
    Arc::new(envelope)
}

fn main() {
    println!("ns an event, published and read by one thread");
    for count in SUBSCRIPTIONS {
        row(
            count,
            &mut [
                ("bus", &mut on_bus(count)),
                ("broadcast", &mut on_broadcast(count)),
                ("flume", &mut on_flume(count)),
            ],
            BURST,
        );
    }
    println!("ns an event, published by one task and read by as many as there are subscriptions, on two threads");
    for count in SUBSCRIPTIONS {
        row(
            count,
            &mut [
                ("bus", &mut flow_on_bus(count)),
                ("broadcast", &mut flow_on_broadcast(count)),
                ("flume", &mut flow_on_flume(count)),
            ],
            FLOW,
        );
    }
    println!("ns an event that one subscription of as many wants, with and without subjects remembered");
    for count in SUBSCRIPTIONS {
        row(count, &mut [("remembered", &mut routed(count, 1024)), ("looked up", &mut routed(count, 0))], BURST);
    }
}

fn row(count: usize, cases: &mut [(&str, &mut dyn FnMut())], events: usize) {
    let mut runs: Vec<&mut dyn FnMut()> = Vec::new();
    let mut names = Vec::new();
    for (name, run) in cases {
        names.push(*name);
        runs.push(run);
    }
    print!("  {count:>3} subscriptions");
    let medians = medians(&mut runs);
    for (name, median) in names.into_iter().zip(&medians) {
        print!("  {name} {:>8.0} ({:.2})", median / events as f64, median / medians[0]);
    }
    println!();
}

fn on_bus(count: usize) -> impl FnMut() {
    let (bus, envelope) = (Bus::default(), envelope("orders.eu.created"));
    let mut subscriptions: Vec<_> =
        (0..count).map(|_| bus.subscribe("orders.>".parse().unwrap()).open().unwrap()).collect();
    move || burst(&bus, &[Arc::clone(&envelope)], &mut subscriptions)
}

fn burst(bus: &Bus, envelopes: &[Arc<Envelope>], subscriptions: &mut [BusSubscription]) {
    for envelope in envelopes.iter().cycle().take(BURST) {
        bus.publish(Arc::clone(envelope)).now_or_never().unwrap().unwrap();
    }
    for subscription in subscriptions {
        while let Some(envelope) = subscription.recv().now_or_never() {
            black_box(envelope);
        }
    }
}

fn on_broadcast(count: usize) -> impl FnMut() {
    let envelope = envelope("orders.eu.created");
    let (sender, first) = broadcast::channel(64);
    let mut receivers: Vec<_> = (1..count).map(|_| sender.subscribe()).chain([first]).collect();
    move || {
        for _ in 0..BURST {
            sender.send(Arc::clone(&envelope)).unwrap();
        }
        for receiver in &mut receivers {
            while let Ok(envelope) = receiver.try_recv() {
                black_box(envelope);
            }
        }
    }
}

fn on_flume(count: usize) -> impl FnMut() {
    let envelope = envelope("orders.eu.created");
    let channels: Vec<_> = (0..count).map(|_| flume::bounded(64)).collect();
    move || {
        for _ in 0..BURST {
            for (sender, _) in &channels {
                sender.send(Arc::clone(&envelope)).unwrap();
            }
        }
        for (_, receiver) in &channels {
            while let Ok(envelope) = receiver.try_recv() {
                black_box(envelope);
            }
        }
    }
}

/// Runs a publisher and its readers to their end.
fn flow<P, R>(mut begin: impl FnMut() -> (P, Vec<R>)) -> impl FnMut()
where
    P: Future<Output = ()> + Send + 'static,
    R: Future<Output = usize> + Send + 'static,
{
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    move || {
        let (publisher, readers) = begin();
        runtime.block_on(async {
            let readers: Vec<_> = readers.into_iter().map(tokio::spawn).collect();
            tokio::spawn(publisher).await.unwrap();
            for reader in readers {
                assert_eq!(reader.await.unwrap(), FLOW);
            }
        });
    }
}

fn flow_on_bus(count: usize) -> impl FnMut() {
    let envelope = envelope("orders.eu.created");
    flow(move || {
        let (bus, envelope) = (Bus::default(), Arc::clone(&envelope));
        let subscribe = |_| bus.subscribe("orders.>".parse().unwrap()).buffer(FLOW).open().unwrap();
        let readers = (0..count).map(subscribe).map(|subscription| subscription.count()).collect();
        let publisher = async move {
            for _ in 0..FLOW {
                bus.publish(Arc::clone(&envelope)).await.unwrap();
            }
            bus.close().await;
        };
        (publisher, readers)
    })
}

fn flow_on_broadcast(count: usize) -> impl FnMut() {
    let envelope = envelope("orders.eu.created");
    flow(move || {
        let (sender, _) = broadcast::channel(FLOW);
        let read = |mut receiver: broadcast::Receiver<_>| async move {
            let mut read = 0;
            while receiver.recv().await.is_ok() {
                read += 1;
            }
            read
        };
        let readers = (0..count).map(|_| read(sender.subscribe())).collect();
        let envelope = Arc::clone(&envelope);
        let publisher = async move {
            for _ in 0..FLOW {
                sender.send(Arc::clone(&envelope)).unwrap();
                tokio::task::coop::consume_budget().await;
            }
        };
        (publisher, readers)
    })
}

fn flow_on_flume(count: usize) -> impl FnMut() {
    let envelope = envelope("orders.eu.created");
    flow(move || {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| flume::bounded(FLOW)).unzip();
        let readers = receivers.into_iter().map(|receiver| receiver.into_stream().count()).collect();
        let envelope = Arc::clone(&envelope);
        let publisher = async move {
            for _ in 0..FLOW {
                for sender in &senders {
                    sender.send_async(Arc::clone(&envelope)).await.unwrap();
                }
                tokio::task::coop::consume_budget().await;
            }
        };
        (publisher, readers)
    })
}

/// Each subscription has a pattern of its own, and each envelope goes to another one.
fn routed(count: usize, remembered: usize) -> impl FnMut() {
    let bus = Bus::builder().route_cache(remembered).build();
    let pattern = |number| format!("orders.{number}.*").parse().unwrap();
    let mut subscriptions: Vec<_> = (0..count).map(|number| bus.subscribe(pattern(number)).open().unwrap()).collect();
    let envelopes: Vec<_> = (0..count).map(|number| envelope(&format!("orders.{number}.created"))).collect();
    move || burst(&bus, &envelopes, &mut subscriptions)
}
