//! Events before a sink that takes one at a time.

use tokio::runtime::Handle;

use super::*;

const EVENTS: u64 = 500;

/// However many events wait for a place in a sink's queue, a place wakes one of them: all have one
/// wait in common. They leave in the order in which they came.
#[tokio::test(start_paused = true)]
async fn a_place_wakes_one_event_of_those_that_wait_for_it() {
    let mut rig = Rig::start(&[Way::Away], &filters().await, 10_000).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    for number in 0..EVENTS {
        rig.push(0, number as usize, number);
        // Longer than the lane itself waits for a place.
        assert!(timeout(Duration::from_millis(2), rig.intake.settled()).await.is_err());
    }
    let waits = Handle::current().metrics().num_alive_tasks() - tasks;
    assert!(waits <= 1, "{waits} tasks wait for one sink");
    let mut outputs = rig.away.remove(0);
    for number in 0..EVENTS {
        let output = outputs.recv().await.unwrap();
        assert_eq!(output.ticket.event().sequence, number);
        output.ticket.settle(Fate::Emitted);
    }
    let mut outcomes = BTreeMap::new();
    rig.settled(EVENTS as usize, &mut outcomes).await;
    assert!(outcomes.values().all(|outcome| *outcome == Outcome::Done));
    assert!(rig.keys[0].load.is_empty());
}
