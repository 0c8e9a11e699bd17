//! What the source of type `http` promises to its clients: an answer that says what became of the request, nothing taken
//! of what is refused, and no client that keeps it busy for ever.

use crate::http;

use std::{fs, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use http::{Answer as Answered, Client, JSON, LINES, post, request, send};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use trommel::{
    ack::Ticket,
    config::{self, Answer, Auth, Envelope, HttpClient, HttpSource, KeptIn, Place, Rate, SourceKind},
    fate::Fate,
    metrics::RequestMetrics,
    pipeline::{Budget, double::Pipeline},
    signature::{Secret, sign},
    source::{
        Source,
        http::{Http, Surroundings},
    },
    stop::{Stopper, stop},
};

const PLAIN: Envelope = Envelope::Plain { id: None, event_type: None, subject: None, source_time: None };
/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

fn settings() -> HttpSource {
    HttpSource {
        listen: ([127, 0, 0, 1], 0).into(),
        path: "/events".to_owned(),
        fixed_subject: None,
        auth: None,
        is_this_machines: false,
        tenant: None,
        answer: Answer::Accepted,
        rate: None,
        max_body: 1 << 20,
        max_head: 16 << 10,
        connections: 256,
        timeout: PATIENCE,
        place: Place::file("trommel.toml"),
    }
}

/// A source under way, with the test as its pipeline.
struct Rig {
    address: SocketAddr,
    pipeline: Pipeline,
    metrics: Arc<RequestMetrics>,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<()>>,
}

impl Rig {
    async fn new(settings: HttpSource) -> Self {
        Self::with(settings, PLAIN, 100).await
    }

    async fn with(settings: HttpSource, envelope: Envelope, events: usize) -> Self {
        Self::before(settings, envelope, events, Budget { events, bytes: 1 << 21 }).await
    }

    /// In front of a pipeline that takes less than the door lets in.
    async fn before(settings: HttpSource, envelope: Envelope, events: usize, budget: Budget) -> Self {
        let kind = SourceKind::Http(Box::new(settings.clone()));
        let source = config::Source { name: "in".to_owned(), envelope, kind };
        let pipeline = config::Pipeline {
            lanes: NonZeroUsize::MIN,
            in_flight: NonZeroUsize::new(events).unwrap(),
            in_flight_bytes: 1 << 21,
            drain: PATIENCE,
        };
        let (stopper, stop) = stop();
        let metrics = Arc::<RequestMetrics>::default();
        let surroundings = Surroundings {
            pipeline,
            bodies: 4 << 20,
            metrics: Arc::clone(&metrics),
            stream: None,
            reserved: None,
            stop: stop.clone(),
        };
        let http = Http::open(&source, &settings, surroundings).await.unwrap();
        let address = http.address().unwrap();
        let (intake, pipeline) = Pipeline::new(budget);
        let run = tokio::spawn(http.run(intake, stop));
        Self { address, pipeline, metrics, stopper, run }
    }

    async fn next(&mut self) -> Ticket {
        timeout(PATIENCE, self.pipeline.next()).await.unwrap().unwrap()
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        post(self.address, path, headers, body).await
    }

    /// Nothing is inside that the test has not seen.
    async fn assert_nothing_taken(&mut self) {
        // What was taken before this one would come before it.
        assert_eq!(self.post("/events", &[JSON], "\"last\"").await.status, 202);
        let ticket = self.next().await;
        assert_eq!(payload(&ticket), "\"last\"");
        ticket.settle(Fate::Emitted);
    }
}

fn payload(ticket: &Ticket) -> &str {
    std::str::from_utf8(&ticket.event().payload).unwrap()
}

fn header<'a>(ticket: &'a Ticket, name: &str) -> Option<&'a str> {
    ticket.event().headers.get(name).map(|value| &**value)
}

/// Waits until this has become true.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_request_is_an_event_whose_subject_follows_the_path() {
    let mut rig = Rig::new(settings()).await;
    for (path, subject) in [
        ("/events", "in"),
        ("/events/", "in"),
        ("/events/orders/created", "orders.created"),
        ("/events/orders.eu/caf%C3%A9?x=1", "orders.eu.café"),
    ] {
        let answer = rig.post(path, &[JSON, ("X-Kind", "a"), ("Authorization", "Bearer x")], "{\"n\":1}").await;
        assert_eq!((answer.status, answer.json()), (202, json!({ "accepted": 1 })), "{path}");
        let ticket = rig.next().await;
        let event = ticket.event();
        assert_eq!((&*event.subject, &*event.event_type, payload(&ticket)), (subject, subject, "{\"n\":1}"));
        assert_eq!((header(&ticket, "x-kind"), header(&ticket, "authorization")), (Some("a"), None));
        assert_eq!((event.attempt, &*event.origin.source), (1, "in"));
    }
    assert_eq!(rig.metrics.taken.get(), 4);
}

