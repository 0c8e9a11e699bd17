//! No client of the source of type `http` keeps it busy for ever, or fills its memory.

use crate::http;
use crate::http_rig::{HttpRig, PATIENCE, SHORT, settings};
use crate::patience::until;

use std::time::Duration;

use http::{Client, JSON, LINES, request};
use tokio::time::{Instant, timeout};
use trommel::{
    config::{HttpSource, RateLimit},
    fate::Fate,
};

/// A client that says nothing, or little by little, is let go.
#[tokio::test]
async fn slow_clients_are_let_go() {
    let rig = HttpRig::new(HttpSource { timeout: SHORT, connections: 2, ..settings() }).await;
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
    let rig = HttpRig::new(HttpSource { timeout: SHORT, connections: 1, ..settings() }).await;
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
    let mut rig = HttpRig::new(settings()).await;
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
    let mut rig = HttpRig::new(settings()).await;
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
    let rate = RateLimit { events: 20.try_into().unwrap(), burst: 4.try_into().unwrap() };
    let rig = HttpRig::new(HttpSource { rate: Some(rate), ..settings() }).await;
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

/// All places are taken by clients that never end their first request: they have to make room.
#[tokio::test]
async fn heads_that_never_end_keep_nobody_out() {
    let rig = HttpRig::new(HttpSource { connections: 8, ..settings() }).await;
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
    let mut rig = HttpRig::new(HttpSource { max_head: 16 << 10, ..settings() }).await;
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

/// Bodies that come slowly share what may be read at once, and give it back when they are gone.
#[tokio::test]
async fn bodies_that_are_being_read_are_bounded_together() {
    let mut rig = HttpRig::new(settings()).await;
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
