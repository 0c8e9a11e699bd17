//! Bodies in place of payloads.

use super::*;

/// The payload of an event lacks what the body names: another try would fail as well.
#[tokio::test(start_paused = true)]
async fn what_can_not_be_rendered_fails_at_once() {
    let body = |template: &str| Some(template.parse().unwrap());
    let good = Webhook { body: body("{\"text\": \"{event_type} {event_id}\"}"), ..webhook("good") };
    let bad = Webhook { body: body("\"{/order/id}\""), ..webhook("bad") };
    let rig = Rig::new([good, bad], |_| (Duration::ZERO, answer(200)));
    rig.store(&["good", "bad"], 3);
    let run = rig.start();
    rig.until(|rig| rig.count(DeliveryState::Pending) == 0).await;
    run.stopper.drain();
    run.ended().await;
    assert!(rig.sent().iter().all(|letter| letter.webhook == "good"));
    assert_eq!((rig.count(DeliveryState::Delivered), rig.count(DeliveryState::Failed)), (3, 3));
    let failed = rig.list().into_iter().find(|delivery| delivery.webhook == "bad").unwrap();
    assert_eq!(failed.error.as_deref(), Some("the payload has no `/order/id`, which its `body` names"));
}
