//! A route whose filter has the clock, with a lane and the driver of the ticks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};

use super::{ticks::TickDriver, *};
use crate::{
    config::{FilterSettings, Grant, GuestLimits, OnQuarantine, RetryPolicy, ValidationMode},
    event::{Event, Headers, Origin, Uid},
    filter::{CallLimits, Filter, Host},
    metrics::Metrics,
    registry::{KeyInterest, KeyOrdering, OutputValidation, Route, Snapshot},
    schema::{DeclaredSchema, OutputSchema, SchemaForm},
    sink::Output,
    stop::{Stopper, stop},
};

mod ticks;
mod timed;

const TICKER: &[u8] = include_bytes!("../../../../tests/guests/ticker.wasm");
/// Interval in the guest's manifest.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time of day when a test begins, in Unix nanoseconds: half an interval after a tick is due.
const DAWN: u64 = 1_000_000_050_000_000;
const HOUR: Duration = Duration::from_hours(1);

struct ClockRig {
    snapshots: watch::Sender<Arc<Snapshot>>,
    pipeline: Pipeline,
    filter: Filter,
    params: Vec<(String, String)>,
    sink: SinkQueue,
    outputs: mpsc::Receiver<Output>,
    letters: mpsc::Receiver<Output>,
    stopper: Stopper,
    stop: Stop,
    last: Arc<Notify>,
    _lanes: JoinSet<()>,
    metrics: Arc<Metrics>,
}

impl ClockRig {
    async fn start(params: &[(&str, &str)]) -> Self {
        let metrics = Arc::<Metrics>::default();
        let host = Host::new(None, None, Arc::clone(&metrics)).unwrap();
        let settings = FilterSettings { grants: vec![Grant::State], ..FilterSettings::new("ticker".to_owned()) };
        let filter = host.load("ticker", TICKER.to_vec(), &settings).await.unwrap();
        let (snapshots, receiver) = watch::channel(Arc::<Snapshot>::default());
        let ((sink, outputs), (dead, letters)) = (SinkQueue::double("sink", 9), SinkQueue::double("dead-letters", 9));
        let ((stopper, stop), mut lanes, taken) = (stop(), JoinSet::new(), Arc::new(Notify::new()));
        let (sender, items) = mpsc::channel(LANE_QUEUE);
        let budget = EventBudget { events: 100, bytes: 1 << 20 };
        let surroundings = LaneContext {
            snapshots: receiver.clone(),
            dead_letters: dead.clone(),
            quarantined: Default::default(),
            taken: Arc::clone(&taken),
            budget,
            stop: stop.clone(),
            metrics: Arc::default(),
        };
        lanes.spawn(Lane::new(items, surroundings).run());
        let doors = LaneSenders {
            lanes: vec![LaneQueue { items: sender, metrics: Arc::default() }],
            taken,
            snapshots: receiver,
            dead_letters: dead,
        };
        let pipeline = Pipeline { doors, budget, dedup: None, tracer: None };
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let last = Arc::default();
        Self {
            snapshots,
            pipeline,
            filter,
            params,
            sink,
            outputs,
            letters,
            stopper,
            stop,
            last,
            _lanes: lanes,
            metrics,
        }
    }

    /// Puts the next generation of the key into force, with or without its route.
    async fn reload(&self, has_route: bool, schema: Option<&str>) {
        let limits = CallLimits::new(&GuestLimits::default(), &Default::default());
        let subscription = self.filter.subscribe("k", self.params.clone(), limits).await.unwrap();
        let schema = schema.map(|schema| {
            let declared = DeclaredSchema::new(serde_json::from_str(schema).unwrap()).unwrap();
            OutputSchema::new(SchemaForm::Custom, declared, &BTreeMap::new()).unwrap()
        });
        let validation = OutputValidation::new(schema.as_ref(), ValidationMode::All);
        let route = Route {
            name: "r".into(),
            conditions: Vec::new(),
            subscription: Some(subscription),
            sinks: vec![self.sink.clone().into()],
        };
        let key = Key {
            name: "k".into(),
            ordering: KeyOrdering::None,
            workers: Arc::new(Semaphore::new(2)),
            buffer: Arc::new(Semaphore::new(10)),
            load: Default::default(),
            retry: RetryPolicy { min: INTERVAL, max: INTERVAL, patience: Duration::ZERO },
            decoding: None,
            schema_requests: None,
            filter: Some(self.filter.clone()),
            on_quarantine: OnQuarantine::Pause,
            sets_identity: false,
            validation,
            routes: if has_route { vec![route] } else { Vec::new() },
            subject: None,
            is_isolated: false,
            is_paused: false,
            metrics: Default::default(),
        };
        let interest = KeyInterest::Named { subject: None, event_type: None };
        let generation = self.snapshots.borrow().generation + 1;
        self.snapshots.send_replace(Arc::new(Snapshot::new(generation, [(interest, key)])));
    }

    fn drive(&self) -> JoinHandle<()> {
        let began = Instant::now();
        let clock = move || DAWN + u64::try_from(began.elapsed().as_nanos()).unwrap();
        let ends = (self.stop.clone(), Arc::clone(&self.last));
        let receiver = self.snapshots.subscribe();
        let run =
            TickDriver::run(self.pipeline.clone(), Arc::clone(&self.metrics), receiver, Arc::new(clock), None, ends);
        tokio::spawn(run)
    }

    async fn output(&mut self) -> Output {
        timeout(HOUR, self.outputs.recv()).await.expect("there is no output").unwrap()
    }
}

fn text(output: &Output) -> &str {
    str::from_utf8(&output.payload).unwrap()
}
