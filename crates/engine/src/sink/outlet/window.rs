//! Outputs that an outlet holds: under way, ready to be written, and behind others of their order.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    sink::{Output, Slot},
    telemetry::StageSpan,
};

/// Longest time that a destination that refuses may hold up the others of its sink, once there is
/// no more room for its outputs. Too short to be noticed, longer than a stream stays full that is
/// being emptied: outputs that are given back later lose their order.
const YIELD_AFTER: Duration = Duration::from_secs(2);
/// Factor by which the list of slots may exceed the outputs in it while an early one is
/// unconfirmed.
const SPAN: usize = 64;

/// Output with its state so far.
pub(super) struct OpenOutput {
    pub(super) output: Output,
    pub(super) first_try: Option<Instant>,
    /// Span from the first try on.
    pub(super) span: StageSpan,
    /// Position among the outputs that came in.
    number: u64,
    written: bool,
}

impl OpenOutput {
    fn bytes(&self) -> usize {
        self.output.payload.len()
    }
}

/// The outputs of one order behind the one that is under way, or refused: they must not overtake
/// it.
#[derive(Default)]
struct OrderLine {
    waiting: VecDeque<OpenOutput>,
    /// Set while the first of them is refused.
    refused: Option<RefusalState>,
}

#[derive(Clone, Copy)]
struct RefusalState {
    since: Instant,
    due: Instant,
    /// Last wait, repeated while others of the order are under way.
    wait: Duration,
    backoff: Backoff,
}

impl RefusalState {
    fn new(mut backoff: Backoff, since: Instant) -> Self {
        let wait = backoff.next_wait();
        Self { since, due: Instant::now() + wait, wait, backoff }
    }
}

/// Hasher that passes orders through, as they are hashes already.
#[derive(Default)]
struct PassThroughHasher(u64);

impl Hasher for PassThroughHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, order: u64) {
        self.0 = order;
    }
}

/// Limits of what may be held at once.
#[derive(Clone, Copy)]
pub(super) struct WindowBounds {
    /// Outputs under way, ready, or behind those.
    pub(super) open: usize,
    /// Outputs that are refused, and behind those.
    pub(super) refused: usize,
    pub(super) refused_bytes: usize,
}

pub(super) struct OutputWindow {
    bounds: WindowBounds,
    /// Outputs by slot. `None` once it is settled or refused apart, while an earlier one is not.
    entries: VecDeque<Option<OpenOutput>>,
    /// Slot of the first entry.
    first: Slot,
    /// Slots that wait to be written, in order.
    ready: VecDeque<Slot>,
    lines: HashMap<u64, OrderLine, BuildHasherDefault<PassThroughHasher>>,
    /// Times at which the first outputs of refused lines are tried again. One that differs from its
    /// line's is outdated.
    due: BTreeSet<(Instant, u64)>,
    /// Refused lines, the longest refused first.
    refused_since: BTreeSet<(Instant, u64)>,
    /// Outputs in slots.
    under_way: usize,
    pub(super) written: usize,
    /// Outputs in lines whose first output is under way.
    behind: usize,
    /// Outputs in lines whose first output is refused.
    refused: usize,
    refused_bytes: usize,
    /// Outputs that came in so far.
    number: u64,
}

