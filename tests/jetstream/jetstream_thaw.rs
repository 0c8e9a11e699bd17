//! A server that comes back after a freeze: what it does then must not look like the work of a
//! second reader.

use crate::nats as server;
use crate::patience::until;
use crate::proxy;
use crate::source;

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt;
use proxy::{Fault, Proxy};
use server::NatsServer;
use source::{DURABLE, Running, STREAM, nats, publish, settings, stocked, until_consumer};
use trommel::{config, fate::Fate};

/// The server delivers again what is late, to a connection that is dead, and only then reads the
/// acks: more was delivered than arrived here, and less of it is open. What was new in it still
/// comes before what is stored later.
#[tokio::test]
async fn acks_that_are_read_late_are_no_second_reader() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=50).await;
    let proxy = Proxy::start(server.address()).await;
    // Longer than the test: nothing comes by redelivery.
    let settings = config::JetStreamSource { ack_wait: Duration::from_secs(300), ..settings() };
    let mut running = Running::start(&nats(&proxy.url()), settings).await;
    let mut taken = Vec::new();
    for _ in 1..=50 {
        taken.push(running.next().await);
    }
    until_consumer("a pull waits", &admin, |info| info.num_waiting > 0).await;
    proxy.set(Fault::Stall);
    taken.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    let say = async |word: &'static str| {
        for sequence in 1..=50 {
            let reply = format!("$JS.ACK.{STREAM}.{DURABLE}.1.{sequence}.{sequence}.0.0");
            admin.client().publish(reply, word.into()).await.unwrap();
        }
    };
    // In the place of an `ack_wait` that has run out.
    say("-NAK").await;
    until_consumer("all is delivered again", &admin, |info| info.delivered.consumer_sequence >= 100).await;
    // The acks that the frozen server had in its socket.
    say("+ACK").await;
    until_consumer("the acks are read", &admin, |info| info.num_ack_pending == 0).await;
    publish(&admin, 51..=60).await;
    until_consumer("new messages are lost on the way", &admin, |info| info.delivered.stream_sequence >= 60).await;
    // A pull that the dead connection has left.
    let inbox = admin.client().new_inbox();
    let mut late = admin.client().subscribe(inbox.clone()).await.unwrap();
    proxy.cut();
    until("the cut is noticed", async || !running.connection.is_connected()).await;
    // Whatever was connected meanwhile is cut, too.
    proxy.set(Fault::Refuse);
    proxy.cut();
    until_consumer("its pulls are gone", &admin, |info| info.num_waiting == 0).await;
    let pull = r#"{"batch":1,"expires":60000000000}"#;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}");
    admin.client().publish_with_reply(subject, inbox, pull.into()).await.unwrap();
    proxy.set(Fault::None);
    until_consumer("we pull again", &admin, |info| info.num_waiting > 1).await;
    publish(&admin, 61..=100).await;
    let taken = late.next().await.unwrap();
    let taken_by_it: u64 = std::str::from_utf8(&taken.payload).unwrap().parse().unwrap();
    admin.client().publish(taken.reply.unwrap(), "+ACK".into()).await.unwrap();
    let mut seen = running.take_all((51..=100).filter(|number| *number != taken_by_it)).await;
    let mut first = HashSet::new();
    seen.retain(|number| first.insert(*number));
    assert!(seen.is_sorted(), "{seen:?}");
    running.settle_the_rest(&admin).await;
    running.drain().await;
}
