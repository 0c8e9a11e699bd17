//! What one sink has of the numbered events: how often, and in which order they came first.

use std::collections::BTreeMap;

use crate::load::KEYS;

/// The first sightings and repeats at a sink.
#[derive(Default)]
pub struct Sightings {
    counts: BTreeMap<usize, u8>,
    /// Of each key the latest first sighting, by its place in the source's stream.
    latest: [u64; KEYS],
    /// Events that came first behind a later one of their key.
    pub out_of_order: Vec<usize>,
    /// Those of them that may.
    pub late: u64,
    pub repeats: u64,
}

impl Sightings {
    /// Notes an event that is in this place of the source's stream.
    pub fn see(&mut self, number: usize, place: u64, may_be_late: bool) {
        let count = self.counts.entry(number).or_default();
        *count = count.saturating_add(1);
        if *count > 1 {
            self.repeats += 1;
            return;
        }
        let latest = &mut self.latest[number % KEYS];
        match (place < *latest, may_be_late) {
            (true, true) => self.late += 1,
            (true, false) => self.out_of_order.push(number),
            (false, _) => {}
        }
        *latest = place.max(*latest);
    }

    pub fn has(&self, number: usize) -> bool {
        self.counts.contains_key(&number)
    }
}

#[test]
fn first_sightings_have_an_order_and_repeats_have_none() {
    let mut sightings = Sightings::default();
    for place in [1, 2, 5, 2, 1, 3, 4, 6] {
        sightings.see(place * KEYS, place as u64, place == 4);
    }
    assert_eq!((sightings.out_of_order, sightings.late, sightings.repeats), (vec![3 * KEYS], 1, 2));
}
