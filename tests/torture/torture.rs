//! Numbered events and odd ones through a router that is killed, frozen, cut off and misled, and an
//! account of all of them.

use std::{
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use async_nats::jetstream::stream;
use fastrand::Rng;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    account::Account,
    disk::Disk,
    faults::{Fault, Surroundings},
    given,
    load::{self, publish, send},
    nats::NatsServer,
    odd::Odd,
    proxy::{Fault as LinkFault, Proxy},
    receiver::Receiver,
    router_process::RouterProcess,
    settings::{self, STREAMS},
};

const EVENTS: usize = 6_000;
const KILLS: usize = 8;
const MAX_PAYLOAD: usize = 16 << 10;
/// Events that are published together.
const FEW: usize = 50;
/// Of the events, how many are published when all faults are over, to see whether memory grows.
const CALM_SHARE: usize = 5;
/// How much more memory the router may have behind the second half of these than behind the first.
const MEMORY_GROWTH: u64 = 48 << 20;
/// How long the router may take to go on.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run consists of.
struct Plan {
    seed: u64,
    events: usize,
    kills: usize,
    random: Rng,
}

impl Plan {
    fn given() -> Self {
        let seed = given("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
        let (events, kills) = (given("TORTURE_EVENTS").unwrap_or(EVENTS), given("TORTURE_KILLS").unwrap_or(KILLS));
        eprintln!("TORTURE_SEED={seed} TORTURE_EVENTS={events} TORTURE_KILLS={kills}");
        Self { seed, events, kills, random: Rng::with_seed(seed) }
    }

    fn pause(&mut self, most: f64) -> Duration {
        Duration::from_secs_f64(self.random.f64() * most)
    }
}

/// What is killed in the middle of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Nothing,
    Router,
    Server,
}

struct Torture {
    plan: Plan,
    around: Surroundings,
    router: Option<RouterProcess>,
    account: Account,
    published: usize,
}

impl Torture {
    async fn start() -> Self {
        let plan = Plan::given();
        let server = NatsServer::with_config(&format!("max_payload: {}", 64 << 10)).await;
        let context = load::connect(server.address()).await;
        for (name, subject) in STREAMS {
            let subjects = vec![subject.to_owned()];
            // Long enough to know every repeat of a run by its id.
            let duplicate_window = Duration::from_secs(4 * 3600);
            let config = stream::Config { name: name.to_owned(), subjects, duplicate_window, ..Default::default() };
            context.create_stream(config).await.unwrap();
        }
        let link = Proxy::start(server.address()).await;
        let receiver = Receiver::start();
        let folder = settings::folder(&link.url(), receiver.address);
        let disk = Disk::mount(&folder.file("disk"), (8 << 20) + plan.events * 400);
        let disk =
            disk.map_err(|error| eprintln!("SKIPPED: the full disk, for there is no disk to fill: {error}")).ok();
        let router = Some(RouterProcess::start(&folder).await);
        let account = Account::new(context.clone(), plan.seed, folder.path().to_owned());
        let around = Surroundings { server, context, link, folder, receiver, disk };
        Self { plan, around, router, account, published: 0 }
    }

