//! A source of type `http` under way, with the test as its client and its pipeline.

use crate::http;

use std::{fs, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use http::{Answer as Answered, JSON, post};
use tokio::{task::JoinHandle, time::timeout};
use trommel::{
    ack::Ticket,
    config::{self, AnswerPoint, ConfigPlace, EnvelopeFormat, HttpSource, KeptIn, SourceKind},
    fate::Fate,
    metrics::RequestMetrics,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{
        Source,
        http::{HttpContext, HttpReceiver},
    },
    stop::{Stopper, stop},
};

pub const PLAIN: EnvelopeFormat =
    EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
/// Long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const SHORT: Duration = Duration::from_millis(300);

pub fn settings() -> HttpSource {
    HttpSource {
        listen: ([127, 0, 0, 1], 0).into(),
        path: "/events".to_owned(),
        tenant_in_path: false,
        fixed_subject: None,
        auth: None,
        is_this_machines: false,
        tenant: None,
        answer: AnswerPoint::Accepted,
        rate: None,
        tenant_rate: None,
        max_body: 1 << 20,
        max_head: 16 << 10,
        connections: 256,
        timeout: PATIENCE,
        place: ConfigPlace::file("trommel.toml"),
    }
}

/// A source under way, with the test as its pipeline.
pub struct HttpRig {
    pub address: SocketAddr,
    pub pipeline: PipelineDouble,
    pub metrics: Arc<RequestMetrics>,
    pub stopper: Stopper,
    pub run: JoinHandle<anyhow::Result<()>>,
}

impl HttpRig {
    pub async fn new(settings: HttpSource) -> Self {
        Self::with(settings, PLAIN, 100).await
    }

    pub async fn with(settings: HttpSource, envelope: EnvelopeFormat, events: usize) -> Self {
        Self::before(settings, envelope, events, EventBudget { events, bytes: 1 << 21 }).await
    }

    /// In front of a pipeline that takes less than the door lets in.
    pub async fn before(settings: HttpSource, envelope: EnvelopeFormat, events: usize, budget: EventBudget) -> Self {
        let kind = SourceKind::Http(Box::new(settings.clone()));
        let source = config::SourceConfig { name: "in".to_owned(), expect_every: None, envelope, kind };
        let pipeline = config::PipelineConfig {
            lanes: NonZeroUsize::MIN,
            in_flight: NonZeroUsize::new(events).unwrap(),
            in_flight_bytes: 1 << 21,
            drain: PATIENCE,
        };
        let (stopper, stop) = stop();
        let metrics = Arc::<RequestMetrics>::default();
        let surroundings = HttpContext {
            pipeline,
            bodies: 4 << 20,
            metrics: Arc::clone(&metrics),
            stream: None,
            reserved: None,
            stop: stop.clone(),
        };
        let http = HttpReceiver::open(&source, &settings, surroundings).await.unwrap();
        let address = http.address().unwrap();
        let (intake, pipeline) = PipelineDouble::new(budget);
        let run = tokio::spawn(http.run(intake, stop));
        Self { address, pipeline, metrics, stopper, run }
    }

    pub async fn next(&mut self) -> Ticket {
        timeout(PATIENCE, self.pipeline.next()).await.unwrap().unwrap()
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        post(self.address, path, headers, body).await
    }

    /// Nothing is inside that the test has not seen.
    pub async fn assert_nothing_taken(&mut self) {
        // What was taken before this one would come before it.
        assert_eq!(self.post("/events", &[JSON], "\"last\"").await.status, 202);
        let ticket = self.next().await;
        assert_eq!(payload(&ticket), "\"last\"");
        ticket.settle(Fate::Emitted);
    }
}

pub fn payload(ticket: &Ticket) -> &str {
    std::str::from_utf8(&ticket.event().payload).unwrap()
}

pub fn header<'a>(ticket: &'a Ticket, name: &str) -> Option<&'a str> {
    ticket.event().headers.get(name).map(|value| &**value)
}

pub fn kept(folder: &tempfile::TempDir, name: &str, text: &str) -> (PathBuf, KeptIn) {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (path.clone(), KeptIn::File(path))
}
