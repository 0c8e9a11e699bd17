//! An agent program that filters its own events: it publishes what its agents do on a bus, a router
//! in the same process takes that through the keys of this folder, and what they let through comes
//! back on the same bus. `cargo run --example embedded`

#![allow(clippy::print_stdout, reason = "an example prints what it sees")]

use std::{path::Path, time::Duration};

use serde::Serialize;
use trommel::prelude::*;

/// A step of an agent's run.
#[derive(Serialize)]
struct AgentStep {
    run: &'static str,
    step: u32,
    tokens: u32,
    prompt: &'static str,
}

fn main() -> anyhow::Result<()> {
    app::runtime()?.block_on(route())
}

async fn route() -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embedded");
    let bus = Bus::default();
    // What comes back. A subscription that blocks loses nothing: the router waits for it, and for
    // nothing else.
    let mut costly = bus.subscribe("costly.>".parse()?).policy(OverflowPolicy::Block).open()?;
    let controls = RouterControls { program: ProgramParts::default().bus(&bus), ..RouterControls::default() };
    // From here on the router hears what is published.
    let router = app::start(folder::load(&dir)?, controls).await?;
    work(&bus).await?;
    // The router does what it has before it ends. The bus is closed after that, not before.
    let reading = tokio::spawn(async move {
        while let Some(envelope) = costly.recv().await {
            println!("{}", serde_json::to_string(&Line::of(&envelope))?);
        }
        anyhow::Ok(())
    });
    router.stop().await?;
    bus.close().await;
    tokio::time::timeout(Duration::from_secs(10), reading).await???;
    Ok(())
}

/// What is printed of an envelope.
#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    run: &'a str,
    payload: Option<serde_json::Value>,
}

impl<'a> Line<'a> {
    fn of(envelope: &'a Envelope) -> Self {
        Self { subject: envelope.subject(), run: envelope.run_id(), payload: envelope.decode().ok().flatten() }
    }
}

/// What the program is there for.
async fn work(bus: &Bus) -> anyhow::Result<()> {
    let steps = [
        AgentStep { run: "r-1", step: 1, tokens: 180, prompt: "list the files" },
        AgentStep { run: "r-1", step: 2, tokens: 5_200, prompt: "summarise them" },
        AgentStep { run: "r-2", step: 1, tokens: 1_900, prompt: "translate this" },
    ];
    for step in &steps {
        let envelope = Envelope::new("agent.step.done")?.with_payload(step)?.with_header("run_id", step.run);
        bus.publish(envelope).await?;
    }
    // No key wants this one.
    bus.publish(Envelope::new("agent.step.begun")?.with_payload(&steps[1])?).await?;
    Ok(())
}
