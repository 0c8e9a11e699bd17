//! A filter calls the API that the configuration names: what its key allows and no more, on behalf
//! of an identity that it never sees, and within its limits (L53, L54).

use crate::filter as rig;
use crate::log;
use crate::stand_in;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use log::Log;
use rig::{chain, event, file, params, settings};
use stand_in::{Reply, StandIn, ok, status};
use trommel::{
    api::ApiClient,
    backoff::Backoff,
    config::{ApiConfig, ApiToken, ConfigPlace, DeclaredIdentity, FilterSettings, Grant, GuestLimits, KeptIn},
    endpoint::Endpoint,
    filter::{
        BreakReason, CallFault, CallLimits, Caller, Failure, FailureKind, Filter, Host, MatchError, ProcessError,
        RouteSubscription, Verdict,
    },
};

const TOKEN: &str = "t-5ecret";
const HEADER: &str = "h-5ecret";

/// Short waits, and no other limits than by default.
fn api(base_url: &str) -> ApiConfig {
    ApiConfig {
        base_url: base_url.parse().unwrap(),
        token: None,
        headers: vec![("X-Tenant".to_owned(), HEADER.to_owned())],
        timeout: Duration::from_secs(20),
        retries: 2,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10)),
        max_body: 1 << 20,
        allow_private: true,
        identity: DeclaredIdentity::default(),
        place: ConfigPlace::file("trommel.toml"),
    }
}

fn api_of(stand_in: &StandIn) -> ApiConfig {
    api(&format!("http://{}/v1/", stand_in.address))
}

fn kept(path: PathBuf) -> ApiToken {
    ApiToken::Kept(KeptIn::File(path))
}

fn limits() -> GuestLimits {
    GuestLimits { process_wall: Duration::from_secs(60), load: Duration::from_secs(60), ..GuestLimits::default() }
}

/// The guest `caller` on a host with this API.
async fn caller(api: &ApiConfig, limits: GuestLimits) -> Filter {
    let host = Host::new(None, Some(ApiClient::new(api).unwrap()), Arc::default()).unwrap();
    let settings = FilterSettings { grants: vec![Grant::Api], ..settings("caller", limits) };
    host.load("caller", file("caller"), &settings).await.unwrap()
}

fn endpoints(list: &[&str]) -> Vec<Endpoint> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

async fn route(
    filter: &Filter,
    limits: GuestLimits,
    allowed: &[&str],
    pairs: &[(&str, &str)],
) -> Arc<RouteSubscription> {
    let endpoints = endpoints(allowed);
    let limits = CallLimits::new(&limits, &Default::default());
    filter.subscribe(Caller { key: "key", route: "", endpoints: &endpoints }, params(pairs), limits).await.unwrap()
}

/// What the guest says of a call when its key allows everything.
async fn told(api: &ApiConfig, limits: GuestLimits, pairs: &[(&str, &str)]) -> String {
    let filter = caller(api, limits).await;
    let route = route(&filter, limits, &["GET /**", "PUT /**", "POST /**"], pairs).await;
    let told = text(filter.process(&route, &event("{}"), 1).await.unwrap());
    for secret in [TOKEN, HEADER, "127.0.0.1", "localhost", "/v1"] {
        assert!(!told.contains(secret), "{told}");
    }
    told
}

async fn get(api: &ApiConfig) -> String {
    told(api, limits(), &[("method", "GET"), ("path", "/users/me")]).await
}

async fn post(api: &ApiConfig) -> String {
    told(api, limits(), &[("method", "POST"), ("path", "/users"), ("body", "{}")]).await
}

fn text(verdict: Verdict) -> String {
    let Verdict::Replace(payload) = verdict else { panic!("{verdict:?}") };
    String::from_utf8(payload.to_vec()).unwrap()
}

/// What was asked, a line each.
fn asked(stand_in: &StandIn) -> Vec<String> {
    stand_in.seen().into_iter().map(|seen| seen.line).collect()
}

