//! Partitions that a member owns, as a state machine without input and output: it is told what the
//! bucket holds and what time it is, and says what to write and what its sources are to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    assignment::assign,
    fence::Fence,
    lease::LeaseSighting,
    record::{FleetNote, MemberRecord, NotedEntry, PartitionRecord},
};

/// Time between two claims of all members together, so that a start of all does not flood the API.
const CLAIM_SPACING: Duration = Duration::from_millis(4);
/// Dead members that are remembered though they own nothing.
const REMEMBERED: usize = 1_024;

/// A partition of a source.
pub(crate) type PartitionName = (String, u32);

/// What a source is to do.
#[derive(Debug)]
pub enum OwnershipChange {
    /// Begin, and act only while the fence holds.
    Take { partition: u32, epoch: u64, fence: Arc<Fence> },
    /// End in good order, then say that it is released.
    Release { partition: u32 },
    /// End at once and forget what is open: another router may own it already.
    Lost { partition: u32 },
}

/// A write that the driver carries out. All of them are compare-and-set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FleetWrite {
    Partition {
        name: PartitionName,
        record: PartitionRecord,
        after: u64,
    },
    /// Deletes the entry of a dead member.
    Bury {
        member: String,
        revision: u64,
    },
    /// Reads whether a member that is not known has no entry.
    Verify {
        member: String,
    },
}

#[derive(Debug)]
struct KnownMember {
    record: MemberRecord,
    sighting: LeaseSighting,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum HeldPhase {
    /// Owned, and not yet told to the source.
    Taken,
    Running,
    /// To be released, and not yet told.
    Releasing,
    Finishing,
    /// Released by the source, and not yet written.
    Released,
}

#[derive(Debug)]
struct SharedSource {
    partitions: u32,
    is_retiring: bool,
    held: BTreeMap<u32, HeldPhase>,
    /// Partitions that the source runs, and has lost.
    lost: BTreeSet<u32>,
}

/// A member's view of the fleet, and its own part in it.
#[derive(Debug)]
pub(crate) struct FleetOwnership {
    me: String,
    lease: Duration,
    fence: Arc<Fence>,
    members: BTreeMap<String, KnownMember>,
    /// Members whose entries are known to be deleted.
    gone: BTreeSet<String>,
    owners: BTreeMap<PartitionName, (PartitionRecord, u64)>,
    /// Last revision that was read.
    position: u64,
    sources: BTreeMap<String, SharedSource>,
    next_claim: Duration,
    /// Nothing is to be released or claimed until something changes.
    is_settled: bool,
    rng: fastrand::Rng,
}

impl FleetOwnership {
    /// A member whose entry was written at a time after `sent`.
    pub(crate) fn new(me: String, lease: Duration, sent: Duration, rng: fastrand::Rng) -> Self {
        Self {
            me,
            lease,
            fence: Arc::new(Fence::until(deadline(sent, lease))),
            members: BTreeMap::new(),
            gone: BTreeSet::new(),
            owners: BTreeMap::new(),
            position: 0,
            sources: BTreeMap::new(),
            // Those that start together are to see each other first.
            next_claim: sent + lease / 16,
            is_settled: false,
            rng,
        }
    }