/// L66: events without an id must not pass for repeats of each other, in this run or the next.
#[tokio::test]
async fn every_event_without_an_id_gets_one_of_its_own() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut rig = Rig::new(settings()).await;
        assert_eq!(rig.post("/events", &[LINES], "1\n2\n").await.status, 202);
        for _ in 0..2 {
            ids.push(rig.next().await.event().id.to_string());
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[tokio::test]
async fn the_id_of_a_webhook_is_the_events() {
    let mut rig = Rig::new(settings()).await;
    rig.post("/events", &[JSON, ("Webhook-Id", "msg_1")], "1").await;
    assert_eq!(&*rig.next().await.event().id, "msg_1");
    rig.post("/events", &[LINES, ("Webhook-Id", "msg_2")], "1\n2\n").await;
    let ids = [rig.next().await, rig.next().await].map(|ticket| ticket.event().id.to_string());
    assert_eq!(ids, ["msg_2:1", "msg_2:2"], "the same again when it is sent again");
}

#[tokio::test]
async fn cloudevents_come_in_binary_in_structure_and_in_batches() {
    let mut rig = Rig::with(settings(), Envelope::CloudEvents, 100).await;
    let binary = [
        ("Content-Type", "text/plain"),
        ("Ce-Specversion", "1.0"),
        ("Ce-Id", "b1"),
        ("Ce-Source", "/s"),
        ("Ce-Type", "order.created"),
        ("Ce-Name", "caf%C3%A9"),
    ];
    assert_eq!(rig.post("/events/orders", &binary, "hi").await.status, 202);
    let ticket = rig.next().await;
    assert_eq!((&*ticket.event().id, &*ticket.event().event_type, payload(&ticket)), ("b1", "order.created", "hi"));
    assert_eq!((&*ticket.event().subject, header(&ticket, "ce-name")), ("orders", Some("café")));

    let structured =
        |id: &str| json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": { "n": id } });
    let one = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
    assert_eq!(rig.post("/events", &one, &structured("s1").to_string()).await.status, 202);
    let batch = [("Content-Type", "application/cloudevents-batch+json")];
    let body = json!([structured("s2"), structured("s3")]).to_string();
    let answer = rig.post("/events", &batch, &body).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "accepted": 2 })));
    let lines = format!("{}\n{}\n", structured("s4"), structured("s5"));
    assert_eq!(rig.post("/events", &[LINES], &lines).await.status, 202);
    for id in ["s1", "s2", "s3", "s4", "s5"] {
        let ticket = rig.next().await;
        assert_eq!((&*ticket.event().id, payload(&ticket)), (id, json!({ "n": id }).to_string().as_str()));
    }

    // One that is no CloudEvent, and none of the batch is taken.
    let body = json!([structured("s6"), { "id": "x" }]).to_string();
    let answer = rig.post("/events", &batch, &body).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_cloudevent"));
    assert!(answer.message().starts_with("event 2 of 2: it lacks `specversion`"), "{answer:?}");
    assert_eq!(rig.post("/events", &one, &structured("s7").to_string()).await.status, 202);
    assert_eq!(&*rig.next().await.event().id, "s7");
}

/// A request by method, path, headers and body; its status and its reason.
type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