/// L53: one call: method, path and body, answered with text; who we are is put in on the way.
#[tokio::test]
async fn a_call_is_made_in_our_name() {
    let api_server = StandIn::new(|_, _| ok(r#"{"id":7}"#));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let api = ApiConfig { token: Some(kept(token)), ..api_of(&api_server) };
    let call = [("method", "POST"), ("path", "/users/a%40b/mails?fields=all"), ("body", r#"{"name":"é"}"#)];
    assert_eq!(told(&api, limits(), &call).await, r#"ok: {"id":7}"#);
    let [seen] = &api_server.seen()[..] else { panic!("one call") };
    assert_eq!(seen.line, "POST /v1/users/a%40b/mails?fields=all");
    assert_eq!(seen.body, r#"{"name":"é"}"#);
    assert_eq!(seen.header("authorization"), Some("Bearer t-5ecret"));
    assert_eq!(seen.header("x-tenant"), Some(HEADER));
    assert_eq!(seen.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(seen.header("user-agent").unwrap().starts_with("trommel/"));
}

/// Version 0.2: bytes, headers and any status, both ways; what says who calls is not the filter's.
#[tokio::test]
async fn a_call_of_version_0_2_has_bytes_headers_and_a_status() {
    let api_server = StandIn::new(|_, _| Reply::Answer("404 Not Found", &["X-Yours: 7"], b"\xff\x00".to_vec()));
    let host = Host::new(None, Some(ApiClient::new(&api_of(&api_server)).unwrap()), Arc::default()).unwrap();
    let settings = FilterSettings { grants: vec![Grant::Api], ..settings("fields-caller", limits()) };
    let filter = host.load("fields-caller", file("fields-caller"), &settings).await.unwrap();
    let asked = async |header: &str, path: &str| {
        let pairs = [("method", "POST"), ("path", path), ("header", header)];
        let route = route(&filter, limits(), &["POST /echo"], &pairs).await;
        let mut event = event("");
        event.payload = b"\xfe\x01"[..].into();
        text(filter.process(&route, &event, 1).await.unwrap())
    };
    assert_eq!(asked("Content-Type=application/cbor", "/echo").await, r#"404 Some("7") [255, 0]"#);
    let [seen] = &api_server.seen()[..] else { panic!("one call") };
    assert_eq!((seen.header("content-type"), &*seen.bytes), (Some("application/cbor"), &b"\xfe\x01"[..]));
    for header in ["Authorization=mine", "host=elsewhere", "X-Tenant=other", "content-length=1", "a b=1", "x=\n"] {
        let said = asked(header, "/echo").await;
        assert!(said.contains("Denied") && said.contains("can't be set"), "{header}: {said}");
    }
    assert!(asked("", "/other").await.contains("is not in the `api` of key `key`"));
    assert_eq!(api_server.seen().len(), 1, "what is denied is not sent");
}

#[tokio::test]
async fn a_call_without_a_body_sends_none() {
    let api_server = StandIn::new(|_, _| ok(""));
    assert_eq!(get(&api_of(&api_server)).await, "ok: ");
    let seen = &api_server.seen()[0];
    assert_eq!((&*seen.line, &*seen.body), ("GET /v1/users/me", ""));
    assert_eq!((seen.header("content-type"), seen.header("authorization")), (None, None));
}

/// What is not on the key's list never leaves the router; an empty list allows nothing.
#[tokio::test]
async fn only_what_the_key_allows_is_called() {
    let api_server = StandIn::new(|_, _| ok("{}"));
    let filter = caller(&api_of(&api_server), limits()).await;
    let told = async |allowed: &[&str], method: &str, path: &str| {
        let route = route(&filter, limits(), allowed, &[("method", method), ("path", path)]).await;
        text(filter.process(&route, &event("{}"), 1).await.unwrap())
    };
    let allowed = ["GET /users/*", "POST /mails/**"];
    assert_eq!(told(&allowed, "GET", "/users/me?fields=all").await, "ok: {}");
    assert_eq!(told(&allowed, "POST", "/mails/a/b").await, "ok: {}");
    assert_snapshot!(told(&allowed, "DELETE", "/users/me").await, @"denied: `DELETE /users/me` is not in the `api` of key `key`");
    assert_snapshot!(told(&allowed, "GET", "/users/me/mails?x=1").await, @"denied: `GET /users/me/mails` is not in the `api` of key `key`");
    assert_snapshot!(told(&allowed, "get", "/users/me").await, @"denied: `get /users/me` is not in the `api` of key `key`");
    assert_snapshot!(told(&allowed, "GET /users/me HTTP/1.1\r\nX:", "/users/me").await.escape_debug(), @r"denied: `GET /users/me HTTP/1.1\r\nX: /users/me` is not in the `api` of key `key`");
    assert_snapshot!(told(&[], "GET", "/users/me").await, @"denied: `GET /users/me` is not in the `api` of key `key`");
    assert_eq!(asked(&api_server), ["GET /v1/users/me?fields=all", "POST /v1/mails/a/b"]);
}

/// The whole table is in `endpoint`; here that the guest comes by no other way.
#[tokio::test]
async fn paths_that_lead_elsewhere_are_denied() {
    let api_server = StandIn::new(|_, _| ok("{}"));
    for path in [
        "",
        "users/me",
        "http://127.0.0.1/",
        "//127.0.0.1/",
        "@127.0.0.1/",
        "/users/../../admin",
        "/users/%2e%2e/admin",
        "/users%2fadmin",
        "/users//admin",
        "/users\\admin",
        "/users/me#x",
        "/users/me HTTP/1.1\r\nX: y",
    ] {
        let told = told(&api_of(&api_server), limits(), &[("method", "GET"), ("path", path)]).await;
        assert!(told.starts_with("denied: the path can't be called: "), "{path}: {told}");
    }
    assert_eq!(asked(&api_server), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_is_no_success_comes_with_its_status_and_body() {
    let api_server = StandIn::new(|_, _| status("403 Forbidden", r#"{"code":99}"#));
    assert_eq!(get(&api_of(&api_server)).await, r#"status 403: {"code":99}"#);
    assert_eq!(asked(&api_server).len(), 1, "asking again would not help");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let api_server = StandIn::new(|_, _| Reply::Answer("302 Found", &["Location: /v1/elsewhere"], b"moved".to_vec()));
    assert_eq!(get(&api_of(&api_server)).await, "status 302: moved");
    assert_eq!(asked(&api_server), ["GET /v1/users/me"]);
}

#[tokio::test]
async fn what_may_help_is_tried_again() {
    let fails_first =
        |first: fn() -> Reply| StandIn::new(move |before, _| if before == 0 { first() } else { ok("there") });
    let server_error: fn() -> Reply = || status("500 Internal Server Error", "sorry");
    let busy: fn() -> Reply = || status("503 Service Unavailable", "busy");
    let cut: fn() -> Reply = || Reply::Cut;
    let half: fn() -> Reply = || Reply::Half;
    for first in [server_error, busy, cut, half] {
        let api_server = fails_first(first);
        assert_eq!(get(&api_of(&api_server)).await, "ok: there");
        assert_eq!(asked(&api_server).len(), 2);
    }
    // It may have been done already.
    let api_server = fails_first(server_error);
    assert_eq!(post(&api_of(&api_server)).await, "status 500: sorry");
    for broken in [cut, half] {
        let api_server = fails_first(broken);
        assert_eq!(
            post(&api_of(&api_server)).await,
            "failed: `POST /users`: the connection broke before the answer was complete"
        );
        assert_eq!(asked(&api_server).len(), 1);
    }
    // It was turned away.
    let api_server = fails_first(busy);
    assert_eq!(post(&api_of(&api_server)).await, "ok: there");
}

#[tokio::test]
async fn tries_come_to_an_end() {
    let api_server = StandIn::new(|_, _| status("502 Bad Gateway", "sorry"));
    assert_eq!(get(&api_of(&api_server)).await, "status 502: sorry");
    assert_eq!(asked(&api_server).len(), 3);
    let api = ApiConfig { retries: 0, ..api_of(&api_server) };
    assert_eq!(get(&api).await, "status 502: sorry");
    assert_eq!(asked(&api_server).len(), 4);
}

/// For as long as the API says, unless that is longer than the event has.
#[tokio::test]
async fn an_api_that_is_busy_is_left_alone() {
    let api_server = StandIn::new(|before, _| match before {
        0 => Reply::Answer("429 Too Many Requests", &["Retry-After: 1"], Vec::new()),
        _ => ok("there"),
    });
    let start = Instant::now();
    assert_eq!(post(&api_of(&api_server)).await, "ok: there");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    let api_server =
        StandIn::new(|_, _| Reply::Answer("429 Too Many Requests", &["Retry-After: 3600"], b"later".to_vec()));
    assert_eq!(get(&api_of(&api_server)).await, "status 429: later");
    assert_eq!(asked(&api_server).len(), 1);
}

#[tokio::test]
async fn a_silent_api_is_waited_for_as_long_as_a_try_may_take() {
    let api_server = StandIn::new(|_, _| Reply::Silence);
    let api = ApiConfig { timeout: Duration::from_millis(50), ..api_of(&api_server) };
    assert_eq!(get(&api).await, "timeout");
    assert_eq!(asked(&api_server).len(), 3);
    assert_eq!(post(&api).await, "timeout");
    assert_eq!(asked(&api_server).len(), 4);
}

/// The guest hears of it before its own time is over, and waiting costs it none of its computing
/// time.
#[tokio::test]
async fn a_call_ends_before_the_event_s_time_is_over() {
    let api_server = StandIn::new(|_, _| Reply::Silence);
    let short = GuestLimits {
        process_wall: Duration::from_secs(2),
        process_cpu: Duration::from_millis(100),
        load: Duration::from_secs(2),
        ..limits()
    };
    let start = Instant::now();
    assert_eq!(told(&api_of(&api_server), short, &[("method", "GET"), ("path", "/slow")]).await, "timeout");
    assert!(start.elapsed() >= Duration::from_millis(1_800), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_given_up() {
    let api_server = StandIn::new(|_, _| Reply::Silence);
    let filter = caller(&api_of(&api_server), limits()).await;
    let route = route(&filter, limits(), &["GET /**"], &[("method", "GET"), ("path", "/slow")]).await;
    let event = event("{}");
    let call = filter.process(&route, &event, 1);
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    let waited = tokio::task::spawn_blocking(move || api_server.wait_for_leaving());
    waited.await.unwrap();
}

/// However much comes, no more is taken in than the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_cut_off() {
    let api_server = StandIn::new(|_, _| Reply::Flood(100 << 20));
    let api = ApiConfig { max_body: 64 << 10, ..api_of(&api_server) };
    assert_snapshot!(get(&api).await, @"failed: `GET /users/me`: the answer has more bytes than the limit of 65536");
    // The rest is what the system's own buffers took.
    assert!(api_server.flooded() < 30 << 20, "{} bytes were sent", api_server.flooded());
    assert_eq!(asked(&api_server).len(), 1);
}

#[tokio::test]
async fn bodies_are_limited_both_ways() {
    let api_server = StandIn::new(|_, _| status("400 Bad Request", "0123é567"));
    let api = ApiConfig { max_body: 5, ..api_of(&api_server) };
    assert_eq!(get(&api).await, "status 400: 0123");
    let long = [("method", "POST"), ("path", "/users"), ("body", "123456")];
    assert_snapshot!(told(&api, limits(), &long).await, @"failed: `POST /users`: the body has 6 bytes, more than the limit of 5");
    assert_eq!(asked(&api_server).len(), 1);
    let api_server = StandIn::new(|_, _| ok("12345"));
    assert_eq!(get(&ApiConfig { max_body: 5, ..api_of(&api_server) }).await, "ok: 12345");
    let api_server = StandIn::new(|_, _| Reply::Answer("200 OK", &[], vec![0xff]));
    assert_snapshot!(get(&api_of(&api_server)).await, @"failed: `GET /users/me`: the answer is not UTF-8");
}

/// Neither as an address nor behind a name.
#[tokio::test]
async fn private_addresses_are_not_called() {
    let api_server = StandIn::new(|_, _| ok("inside"));
    let strict = ApiConfig { allow_private: false, ..api_of(&api_server) };
    let Err(error) = ApiClient::new(&strict) else { panic!("the address is private") };
    assert_snapshot!(error, @"`base_url` is a private address: say `allow_private = true` if that is meant");
    let base_url = format!("http://localhost:{}/", api_server.address.port()).parse().unwrap();
    let named = ApiConfig { base_url, ..strict };
    assert_snapshot!(get(&named).await, @"failed: `GET /users/me`: the API has a private address, and `allow_private` is not set in `[api]`");
    assert_eq!(asked(&api_server), [""; 0]);
    assert_eq!(get(&ApiConfig { allow_private: true, ..named }).await.len(), "ok: inside".len());
}

#[tokio::test]
async fn a_renewed_token_is_used_at_the_next_call() {
    let api_server = StandIn::new(|_, _| ok(""));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "one").unwrap();
    let api = ApiConfig { token: Some(kept(token.clone())), ..api_of(&api_server) };
    let filter = caller(&api, limits()).await;
    let route = route(&filter, limits(), &["GET /**"], &[("method", "GET"), ("path", "/x")]).await;
    let change = [|path: &Path| fs::write(path, "two").unwrap(), |path: &Path| fs::remove_file(path).unwrap()];
    filter.process(&route, &event("{}"), 1).await.unwrap();
    for change in change {
        change(&token);
        filter.process(&route, &event("{}"), 1).await.unwrap();
    }
    let seen = api_server.seen();
    let sent: Vec<_> = seen.iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_eq!(sent, ["Bearer one", "Bearer two", "Bearer two"]);
}

/// Past its budget a guest is told so; at twice the budget its call ends.
#[tokio::test]
async fn calls_are_limited_for_each_event() {
    let api_server = StandIn::new(|_, _| ok("1"));
    let two = GuestLimits { host_calls: 2, ..limits() };
    let filter = caller(&api_of(&api_server), two).await;
    let call = [("method", "GET"), ("path", "/x"), ("times", "3")];
    let three = route(&filter, two, &["GET /**"], &call).await;
    for _ in 0..2 {
        assert_eq!(text(filter.process(&three, &event("{}"), 1).await.unwrap()), "ok: 1\nok: 1\nbudget");
    }
    let five = route(&filter, two, &["GET /**"], &[("method", "GET"), ("path", "/x"), ("times", "5")]).await;
    match filter.process(&five, &event("{}"), 1).await {
        Err(ProcessError::Broke(broken)) => assert_eq!(broken.reason, BreakReason::HostCalls),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn matches_may_not_call() {
    let api_server = StandIn::new(|_, _| ok("1"));
    let filter = caller(&api_of(&api_server), limits()).await;
    let call = [("method", "GET"), ("path", "/x"), ("where", "matches")];
    let route = route(&filter, limits(), &["GET /**"], &call).await;
    let Err(MatchError::Fault(CallFault::Broke(broken))) = filter.matcher().matches(&route, &event("{}")) else {
        panic!("it may not")
    };
    assert_eq!(broken.reason, BreakReason::Impure);
    assert!(broken.detail.starts_with("it called `trommel:filter/api@0.1.0.call`, but "), "{broken}");
    assert_eq!(asked(&api_server), [""; 0]);
}

#[tokio::test]
async fn params_may_be_normalised_with_the_api() {
    let api_server = StandIn::new(|_, _| ok("me@example.com"));
    let filter = caller(&api_of(&api_server), limits()).await;
    let endpoints = endpoints(&["GET /users/*"]);
    let given = params(&[("method", "GET"), ("path", "/users/me"), ("where", "normalize-params")]);
    let answer = filter.normalize_params(Caller { key: "key", route: "", endpoints: &endpoints }, given).await.unwrap();
    assert_eq!(answer[0], ("answer".to_owned(), "ok: me@example.com".to_owned()));
}

/// L54: two more tries, 500 ms apart, while the details are not there yet; then the event goes on
/// without them, as it does at once after any other error.
#[tokio::test]
async fn details_that_come_late_are_waited_for_twice() {
    let api_server = StandIn::new(|_, seen| match &*seen.line {
        "GET /v1/late" => status("404 Not Found", ""),
        _ => status("403 Forbidden", ""),
    });
    let filter = caller(&api_of(&api_server), limits()).await;
    let get = |path| [("method", "GET"), ("path", path), ("patient", "yes")];
    let (late, forbidden) = (get("/late"), get("/forbidden"));
    let late = route(&filter, limits(), &["GET /**"], &late).await;
    for attempt in [1, 2] {
        match filter.process(&late, &event("{}"), attempt).await {
            Err(ProcessError::Said(Failure { kind: FailureKind::Retry(after), .. })) => {
                assert_eq!(after, Duration::from_millis(500));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(filter.process(&late, &event("{}"), 3).await.unwrap(), Verdict::Keep);
    let forbidden = route(&filter, limits(), &["GET /**"], &forbidden).await;
    assert_eq!(filter.process(&forbidden, &event("{}"), 1).await.unwrap(), Verdict::Keep);
}

#[tokio::test]
async fn a_component_needs_the_grant() {
    let host = Host::new(None, None, Arc::default()).unwrap();
    let refused = host.load("caller", file("caller"), &settings("caller", limits())).await.unwrap_err();
    assert_snapshot!(chain(refused), @"it wants `api`, which it was not granted: add it to `grants` of its `[[filter]]` in `filters/`, and say in `[api]` what is called");
}

/// A connection that was never made is made again, whatever the method; the log says why, and no
/// secrets.
#[tokio::test(flavor = "current_thread")]
async fn the_log_tells_what_the_guest_is_not_told() {
    let (log, _guard) = Log::start(tracing::Level::TRACE);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let api = ApiConfig { token: Some(kept(token)), ..api(&format!("http://{nobody}/v1")) };
    assert_snapshot!(post(&api).await, @"failed: `POST /users`: the API could not be reached");
    let log = log.text();
    assert!(!log.contains("5ecret"), "{log}");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN trommel_filter::api")).collect();
    assert_eq!(warnings.len(), 3, "{log}");
    assert!(warnings[0].contains("Connection refused"), "{log}");
    assert!(warnings[0].contains(r#"key="key" method=POST path="/users""#), "{log}");
}

/// L48: a cleanup has ten seconds of its own, of which the API may take nine.
#[tokio::test]
async fn a_cleanup_waits_for_the_api_as_long_as_it_has() {
    let stand_in = StandIn::new(|_, _| Reply::Silence);
    let host = Host::new(None, Some(ApiClient::new(&api_of(&stand_in)).unwrap()), Arc::default()).unwrap();
    let limits = GuestLimits { load: Duration::from_secs(1), process_wall: Duration::from_secs(1), ..limits() };
    let settings = FilterSettings { grants: vec![Grant::Api], ..settings("mail", limits) };
    let mail = host.load("mail", file("mail"), &settings).await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let endpoints = endpoints(&["POST /**"]);
    let left =
        mail.cleanup(Caller { key: "key", route: "", endpoints: &endpoints }, &Vec::new(), "me@example.com").await;
    assert!(
        matches!(&left, Err(trommel::filter::CallError::Hook("cleanup", Failure { kind: FailureKind::Retry(_), .. }))),
        "{left:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 9);
}
