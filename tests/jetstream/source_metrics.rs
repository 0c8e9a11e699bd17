//! What a source tells of its consumer: what is still to come, and what an earlier process left
//! open.

use crate::flow;
use crate::nats;
use crate::patience::until_ok;
use crate::router;

use std::{fs, net::SocketAddr};

use flow::{publish, settings};
use nats::NatsServer;
use router::{Folder, Router, get};

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"

    [[route]]
    key = "all"
    sinks = ["folder"]
"#;

/// Waits until the source's metrics have these values.
async fn until_counted(admin: SocketAddr, expected: &[(&str, u64)]) {
    until_ok(&format!("{expected:?}"), async || {
        let page = get(admin, "/metrics").1;
        let is_there =
            |(name, value): &(&str, u64)| page.contains(&format!("trommel_source_{name}{{name=\"in\"}} {value}\n"));
        if expected.iter().all(is_there) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_come_and_what_was_left_open_is_counted() {
    for ack in ["explicit", "auto", "all"] {
        let server = NatsServer::start().await;
        let context = flow::connect(&server.url()).await;
        let more = "[pipeline]\nin_flight = 50\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        let sink = "[[sink]]\nname = \"folder\"\ntype = \"folder\"\npath = \"out\"\n";
        let settings = settings(&server.url(), &format!("ack = \"{ack}\""), "") + sink + more;
        let folder = Folder::new(&settings).write("keys/all.toml", KEY);
        let start = || {
            let mut router = Router::spawn(folder.command());
            let admin = router.admin();
            router.wait_for("running");
            (router, admin)
        };
        fs::create_dir(folder.file("out")).unwrap();
        let (router, admin) = start();
        fs::rename(folder.file("out"), folder.file("away")).unwrap();
        fs::write(folder.file("out"), "").unwrap();
        publish(&context, 0..200, 7).await;
        // What the server says at once when it delivers, or ten seconds later.
        until_counted(admin, &[("events_in_flight", 50), ("lag", 150), ("taken_over_total", 0)]).await;
        router.kill();

        fs::remove_file(folder.file("out")).unwrap();
        fs::rename(folder.file("away"), folder.file("out")).unwrap();
        let (router, admin) = start();
        until_counted(admin, &[("events_emitted_total", 200), ("lag", 0), ("taken_over_total", 50)]).await;
        assert!(router.stop().status.success());
    }
}
