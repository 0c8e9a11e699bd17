//! A stream that comes back from a backup while its consumer is lost: what lies before the router's
//! position is other messages, and none of them is skipped.

use crate::nats as server;
use crate::proxy;
use crate::source;

use std::ops::RangeInclusive;

use proxy::{Fault, Proxy};
use server::NatsServer;
use source::{DURABLE, Running, STREAM, admin, every_ack, nats, publish, stocked};
use trommel::config;

/// Reads 1 to 50, of which the backup holds 20, and comes back to a stream that has lost its
/// consumer and holds 121 to 200 under the sequences from 21 on. `deleted` are sequences that are
/// not there any more.
async fn comes_back(settings: config::JetStreamSource, deleted: RangeInclusive<u64>) {
    let mut server = NatsServer::start().await;
    let context = stocked(&server.url(), 1..=20).await;
    let proxy = Proxy::start(server.address()).await;
    let mut running = Running::start(&nats(&proxy.url()), settings).await;
    running.take_all(1..=20).await;
    running.settle_the_rest(&context).await;
    server.terminate();
    let backup = server.back_up();
    server.start_again().await;
    let context = admin(&server.url()).await;
    publish(&context, 21..=50).await;
    running.take_all(21..=50).await;
    running.settle_the_rest(&context).await;
    // The router hears of nothing until all of it has happened.
    proxy.set(Fault::Refuse);
    proxy.cut();
    server.terminate();
    server.restore(&backup);
    server.start_again().await;
    let context = admin(&server.url()).await;
    publish(&context, 121..=200).await;
    let stream = context.get_stream(STREAM).await.unwrap();
    for sequence in deleted.clone() {
        stream.delete_message(sequence).await.unwrap();
    }
    stream.delete_consumer(DURABLE).await.unwrap();
    proxy.set(Fault::None);
    running.take_all((121..=200).filter(|number| !deleted.contains(&(number - 100)))).await;
    running.settle_the_rest(&context).await;
    running.drain().await;
}

#[tokio::test]
async fn a_stream_that_has_grown_past_our_position_is_read_from_its_beginning() {
    for settings in every_ack() {
        comes_back(settings, 1..=2).await;
    }
}

/// The message by which the stream is known again may be gone, as where a stream keeps one for each
/// subject.
#[tokio::test]
async fn a_stream_is_known_again_by_what_is_left_of_it() {
    for settings in every_ack() {
        comes_back(settings, 40..=60).await;
    }
}
