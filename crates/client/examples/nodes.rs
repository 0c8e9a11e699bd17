//! Publishes what happens to a node, and greets sessions: `cargo run -p trommel-client --example
//! nodes -- nats://127.0.0.1:4222`. Needs a server with JetStream.
#![allow(clippy::print_stdout, reason = "an example prints what it sees")]

use trommel_client::{EventClient, EventFilter, HistoryRange, NodeEvent, SessionEvent, WireFormat};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let client = EventClient::connect(&url).await?;
    client.ensure_stream(&client.stream_of_family::<NodeEvent>("HELIX_NODES")).await?;
    client.ensure_stream(&client.stream_of_family::<SessionEvent>("HELIX_SESSIONS")).await?;

    client.publish(&NodeEvent::new("n1", "join")).await?;
    client.clone().with_format(WireFormat::Avro).publish(&NodeEvent::new("n1", "heartbeat")).await?;
    let mut history = client.history::<NodeEvent>(EventFilter::of("n1", "*"), HistoryRange::Newest(10)).await?;
    while let Some(stored) = history.next().await? {
        let node = stored.event?;
        println!("{} {} {}", node.timestamp, node.node_id, node.action);
    }

    client.publish(&SessionEvent::new("s1", "attach")).await?;
    let consumer = client.consume::<SessionEvent>(EventFilter::of("*", "attach"));
    let mut sessions = consumer.durable("greeter").open().await?;
    let delivery = sessions.next().await?;
    if let Ok(session) = &delivery.event {
        println!("hello {}", session.session_id);
    }
    // Only now: a program that dies before this gets the event again.
    delivery.ack().await?;
    Ok(())
}
