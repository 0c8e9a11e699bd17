//! First and last hold across the replicas of a router: one subscribes, the last one to leave or to
//! be left cleans up, also when the one that subscribed is killed (L47, L50, L51, X9).

use crate::filter as rig;
use crate::nats;
use crate::patience::until;
use crate::proxy;
use crate::tenure;

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nats::NatsServer;
use proxy::{Fault, Proxy};
use serde_json::json;
use tenure::*;
use trommel::{
    config::{GuestLimits, NatsAuth, NatsConfig},
    filter::Filter,
    nats::{Bucket, Connection, ConnectionLife, code},
    registry::Tenures,
};

/// Short, so that the tests need not wait long for it to expire; long enough that a busy machine
/// does not lose it.
const LEASE: Duration = Duration::from_secs(3);
/// The server that a replica in a process of its own talks to.
const SERVER: &str = "TROMMEL_TEST_REPLICA_OF";

async fn connect(url: &str) -> Connection {
    let settings = NatsConfig {
        urls: vec![url.to_owned()],
        name: "trommel".to_owned(),
        auth: NatsAuth::None,
        tls_ca: None,
        tls_client: None,
        tls_required: false,
        connect_timeout: Duration::from_secs(5),
        api_prefix: "$JS.API".to_owned(),
    };
    trommel::nats::connect(&settings, "tenures", ConnectionLife::Reconnecting).await.unwrap()
}

/// One of the replicas, and its own component.
async fn replica(url: &str) -> (Tenures, Filter) {
    let (tenures, filter) = (Tenures::across_replicas(connect(url).await, LEASE, 1), filter().await);
    tenures.set_filters([filter.clone()], Default::default());
    (tenures, filter)
}

/// Holds `inbox` in a process of its own until it is killed.
struct Killable(Child);

