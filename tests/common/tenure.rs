//! Subscriptions of the guest `lifecycle`, which lists the calls of its hooks.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use trommel::{
    config::GuestLimits,
    filter::{Filter, Verdict},
    registry::{SubscriptionId, TenureRequest},
};

use crate::filter::{event, host, load, params};
use crate::patience::until_ok;

pub(crate) const KEY: &str = "mail.received";

/// A filter with a list of its own.
pub(crate) async fn filter() -> Filter {
    load(&host(), "lifecycle", GuestLimits::default()).await
}

/// One that wants to hold `subscription`, with the guest's mode.
pub(crate) fn entrant(filter: &Filter, subscription: &str, mode: &str) -> TenureRequest {
    TenureRequest {
        filter: filter.clone(),
        key: KEY.to_owned(),
        endpoints: Vec::new(),
        params: params(&[("folder", subscription), ("mode", mode)]),
        secrets: Vec::new(),
        subscription: id(subscription),
        name: "route `test`".to_owned(),
        is_single: false,
    }
}

/// As a router makes it, with `folder` marked.
fn id(folder: &str) -> SubscriptionId {
    let folder_param = trommel::config::ParamDeclaration {
        name: "folder".to_owned(),
        kind: trommel::config::ParamKind::String,
        required: true,
        default: None,
        secret: None,
        description: String::new(),
        values: Vec::new(),
        subscription_key: true,
    };
    SubscriptionId::new(KEY, &[folder_param], &params(&[("folder", folder)]))
}

/// The calls of the filter's hooks so far, without the key.
pub(crate) async fn calls(filter: &Filter) -> Vec<String> {
    let subscription = subscribe_to_key(filter).await;
    let Ok(Verdict::Replace(list)) = filter.process(&subscription, &event(""), 1).await else { panic!("no list") };
    let list = String::from_utf8(list.to_vec()).unwrap();
    list.lines().map(|call| call.replace(&format!("{KEY} "), "")).collect()
}

/// Returns when the filter's hooks were called so often.
pub(crate) async fn until_calls(filter: &Filter, count: usize) -> Vec<String> {
    until_ok("the hooks are called", async || {
        let calls = calls(filter).await;
        if calls.len() >= count { Ok(calls) } else { Err(format!("{calls:?}")) }
    })
    .await
}

/// What a filter keeps is kept by key.
async fn subscribe_to_key(filter: &Filter) -> std::sync::Arc<trommel::filter::RouteSubscription> {
    let limits = GuestLimits { host_calls: 10_000, process_cpu: Duration::from_secs(10), ..GuestLimits::default() };
    let limits = trommel::filter::CallLimits::new(&limits, &Default::default());
    filter.subscribe(KEY, params(&[]), limits).await.unwrap()
}

/// An event that breaks the filter.
pub(crate) async fn trap(filter: &Filter) {
    filter.process(&subscribe_to_key(filter).await, &event("trap"), 1).await.unwrap_err();
}

/// An error with its causes, as the router prints it.
pub(crate) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