/// L71: what can't be an event is turned away with the reason.
#[tokio::test]
async fn a_refusal_says_why_and_takes_nothing() {
    let mut rig = Rig::new(HttpSource { max_body: 40, ..settings() }).await;
    let long = "x".repeat(41);
    let refusals: &[Refused<'_>] = &[
        ("POST", "/", &[JSON], "1", 404, "not_found"),
        ("POST", "/eventsx", &[JSON], "1", 404, "not_found"),
        ("GET", "/events", &[], "", 405, "method"),
        ("PUT", "/events/a", &[JSON], "1", 405, "method"),
        ("POST", "/events/a//b", &[JSON], "1", 400, "bad_subject"),
        ("POST", "/events/a/", &[JSON], "1", 400, "bad_subject"),
        ("POST", "/events/a/%2A", &[JSON], "1", 400, "bad_subject"),
        ("POST", "/events/%FF", &[JSON], "1", 400, "bad_subject"),
        ("POST", "/events", &[JSON], "", 400, "not_json"),
        ("POST", "/events", &[JSON], "{", 400, "not_json"),
        ("POST", "/events", &[], "{", 400, "not_json"),
        ("POST", "/events", &[("Content-Type", "text/plain")], "", 400, "empty"),
        ("POST", "/events", &[LINES], "1\n{\n", 400, "not_json"),
        ("POST", "/events", &[LINES], "\n", 400, "empty"),
        ("POST", "/events", &[("Content-Type", "application/cloudevents-batch+json")], "{}", 400, "not_json"),
        ("POST", "/events", &[("Content-Type", "application/cloudevents+avro")], "x", 415, "content_type"),
        ("POST", "/events", &[JSON, ("Content-Encoding", "gzip")], "x", 415, "content_type"),
        ("POST", "/events", &[("Content-Type", "text/plain")], &long, 413, "too_large"),
        ("POST", "/events", &[("X-Bad", "\u{e9}"), JSON], "1", 202, ""),
    ];
    for (method, path, headers, body, status, reason) in refusals {
        let answer = send(rig.address, &request(method, path, headers, body)).await;
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer:?}");
        if *status == 202 {
            rig.next().await.settle(Fate::Emitted);
            continue;
        }
        assert_eq!(answer.reason(), *reason, "{method} {path} {body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("allow"), (*status == 405).then_some("POST"));
    }
    let latin1 = b"POST /events HTTP/1.1\r\nHost: a\r\nX-Bad: \xe9\r\nContent-Length: 1\r\n\r\n1";
    assert_eq!(send(rig.address, latin1).await.reason(), "bad_header");
    let chunked =
        format!("POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n29\r\n{long}\r\n0\r\n\r\n");
    let answer = send(rig.address, chunked.as_bytes()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "too_large"));
    assert!(answer.message().contains("40 bytes"), "{answer:?}");
    rig.assert_nothing_taken().await;
    let refused = rig.metrics.refused();
    assert_eq!((refused["not_json"], refused["too_large"], refused["method"]), (5, 2, 2), "{refused:?}");
}

#[tokio::test]
async fn a_fixed_subject_is_that_of_every_event() {
    let mut rig = Rig::new(HttpSource { fixed_subject: Some("orders.created".to_owned()), ..settings() }).await;
    assert_eq!(rig.post("/events", &[JSON], "1").await.status, 202);
    assert_eq!(&*rig.next().await.event().subject, "orders.created");
    assert_eq!(rig.post("/events/other", &[JSON], "1").await.reason(), "not_found");
}

#[tokio::test]
async fn a_request_finds_room_for_all_its_events_or_takes_none() {
    let mut rig = Rig::with(settings(), PLAIN, 3).await;
    let answer = rig.post("/events", &[LINES], "1\n2\n3\n4\n").await;
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (413, "too_many", None));
    assert!(answer.message().contains("more than 3 events"), "{answer:?}");

    assert_eq!(rig.post("/events", &[LINES], "1\n2\n").await.status, 202);
    let open = [rig.next().await, rig.next().await];
    let answer = rig.post("/events", &[LINES], "3\n4\n").await;
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (429, "no_room", Some(1)));
    assert_eq!(rig.post("/events", &[JSON], "5").await.status, 202, "there is room for one");
    assert_eq!(payload(&rig.next().await), "5");
    let [first, second] = open;
    first.settle(Fate::Emitted);
    second.settle(Fate::Filtered);
    until("room again", async || rig.post("/events", &[LINES], "6\n7\n").await.status == 202).await;
    assert_eq!(payload(&rig.next().await), "6");
}

/// The budget counts bytes too, and a body that is larger than all of it is told so.
#[tokio::test]
async fn bytes_need_room_as_events_do() {
    let mut rig = Rig::new(HttpSource { max_body: 4 << 20, ..settings() }).await;
    let text = [("Content-Type", "text/plain")];
    let (large, half) = ("x".repeat((2 << 20) + 1), "x".repeat(3 << 19));
    assert_eq!(rig.post("/events", &text, &large).await.status, 413);
    assert_eq!(rig.post("/events", &text, &half).await.status, 202);
    let open = rig.next().await;
    assert_eq!(rig.post("/events", &text, &half).await.reason(), "no_room");
    open.settle(Fate::Emitted);
    until("room again", async || rig.post("/events", &text, &half).await.status == 202).await;
}

#[tokio::test]
async fn settled_means_that_every_event_is_done() {
    let mut rig = Rig::new(HttpSource { answer: Answer::Settled, ..settings() }).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[LINES], "1\n2\n")).await.unwrap();
    let (first, second) = (rig.next().await, rig.next().await);
    first.settle(Fate::Emitted);
    assert!(timeout(SHORT, client.answer()).await.is_err(), "one is not done");
    second.settle(Fate::Filtered);
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!({ "settled": 2 })));

    client.write(&request("POST", "/events", &[JSON], "3")).await.unwrap();
    rig.next().await.dead("schema_mismatch");
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (422, "schema_mismatch"));

    client.write(&request("POST", "/events", &[LINES], "4\n5\n")).await.unwrap();
    rig.next().await.settle(Fate::Emitted);
    rig.next().await.dead("not_json");
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (422, "not_json"));
    assert!(answer.message().starts_with("1 of 2 events"), "{answer:?}");
}

