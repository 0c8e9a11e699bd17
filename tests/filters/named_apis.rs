//! Several APIs: a filter of version 0.2 chooses by name, and its key says what it may call of
//! each.

use std::{sync::Arc, time::Duration};

use insta::assert_snapshot;
use trommel::{
    api::{ApiClient, ApiClients},
    backoff::Backoff,
    config::{ApiConfig, ConfigPlace, DeclaredIdentity, FilterSettings, Grant, GuestLimits},
    filter::{CallLimits, Caller, Host, Verdict},
};

use crate::filter::{event, file, params, settings};
use crate::stand_in::{StandIn, ok};

fn client(stand_in: &StandIn) -> ApiClient {
    let settings = ApiConfig {
        base_url: format!("http://{}", stand_in.address).parse().unwrap(),
        token: None,
        headers: Vec::new(),
        timeout: Duration::from_secs(20),
        retries: 0,
        backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
        max_body: 1 << 20,
        allow_private: true,
        identity: DeclaredIdentity::default(),
        place: ConfigPlace::file("trommel.toml"),
    };
    ApiClient::new(&settings).unwrap()
}

/// Each has its own address, and each call that a key allows is one of a certain API.
#[tokio::test]
async fn a_filter_chooses_among_apis_by_name() {
    let (unnamed, crm) = (StandIn::new(|_, _| ok("unnamed")), StandIn::new(|_, _| ok("crm")));
    let apis = ApiClients::new([(String::new(), client(&unnamed)), ("crm".to_owned(), client(&crm))]);
    let host = Host::new(None, apis, Arc::default()).unwrap();
    let limits = GuestLimits { process_wall: Duration::from_secs(60), ..GuestLimits::default() };
    let settings = FilterSettings { grants: vec![Grant::Api], ..settings("fields-caller", limits) };
    let filter = host.load("fields-caller", file("fields-caller"), &settings).await.unwrap();
    let endpoints = ["GET /a", "crm: GET /b"].map(|text| text.parse().unwrap());
    let asked = async |api: &str, path: &str| {
        let caller = Caller { key: "key", route: "", endpoints: &endpoints };
        let pairs = params(&[("api", api), ("method", "GET"), ("path", path)]);
        let route = filter.subscribe(caller, pairs, CallLimits::new(&limits, &Default::default())).await.unwrap();
        let verdict = filter.process(&route, &event(""), 1).await.unwrap();
        let Verdict::Replace(payload) = verdict else { panic!("{verdict:?}") };
        String::from_utf8(payload.to_vec()).unwrap()
    };
    assert!(asked("", "/a").await.starts_with("200 "));
    assert!(asked("crm", "/b").await.starts_with("200 "));
    assert_snapshot!(asked("crm", "/a").await, @r#"ApiError::Denied("`crm: GET /a` is not in the `api` of key `key`")"#);
    assert_snapshot!(asked("", "/b").await, @r#"ApiError::Denied("`GET /b` is not in the `api` of key `key`")"#);
    assert_snapshot!(asked("erp", "/b").await, @r#"ApiError::Denied("there is no API `erp` to call")"#);
    assert_eq!((unnamed.seen().len(), crm.seen().len()), (1, 1));
}
