//! The router fetches the token for the API with an id and a secret, renews it before it ends, and
//! asks for it as rarely as it can, whatever the API and the server of logins say.

use crate::log::Log;
use crate::patience::until;
use crate::stand_in::{Reply, Seen, StandIn, ok, status};

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use insta::assert_snapshot;
use tokio::{task::JoinSet, time::Instant};
use trommel::{
    api::{ApiCall, ApiClient, CallRefusal},
    backoff::Backoff,
    config::{ApiConfig, ApiLogin, ApiToken, ConfigPlace, DeclaredIdentity, KeptIn, LoginKind},
};

const LOGIN: &str = "POST /open-apis/auth/v3/tenant_access_token/internal";
const SECRET: &str = "s/5ecret";
/// Lark's tokens live for two hours.
const LIFE: u64 = 7_200;

/// Issues `t-1`, `t-2` and so on, and takes the calls for which `takes` is true of the number of
/// their token.
fn lark(takes: impl Fn(usize, usize) -> Reply + Send + Sync + 'static) -> StandIn {
    let issued = AtomicUsize::new(0);
    StandIn::new(move |_, seen| {
        if seen.line == LOGIN {
            let number = issued.fetch_add(1, Ordering::AcqRel) + 1;
            return ok(&format!(r#"{{"code":0,"msg":"ok","tenant_access_token":"t-{number}","expire":{LIFE}}}"#));
        }
        let token = seen.header("authorization").unwrap().strip_prefix("Bearer t-").unwrap().parse().unwrap();
        takes(token, issued.load(Ordering::Acquire))
    })
}

fn logins(stand_in: &StandIn) -> Vec<Seen> {
    stand_in.seen().into_iter().filter(|seen| seen.line == LOGIN).collect()
}

/// Tokens of the calls, in order.
fn tokens(stand_in: &StandIn) -> Vec<String> {
    let calls = stand_in.seen().into_iter().filter(|seen| seen.line != LOGIN);
    calls.map(|seen| seen.header("authorization").unwrap().to_owned()).collect()
}

fn settings(stand_in: &StandIn, kind: LoginKind, secret: &Path) -> ApiConfig {
    let login = ApiLogin { kind, id: "cli_a".to_owned(), secret: KeptIn::File(secret.to_owned()) };
    ApiConfig {
        base_url: format!("http://{}", stand_in.address).parse().unwrap(),
        token: Some(ApiToken::Login(login)),
        headers: vec![("X-Key".to_owned(), "h-5ecret".to_owned())],
        timeout: Duration::from_secs(20),
        retries: 2,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10)),
        max_body: 1 << 20,
        allow_private: true,
        identity: DeclaredIdentity::default(),
        place: ConfigPlace::file("trommel.toml"),
    }
}

struct Caller {
    client: ApiClient,
    secret: tempfile::NamedTempFile,
}

impl Caller {
    fn with(stand_in: &StandIn, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let secret = tempfile::NamedTempFile::new().unwrap();
        fs::write(&secret, SECRET).unwrap();
        let mut settings = settings(stand_in, LoginKind::Lark, secret.path());
        change(&mut settings);
        Self { client: ApiClient::new(&settings).unwrap(), secret }
    }

    fn new(stand_in: &StandIn) -> Self {
        Self::with(stand_in, |_| {})
    }

    async fn call_within(&self, method: &str, time: Duration) -> Result<String, CallRefusal> {
        let allowed = ["GET /**", "POST /**"].map(|text| text.parse().unwrap());
        let call = ApiCall { method: method.to_owned(), path: "/x".to_owned(), headers: Vec::new(), body: None };
        let answer = self.client.call("key", &allowed, call, Instant::now() + time).await;
        let told = format!("{answer:?}");
        assert!(!told.contains("5ecret") && !told.contains("cli_a"), "{told}");
        answer.map(|answer| String::from_utf8(answer.body.to_vec()).unwrap())
    }

