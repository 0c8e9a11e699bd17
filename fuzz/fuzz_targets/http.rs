//! Whatever a client sends, a listener for events answers or hangs up, and what it takes is an event.
#![no_main]

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::timeout,
};
use trommel::{
    config::{self, AnswerPoint, ConfigPlace, EnvelopeFormat, HttpSource, SourceKind},
    event::check_subject,
    fate::Fate,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{
        Source,
        http::{HttpContext, HttpReceiver},
    },
    stop::{Stopper, stop},
};

const EVENTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

struct Listening {
    runtime: Runtime,
    address: SocketAddr,
    _stopper: Stopper,
}

thread_local! {
    static LISTENING: Listening = listen();
}

fuzz_target!(|data: &[u8]| {
    LISTENING.with(|Listening { runtime, address, .. }| {
        let answer = runtime.block_on(async { timeout(PATIENCE, send(*address, data)).await }).expect("it answers");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
    });
});

/// What comes back until the listener hangs up.
async fn send(address: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // It may have hung up by then.
    let _ = stream.write_all(data).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // Nothing is left of it that would keep the port.
    let _ = stream.set_zero_linger();
    answer
}

fn listen() -> Listening {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let settings = HttpSource {
        listen: ([127, 0, 0, 1], 0).into(),
        path: "/events".to_owned(),
        tenant_in_path: false,
        fixed_subject: None,
        auth: None,
        is_this_machines: true,
        tenant: None,
        answer: AnswerPoint::Accepted,
        rate: None,
        tenant_rate: None,
        max_body: 4096,
        max_head: 2048,
        connections: 16,
        timeout: Duration::from_secs(1),
        place: ConfigPlace::file("trommel.toml"),
    };
    let kind = SourceKind::Http(Box::new(settings.clone()));
    let source =
        config::SourceConfig { name: "in".to_owned(), envelope: EnvelopeFormat::CloudEvents, expect_every: None, kind };
    let pipeline = config::PipelineConfig {
        lanes: NonZeroUsize::MIN,
        in_flight: NonZeroUsize::new(EVENTS).expect("it is not 0"),
        in_flight_bytes: 1 << 20,
        drain: PATIENCE,
    };
    let (stopper, stop) = stop();
    let surroundings = HttpContext {
        pipeline,
        bodies: 4 << 20,
        metrics: Arc::default(),
        stream: None,
        reserved: None,
        stop: stop.clone(),
    };
    let address = runtime.block_on(async {
        let http = HttpReceiver::open(&source, &settings, surroundings).await.expect("it can listen");
        let address = http.address().expect("it has an address");
        let (intake, mut events) = PipelineDouble::new(EventBudget { events: EVENTS, bytes: 1 << 20 });
        tokio::spawn(http.run(intake, stop));
        tokio::spawn(async move {
            while let Some(ticket) = events.next().await {
                assert!(check_subject(&ticket.event().subject).is_ok(), "{:?}", ticket.event().subject);
                ticket.settle(Fate::Emitted);
            }
        });
        address
    });
    Listening { runtime, address, _stopper: stopper }
}
