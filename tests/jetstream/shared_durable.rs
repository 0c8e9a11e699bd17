//! Two routers on one durable, of which one has a sink that takes nothing: the other one has the
//! work, and gets back what the first can't do.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;

use std::{cell::Cell, collections::BTreeSet, fs, net::SocketAddr, time::Duration};

use flow::{Load, counts, outputs, publish, settings, unsettled};
use nats::NatsServer;
use router::{Folder, Router, get};
use tokio::time::sleep;

const SUBJECTS: usize = 7;
const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"

    [[route]]
    key = "all"
    sinks = ["SINK"]
"#;

/// A sink whose folder the test puts a file in the place of.
const FOLDER: &str = r#"
    [[sink]]
    name = "folder"
    type = "folder"
    path = "out"
    retry.patience = "2s"
"#;

fn metric(admin: SocketAddr, name: &str) -> u64 {
    let page = get(admin, "/metrics").1;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name}{{name=\"in\"}} ")));
    line.unwrap().parse().unwrap()
}

/// What the folder has got. A file that is being written is not there yet.
fn written(folder: &Folder) -> BTreeSet<u64> {
    let files = fs::read_dir(folder.file("out")).unwrap();
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts.filter_map(|text| Some(flow::number(&serde_json::from_str(&text).ok()?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_sink_is_away_leaves_the_work_to_others() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let more = "[pipeline]\nin_flight = 50\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let shared = settings(&server.url(), "batch = 20", "message_id = false") + more;
    let well = Folder::new(&shared).write("keys/all.toml", &KEY.replace("SINK", "out"));
    let sick = Folder::new(&(shared + FOLDER)).write("keys/all.toml", &KEY.replace("SINK", "folder"));
    fs::create_dir(sick.file("out")).unwrap();
    let [(mut one, at_one), (mut other, at_other)] = [&well, &sick].map(|folder| {
        let mut router = Router::spawn(folder.command());
        let admin = router.admin();
        (router, admin)
    });
    one.wait_for("running");
    other.wait_for("running");
    let first = Cell::new(0);
    until("both have a share of the work", async || {
        let begin = first.replace(first.get() + 100);
        publish(&context, begin..begin + 100, SUBJECTS).await;
        !outputs(&context).await.is_empty() && !written(&sick).is_empty()
    })
    .await;
    until("all of it is done", async || unsettled(&context).await == 0).await;

    fs::rename(sick.file("out"), sick.file("away")).unwrap();
    fs::write(sick.file("out"), "").unwrap();
    let load = Load::start_at(context.clone(), first.get(), SUBJECTS, Duration::from_millis(20));
    until("it says so", async || get(at_other, "/ready").0 == 503).await;
    assert_eq!(get(at_other, "/ready").1, "source `in` takes nothing, because no sink does\n");
    assert_eq!((metric(at_other, "trommel_source_paused"), get(at_one, "/ready").0), (1, 200));
    until("it has given back what it had", async || metric(at_other, "trommel_source_events_in_flight") <= 1).await;

    // What is published from here on, the other router does at once.
    let (published, done) = (load.published(), outputs(&context).await.len());
    sleep(Duration::from_secs(3)).await;
    let (published, done) = (load.published() - published, outputs(&context).await.len() - done);
    assert!(published > 300 && done * 100 >= published * 95, "{done} of {published}");
    let published = load.stop().await;
    until("all but one are done", async || unsettled(&context).await <= 1).await;
    assert!(metric(at_one, "trommel_source_redelivered_total") > 20);
    assert_eq!(metric(at_one, "trommel_source_shared"), 1);
    one.wait_for("the server has delivered messages again");

    fs::remove_file(sick.file("out")).unwrap();
    fs::rename(sick.file("away"), sick.file("out")).unwrap();
    until("the last one is done", async || unsettled(&context).await == 0).await;
    until("it is ready again", async || get(at_other, "/ready").0 == 200).await;
    let mut all: BTreeSet<_> = counts(&outputs(&context).await).into_keys().collect();
    all.extend(written(&sick));
    assert!(all.into_iter().eq(0..published as u64), "something is lost");
    for router in [one, other] {
        assert!(router.stop().status.success());
    }
}