#[tokio::test]
async fn what_comes_back_is_pushed_again_until_it_is_done() {
    let mut rig = Rig::new(HttpSource { answer: Answer::Settled, ..settings() }).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[JSON], "1")).await.unwrap();
    let first = rig.next().await;
    let id = first.event().id.clone();
    drop(first);
    let second = rig.next().await;
    assert_eq!((second.event().attempt, &second.event().id), (2, &id));
    second.settle(Fate::Failed);
    let third = rig.next().await;
    assert_eq!(third.event().attempt, 3);
    third.settle(Fate::Emitted);
    assert_eq!(client.answer().await.unwrap().status, 200);
}

/// The event is worked on, and its place is free again afterwards.
#[tokio::test]
async fn a_client_that_leaves_costs_no_place() {
    let mut rig = Rig::with(HttpSource { answer: Answer::Settled, ..settings() }, PLAIN, 1).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[JSON], "1")).await.unwrap();
    let ticket = rig.next().await;
    drop(client);
    assert_eq!(rig.post("/events", &[JSON], "2").await.status, 429);
    ticket.settle(Fate::Emitted);
    let address = rig.address;
    let next = tokio::spawn(async move {
        let mut answer = post(address, "/events", &[JSON], "3").await;
        while answer.status == 429 {
            answer = post(address, "/events", &[JSON], "3").await;
        }
        answer.status
    });
    rig.next().await.settle(Fate::Emitted);
    assert_eq!(next.await.unwrap(), 200);
}

#[tokio::test]
async fn on_drain_new_requests_are_turned_away_and_open_ones_finished() {
    let mut rig = Rig::new(HttpSource { answer: Answer::Settled, ..settings() }).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[JSON], "1")).await.unwrap();
    let ticket = rig.next().await;
    // A body that is still on its way is not waited for.
    let mut late = Client::connect(rig.address).await;
    late.write(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1").await.unwrap();
    rig.stopper.drain();
    let answer = late.answer().await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (503, "stopping", Some(5)));
    let answer = rig.post("/events", &[JSON], "2").await;
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (503, "stopping", Some(5)));
    ticket.settle(Fate::Emitted);
    assert_eq!(client.answer().await.unwrap().status, 200);
    timeout(PATIENCE, rig.run).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_was_accepted_is_finished_though_the_drain_has_begun() {
    let mut rig = Rig::before(settings(), PLAIN, 100, Budget { events: 1, bytes: 1 << 20 }).await;
    assert_eq!(rig.post("/events", &[LINES], "1\n2\n3\n").await.status, 202);
    assert_eq!(rig.post("/events", &[JSON], "4").await.status, 202);
    let first = rig.next().await;
    rig.stopper.drain();
    assert_eq!(rig.post("/events", &[JSON], "5").await.reason(), "stopping");
    first.settle(Fate::Emitted);
    for n in ["2", "3", "4"] {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), n);
        ticket.settle(Fate::Emitted);
    }
    timeout(PATIENCE, rig.run).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_not_called_settled() {
    let mut rig = Rig::new(HttpSource { answer: Answer::Settled, ..settings() }).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[JSON], "1")).await.unwrap();
    let _ticket = rig.next().await;
    rig.stopper.end();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (503, "stopping", Some(5)));
    timeout(PATIENCE, rig.run).await.unwrap().unwrap().unwrap();
}

