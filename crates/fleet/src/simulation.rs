//! A fleet without a network: members that run the state machine against one bucket in memory, on
//! a clock of the simulation, with faults from a seed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    fence::Fence,
    ownership::{FleetOwnership, FleetWrite, OwnershipChange},
    record::{FleetNote, MemberRecord, NotedEntry, PartitionRecord},
};

const SOURCE: &str = "in";
const LEASE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(50);
/// Time within which all is owned and even again: a lease, and reads, burials and claims.
const SETTLED: Duration = Duration::from_secs(17);

#[derive(Default)]
struct SimulatedBucket {
    members: BTreeMap<String, (Option<MemberRecord>, u64)>,
    partitions: BTreeMap<u32, (PartitionRecord, u64)>,
    revision: u64,
    claims: usize,
    moves: usize,
}

struct SimulatedRouter {
    name: String,
    revision: u64,
    ownership: FleetOwnership,
    running: BTreeMap<u32, Arc<Fence>>,
    /// Releases under way, with the time at which they end.
    releasing: BTreeMap<u32, Duration>,
    renew_at: Duration,
    read_at: Duration,
    /// It does nothing until then: paused, or its machine sleeps.
    paused_until: Duration,
    /// It runs, and can't reach the bucket.
    cut_until: Duration,
    is_leaving: bool,
}

struct Simulation {
    rng: fastrand::Rng,
    now: Duration,
    bucket: SimulatedBucket,
    routers: Vec<SimulatedRouter>,
    partitions: u32,
    started: u64,
    /// Answers of which one is lost, in percent.
    lossy: u32,
}

impl SimulatedBucket {
    /// Returns the next revision if the last one of the key is still `after`.
    fn next(&mut self, last: u64, after: u64) -> Option<u64> {
        (last == after).then(|| {
            self.revision += 1;
            self.revision
        })
    }

    fn put_member(&mut self, name: &str, record: Option<MemberRecord>, after: u64) -> Option<u64> {
        let last = self.members.get(name).map_or(0, |(_, revision)| *revision);
        let revision = self.next(last, after)?;
        self.members.insert(name.to_owned(), (record, revision));
        Some(revision)
    }

    fn write(&mut self, write: &FleetWrite) -> Option<u64> {
        match write {
            FleetWrite::Partition { name: (_, partition), record, after } => {
                let last = self.partitions.get(partition).map_or(0, |(_, revision)| *revision);
                let revision = self.next(last, *after)?;
                if record.owner.is_some() {
                    self.claims += 1;
                    self.moves += 1;
                }
                self.partitions.insert(*partition, (record.clone(), revision));
                Some(revision)
            }
            FleetWrite::Bury { member, revision } => self.put_member(member, None, *revision),
            FleetWrite::Verify { member } => {
                let is_there = self.members.get(member).is_some_and(|(record, _)| record.is_some());
                (!is_there).then_some(0)
            }
        }
    }

    fn after(&self, position: u64) -> Vec<FleetNote> {
        let mut notes: Vec<_> = self
            .members
            .iter()
            .filter(|(_, (_, revision))| *revision > position)
            .map(|(name, (record, revision))| FleetNote {
                revision: *revision,
                entry: NotedEntry::Member(name.clone(), record.clone()),
            })
            .collect();
        notes.extend(self.partitions.iter().filter(|(_, (_, revision))| *revision > position).map(
            |(number, (record, revision))| {
                let entry = NotedEntry::Partition(SOURCE.to_owned(), *number, Some(record.clone()));
                FleetNote { revision: *revision, entry }
            },
        ));
        notes.sort_by_key(|note| note.revision);
        notes
    }
}

impl SimulatedRouter {
    fn owned(&self, now: Duration) -> impl Iterator<Item = u32> {
        self.running.iter().filter(move |(_, fence)| fence.holds_at(now)).map(|(partition, _)| *partition)
    }
}