    async fn get(&self) -> Result<String, CallRefusal> {
        self.call_within("GET", Duration::from_secs(60)).await
    }
}

/// What a filter is told when the login fails.
fn no_token() -> CallRefusal {
    CallRefusal::Failed("`GET /x`: the router has no token for the API: its login has failed".to_owned())
}

/// Lets the clock jump while nothing is under way.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_lark_app_logs_in_as_lark_wants_it() {
    let lark = lark(|_, _| ok("there"));
    let caller = Caller::new(&lark);
    assert!(lark.seen().is_empty(), "it is not asked before it is needed");
    for _ in 0..3 {
        assert_eq!(caller.get().await, Ok("there".to_owned()));
    }
    let [login] = &logins(&lark)[..] else { panic!("one login") };
    assert_eq!(login.body, r#"{"app_id":"cli_a","app_secret":"s/5ecret"}"#);
    assert_eq!(login.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(login.header("x-key"), None, "the API's headers are not for the server of logins");
    assert_eq!((login.header("authorization"), tokens(&lark)), (None, vec!["Bearer t-1".to_owned(); 3]));
}

#[tokio::test]
async fn a_client_of_oauth2_logs_in_with_a_form() {
    let api = StandIn::new(|_, _| ok("there"));
    for (scope, expires, expected) in
        [(None, "3600", ""), (Some("mail:read mail:send"), r#""3600""#, "&scope=mail%3Aread+mail%3Asend")]
    {
        let body = format!(r#"{{"access_token":"a.b-c","token_type":"bearer","expires_in":{expires}}}"#);
        let server = StandIn::new(move |_, _| ok(&body));
        let url = format!("http://{}/oauth2/token", server.address).parse().unwrap();
        let kind = LoginKind::OAuth2 { url, scope: scope.map(str::to_owned) };
        let caller = Caller::with(&api, |settings| {
            let Some(ApiToken::Login(login)) = &mut settings.token else { panic!("it logs in") };
            login.kind = kind;
        });
        for hour in 0..2 {
            assert_eq!(caller.get().await, Ok("there".to_owned()));
            assert_eq!(server.seen().len(), hour + 1);
            pass(Duration::from_secs(3_600)).await;
        }
        let login = &server.seen()[0];
        let form = "grant_type=client_credentials&client_id=cli_a&client_secret=s%2F5ecret";
        assert_eq!((&*login.line, &*login.body), ("POST /oauth2/token", &*format!("{form}{expected}")));
        assert_eq!(login.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(login.header("x-key"), None);
    }
    assert!(api.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer a.b-c")));
}

/// A token whose life is not told counts until it is turned away.
#[tokio::test]
async fn a_token_without_an_end_is_kept() {
    let server = StandIn::new(|_, _| ok(r#"{"code":0,"tenant_access_token":"t-1"}"#));
    let caller = Caller::new(&server);
    for _ in 0..2 {
        caller.get().await.unwrap();
        pass(Duration::from_hours(1_000)).await;
    }
    assert_eq!(logins(&server).len(), 1);
}

/// A tenth of its life ahead; the calls that come meanwhile go on with the token that still counts.
#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_no_call_waits_for_it() {
    let lark = lark(|_, _| ok("there"));
    let caller = Caller::new(&lark);
    caller.get().await.unwrap();
    pass(Duration::from_secs(LIFE * 9 / 10 - 60)).await;
    caller.get().await.unwrap();
    assert_eq!(logins(&lark).len(), 1, "it is not due");
    pass(Duration::from_secs(60)).await;
    caller.get().await.unwrap();
    until("it is renewed", async || logins(&lark).len() == 2).await;
    until("the new one is in use", async || {
        caller.get().await.is_ok() && tokens(&lark).last().unwrap() == "Bearer t-2"
    })
    .await;
    assert_eq!(tokens(&lark)[..3], ["Bearer t-1", "Bearer t-1", "Bearer t-1"]);
    assert_eq!(logins(&lark).len(), 2);
}

#[tokio::test]
async fn a_renewal_that_fails_ahead_of_the_end_does_no_harm() {
    let server = StandIn::new(|before, seen| match (before, &*seen.line) {
        (0, LOGIN) => ok(r#"{"code":0,"tenant_access_token":"t-1","expire":1000}"#),
        (_, LOGIN) => status("400 Bad Request", r#"{"code":99991400,"msg":"request trigger frequency limit"}"#),
        _ => ok("there"),
    });
    let caller = Caller::new(&server);
    caller.get().await.unwrap();
    pass(Duration::from_secs(950)).await;
    for _ in 0..50 {
        assert_eq!(caller.get().await, Ok("there".to_owned()));
    }
    until("it was tried", async || logins(&server).len() > 1).await;
    pass(Duration::from_secs(50)).await;
    assert_eq!(caller.get().await, Err(no_token()), "the token has ended");
}

/// While one call logs in, the others wait for its token, or for its failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_calls_log_in_once() {
    for is_right in [true, false] {
        let server = StandIn::new(move |_, seen| match &*seen.line {
            LOGIN if is_right => ok(r#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#),
            LOGIN => ok(r#"{"code":10014,"msg":"app secret invalid"}"#),
            _ => ok("there"),
        });
        let caller = Arc::new(Caller::new(&server));
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let caller = Arc::clone(&caller);
            calls.spawn(async move { caller.get().await.is_ok() });
        }
        assert_eq!(calls.join_all().await, [is_right; 100]);
        assert_eq!(logins(&server).len(), 1, "{is_right}");
    }
}

/// By its status, or by what Lark says in the body, of whatever status. A call that does something
/// is made again too: it was turned away.
#[tokio::test]
async fn a_token_that_is_turned_away_is_renewed_once() {
    let refusals: [fn() -> Reply; 5] = [
        || status("401 Unauthorized", ""),
        || status("400 Bad Request", r#"{"code":99991663,"msg":"Invalid access token for authorization."}"#),
        || ok(r#"{"code":99991661,"msg":"Missing access token for authorization."}"#),
        || ok(r#"{"msg":"Invalid access token","code":99991668}"#),
        || status("400 Bad Request", r#"{"code":99991671,"msg":"must start with \"t-\""}"#),
    ];
    for refused in refusals {
        let lark = lark(move |token, _| if token < 2 { refused() } else { ok("there") });
        let caller = Caller::with(&lark, |settings| settings.retries = 0);
        assert!(caller.get().await != Ok("there".to_owned()), "a token that is new is not to blame");
        assert_eq!((logins(&lark).len(), tokens(&lark).len()), (1, 1));
        pass(Duration::from_secs(10)).await;
        assert_eq!(caller.call_within("POST", Duration::from_secs(60)).await, Ok("there".to_owned()));
        assert_eq!(tokens(&lark)[1..], ["Bearer t-1", "Bearer t-2"]);
    }
    // What only looks like it.
    let lark = lark(|_, _| ok(r#"{"code":0,"data":{"code":99991663}}"#));
    let caller = Caller::new(&lark);
    for _ in 0..2 {
        caller.get().await.unwrap();
        pass(Duration::from_secs(10)).await;
    }
    assert_eq!(logins(&lark).len(), 1);
}

/// Whatever the token is, the API says 401: it is asked twice at most for a call, and the server of
/// logins not more often than every ten seconds.
#[tokio::test]
async fn an_api_that_takes_no_token_is_not_stormed() {
    let lark = lark(|_, _| status("401 Unauthorized", "no"));
    let caller = Caller::new(&lark);
    for (calls, login) in [(1, 1), (2, 1), (3, 1), (5, 2), (6, 2)] {
        let Err(CallRefusal::Status(answer)) = caller.get().await else { panic!("it is turned away") };
        assert_eq!((answer.status, &answer.body[..]), (401, &b"no"[..]));
        assert_eq!((tokens(&lark).len(), logins(&lark).len()), (calls, login));
        if calls == 3 {
            pass(Duration::from_secs(10)).await;
        }
    }
}

/// A token may end on the way to the API.
#[tokio::test]
async fn a_token_that_ends_in_flight_costs_no_call() {
    let lark = lark(|token, issued| if token < issued || issued == 1 { status("401", "ended") } else { ok("there") });
    let caller = Caller::new(&lark);
    caller.get().await.unwrap_err();
    pass(Duration::from_secs(LIFE / 2)).await;
    let calls = futures_util::future::join_all((0..20).map(|_| caller.get())).await;
    assert!(calls.iter().all(|call| *call == Ok("there".to_owned())), "{calls:?}");
    assert_eq!(logins(&lark).len(), 2, "all of them were turned away, and one of them logs in");
}

/// Lark issues the same token again while it has half an hour to live: there is nothing to repeat a
/// call with.
#[tokio::test]
async fn a_call_is_not_repeated_with_the_same_token() {
    let server = StandIn::new(|_, seen| match &*seen.line {
        LOGIN => ok(r#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#),
        _ => status("401 Unauthorized", ""),
    });
    let caller = Caller::new(&server);
    for (calls, login) in [(1, 1), (2, 2)] {
        caller.get().await.unwrap_err();
        assert_eq!((tokens(&server).len(), logins(&server).len()), (calls, login));
        pass(Duration::from_secs(10)).await;
    }
}

/// As the calls themselves are; and not for longer than the call that needs the token has.
#[tokio::test]
async fn a_login_is_tried_again_where_that_may_help() {
    let failures: [fn() -> Reply; 4] = [
        || status("500 Internal Server Error", "sorry"),
        || Reply::Answer("429 Too Many Requests", &["Retry-After: 0"], Vec::new()),
        || Reply::Cut,
        || Reply::Half,
    ];
    for failure in failures {
        let server = StandIn::new(move |before, seen| match (before, &*seen.line) {
            (0 | 1, LOGIN) => failure(),
            (_, LOGIN) => ok(r#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#),
            _ => ok("there"),
        });
        assert_eq!(Caller::new(&server).get().await, Ok("there".to_owned()));
        assert_eq!(logins(&server).len(), 3);
        let server = StandIn::new(move |_, _| failure());
        assert!(matches!(Caller::new(&server).get().await, Err(CallRefusal::Failed(_))));
        assert_eq!(logins(&server).len(), 3);
    }
    let silent = StandIn::new(|_, _| Reply::Silence);
    let caller = Caller::new(&silent);
    assert_eq!(caller.call_within("GET", Duration::from_millis(100)).await, Err(CallRefusal::Timeout));
}

/// The login of a call that is given up goes on, and serves the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_login_is_not_begun_anew_by_each_call() {
    let (go, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let server = StandIn::new(move |_, seen| {
        if seen.line == LOGIN {
            gate.lock().unwrap().recv().unwrap();
            return ok(r#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#);
        }
        ok("there")
    });
    let caller = Caller::new(&server);
    for _ in 0..3 {
        assert_eq!(caller.call_within("GET", Duration::from_millis(50)).await, Err(CallRefusal::Timeout));
    }
    go.send(()).unwrap();
    assert_eq!(caller.get().await, Ok("there".to_owned()));
    assert_eq!(logins(&server).len(), 1);
}

/// The server is left alone for a second; then the secret is read anew, so that a right one is used
/// at once.
#[tokio::test]
async fn a_wrong_secret_is_told_in_the_log_and_never_shown() {
    let (log, _guard) = Log::start(tracing::Level::TRACE);
    let server = StandIn::new(|_, seen| match &*seen.line {
        LOGIN if seen.body.contains("s/5ecret") => {
            ok(r#"{"code":10014,"msg":"app secret `s/5ecret` of cli_a is invalid"}"#)
        }
        LOGIN => ok(r#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#),
        _ => ok("there"),
    });
    let caller = Caller::new(&server);
    for _ in 0..5 {
        assert_eq!(caller.get().await, Err(no_token()));
    }
    assert_eq!(logins(&server).len(), 1, "it is not tried again without need");
    let text = log.text();
    assert!(!text.contains("5ecret"), "{text}");
    let warning = text.lines().find(|line| line.contains("`[api.login]`")).unwrap();
    let expected = "code 10014: app secret `[secret]` of cli_a is invalid";
    assert!(warning.contains("WARN") && warning.contains(expected), "{warning}");
    fs::write(&caller.secret, "right").unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(caller.get().await, Ok("there".to_owned()));
    assert!(!log.text().contains("t-1"), "{}", log.text());
}

/// What a server of logins may answer that is no token.
#[tokio::test]
async fn answers_without_a_token_are_told_as_they_are() {
    let (log, _guard) = Log::start(tracing::Level::WARN);
    let api = StandIn::new(|_, _| ok("there"));
    let mut said = Vec::new();
    for (code, body) in [
        ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"Unknown\u001b client"}"#),
        ("400 Bad Request", r#"{"error":"invalid_scope"}"#),
        ("404 Not Found", "<h1>Not here</h1>\n"),
        ("200 OK", "{}"),
        ("200 OK", r#"{"access_token":"","expires_in":3600}"#),
        ("200 OK", r#"{"access_token":"two words","expires_in":3600}"#),
        ("200 OK", r#"{"access_token":"mac-5ecret","token_type":"mac"}"#),
        ("200 OK", "not JSON: 5ecret"),
        ("302 Found", ""),
    ] {
        let server = StandIn::new(move |_, _| status(code, body));
        let url = format!("http://{}/token", server.address).parse().unwrap();
        let caller = Caller::with(&api, |settings| {
            let Some(ApiToken::Login(login)) = &mut settings.token else { panic!("it logs in") };
            login.kind = LoginKind::OAuth2 { url, scope: None };
        });
        caller.get().await.unwrap_err();
        assert_eq!(server.seen().len(), 1, "{code}: asking again would not help");
        let text = log.text();
        let last = text.lines().rfind(|line| line.contains("`[api.login]`")).unwrap().to_owned();
        said.push(last.split_once("answered ").unwrap().1.to_owned());
    }
    assert!(api.seen().is_empty(), "nothing is called without a token");
    assert!(!log.text().contains("5ecret"), "{}", log.text());
    assert_snapshot!(said.join("\n"), @r"
    401 Unauthorized: invalid_client: Unknown\u001b client
    400 Bad Request: invalid_scope
    404 Not Found: <h1>Not here</h1>
    200 OK: the answer has no token
    200 OK: the answer has no token
    200 OK: the answer has no token that can be sent: a token is printable ASCII without spaces
    200 OK: `mac` is not a bearer token's type
    200 OK: the answer has no token
    302 Found: nothing more
    ");
}

#[tokio::test]
async fn a_login_at_a_private_address_needs_to_be_allowed() {
    let api = StandIn::new(|_, _| ok("there"));
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(&secret, SECRET).unwrap();
    let refused = |url: &str| {
        let kind = LoginKind::OAuth2 { url: url.parse().unwrap(), scope: None };
        let base_url = "https://api.example.com".parse().unwrap();
        let settings = ApiConfig { base_url, allow_private: false, ..settings(&api, kind, secret.path()) };
        ApiClient::new(&settings)
    };
    let error = refused("http://127.0.0.1:1/token").unwrap_err();
    assert_snapshot!(error, @"`url` in `[api.login]` is a private address: say `allow_private = true` in `[api]` if that is meant");
    assert!(refused("https://login.example.com/token").is_ok());
}
