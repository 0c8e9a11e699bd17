//! Health of webhooks.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::health::PartKind;

#[tokio::test(start_paused = true)]
async fn a_webhook_is_not_well_until_a_delivery_succeeds() {
    static IS_BACK: AtomicBool = AtomicBool::new(false);
    let rig =
        Rig::new([webhook("a")], |_| (Duration::ZERO, answer(if IS_BACK.load(Ordering::Relaxed) { 200 } else { 503 })));
    rig.store(&["a"], 1);
    let run = rig.start();
    let health = |rig: &Rig| rig.metrics.webhook("a").health.of(PartKind::Webhook, "a");
    rig.until(|rig| health(rig).level == HealthLevel::Degraded).await;
    assert_eq!(health(&rig).trouble.unwrap().why, "not delivered: it answered 503");
    IS_BACK.store(true, Ordering::Relaxed);
    rig.until(|rig| health(rig).level == HealthLevel::Ok).await;
    run.stopper.drain();
    run.ended().await;
}