impl OutputWindow {
    pub(super) fn new(bounds: WindowBounds) -> Self {
        Self {
            bounds,
            entries: VecDeque::new(),
            first: 0,
            ready: VecDeque::new(),
            lines: HashMap::default(),
            due: BTreeSet::new(),
            refused_since: BTreeSet::new(),
            under_way: 0,
            written: 0,
            behind: 0,
            refused: 0,
            refused_bytes: 0,
            number: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way + self.behind + self.refused == 0
    }

    /// Returns how many more outputs may be taken in. Refused ones do not count while there is room
    /// for them: others pass them by.
    pub(super) fn room(&self) -> usize {
        if self.entries.len() >= self.bounds.open * SPAN || self.is_over_bounds() {
            return 0;
        }
        self.bounds.open.saturating_sub(self.under_way + self.behind)
    }

    /// Takes an output in. With `one_by_one`, no two of its order may be under way at once.
    pub(super) fn push(&mut self, output: Output, one_by_one: bool, now: Instant) {
        self.number += 1;
        let order = output.order;
        let entry =
            OpenOutput { output, first_try: None, span: StageSpan::none(), number: self.number, written: false };
        let Some(order) = order.filter(|_| one_by_one || !self.lines.is_empty()) else {
            self.enter(entry);
            return;
        };
        match self.lines.get_mut(&order) {
            Some(line) if line.refused.is_some() => {
                self.refused += 1;
                self.refused_bytes += entry.bytes();
                // The patience begins with the waiting, or those behind would be refused one after
                // the other.
                line.waiting.push_back(OpenOutput { first_try: Some(now), ..entry });
            }
            Some(line) if one_by_one => {
                self.behind += 1;
                line.waiting.push_back(entry);
            }
            // The sink keeps the order by now: a line that is never empty would go one by one for
            // ever.
            Some(line) => {
                let waiting = std::mem::take(&mut line.waiting);
                self.lines.remove(&order);
                self.behind -= waiting.len();
                for entry in waiting.into_iter().chain([entry]) {
                    self.enter(entry);
                }
            }
            None => {
                if one_by_one {
                    self.lines.insert(order, OrderLine::default());
                }
                self.enter(entry);
            }
        }
    }

    fn enter(&mut self, entry: OpenOutput) -> Slot {
        let slot = self.first + self.entries.len() as u64;
        self.entries.push_back(Some(entry));
        self.ready.push_back(slot);
        self.under_way += 1;
        slot
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<OpenOutput>> {
        let index = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }

    pub(super) fn entry(&mut self, slot: Slot) -> Option<&mut OpenOutput> {
        self.place(slot)?.as_mut()
    }

    /// Returns the first slot of all.
    pub(super) fn first(&self) -> Slot {
        self.first
    }

    /// Returns the next slot that waits to be written.
    pub(super) fn next_ready(&self) -> Option<Slot> {
        self.ready.front().copied()
    }

    /// Notes that the sink has the output of [`Self::next_ready`].
    pub(super) fn wrote(&mut self, slot: Slot) {
        self.not_ready(slot);
        if let Some(entry) = self.entry(slot) {
            entry.written = true;
            self.written += 1;
        }
    }

    fn not_ready(&mut self, slot: Slot) {
        if self.ready.front() == Some(&slot) {
            self.ready.pop_front();
        } else if let Ok(at) = self.ready.binary_search(&slot) {
            self.ready.remove(at);
        }
    }

    pub(super) fn is_written(&mut self, slot: Slot) -> bool {
        self.entry(slot).is_some_and(|entry| entry.written)
    }

    /// Takes an output out that its destination has taken; the next of its order takes its turn.
    pub(super) fn confirm(&mut self, slot: Slot) -> Option<Output> {
        let entry = self.remove(slot)?;
        if let Some(order) = entry.output.order
            && self.advance(order)
        {
            self.retry_soon();
        }
        Some(entry.output)
    }

    /// Takes an output out that was not taken; the next of its order takes its turn.
    pub(super) fn give_up(&mut self, slot: Slot, why: &str) -> Option<Output> {
        let mut entry = self.remove(slot)?;
        entry.span.give_up(why);
        if let Some(order) = entry.output.order {
            self.advance(order);
        }
        Some(entry.output)
    }

    fn remove(&mut self, slot: Slot) -> Option<OpenOutput> {
        let entry = self.place(slot)?.take()?;
        self.under_way -= 1;
        if entry.written {
            self.written -= 1;
        } else {
            self.not_ready(slot);
        }
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        Some(entry)
    }

    /// Lets the next of an order go, one at a time until nothing of it waits. Returns whether the
    /// order was refused.
    fn advance(&mut self, order: u64) -> bool {
        let Some(line) = self.lines.get_mut(&order) else { return false };
        // The order waits for its retry: another of its outputs, under way beside the refused one,
        // has come back.
        if line.refused.is_some_and(|refused| self.due.contains(&(refused.due, order))) {
            return false;
        }
        let was_refused = line.refused.take();
        if let Some(refused) = was_refused {
            self.refused_since.remove(&(refused.since, order));
            self.refused -= line.waiting.len();
            self.refused_bytes -= line.waiting.iter().map(OpenOutput::bytes).sum::<usize>();
            self.behind += line.waiting.len();
        }
        match line.waiting.pop_front() {
            Some(entry) => {
                self.behind -= 1;
                self.enter(entry);
            }
            None => {
                self.lines.remove(&order);
            }
        }
        was_refused.is_some()
    }

    /// Retries all refused lines now: the destination of one takes outputs again, so those of
    /// others may do so, too.
    fn retry_soon(&mut self) {
        let now = Instant::now();
        for (due, order) in std::mem::take(&mut self.due) {
            if let Some(refused) = self.lines.get_mut(&order).and_then(|line| line.refused.as_mut())
                && refused.due == due
            {
                refused.due = due.min(now);
                self.due.insert((refused.due, order));
            }
        }
    }

    /// Puts an output back among those that wait, as its sink as a whole took nothing. Returns the
    /// time of its first try.
    pub(super) fn put_back(&mut self, slot: Slot) -> Option<Instant> {
        let entry = self.entry(slot)?;
        let first_try = entry.first_try?;
        if std::mem::take(&mut entry.written) {
            self.written -= 1;
            let at = self.ready.partition_point(|ready| *ready < slot);
            self.ready.insert(at, slot);
        }
        Some(first_try)
    }

    /// Sets an output aside because its own destination refuses it, and with it all that are ready
    /// and of its order. `backoff` has the waits
    /// before its tries.
    pub(super) fn set_aside(&mut self, slot: Slot, backoff: Backoff) {
        let Some(mut entry) = self.remove(slot) else { return };
        entry.written = false;
        // An output without an order gets a line of its own.
        let order = *entry.output.order.get_or_insert_with(|| fastrand::u64(..));
        let mut set_aside = vec![entry];
        for slot in self.ready.clone() {
            if self.entry(slot).is_some_and(|entry| entry.output.order == Some(order)) {
                set_aside.extend(self.remove(slot));
            }
        }
        let line = self.lines.entry(order).or_default();
        let due = match line.refused {
            // Several of one order were under way, and this is not the first of them that comes
            // back.
            Some(refused) if self.due.contains(&(refused.due, order)) => refused,
            Some(RefusalState { backoff, since, .. }) => RefusalState::new(backoff, since),
            None => {
                self.behind -= line.waiting.len();
                self.refused += line.waiting.len();
                self.refused_bytes += line.waiting.iter().map(OpenOutput::bytes).sum::<usize>();
                RefusalState::new(backoff, Instant::now())
            }
        };
        for entry in set_aside {
            self.refused += 1;
            self.refused_bytes += entry.bytes();
            let at = line.waiting.partition_point(|other| other.number < entry.number);
            line.waiting.insert(at, entry);
        }
        line.refused = Some(due);
        self.due.insert((due.due, order));
        self.refused_since.insert((due.since, order));
    }

    fn is_over_bounds(&self) -> bool {
        self.refused > self.bounds.refused || self.refused_bytes > self.bounds.refused_bytes
    }

    /// Takes out refused outputs for which there is no room, if their destinations have refused for
    /// long: the last of those that have done so for longest.
    pub(super) fn yield_room(&mut self, now: Instant) -> Vec<Output> {
        let mut given_up = Vec::new();
        let mut lines = self.refused_since.iter();
        while self.is_over_bounds()
            && let Some((since, order)) = lines.next()
            && now >= *since + YIELD_AFTER
        {
            let Some(line) = self.lines.get_mut(order) else { continue };
            // The first stays, as the others of its line would lose their turn.
            while (self.refused > self.bounds.refused || self.refused_bytes > self.bounds.refused_bytes)
                && line.waiting.len() > 1
                && let Some(last) = line.waiting.pop_back()
            {
                self.refused -= 1;
                self.refused_bytes -= last.bytes();
                given_up.push(last.output);
            }
        }
        given_up.extend(self.yield_lines(now));
        given_up
    }

    /// Takes out whole lines likewise, if there are too many.
    fn yield_lines(&mut self, now: Instant) -> Vec<Output> {
        let mut given_up = Vec::new();
        while self.is_over_bounds()
            && let Some((since, order)) = self.longest_refused()
            && now >= since + YIELD_AFTER
            && let Some(line) = self.lines.remove(&order)
        {
            self.refused_since.remove(&(since, order));
            self.refused -= line.waiting.len();
            self.refused_bytes -= line.waiting.iter().map(OpenOutput::bytes).sum::<usize>();
            given_up.extend(line.waiting.into_iter().map(|entry| entry.output));
        }
        given_up
    }

    /// Returns the line that is refused for longest, of those that have something to give up.
    fn longest_refused(&self) -> Option<(Instant, u64)> {
        let waits = |order: &u64| self.lines.get(order).is_some_and(|line| !line.waiting.is_empty());
        self.refused_since.iter().find(|(_, order)| waits(order)).copied()
    }

    /// Takes out, and drops, outputs that can go to another router: all but `tried`, those under
    /// way and those that their own destination refuses. Returns how many.
    pub(super) fn give_back_others(&mut self, tried: Slot) -> u64 {
        let mut given_back = 0;
        for line in self.lines.values_mut().filter(|line| line.refused.is_none()) {
            let before = line.waiting.len();
            line.waiting.retain(|entry| !entry.output.ticket.can_go_elsewhere());
            self.behind -= before - line.waiting.len();
            given_back += before - line.waiting.len();
        }
        for slot in self.ready.clone() {
            let goes = |entry: &mut OpenOutput| entry.output.ticket.can_go_elsewhere();
            if slot != tried && self.entry(slot).is_some_and(goes) {
                drop(self.give_up(slot, "given back"));
                given_back += 1;
            }
        }
        given_back as u64
    }

    /// Returns the time at which [`Self::retry_due`] or [`Self::yield_room`] has something to do.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        let retry = self.next_retry();
        let yields =
            self.is_over_bounds().then(|| self.longest_refused()).flatten().map(|(since, _)| since + YIELD_AFTER);
        retry.into_iter().chain(yields).min()
    }

    fn next_retry(&mut self) -> Option<Instant> {
        while let Some(&(due, order)) = self.due.first() {
            let refused = self.lines.get(&order).and_then(|line| line.refused);
            if refused.is_some_and(|refused| refused.due == due) {
                return Some(due);
            }
            self.due.pop_first();
        }
        None
    }

    /// Makes the first outputs of the lines that are due ready. The others of each go on waiting.
    pub(super) fn retry_due(&mut self, now: Instant) {
        if self.next_retry().is_none_or(|due| due > now) {
            return;
        }
        let under_way: HashSet<u64> = self.entries.iter().flatten().filter_map(|entry| entry.output.order).collect();
        while self.next_retry().is_some_and(|due| due <= now) {
            let Some((_, order)) = self.due.pop_first() else { return };
            let Some(line) = self.lines.get_mut(&order) else { continue };
            // What was under way beside the refused output may be refused as well, which a sink can
            // notice late. Were the line to go on before, it would overtake that.
            if let Some(refused) = &mut line.refused
                && under_way.contains(&order)
            {
                refused.due = now + refused.wait;
                self.due.insert((refused.due, order));
                continue;
            }
            if let Some(entry) = line.waiting.pop_front() {
                self.refused -= 1;
                self.refused_bytes -= entry.bytes();
                self.enter(entry);
            }
        }
    }
}