    /// One fault, with work under way, and perhaps a kill in its middle.
    async fn step(&mut self, fault: Fault, kill: Kill, share: usize) {
        let began = Instant::now();
        let numbers = self.published..self.published + share;
        self.published = numbers.end;
        let random = &mut self.plan.random;
        let odd: Vec<_> = (0..share / 20).map(|_| Odd::any(random, MAX_PAYLOAD)).collect();
        send(self.around.server.address(), odd.into_iter());
        let half = numbers.start + share / 2;
        let trickle = self.publish(numbers.start..half, Duration::from_millis(20));
        sleep(self.plan.pause(0.5)).await;
        self.around.begin(fault, self.router.as_ref()).await;
        sleep(self.plan.pause(1.0)).await;
        // The kill comes in the middle of work.
        let flood = self.publish(half..numbers.end, Duration::ZERO);
        sleep(self.plan.pause(0.4)).await;
        match kill {
            Kill::Nothing => {}
            Kill::Router => self.router.take().into_iter().for_each(RouterProcess::kill),
            Kill::Server => {
                self.around.server.kill();
                sleep(self.plan.pause(0.5)).await;
                // The account reads what the server has forgotten before the router settles it again.
                self.around.link.set(LinkFault::Refuse);
                self.around.server.start_again().await;
                self.account.server_was_killed().await;
                self.around.link.set(fault.of_link());
            }
        }
        // One that is new is not frozen.
        if fault != Fault::FrozenServer || kill != Kill::Server {
            self.around.end(fault, self.router.as_ref()).await;
        }
        trickle.await.unwrap();
        flood.await.unwrap();
        let stored = began.elapsed();
        if self.router.is_none() {
            self.account.read().await;
            self.account.read_deliveries();
            self.account.check_acknowledged(&format!("{fault:?}")).await;
            self.router = Some(RouterProcess::start(&self.around.folder).await);
        }
        let rest = self.settle(2 * share as u64 / 3).await;
        self.account.read().await;
        self.account.check_order(&format!("{fault:?}, killed: {kill:?}"));
        let took = began.elapsed();
        eprintln!("{took:6.1?} {fault:?}, killed: {kill:?}; {} published in {stored:.1?}, {rest} open", self.published);
        let wrong = &self.account.wrong;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Publishes in the background, with a pause behind each few events.
    fn publish(&self, numbers: Range<usize>, pause: Duration) -> JoinHandle<()> {
        let (context, seed) = (self.around.context.clone(), self.plan.seed);
        tokio::spawn(async move {
            let mut rest = numbers;
            while !rest.is_empty() {
                let end = rest.end.min(rest.start + FEW);
                publish(&context, rest.start..end, seed).await;
                rest.start = end;
                sleep(pause).await;
            }
        })
    }

    /// Waits until no more than so many messages are open.
    async fn settle(&mut self, most: u64) -> u64 {
        let deadline = Instant::now() + PATIENCE + Duration::from_millis(2) * u32::try_from(self.published).unwrap();
        loop {
            let unsettled = self.account.unsettled().await;
            if unsettled <= most {
                return unsettled;
            }
            let router = self.router.as_mut().unwrap();
            let log = || router_log(router);
            assert!(Instant::now() < deadline, "{unsettled} messages are stuck:\n{}", log());
            if router.has_ended() {
                panic!("the router has ended:\n{}", router_log(router));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Publishes with nothing going wrong, and says how much memory the router has behind it.
    async fn calm(&mut self, share: usize) -> u64 {
        publish(&self.around.context, self.published..self.published + share, self.plan.seed).await;
        self.published += share;
        self.settle(0).await;
        self.router.as_ref().unwrap().memory()
    }

    /// What came in is what became of it, once nothing is in flight.
    async fn check_counters(&self) {
        let router = self.router.as_ref().unwrap();
        let ends = [
            "emitted_total",
            "filtered_total",
            "duplicate_total",
            "skipped_total",
            "failed_total",
            "dead_lettered_total",
            "in_flight",
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = router.events("received_total");
            let ended: Vec<_> = ends.iter().map(|name| (name, router.events(name))).collect();
            let sum: u64 = ended.iter().map(|(_, count)| count).sum();
            if router.events("in_flight") == 0 && received == sum {
                return;
            }
            assert!(Instant::now() < deadline, "{received} received, but {ended:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Torture {
    /// Keeps the log of a run that has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{}.log", self.plan.seed));
            let copied = std::fs::copy(self.around.folder.file("log"), &kept);
            eprintln!("the router's log: {} ({copied:?})", kept.display());
        }
    }
}

fn router_log(router: &RouterProcess) -> String {
    let log = router.log();
    let lines: Vec<_> = log.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Nothing is lost, nothing acknowledged early, order is kept, counters balance, and memory does
/// not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_accounted_for_whatever_goes_wrong() {
    let mut torture = Torture::start().await;
    let Plan { events, kills, .. } = torture.plan;
    let calm = events / CALM_SHARE;
    // Each fault at least once, and with more kills than that also in the middle of each.
    let faults = Fault::in_turn(&mut torture.plan.random, (kills * 3 / 2).max(13));
    let share = (events - calm) / faults.len();
    let mut left = (faults.len(), kills);
    for fault in faults {
        let is_kill = torture.plan.random.usize(..left.0) < left.1;
        left = (left.0 - 1, left.1 - usize::from(is_kill));
        let kill = match torture.plan.random.u8(..10) {
            _ if !is_kill => Kill::Nothing,
            0..3 => Kill::Server,
            _ => Kill::Router,
        };
        torture.step(fault, kill, share).await;
    }
    torture.settle(0).await;
    let warm = torture.calm(calm / 2).await;
    let rest = events - torture.published;
    let end = torture.calm(rest).await;
    torture.check_counters().await;
    assert!(end <= warm + MEMORY_GROWTH, "memory grows: {} MiB, then {} MiB", warm >> 20, end >> 20);

    let deadline = Instant::now() + PATIENCE;
    loop {
        let undelivered = torture.account.undelivered();
        if undelivered.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "webhooks have not got {undelivered:?}");
        sleep(Duration::from_millis(200)).await;
    }
    let router = torture.router.take().unwrap();
    let log = router.log();
    // That of the client library over a header that it can't read is one that the router lives with.
    let panics: Vec<_> =
        log.lines().filter(|line| line.contains("panicked at") && !line.contains("async-nats")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(router.stop().await.success());
    let Torture { around, account, published, .. } = &mut torture;
    account.read().await;
    account.read_deliveries();
    account.check_all(*published).await;
    let sampled = account.sampled().filter(|number| !around.receiver.has(*number)).count();
    assert_eq!(sampled, 0, "events that the receiver never got");
    let repeats = around.receiver.repeats();
    // Nobody else does.
    let shared = log.matches("others read the consumer too").count();
    eprintln!(
        "{}; {repeats} posts twice; {shared} times a consumer was taken for one that others read; memory {} MiB, then {} MiB",
        account.figures(),
        warm >> 20,
        end >> 20
    );
    assert!(account.wrong.is_empty(), "{:#?}", account.wrong);
}