    pub(crate) fn record(&self) -> MemberRecord {
        let sources = self.sources.iter().filter(|(_, source)| !source.is_retiring);
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        MemberRecord { lease_ms, sources: sources.map(|(name, _)| name.clone()).collect() }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn share(&mut self, source: &str, partitions: u32) {
        let shared = SharedSource { partitions, is_retiring: false, held: BTreeMap::new(), lost: BTreeSet::new() };
        self.sources.insert(source.to_owned(), shared);
        self.is_settled = false;
    }

    /// Takes no more partitions of a source, and has those that it owns released.
    pub(crate) fn retire(&mut self, source: &str) {
        if let Some(shared) = self.sources.get_mut(source) {
            shared.is_retiring = true;
        }
        self.is_settled = false;
    }

    /// Notes that all events of a partition are settled.
    pub(crate) fn released(&mut self, source: &str, partition: u32) {
        let phase = self.sources.get_mut(source).and_then(|shared| shared.held.get_mut(&partition));
        // Of a partition that was lost and taken again, the earlier run ends later.
        if let Some(phase) = phase.filter(|phase| **phase == HeldPhase::Finishing) {
            *phase = HeldPhase::Released;
            self.is_settled = false;
        }
    }

    /// Returns whether no partition of the source is owned any more.
    pub(crate) fn is_clear(&self, source: &str) -> bool {
        self.sources.get(source).is_none_or(|shared| shared.held.is_empty())
    }

    /// Notes that the lease was renewed by a request that was sent at `sent`.
    pub(crate) fn renewed(&mut self, sent: Duration, now: Duration) {
        if self.fence.renew(deadline(sent, self.lease), now) {
            return;
        }
        self.lapse();
        self.fence = Arc::new(Fence::until(deadline(sent, self.lease)));
        self.adopt(now);
    }

    /// Begins anew under another name: the others took this member for dead.
    pub(crate) fn renamed(&mut self, me: String, sent: Duration) {
        self.lapse();
        let gone = std::mem::replace(&mut self.me, me);
        self.gone.insert(gone);
        self.fence = Arc::new(Fence::until(deadline(sent, self.lease)));
        self.members.clear();
        self.owners.clear();
        self.position = 0;
        self.next_claim = sent + self.lease / 16;
    }

    /// Gives up all partitions without a word to the bucket.
    fn lapse(&mut self) {
        self.fence.lapse();
        self.is_settled = false;
        for shared in self.sources.values_mut() {
            for (partition, phase) in std::mem::take(&mut shared.held) {
                if !matches!(phase, HeldPhase::Taken | HeldPhase::Released) {
                    shared.lost.insert(partition);
                }
            }
        }
    }

    /// Notes what was read after the last position.
    pub(crate) fn read(&mut self, notes: Vec<FleetNote>, now: Duration) {
        for note in notes {
            self.position = self.position.max(note.revision);
            self.note(note, now);
        }
        if self.gone.len() > REMEMBERED {
            let owners: BTreeSet<_> = self.owners.values().filter_map(|(record, _)| record.owner.as_ref()).collect();
            self.gone.retain(|name| owners.contains(name));
        }
        self.adopt(now);
    }

    /// Notes the answer to a write: its revision, or none if another write came first.
    pub(crate) fn written(&mut self, write: FleetWrite, revision: Option<u64>, now: Duration) {
        match (write, revision) {
            (FleetWrite::Partition { name: (source, partition), record, .. }, Some(revision)) => {
                self.note(FleetNote { revision, entry: NotedEntry::Partition(source, partition, Some(record)) }, now);
                self.adopt(now);
            }
            (FleetWrite::Bury { member, .. } | FleetWrite::Verify { member }, Some(_)) => {
                self.is_settled = false;
                self.members.remove(&member);
                self.gone.insert(member);
            }
            // The next read tells who was faster.
            (_, None) => {}
        }
    }

    fn note(&mut self, FleetNote { revision, entry }: FleetNote, now: Duration) {
        match entry {
            NotedEntry::Member(name, None) => {
                self.is_settled &= self.members.remove(&name).is_none();
                self.gone.insert(name);
            }
            NotedEntry::Member(name, Some(_)) if self.gone.contains(&name) => {}
            NotedEntry::Member(name, Some(record)) => {
                let is_same = self.members.get(&name).is_some_and(|known| known.record.sources == record.sources);
                self.is_settled &= is_same;
                let sighting = LeaseSighting { revision, since: now };
                let known = self.members.entry(name).or_insert(KnownMember { record: record.clone(), sighting });
                known.sighting.see(revision, now);
                known.record = record;
            }
            NotedEntry::Partition(source, partition, record) => {
                let known = self.owners.entry((source, partition)).or_default();
                if known.1 < revision {
                    self.is_settled = false;
                    *known = (record.unwrap_or_default(), revision);
                }
            }
        }
    }

    /// Brings what is held in line with the bucket.
    fn adopt(&mut self, now: Duration) {
        let holds = self.fence.holds_at(now);
        for (name, shared) in &mut self.sources {
            for partition in 0..shared.partitions {
                let owner = self.owners.get(&(name.clone(), partition)).and_then(|(record, _)| record.owner.as_ref());
                let is_ours = owner == Some(&self.me);
                match shared.held.get(&partition) {
                    None if is_ours && holds => {
                        shared.held.insert(partition, HeldPhase::Taken);
                    }
                    Some(phase) if !is_ours => {
                        if !matches!(phase, HeldPhase::Taken | HeldPhase::Released) {
                            shared.lost.insert(partition);
                        }
                        shared.held.remove(&partition);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The next thing that the source is to do.
    pub(crate) fn next_change(&mut self, source: &str) -> Option<OwnershipChange> {
        let shared = self.sources.get_mut(source)?;
        if let Some(partition) = shared.lost.pop_first() {
            self.is_settled = false;
            return Some(OwnershipChange::Lost { partition });
        }
        for (partition, phase) in &mut shared.held {
            let partition = *partition;
            match phase {
                HeldPhase::Taken => {
                    *phase = HeldPhase::Running;
                    self.is_settled = false;
                    let epoch = self.owners.get(&(source.to_owned(), partition)).map_or(0, |(record, _)| record.epoch);
                    return Some(OwnershipChange::Take { partition, epoch, fence: Arc::clone(&self.fence) });
                }
                HeldPhase::Releasing => {
                    *phase = HeldPhase::Finishing;
                    return Some(OwnershipChange::Release { partition });
                }
                _ => {}
            }
        }
        None
    }

    /// The next write, if one is due. The driver carries out one at a time.
    pub(crate) fn next_write(&mut self, now: Duration) -> Option<FleetWrite> {
        if !self.fence.holds_at(now) {
            self.lapse();
            return None;
        }
        if let Some(burial) = self.burial(now) {
            return Some(burial);
        }
        if self.is_settled {
            return None;
        }
        let write = self.release().or_else(|| self.claim(now));
        self.is_settled = write.is_none() && now >= self.next_claim;
        write
    }

    /// A member that has not renewed its lease. The one before it in the ring is first, so that not
    /// all write at once.
    fn burial(&self, now: Duration) -> Option<FleetWrite> {
        if self.members.values().all(|known| now.saturating_sub(known.sighting.since) < known.record.lease()) {
            return None;
        }
        let names: Vec<&String> = self.members.keys().filter(|name| **name != self.me).collect();
        let here = names.partition_point(|name| **name < self.me);
        let dead = names.iter().enumerate().find(|(at, name)| {
            let distance = (at + names.len() - here) % names.len();
            let patience = Duration::from_millis(20) * u32::try_from(distance).unwrap_or(u32::MAX);
            let known = &self.members[**name];
            now.saturating_sub(known.sighting.since) >= known.record.lease() + patience
        });
        dead.map(|(_, name)| FleetWrite::Bury {
            member: (*name).clone(),
            revision: self.members[*name].sighting.revision,
        })
    }

    /// Targets of a source's partitions: whether each is for this member.
    fn targets(&self, source: &str, shared: &SharedSource) -> Vec<bool> {
        let mut members: BTreeSet<&str> = BTreeSet::new();
        let others = self.members.iter().filter(|(_, known)| known.record.sources.contains(source));
        members.extend(others.map(|(name, _)| name.as_str()));
        if shared.is_retiring {
            members.remove(self.me.as_str());
        } else {
            members.insert(&self.me);
        }
        let members: Vec<&str> = members.into_iter().collect();
        let index = |name: &String| members.binary_search(&name.as_str()).ok();
        let owner = |partition| self.owners.get(&(source.to_owned(), partition))?.0.owner.as_ref().and_then(index);
        let owners: Vec<_> = (0..shared.partitions).map(owner).collect();
        let me = members.binary_search(&self.me.as_str()).ok();
        assign(members.len(), &owners).iter().map(|target| me.is_some() && *target == me).collect()
    }

    /// A partition whose source has ended. Chooses the next one to release, if none is under way.
    fn release(&mut self) -> Option<FleetWrite> {
        for name in self.sources.keys().cloned().collect::<Vec<_>>() {
            let Some(shared) = self.sources.get(&name) else { continue };
            if let Some((partition, _)) = shared.held.iter().find(|(_, phase)| **phase == HeldPhase::Released) {
                let place = (name, *partition);
                let (record, after) = self.owners.get(&place)?.clone();
                return Some(FleetWrite::Partition {
                    name: place,
                    record: PartitionRecord { owner: None, ..record },
                    after,
                });
            }
            let is_busy =
                shared.held.values().any(|phase| matches!(phase, HeldPhase::Releasing | HeldPhase::Finishing));
            if is_busy && !shared.is_retiring {
                continue;
            }
            let targets = self.targets(&name, shared);
            let is_retiring = shared.is_retiring;
            let Some(shared) = self.sources.get_mut(&name) else { continue };
            let excess = shared.held.iter_mut().rev().filter(|(partition, phase)| {
                **phase == HeldPhase::Running && targets.get(**partition as usize) == Some(&false)
            });
            for (_, phase) in excess.take(if is_retiring { usize::MAX } else { 1 }) {
                *phase = HeldPhase::Releasing;
            }
        }
        None
    }

    /// A partition that is for this member and that nothing owns.
    fn claim(&mut self, now: Duration) -> Option<FleetWrite> {
        if now < self.next_claim {
            return None;
        }
        let mut wanted: Vec<(PartitionName, PartitionRecord, u64)> = Vec::new();
        let mut free = 0_u32;
        for (name, shared) in &self.sources {
            if shared.is_retiring {
                continue;
            }
            for (partition, is_mine) in (0..shared.partitions).zip(self.targets(name, shared)) {
                let place = (name.clone(), partition);
                let (record, revision) = self.owners.get(&place).cloned().unwrap_or_default();
                if record.owner.as_ref().is_some_and(|owner| *owner == self.me || self.members.contains_key(owner)) {
                    continue;
                }
                free += 1;
                // A source that has not heard of its loss yet must not be told to begin.
                if is_mine && !shared.lost.contains(&partition) {
                    wanted.push((place, record, revision));
                }
            }
        }
        let mine = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let (name, record, after) = wanted.into_iter().next()?;
        if let Some(owner) = record.owner.filter(|owner| !self.gone.contains(owner)) {
            return Some(FleetWrite::Verify { member: owner });
        }
        let spacing = CLAIM_SPACING * free / mine.max(1);
        self.next_claim = now + spacing.mul_f64(2.0 * self.rng.f64());
        let record = PartitionRecord { owner: Some(self.me.clone()), epoch: record.epoch + 1 };
        Some(FleetWrite::Partition { name, record, after })
    }
}

/// Time until which a member may act whose renewal was sent at `sent`: before the others take it
/// for dead, by any of their clocks.
fn deadline(sent: Duration, lease: Duration) -> Duration {
    sent + lease / 5 * 4
}
