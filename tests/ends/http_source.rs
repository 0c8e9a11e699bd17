//! What the source of type `http` promises to its clients: an answer that says what became of the
//! request, and nothing taken of what is refused.

use crate::http;
use crate::http_rig::{HttpRig, PATIENCE, PLAIN, SHORT, header, payload, settings};
use crate::patience::until;

use http::{Client, JSON, LINES, post, request, send};
use serde_json::json;
use tokio::time::timeout;
use trommel::{
    config::{AnswerPoint, EnvelopeFormat, HttpSource},
    fate::Fate,
    pipeline::EventBudget,
};

#[tokio::test]
async fn a_request_is_an_event_whose_subject_follows_the_path() {
    let mut rig = HttpRig::new(settings()).await;
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
        let mut rig = HttpRig::new(settings()).await;
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
    let mut rig = HttpRig::new(settings()).await;
    rig.post("/events", &[JSON, ("Webhook-Id", "msg_1")], "1").await;
    assert_eq!(&*rig.next().await.event().id, "msg_1");
    rig.post("/events", &[LINES, ("Webhook-Id", "msg_2")], "1\n2\n").await;
    let ids = [rig.next().await, rig.next().await].map(|ticket| ticket.event().id.to_string());
    assert_eq!(ids, ["msg_2:1", "msg_2:2"], "the same again when it is sent again");
}

#[tokio::test]
async fn cloudevents_come_in_binary_in_structure_and_in_batches() {
    let mut rig = HttpRig::with(settings(), EnvelopeFormat::CloudEvents, 100).await;
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
    let mut rig = HttpRig::new(HttpSource { max_body: 40, ..settings() }).await;
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
    let mut rig = HttpRig::new(HttpSource { fixed_subject: Some("orders.created".to_owned()), ..settings() }).await;
    assert_eq!(rig.post("/events", &[JSON], "1").await.status, 202);
    assert_eq!(&*rig.next().await.event().subject, "orders.created");
    assert_eq!(rig.post("/events/other", &[JSON], "1").await.reason(), "not_found");
}

#[tokio::test]
async fn a_request_finds_room_for_all_its_events_or_takes_none() {
    let mut rig = HttpRig::with(settings(), PLAIN, 3).await;
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
    let mut rig = HttpRig::new(HttpSource { max_body: 4 << 20, ..settings() }).await;
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
    let mut rig = HttpRig::new(HttpSource { answer: AnswerPoint::Settled, ..settings() }).await;
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
    let mut rig = HttpRig::new(HttpSource { answer: AnswerPoint::Settled, ..settings() }).await;
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
    let mut rig = HttpRig::with(HttpSource { answer: AnswerPoint::Settled, ..settings() }, PLAIN, 1).await;
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
    let mut rig = HttpRig::new(HttpSource { answer: AnswerPoint::Settled, ..settings() }).await;
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
    let mut rig = HttpRig::before(settings(), PLAIN, 100, EventBudget { events: 1, bytes: 1 << 20 }).await;
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
    let mut rig = HttpRig::new(HttpSource { answer: AnswerPoint::Settled, ..settings() }).await;
    let mut client = Client::connect(rig.address).await;
    client.write(&request("POST", "/events", &[JSON], "1")).await.unwrap();
    let _ticket = rig.next().await;
    rig.stopper.end();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (503, "stopping", Some(5)));
    timeout(PATIENCE, rig.run).await.unwrap().unwrap().unwrap();
}