/// A client that says nothing, or little by little, is let go.
#[tokio::test]
async fn slow_clients_are_let_go() {
    let rig = Rig::new(HttpSource { timeout: SHORT, connections: 2, ..settings() }).await;
    let mut silent = Client::connect(rig.address).await;
    let mut dripping = Client::connect(rig.address).await;
    let drips = async {
        // Never a pause as long as the time that there is.
        for byte in b"POST /events HTTP/1.1\r\nHost: a\r\nX-Long: ".iter().chain([b'x'; 1000].iter()) {
            if dripping.write(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
        dripping.answer().await
    };
    let began = Instant::now();
    // Both places are taken until then.
    let third = async {
        assert_eq!(rig.post("/events", &[JSON], "1").await.status, 202);
        began.elapsed()
    };
    let all = timeout(PATIENCE, async { tokio::join!(drips, silent.answer(), third) }).await;
    let (dripped, silent, third) = all.expect("somebody is never let go");
    assert!(dripped.is_none() && silent.is_none());
    assert!(third >= SHORT, "{third:?}");

    let mut slow = Client::connect(rig.address).await;
    slow.write(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1").await.unwrap();
    let answer = timeout(PATIENCE, slow.answer()).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (408, "slow"));
}

/// Nor does it wait for ever for somebody who sends requests and takes no answers.
#[tokio::test]
async fn a_client_that_takes_no_answers_is_let_go() {
    let rig = Rig::new(HttpSource { timeout: SHORT, connections: 1, ..settings() }).await;
    let mut deaf = Client::connect(rig.address).await;
    let request = request("GET", "/events", &[], "");
    let flood = async {
        let many = request.repeat(1000);
        while deaf.write(&many).await.is_ok() {}
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(rig.post("/events", &[JSON], "1").await.status, 202);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let mut rig = Rig::new(settings()).await;
    let mut client = Client::connect(rig.address).await;
    for n in 0..100 {
        let answer = client.post("/events", &[JSON], &n.to_string()).await;
        assert_eq!(answer.status, 202);
        rig.next().await.settle(Fate::Emitted);
    }
}

/// The answer is read even by a client that first sends all of its 100 MB.
#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let mut rig = Rig::new(settings()).await;
    for head in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
        let mut client = Client::connect(rig.address).await;
        client.write(format!("POST /events HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
        let part = if head.starts_with('C') {
            vec![b'x'; 1 << 16]
        } else {
            [b"10000\r\n", &[b'x'; 1 << 16][..], b"\r\n"].concat()
        };
        let mut written = 0;
        while written < 100 << 20 && client.write(&part).await.is_ok() {
            written += part.len();
        }
        assert!(written >= 16 << 20, "cut off after {written} bytes, {head}");
        let answer = client.answer().await.unwrap_or_else(|| panic!("no answer after {written} bytes, {head}"));
        assert_eq!((answer.status, answer.reason().as_str()), (413, "too_large"));
    }
    rig.assert_nothing_taken().await;
}

#[tokio::test]
async fn events_come_no_faster_than_the_rate() {
    let rate = Rate { events: 20.try_into().unwrap(), burst: 4.try_into().unwrap() };
    let rig = Rig::new(HttpSource { rate: Some(rate), ..settings() }).await;
    let answer = rig.post("/events", &[LINES], "1\n2\n3\n4\n5\n").await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "too_many"), "more than may ever come at once");
    let began = Instant::now();
    let (mut taken, mut refused) = (0, 0);
    while taken < 14 {
        let answer = rig.post("/events", &[LINES], "1\n2\n").await;
        match answer.status {
            202 => taken += 2,
            _ => {
                assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (429, "rate", Some(1)));
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    // Four at once, the other ten at 20 a second.
    assert!(began.elapsed() >= Duration::from_millis(480) && refused > 0, "{:?}, {refused}", began.elapsed());
}

fn kept(folder: &tempfile::TempDir, name: &str, text: &str) -> (PathBuf, KeptIn) {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (path.clone(), KeptIn::File(path))
}

#[tokio::test]
async fn a_token_is_asked_for_and_may_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = kept(&folder, "token", "first\n");
    let mut rig = Rig::new(HttpSource { auth: Some(Auth::Token(token)), ..settings() }).await;
    for headers in [
        &[][..],
        &[("Authorization", "Bearer ")],
        &[("Authorization", "Bearer firs")],
        &[("Authorization", "Bearer first2")],
        &[("Authorization", "Basic first")],
        &[("Authorization", "first")],
    ] {
        let answer = rig.post("/events", headers, "1").await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "token"), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.body.contains("first"), "{answer:?}");
    }
    assert_eq!(rig.post("/events", &[("Authorization", "bearer first")], "1").await.status, 202);
    assert_eq!(header(&rig.next().await, "authorization"), None);
    fs::write(path, "second").unwrap();
    let new = ("Authorization", "Bearer second");
    until("the new token counts", async || rig.post("/events", &[new], "1").await.status == 202).await;
    assert_eq!(rig.post("/events", &[("Authorization", "Bearer first")], "1").await.status, 401);
}

fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs()
}

