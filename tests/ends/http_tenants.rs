//! Tenants that share one listener: each is known by its token or by the path, and none takes what
//! the others need.

use crate::http::JSON;
use crate::http_rig::{HttpRig, PLAIN, header, kept, settings};

use std::collections::BTreeMap;

use trommel::{
    ack::Ticket,
    config::{ClientAuth, HttpSource, KeptIn, RateLimit},
    fate::Fate,
};

const ACME: (&str, &str) = ("authorization", "Bearer acme-acme-acme-acme-1");
const GLOBEX: (&str, &str) = ("authorization", "Bearer globex-globex-globex-1");

/// A listener of two tenants; with the tenants in the path, at `/in/{tenant}`.
fn shared(tokens: Option<KeptIn>, in_path: bool) -> HttpSource {
    let path = if in_path { "/in" } else { "/events" }.to_owned();
    HttpSource { path, tenant_in_path: in_path, auth: tokens.map(ClientAuth::Tenants), ..settings() }
}

fn tokens(folder: &tempfile::TempDir) -> KeptIn {
    kept(folder, "tenants", "acme acme-acme-acme-acme-1\nglobex globex-globex-globex-1\n").1
}

fn settled(ticket: Ticket) -> (String, String) {
    let found = (header(&ticket, "tenant").unwrap().to_owned(), ticket.event().subject.to_string());
    ticket.settle(Fate::Emitted);
    found
}

#[tokio::test]
async fn a_token_leads_to_its_tenant_whatever_a_client_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = HttpRig::new(shared(Some(tokens(&folder)), false)).await;
    for (headers, expected) in [(&[ACME][..], "acme"), (&[GLOBEX], "globex"), (&[ACME, ("tenant", "globex")], "acme")] {
        let answer = rig.post("/events/a/b", &[headers, &[JSON]].concat(), "1").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(settled(rig.next().await), (expected.to_owned(), "a.b".to_owned()));
    }
    let other = rig.post("/events", &[("authorization", "Bearer acme-acme-acme-acme-2"), JSON], "1").await;
    assert_eq!((other.status, other.reason().as_str()), (401, "token"));
    // A tenant that is added to the file counts after a second.
    let added = "initech initech-initech-1\n";
    std::fs::write(folder.path().join("tenants"), added).unwrap();
    let initech = ("authorization", "Bearer initech-initech-1");
    crate::patience::until("the new token counts", async || {
        rig.post("/events", &[initech, JSON], "1").await.status == 202
    })
    .await;
    assert_eq!(settled(rig.next().await).0, "initech");
}

#[tokio::test]
async fn the_path_names_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = HttpRig::new(shared(Some(tokens(&folder)), true)).await;
    let answer = rig.post("/in/acme/orders/paid", &[ACME, JSON], "1").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(settled(rig.next().await), ("acme".to_owned(), "orders.paid".to_owned()));
    let other = rig.post("/in/globex", &[ACME, JSON], "1").await;
    assert_eq!((other.status, other.reason().as_str()), (403, "other_tenant"));
    for path in ["/in", "/in/", "/inacme", "/in/%20", "/in//orders"] {
        let missing = rig.post(path, &[ACME, JSON], "1").await;
        assert_eq!((missing.status, missing.message().as_str()), (404, "events are taken at `/in/{tenant}`"), "{path}");
    }
    // One token that is trusted to name every tenant.
    let token = kept(&folder, "token", "all-of-them").1;
    let all = HttpSource { auth: Some(ClientAuth::Token(token)), ..shared(None, true) };
    let mut rig = HttpRig::new(all).await;
    let answer = rig.post("/in/initech", &[("authorization", "Bearer all-of-them"), JSON], "1").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(settled(rig.next().await), ("initech".to_owned(), "in".to_owned()));
}

/// A tenant that sends too fast is told when to come again, and the others are not.
#[tokio::test]
async fn a_tenant_beyond_its_rate_disturbs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let rate = RateLimit { events: 1.try_into().unwrap(), burst: 3.try_into().unwrap() };
    let settings = HttpSource { tenant_rate: Some(rate), ..shared(Some(tokens(&folder)), false) };
    let mut rig = HttpRig::new(settings).await;
    let mut answers = BTreeMap::<_, usize>::new();
    for _ in 0..10 {
        let answer = rig.post("/events", &[ACME, JSON], "1").await;
        if answer.status == 429 {
            assert_eq!((answer.reason().as_str(), answer.retry_after()), ("rate", Some(1)));
        }
        *answers.entry(answer.status).or_default() += 1;
    }
    assert!(answers[&429] >= 5 && answers[&202] >= 3, "{answers:?}");
    for _ in 0..3 {
        assert_eq!(rig.post("/events", &[GLOBEX, JSON], "1").await.status, 202);
    }
    for _ in 0..answers[&202] + 3 {
        settled(rig.next().await);
    }
    let lines = "1\n1\n1\n1\n";
    let answer = rig.post("/events", &[GLOBEX, ("content-type", "application/x-ndjson")], lines).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "too_many"));
}

/// Events of one tenant that pile up leave room for those of the others.
#[tokio::test]
async fn a_tenant_whose_events_pile_up_leaves_room_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = HttpRig::with(shared(Some(tokens(&folder)), false), PLAIN, 16).await;
    let mut taken = 0;
    loop {
        let answer = rig.post("/events", &[ACME, JSON], "1").await;
        if answer.status == 429 {
            assert_eq!((answer.reason().as_str(), answer.retry_after()), ("no_room", Some(1)));
            break;
        }
        taken += 1;
    }
    assert_eq!(taken, 8, "half of the room");
    for _ in 0..4 {
        assert_eq!(rig.post("/events", &[GLOBEX, JSON], "1").await.status, 202);
    }
    // What is settled makes room again.
    for _ in 0..12 {
        settled(rig.next().await);
    }
    crate::patience::until("there is room", async || rig.post("/events", &[ACME, JSON], "1").await.status == 202).await;
}
