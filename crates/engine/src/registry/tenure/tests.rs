use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::{config::FilterSettings, filter::Host};

/// L19
#[tokio::test]
async fn who_must_be_alone_waits_three_seconds_for_a_cleanup() {
    let folder = tempfile::tempdir().unwrap();
    let tenures = Tenures::in_folder(folder.path()).unwrap();
    let name = "match-type".to_owned();
    let settings = FilterSettings::new(name);
    let component = include_bytes!("../../../../../tests/guests/match-type.wasm").to_vec();
    let host = Host::new(None, None, Arc::default()).unwrap();
    let filter = host.load("match-type", component, &settings).await.unwrap();
    let subscription = SubscriptionId::new("key", &[], &Vec::new());
    let scope = TenureScope { filter: "match-type".to_owned(), subscription: subscription.clone() };
    let cleanup = tenures.holdings.lock(&scope).await;
    tokio::time::pause();
    let began = Instant::now();
    let entrant = TenureRequest {
        filter,
        key: "key".to_owned(),
        endpoints: Vec::new(),
        params: Vec::new(),
        secrets: Vec::new(),
        subscription,
        name: String::new(),
        is_single: true,
    };
    let refused = tenures.enter(entrant.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), "subscription `key` has room for one consumer, and a cleanup holds it");
    assert_eq!(began.elapsed().as_secs(), 3);
    let (entered, ()) = tokio::join!(tenures.enter(entrant), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(cleanup);
    });
    assert!(entered.unwrap().is_first());
}