#[tokio::test]
async fn signatures_are_verified_with_either_secret() {
    let folder = tempfile::tempdir().unwrap();
    let new = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let secrets = vec![kept(&folder, "new", new).1, kept(&folder, "old", "old\n").1];
    let mut rig = Rig::new(HttpSource { auth: Some(Auth::Signature(secrets)), ..settings() }).await;
    let secret = |text: &str| text.parse::<Secret>().unwrap();
    let post = async |rig: &Rig, id: &str, timestamp: u64, signatures: &str| {
        let timestamp = timestamp.to_string();
        let headers = [("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", signatures), JSON];
        rig.post("/events", &headers, "{}").await
    };
    let now = seconds();
    for (text, id) in [(new, "msg_1"), ("old", "msg_0")] {
        let signature = sign(&secret(text), id, now, b"{}");
        assert_eq!(post(&rig, id, now, &format!("v1,AAAA {signature}")).await.status, 202, "{text}");
        let ticket = rig.next().await;
        assert_eq!((&*ticket.event().id, header(&ticket, "webhook-signature")), (id, None));
    }
    let signature = sign(&secret(new), "msg_1", now, b"{}");
    for (id, timestamp, signature, expected) in [
        ("msg_2", now, &signature, "no signature"),
        ("msg_1", now + 1, &signature, "no signature"),
        ("msg_1", now, &sign(&secret("other"), "msg_1", now, b"{}"), "no signature"),
        ("msg_1", now, &sign(&secret(new), "msg_1", now, b"{ }"), "no signature"),
        ("msg_1", now - 400, &sign(&secret(new), "msg_1", now - 400, b"{}"), "5 minutes back"),
        ("msg_1", now + 100, &sign(&secret(new), "msg_1", now + 100, b"{}"), "60 seconds ahead"),
        ("msg_1", now, &String::new(), "`webhook-signature` is missing"),
        ("", now, &signature, "`webhook-id` is missing"),
    ] {
        let answer = post(&rig, id, timestamp, signature).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "signature"));
        assert_eq!(answer.header("www-authenticate"), Some("Webhook-Signature"));
        assert!(answer.message().contains(expected), "{answer:?}");
    }
    assert_eq!(rig.post("/events", &[JSON], "{}").await.reason(), "signature");
}

/// Whoever has recorded a signed request can't have it done again, nor say for whom it is.
#[tokio::test]
async fn a_signed_request_counts_once_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(Auth::Signature(vec![kept(&folder, "secret", "s3cret").1]));
    let mut rig = Rig::new(HttpSource { auth, answer: Answer::Settled, ..settings() }).await;
    let now = seconds();
    let timestamp = now.to_string();
    let signature = sign(&"s3cret".parse().unwrap(), "msg_1", now, b"{}");
    let signed =
        [("webhook-id", "msg_1"), ("webhook-timestamp", &*timestamp), ("webhook-signature", &*signature), JSON];
    let forged = [&signed[..], &[("Tenant", "t2"), ("actor_id", "a2")]].concat();
    let address = rig.address;
    let first = async || post(address, "/events", &forged, "{}").await;
    let (answer, ()) = tokio::join!(first(), async {
        let ticket = rig.next().await;
        assert_eq!((header(&ticket, "tenant"), header(&ticket, "actor_id")), (None, None));
        // Not done yet, so it can't be said to be.
        let again = post(address, "/events", &signed, "{}").await;
        assert_eq!((again.status, again.reason().as_str()), (429, "repeat"));
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(answer.status, 200);
    // No signature covers the URL.
    let elsewhere = rig.post("/events/elsewhere", &signed, "{}").await;
    assert_eq!((elsewhere.status, elsewhere.reason().as_str()), (404, "not_found"));
    let again = rig.post("/events", &signed, "{}").await;
    assert_eq!((again.status, again.json()), (200, json!({ "settled": 1 })));
    let fresh = sign(&"s3cret".parse().unwrap(), "msg_2", now, b"2");
    let other = [("webhook-id", "msg_2"), ("webhook-timestamp", &*timestamp), ("webhook-signature", &*fresh), JSON];
    let next = async || post(address, "/events", &other, "2").await;
    let (answer, ()) = tokio::join!(next(), async {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), "2", "the repeat has come to nothing");
        ticket.settle(Fate::Emitted);
    });
    assert_eq!(answer.status, 200);
}

