//! Keys that use their share of the budget up, before a source that can read events anew.

use super::*;

/// Events that the source has read anew.
#[derive(Default)]
struct Progress {
    outcomes: BTreeMap<u64, Outcome>,
    deferred: usize,
}

impl Rig {
    /// Does for a moment what a source does: reads deferred events anew and settles others.
    async fn turn(&mut self, sent: &[(usize, usize)], progress: &mut Progress) {
        let read: Vec<_> = self.intake.read_deferred().copied().collect();
        progress.deferred += read.len();
        for number in read {
            assert_eq!(self.intake.take_read(), Some(number));
            let (key, value) = sent[number as usize];
            self.intake.resume(event(&format!("k{key}.{value}"), number), number);
        }
        while let Ok((number, outcome)) = timeout(Duration::from_millis(5), self.intake.settled()).await {
            assert_eq!(progress.outcomes.insert(number, outcome), None, "event {number} is settled twice");
        }
    }
}

/// However keys misbehave, and however much of them waits: the others go on, nothing is given back,
/// and each event is settled once, in the order of its key and ordering value.
#[tokio::test(start_paused = true)]
async fn a_key_beyond_its_share_keeps_its_order() {
    let filters = filters().await;
    let mut deferred = 0;
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ways: Vec<_> = (0..3).map(|_| WAYS[random.usize(..WAYS.len())]).collect();
        ways.extend([Way::Passes, Way::Keeps]);
        let mut rig = Rig::start(&ways, &filters, 40).await;
        rig.intake = rig.intake.deferring();
        let sent: Vec<_> = (0..400).map(|_| (random.usize(..ways.len()), random.usize(..VALUES))).collect();
        let mut progress = Progress::default();
        // Later events find room while earlier ones are still deferred.
        let mended = random.u64(200..400);
        for (&(key, value), number) in sent.iter().zip(0..) {
            if number == mended {
                rig.mend();
            }
            let began = Instant::now();
            while !rig.intake.is_open() {
                rig.turn(&sent, &mut progress).await;
                assert!(began.elapsed() < PATIENCE * 2, "seed {seed}, {ways:?}: no room for event {number}");
            }
            rig.push(key, value, number);
            if random.bool() {
                rig.turn(&sent, &mut progress).await;
            }
        }
        let began = Instant::now();
        while progress.outcomes.len() < sent.len() {
            rig.turn(&sent, &mut progress).await;
            let open = rig.intake.open();
            assert!(began.elapsed() < PATIENCE * 100, "seed {seed}, {ways:?}: {open} events have no end");
        }
        assert!(progress.outcomes.values().all(|outcome| !matches!(outcome, Outcome::Retry(_))), "seed {seed}");
        let seen = rig.seen.lock().unwrap().clone();
        assert_eq!(seen.values().map(Vec::len).sum::<usize>(), sent.len(), "seed {seed}");
        assert!(seen.values().all(|numbers| numbers.is_sorted()), "seed {seed}, {ways:?}: {seen:?}");
        assert_eq!(rig.intake.open(), 0, "seed {seed}");
        deferred += progress.deferred;
    }
    assert!(deferred > 500, "only {deferred} events were deferred");
}

/// A source that is stopped, or that gets another reader, gives deferred events back.
#[tokio::test(start_paused = true)]
async fn deferred_events_can_be_given_back() {
    let filters = filters().await;
    let mut rig = Rig::start(&[Way::Waits, Way::Passes], &filters, 10).await;
    rig.intake = rig.intake.deferring();
    let mut outcomes = BTreeMap::new();
    rig.push(1, 0, 1000);
    rig.settled(1, &mut outcomes).await;
    for number in 0..100 {
        rig.push(0, 0, number);
        assert!(timeout(Duration::from_millis(200), rig.intake.settled()).await.is_err());
    }
    let deferred = usize::try_from(rig.intake.metrics().deferred.get()).unwrap();
    assert!(deferred >= 80 && rig.intake.open() == 100, "{deferred} are deferred");
    rig.intake.give_deferred_back();
    let mut back = BTreeMap::new();
    rig.settled(deferred, &mut back).await;
    let newest = 100 - deferred as u64..100;
    assert!(back.keys().copied().eq(newest) && back.values().all(|outcome| matches!(outcome, Outcome::Retry(_))));
    assert_eq!((rig.intake.metrics().deferred.get(), rig.intake.open()), (0, 100 - deferred));
}
