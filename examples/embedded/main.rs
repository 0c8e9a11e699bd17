//! A program that routes its own events: it publishes them on a bus, and a router in the same process takes them through the
//! keys of this folder. `cargo run --example embedded`

use std::path::Path;

use serde::Serialize;
use trommel::{
    app::{self, RouterControls},
    bus::{Bus, Envelope},
    folder,
};

#[derive(Serialize)]
struct Order {
    number: u32,
    amount: f64,
    customer: &'static str,
}

fn main() -> anyhow::Result<()> {
    app::runtime()?.block_on(route())
}

async fn route() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embedded");
    let bus = Bus::default();
    let controls = RouterControls { bus: Some(bus.clone()), ..RouterControls::default() };
    let mut started = controls.started.subscribe();
    let router = tokio::spawn(app::run(folder::load(&folder)?, controls));
    // Who subscribes later does not hear what was published before. An error means that the router could not start.
    if started.wait_for(|started| *started).await.is_ok() {
        work(&bus).await?;
    }
    // The source ends with the bus, and with its last source the router, when all is done.
    bus.close().await;
    router.await??;
    Ok(())
}

/// What the program is there for.
async fn work(bus: &Bus) -> anyhow::Result<()> {
    let orders = [
        Order { number: 1, amount: 499.0, customer: "c-1041" },
        Order { number: 2, amount: 1250.0, customer: "c-1078" },
        Order { number: 3, amount: 730.5, customer: "c-1041" },
    ];
    for order in &orders {
        bus.publish(Envelope::new("orders.eu.created")?.with_payload(order)?).await?;
    }
    // No key wants these.
    bus.publish(Envelope::new("orders.eu.cancelled")?.with_payload(&orders[1])?).await?;
    Ok(())
}