/// What decides where an event goes is signed, or it is the configuration's.
#[tokio::test]
async fn an_unsigned_head_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(Auth::Signature(vec![kept(&folder, "secret", "s3cret").1]));
    let mut rig = Rig::with(HttpSource { auth, ..settings() }, Envelope::CloudEvents, 100).await;
    let now = seconds();
    let timestamp = now.to_string();
    let structured = r#"{"specversion":"1.0","id":"a","source":"/s","type":"order.made","data":1}"#;
    let attributes =
        [("ce-specversion", "1.0"), ("ce-id", "a"), ("ce-source", "/s"), ("ce-type", "order.paid"), ("X-Region", "eu")];
    for (id, content_type, body, expected) in [
        ("msg_1", "application/cloudevents+json", structured, Some("order.made")),
        ("msg_2", "application/json", structured, None),
    ] {
        let signature = sign(&"s3cret".parse().unwrap(), id, now, body.as_bytes());
        let signed = [
            ("webhook-id", id),
            ("webhook-timestamp", &*timestamp),
            ("webhook-signature", &*signature),
            ("content-type", content_type),
        ];
        let answer = rig.post("/events", &[&signed[..], &attributes[..]].concat(), body).await;
        match expected {
            Some(event_type) => {
                assert_eq!(answer.status, 202, "{answer:?}");
                let ticket = rig.next().await;
                assert_eq!((&*ticket.event().event_type, &*ticket.event().subject), (event_type, "in"));
                assert_eq!(header(&ticket, "x-region"), None);
            }
            None => assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_cloudevent")),
        }
    }
}

/// Without a token anybody on this machine may send, but no page that somebody's browser shows.
#[tokio::test]
async fn pages_of_other_sites_send_nothing() {
    let mut rig = Rig::new(HttpSource { is_this_machines: true, ..settings() }).await;
    for header in [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
        let answer = rig.post("/events", &[header, ("Content-Type", "text/plain")], "1").await;
        assert_eq!((answer.status, answer.reason().as_str()), (403, "other_site"), "{header:?}");
    }
    let rebound =
        b"POST /events HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nContent-Length: 1\r\n\r\n1";
    assert_eq!(send(rig.address, rebound).await.status, 403);
    assert_eq!(rig.post("/events", &[("Origin", "http://localhost:3000"), JSON], "1").await.status, 202);
    rig.next().await.settle(Fate::Emitted);
    rig.assert_nothing_taken().await;
    // Whoever has the token is no browser of somebody else's.
    let folder = tempfile::tempdir().unwrap();
    let auth = Some(Auth::Token(kept(&folder, "token", "t").1));
    let rig = Rig::new(HttpSource { auth, ..settings() }).await;
    let headers = [("Origin", "http://other.example"), ("Authorization", "Bearer t"), JSON];
    assert_eq!(rig.post("/events", &headers, "1").await.status, 202);
}

/// All places are taken by clients that never end their first request: they have to make room.
#[tokio::test]
async fn heads_that_never_end_keep_nobody_out() {
    let rig = Rig::new(HttpSource { connections: 8, ..settings() }).await;
    let mut held = Vec::new();
    for _ in 0..24 {
        let mut client = Client::connect(rig.address).await;
        client.write(b"POST /events HTTP/1.1\r\nX: ").await.unwrap();
        held.push(client);
    }
    let began = Instant::now();
    assert_eq!(rig.post("/events", &[JSON], "1").await.status, 202);
    assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
}

/// A head is kept with every event of its request, and read before anybody is known.
#[tokio::test]
async fn heads_are_bounded() {
    let mut rig = Rig::new(HttpSource { max_head: 16 << 10, ..settings() }).await;
    let answer = rig.post("/events", &[("X-Long", &*"x".repeat(17 << 10))], "1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (431, "head_too_large"));
    let mut client = Client::connect(rig.address).await;
    let huge = request("POST", "/events", &[("X-Long", &*"x".repeat(1 << 20))], "1");
    // It is cut off somewhere in between.
    let _ = client.write(&huge).await;
    assert!(timeout(PATIENCE, client.answer()).await.unwrap().is_none_or(|answer| answer.status >= 400));
    rig.assert_nothing_taken().await;
    // What comes behind a head is no part of it, however fast it comes.
    let body = format!("\"{}\"", "x".repeat(900 << 10));
    let mut client = Client::connect(rig.address).await;
    for _ in 0..8 {
        assert_eq!(client.post("/events", &[JSON], &body).await.status, 202);
        rig.next().await.settle(Fate::Emitted);
    }
    let many = request("POST", "/events", &[JSON], "7").repeat(90);
    client.write(&many).await.unwrap();
    for _ in 0..90 {
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(202));
    }
}

/// F05: identity is carried, and the tenant that is set counts whatever a client says.
#[tokio::test]
async fn a_tenant_that_is_set_is_that_of_every_event() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let said = [JSON, ("Tenant", "t2"), ("actor_id", "a1"), ("traceparent", trace)];
    for (tenant, expected) in [(None, "t2"), (Some("t1"), "t1")] {
        let mut rig = Rig::new(HttpSource { tenant: tenant.map(str::to_owned), ..settings() }).await;
        rig.post("/events", &said, "1").await;
        let ticket = rig.next().await;
        let tenants = ticket.event().headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tenant"));
        assert_eq!(tenants.map(|(_, value)| &**value).collect::<Vec<_>>(), [expected]);
        assert_eq!((header(&ticket, "actor_id"), header(&ticket, "traceparent")), (Some("a1"), Some(trace)));
    }
}