impl Killable {
    fn start(server: &NatsServer) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "tenures_across_replicas::in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env(SERVER, server.url());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("it holds the subscription")), "the replica ended");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "what the other tests start as another replica"]
async fn in_a_process_of_its_own() {
    let Ok(url) = env::var(SERVER) else { return };
    let (tenures, filter) = replica(&url).await;
    let tenure = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    assert_eq!(calls(&filter).await, ["pre-consume folder=inbox -> token-1"]);
    println!("it holds the subscription: {}", tenure.is_first());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn one_replica_subscribes_and_the_last_to_leave_cleans_up() {
    let server = NatsServer::start().await;
    let ((one, one_filter), (other, other_filter)) = (replica(&server.url()).await, replica(&server.url()).await);
    let (first, second) = tokio::join!(
        one.enter(entrant(&one_filter, "inbox", "slow")),
        other.enter(entrant(&other_filter, "inbox", "slow")),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.is_first(), second.is_first(), "one of them is first");
    let subscribed = [calls(&one_filter).await, calls(&other_filter).await].concat();
    assert_eq!(subscribed, ["pre-consume folder=inbox -> token-1"]);
    first.leave().await;
    assert_eq!(calls(&one_filter).await.len() + calls(&other_filter).await.len(), 1);
    second.leave().await;
    assert_eq!(calls(&other_filter).await.last().unwrap(), "cleanup folder=inbox token-1");
    one.close().await;
    other.close().await;
    assert_eq!(calls(&one_filter).await.len() + calls(&other_filter).await.len(), 2);
}

/// L51
#[tokio::test]
async fn a_replica_waits_for_anothers_cleanup() {
    let server = NatsServer::start().await;
    let ((one, one_filter), (other, other_filter)) = (replica(&server.url()).await, replica(&server.url()).await);
    let first = one.enter(entrant(&one_filter, "inbox", "slow")).await.unwrap();
    let (next, ()) = tokio::join!(
        async {
            let next = other.enter(entrant(&other_filter, "inbox", "slow")).await.unwrap();
            (next.is_first(), calls(&one_filter).await)
        },
        first.leave(),
    );
    // Either it came in time to share, or after the cleanup.
    let cleaned_up = calls(&one_filter).await.len() == 2;
    assert_eq!(next.0, cleaned_up);
    assert_eq!(next.1.len(), if cleaned_up { 2 } else { 1 });
}

#[tokio::test]
async fn a_refused_subscription_is_free_for_the_others() {
    let server = NatsServer::start().await;
    let ((one, one_filter), (other, other_filter)) = (replica(&server.url()).await, replica(&server.url()).await);
    one.enter(entrant(&one_filter, "inbox", "refuse")).await.unwrap_err();
    assert!(other.enter(entrant(&other_filter, "inbox", "")).await.unwrap().is_first());
}

/// `kill -9` of the one that subscribed, while another shares.
#[tokio::test]
async fn who_is_left_cleans_up_with_the_token_of_the_one_that_was_killed() {
    let server = NatsServer::start().await;
    let mut killed = Killable::start(&server);
    let (tenures, filter) = replica(&server.url()).await;
    let tenure = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    assert!(!tenure.is_first());
    killed.kill();
    tenure.leave().await;
    assert_eq!(until_calls(&filter, 1).await, ["cleanup folder=inbox token-1"]);
    assert!(tenures.enter(entrant(&filter, "inbox", "")).await.unwrap().is_first());
}

/// `kill -9` of the only one that held it.
#[tokio::test]
async fn a_replica_cleans_up_what_it_never_held_when_the_lease_has_expired() {
    let server = NatsServer::start().await;
    let (_tenures, filter) = replica(&server.url()).await;
    let mut killed = Killable::start(&server);
    assert!(calls(&filter).await.is_empty());
    killed.kill();
    assert_eq!(until_calls(&filter, 1).await, ["cleanup folder=inbox token-1"]);
}

/// `kill -9` of all: the next one to start sees to it, or goes on with the token that there is.
#[tokio::test]
async fn the_next_one_to_start_finds_the_token() {
    let server = NatsServer::start().await;
    Killable::start(&server).kill();
    let (tenures, filter) = replica(&server.url()).await;
    let tenure = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    assert!(!tenure.is_first());
    // The dead one's lease expires meanwhile, which changes nothing for who holds it.
    let bucket = Bucket::open(connect(&server.url()).await, "trommel_tenures", 1).await.unwrap();
    let key = bucket.keys("tenure").await.unwrap().remove(0);
    let holders = async || bucket.get(&key).await.unwrap().value.unwrap()["holders"].as_array().unwrap().len();
    until("the lease of the dead one has expired", async || holders().await == 1).await;
    assert!(calls(&filter).await.is_empty());
    tenures.close().await;
    assert_eq!(calls(&filter).await, ["cleanup folder=inbox token-1"]);
    drop(tenure);
}

/// Killed in the middle of a hook: what it did upstream is not known, so a cleanup is done again,
/// and a subscription too.
#[tokio::test]
async fn what_a_dead_replica_had_begun_is_begun_again() {
    let server = NatsServer::start().await;
    let (tenures, filter) = replica(&server.url()).await;
    let bucket = Bucket::open(connect(&server.url()).await, "trommel_tenures", 1).await.unwrap();
    for (folder, phase, token) in [("inbox", "subscribing", None), ("sent", "cleaning_up", Some("token-0"))] {
        let entrant = entrant(&filter, folder, "");
        let entry = json!({
            "filter": "lifecycle",
            "subscription": &entrant.subscription,
            "key": KEY,
            "params": &entrant.params,
            "token": token,
            "phase": { phase: "dead" },
            "holders": []
        });
        let key = format!("tenure.lifecycle/{}/", entrant.subscription.as_str().replace(':', "/"));
        bucket.put(&key, &entry, 0).await.unwrap().unwrap();
        assert!(tenures.enter(entrant).await.unwrap().is_first());
    }
    let calls = until_calls(&filter, 5).await;
    let of = |folder: &str| -> Vec<String> {
        calls
            .iter()
            .filter(|call| call.contains(folder))
            .map(|call| call.replace(&format!(" folder={folder}"), ""))
            .collect()
    };
    assert_eq!(of("inbox")[..1], ["pre-consume -> token-1"]);
    assert_eq!(of("sent")[..2], ["cleanup token-0", "pre-consume -> token-2"]);
}

/// A router that NATS can't reach is taken for dead; once it is back it subscribes anew what was
/// cleaned up after it.
#[tokio::test]
async fn a_replica_that_was_cut_off_enters_again() {
    let server = NatsServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let (one, one_filter) = replica(&proxy.url()).await;
    let (_other, other_filter) = replica(&server.url()).await;
    let tenure = one.enter(entrant(&one_filter, "inbox", "")).await.unwrap();
    proxy.set(Fault::Refuse);
    proxy.cut();
    assert_eq!(until_calls(&other_filter, 1).await, ["cleanup folder=inbox token-1"]);
    proxy.set(Fault::None);
    assert_eq!(until_calls(&one_filter, 2).await[1], "pre-consume folder=inbox -> token-2");
    tenure.leave().await;
    assert_eq!(calls(&one_filter).await[2..], ["cleanup folder=inbox token-2"]);
}

/// Filters without the hooks leave no trace in the account.
#[tokio::test]
async fn the_bucket_is_made_when_a_filter_needs_it() {
    let server = NatsServer::start().await;
    let connection = connect(&server.url()).await;
    let tenures = Tenures::across_replicas(connection.clone(), LEASE, 1);
    let plain = rig::load(&rig::host(), "match-type", GuestLimits::default()).await;
    tenures.set_filters([plain.clone()], Default::default());
    let held = tenures.enter(entrant(&plain, "inbox", "")).await.unwrap();
    held.leave().await;
    tenures.clear().await;
    let info = async || connection.api("STREAM.INFO.KV_trommel_tenures", &json!({})).await;
    assert_eq!(info().await.unwrap_err().code(), Some(code::STREAM_NOT_FOUND));
    let filter = filter().await;
    let tenure = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    assert!(info().await.is_ok());
    tenure.leave().await;
    tenures.close().await;
}