impl Simulation {
    fn new(seed: u64, partitions: u32, lossy: u32) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { rng, now: LEASE, bucket: SimulatedBucket::default(), routers: Vec::new(), partitions, started: 0, lossy }
    }

    fn join(&mut self) {
        let seed = self.rng.u64(..);
        let mut ownership = FleetOwnership::new(String::new(), LEASE, self.now, fastrand::Rng::with_seed(seed));
        ownership.share(SOURCE, self.partitions);
        let mut router = SimulatedRouter {
            name: String::new(),
            revision: 0,
            ownership,
            running: BTreeMap::new(),
            releasing: BTreeMap::new(),
            renew_at: self.now,
            read_at: self.now + LEASE.mul_f64(self.rng.f64() / 16.0),
            paused_until: Duration::ZERO,
            cut_until: Duration::ZERO,
            is_leaving: false,
        };
        self.register(&mut router);
        self.routers.push(router);
    }

    fn register(&mut self, router: &mut SimulatedRouter) {
        self.started += 1;
        router.name = format!("{:08x}-{}", self.rng.u32(..), self.started);
        router.revision = self.bucket.put_member(&router.name, Some(router.ownership.record()), 0).unwrap();
        router.ownership.renamed(router.name.clone(), self.now);
        router.renew_at = self.now + LEASE / 4;
    }

    /// As `Lease::renew` does it.
    fn renew(&mut self, router: &mut SimulatedRouter) {
        router.renew_at = self.now + LEASE / 4;
        let record = router.ownership.record();
        let mut revision = self.bucket.put_member(&router.name, Some(record.clone()), router.revision);
        if revision.is_none()
            && let Some((Some(_), last)) = self.bucket.members.get(&router.name)
        {
            let last = *last;
            revision = self.bucket.put_member(&router.name, Some(record), last);
        }
        if self.is_lost() {
            return;
        }
        match revision {
            Some(revision) => {
                router.revision = revision;
                router.ownership.renewed(self.now, self.now);
            }
            None => self.register(router),
        }
    }

    fn is_lost(&mut self) -> bool {
        self.rng.u32(0..100) < self.lossy
    }

    fn tick(&mut self) {
        self.now += TICK;
        let mut order: Vec<usize> = (0..self.routers.len()).collect();
        self.rng.shuffle(&mut order);
        let mut routers = std::mem::take(&mut self.routers);
        for router in order {
            self.step(&mut routers[router]);
        }
        routers.retain(|router| !(router.is_leaving && router.ownership.is_clear(SOURCE)));
        self.routers = routers;
        self.no_partition_has_two_owners();
    }

    fn step(&mut self, router: &mut SimulatedRouter) {
        if router.paused_until > self.now {
            return;
        }
        if router.cut_until <= self.now {
            if router.renew_at <= self.now {
                self.renew(router);
            }
            if router.read_at <= self.now {
                router.read_at = self.now + LEASE / 16;
                router.ownership.read(self.bucket.after(router.ownership.position()), self.now);
            }
            // One write a tick: a slow API.
            if let Some(write) = router.ownership.next_write(self.now) {
                let revision = self.bucket.write(&write);
                if self.is_lost() {
                    router.read_at = self.now;
                } else {
                    router.ownership.written(write, revision, self.now);
                }
            }
        }
        while let Some(change) = router.ownership.next_change(SOURCE) {
            match change {
                OwnershipChange::Take { partition, fence, .. } => {
                    router.running.insert(partition, fence);
                }
                OwnershipChange::Release { partition } => {
                    router.releasing.insert(partition, self.now + Duration::from_millis(self.rng.u64(0..300)));
                }
                OwnershipChange::Lost { partition } => {
                    router.running.remove(&partition);
                    router.releasing.remove(&partition);
                }
            }
        }
        let now = self.now;
        for (partition, _) in router.releasing.extract_if(.., |_, end| *end <= now) {
            router.running.remove(&partition);
            router.ownership.released(SOURCE, partition);
        }
        router.running.retain(|_, fence| fence.holds_at(now));
    }

    fn no_partition_has_two_owners(&self) {
        let mut owners = BTreeMap::new();
        for router in &self.routers {
            for partition in router.owned(self.now) {
                let other = owners.insert(partition, &router.name);
                assert!(other.is_none(), "{:?}: {other:?} and {} own {partition}", self.now, router.name);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// A fault of a kind that the seed chooses.
    fn fault(&mut self) {
        let victim = self.rng.usize(0..self.routers.len());
        let pause = Duration::from_millis(self.rng.u64(100..3 * 15_000));
        match self.rng.u32(0..5) {
            0 if self.routers.len() > 2 => drop(self.routers.swap_remove(victim)),
            1 => self.routers[victim].paused_until = self.now + pause,
            2 => self.routers[victim].cut_until = self.now + pause,
            3 if self.routers.len() > 2 => {
                self.routers[victim].ownership.retire(SOURCE);
                self.routers[victim].is_leaving = true;
                self.routers[victim].renew_at = self.now;
            }
            _ => self.join(),
        }
    }

    /// Fails unless all partitions run, and every router has the same number or one more.
    fn is_even(&self) {
        let counts: Vec<_> = self.routers.iter().map(|router| router.owned(self.now).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), self.partitions as usize, "{counts:?}");
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}

#[test]
fn no_fault_gives_a_partition_two_owners_and_all_are_owned_again() {
    for seed in 0..12 {
        let mut fleet = Simulation::new(seed, 64, 5);
        (0..20).for_each(|_| fleet.join());
        fleet.run(Duration::from_secs(5));
        for _ in 0..8 {
            fleet.fault();
            let pause = Duration::from_millis(fleet.rng.u64(0..8_000));
            fleet.run(pause);
        }
        // Until the longest pause is over, and then what dead routers and releases take.
        fleet.lossy = 0;
        fleet.run(3 * LEASE + 3 * SETTLED);
        fleet.is_even();
    }
}

#[test]
fn a_dead_routers_partitions_are_owned_within_a_lease_and_two_seconds() {
    for seed in 0..20 {
        let mut fleet = Simulation::new(seed, 64, 0);
        (0..20).for_each(|_| fleet.join());
        fleet.run(Duration::from_secs(10));
        fleet.is_even();
        let moves = fleet.bucket.moves;
        let victim = fleet.rng.usize(0..20);
        let owned = fleet.routers.swap_remove(victim).running.len();
        fleet.run(SETTLED + TICK);
        fleet.is_even();
        assert_eq!(fleet.bucket.moves - moves, owned, "only what it owned moves");
    }
}

#[test]
fn a_router_that_joins_moves_its_share_alone() {
    for seed in 0..20 {
        let mut fleet = Simulation::new(seed, 64, 0);
        (0..9).for_each(|_| fleet.join());
        fleet.run(Duration::from_secs(10));
        let moves = fleet.bucket.moves;
        fleet.join();
        fleet.run(Duration::from_secs(10));
        fleet.is_even();
        assert_eq!(fleet.bucket.moves - moves, 64 / 10);
    }
}

#[test]
fn claims_of_a_start_of_all_stay_within_the_rate() {
    let mut fleet = Simulation::new(7, 512, 0);
    (0..40).for_each(|_| fleet.join());
    let mut most = 0;
    for _ in 0..10 {
        let claims = fleet.bucket.claims;
        fleet.run(Duration::from_secs(1));
        most = most.max(fleet.bucket.claims - claims);
    }
    fleet.is_even();
    println!("at most {most} claims in a second");
    assert!(most <= 300, "{most} claims in a second");
}