/// What a body says of its tenant is the client's word, too.
#[tokio::test]
async fn a_tenant_that_is_set_counts_more_than_the_bodys() {
    let body = r#"{"id":"evt_1","type":"deploy.failed","tenant_id":"t2","timestamp":"2026-01-01T00:00:00Z"}"#;
    for (tenant, expected) in [(None, "t2"), (Some("t1"), "t1")] {
        let settings = HttpSource { tenant: tenant.map(str::to_owned), ..settings() };
        let mut rig = Rig::with(settings, Envelope::Ctrlplane, 100).await;
        assert_eq!(rig.post("/events", &[JSON], body).await.status, 202);
        let ticket = rig.next().await;
        let tenants = ticket.event().headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tenant"));
        assert_eq!(tenants.map(|(_, value)| &**value).collect::<Vec<_>>(), [expected]);
    }
}

/// A client that is bound to tenants speaks for nobody else, by whatever it says so.
#[tokio::test]
async fn a_token_speaks_for_its_tenants_alone() {
    let folder = tempfile::tempdir().unwrap();
    let client = |name: &str, tenants: Option<&[&str]>| HttpClient {
        token: kept(&folder, name, name).1,
        tenants: tenants.map(|tenants| tenants.iter().map(|tenant| (*tenant).to_owned()).collect()),
    };
    let clients = vec![client("one", Some(&["t1"])), client("two", Some(&["t2", "t3"])), client("any", None)];
    let settings = HttpSource { auth: Some(Auth::Clients(clients)), ..settings() };
    let mut rig = Rig::with(settings, Envelope::Ctrlplane, 100).await;
    let body = |tenant: &str| match tenant {
        "" => r#"{"id":"e","type":"deploy.failed"}"#.to_owned(),
        tenant => format!(r#"{{"id":"e","type":"deploy.failed","tenant_id":"{tenant}"}}"#),
    };
    // The token, what the header says, what the body says, and whose event it is.
    for (token, header, in_body, expected) in [
        ("one", "", "", Ok(Some("t1"))),
        ("one", "t1", "t1", Ok(Some("t1"))),
        ("one", "", "t2", Err("other_tenant")),
        ("one", "t2", "", Err("other_tenant")),
        ("one", "t2", "t1", Err("other_tenant")),
        ("one", "T1", "", Err("other_tenant")),
        ("two", "t3", "", Ok(Some("t3"))),
        ("two", "", "t2", Ok(Some("t2"))),
        ("two", "", "", Err("no_tenant")),
        ("two", "", "t1", Err("other_tenant")),
        ("any", "t9", "", Ok(Some("t9"))),
        ("any", "", "", Ok(None)),
        ("none", "", "", Err("token")),
    ] {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![JSON, ("Authorization", &*authorization)];
        headers.extend((!header.is_empty()).then_some(("Tenant", header)));
        let answer = rig.post("/events", &headers, &body(in_body)).await;
        match expected {
            Ok(tenant) => {
                assert_eq!(answer.status, 202, "{token} {header} {in_body}: {answer:?}");
                assert_eq!(rig.next().await.event().tenant(), tenant, "{token} {header} {in_body}");
            }
            Err(reason) => {
                let status = if reason == "token" { 401 } else { 403 };
                assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{token} {header} {in_body}");
            }
        }
    }
    // Two are no better than one.
    let headers = [JSON, ("Authorization", "Bearer one"), ("Tenant", "t1"), ("tenant", "t2")];
    assert_eq!(rig.post("/events", &headers, &body("")).await.status, 403);
}

/// Bodies that come slowly share what may be read at once, and give it back when they are gone.
#[tokio::test]
async fn bodies_that_are_being_read_are_bounded_together() {
    let mut rig = Rig::new(settings()).await;
    let (text, body) = ([("Content-Type", "text/plain")], "x".repeat(900 << 10));
    let mut slow = Vec::new();
    let refused = async {
        loop {
            let answer = rig.post("/events", &text, &body).await;
            if answer.status != 202 {
                return answer;
            }
            rig.next().await.settle(Fate::Emitted);
            // One more that will not come to its end.
            let mut client = Client::connect(rig.address).await;
            let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1048576\r\n\r\n";
            client.write(head.as_bytes()).await.unwrap();
            client.write(body.as_bytes()).await.unwrap();
            slow.push(client);
        }
    };
    let answer = timeout(PATIENCE, refused).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (429, "no_room", Some(1)));
    drop(slow);
    until("room again", async || rig.post("/events", &text, &body).await.status == 202).await;
}
