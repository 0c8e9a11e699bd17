//! A webhook harms only itself, however it fails and however much it could take.

use super::*;

/// Bad webhooks, each with its own outputs, and a good one that gets one output a second.
struct Case {
    what: &'static str,
    webhooks: usize,
    concurrency: usize,
    /// Bytes of each payload, including the good one's.
    size: usize,
    script: Script,
}

const HANGS: Script = |name| match name {
    "good" => (Duration::from_millis(20), answer(204)),
    _ => (Duration::from_secs(15), Err("no answer within 15s".to_owned())),
};
const ANSWERS_LATE: Script = |name| match name {
    "good" => (Duration::from_millis(20), answer(204)),
    _ => (Duration::from_secs(14), answer(204)),
};
const FAILS_LATE: Script = |name| match name {
    "good" => (Duration::from_millis(20), answer(204)),
    _ => (Duration::from_secs(14), answer(503)),
};

/// Seconds by which each of the good webhook's letters was late.
async fn delays(case: &Case, letters: usize) -> Vec<f64> {
    let names: Vec<_> = (0..case.webhooks).map(|number| format!("bad{number}")).collect();
    let bad = names.iter().map(|name| Webhook { concurrency: case.concurrency, ..webhook(name) });
    let rig = Rig::new(bad.chain([webhook("good")]), case.script);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let payload = || vec![b'x'; case.size];
    let outputs: Vec<_> = (1_000..1_000 + case.concurrency).map(|number| output(number, payload())).collect();
    rig.store.insert(outputs.iter().map(|output| (output, &names[..])), (rig.clock())()).unwrap();
    let run = rig.start();
    let mut stored = Vec::new();
    for number in 0..letters {
        sleep(Duration::from_secs(1)).await;
        let fresh = rig.store.insert([(&output(number, payload()), &["good"][..])], (rig.clock())()).unwrap();
        stored.push(rig.began.elapsed());
        run.fresh.send(fresh).await.unwrap();
    }
    let good = |rig: &Rig| rig.sent().into_iter().filter(|sent| sent.webhook == "good").collect::<Vec<_>>();
    rig.until(|rig| good(rig).len() == stored.len()).await;
    run.stopper.end();
    run.ended().await;
    good(&rig).iter().zip(stored).map(|(sent, stored)| (sent.at - stored).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_good_receiver_is_served_at_once_whatever_others_do() {
    for case in [
        Case { what: "many that hang", webhooks: 200, concurrency: 4, size: 2, script: HANGS },
        Case { what: "few that hang with many slots", webhooks: 20, concurrency: 64, size: 2, script: HANGS },
        Case { what: "many that answer late", webhooks: 200, concurrency: 4, size: 2, script: ANSWERS_LATE },
        Case { what: "many that fail late", webhooks: 200, concurrency: 4, size: 2, script: FAILS_LATE },
        Case { what: "large payloads", webhooks: 60, concurrency: 4, size: 60_000, script: HANGS },
    ] {
        let delays = delays(&case, 20).await;
        assert!(delays.iter().all(|delay| *delay <= 1.0), "{}: {delays:?}", case.what);
    }
}

/// A payload larger than a webhook's share needs room, and webhooks that answer have a room of
/// their own.
#[tokio::test(start_paused = true)]
async fn payloads_beyond_a_share_find_room_too() {
    let case = Case { what: "", webhooks: 60, concurrency: 4, size: 1 << 20, script: HANGS };
    let delays = delays(&case, 60).await;
    // Before its first answer it queues with those that hang.
    assert!(delays[0] <= 46.0, "{delays:?}");
    assert!(delays.last().is_some_and(|last| *last <= 1.0), "{delays:?}");
}

/// A receiver that hangs is tried by one request at a time, and regains the others with its
/// answers.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_tried_by_one_request_at_a_time() {
    static HANGS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let script: Script = |_| match HANGS.load(Ordering::Relaxed) {
        true => (Duration::from_secs(15), Err("no answer within 15s".to_owned())),
        false => (Duration::from_secs(1), answer(204)),
    };
    let rig = Rig::new([webhook("a")], script);
    rig.store(&["a"], 40);
    let run = rig.start();
    let within = |rig: &Rig, from: f64, to: f64| {
        let at = rig.sent().into_iter().map(|sent| sent.at.as_secs_f64());
        at.filter(|at| (from..to).contains(at)).count()
    };
    sleep(Duration::from_secs(40)).await;
    assert_eq!((within(&rig, 0.0, 1.0), within(&rig, 14.0, 29.5)), (4, 1), "{:?}", rig.sent());
    HANGS.store(false, Ordering::Relaxed);
    rig.until(|rig| rig.count(DeliveryState::Delivered) >= 20).await;
    let end = rig.began.elapsed().as_secs_f64();
    assert_eq!(within(&rig, end - 1.5, end - 0.3), 4, "{:?}", rig.sent());
    run.stopper.end();
    run.ended().await;
}
