//! `examples/saas`, walked as its page says: tenants' webhooks from the first request to the last,
//! with a receiver that shares nothing with the router.

use crate::http::{Answer, request, send};
use crate::nats::NatsServer;
use crate::patience::blocking::until;
use crate::router::{Folder, Router};

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/saas");
const OPERATOR: &str = "0perat0r-0perat0r-0perat0r";
const ACME: &str = "acme-acme-acme-acme";
const GLOBEX: &str = "globex-globex-globex";

/// The example's receiver. Killed when dropped.
struct Receiver {
    child: Child,
    address: String,
    believed: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.arg(Path::new(EXAMPLE).join("receiver.py")).arg("0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("python3 is needed: {error}"));
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        let believed = Arc::<Mutex<Vec<Value>>>::default();
        let (stdout, lines) = (child.stdout.take().unwrap(), Arc::clone(&believed));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, address, believed }
    }

    fn learn(&mut self, name: &str, answer: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{name} {}", answer["secret"].as_str().unwrap()).unwrap();
    }

    /// Webhook, number of right signatures, and the event's number, sorted.
    fn got(&self) -> Vec<(String, u64, u64)> {
        let text = |line: &Value| line[0].as_str().unwrap().to_owned();
        let lines = self.believed.lock().unwrap();
        let mut got: Vec<_> = lines
            .iter()
            .map(|line| (text(line), line[1].as_u64().unwrap(), line[3]["id"].as_u64().unwrap_or_default()))
            .collect();
        got.sort();
        got
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example(server: &NatsServer) -> Folder {
    let read = |name: &str| fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap();
    let settings = read("trommel.toml").replace("nats://127.0.0.1:4222", &server.url());
    let settings = settings.replace("127.0.0.1:8478", "127.0.0.1:0").replace("127.0.0.1:8479", "127.0.0.1:0");
    let folder = Folder::new(&settings).write("keys/routes.toml", &read("keys/routes.toml"));
    fs::create_dir(folder.file("secrets")).unwrap();
    ["secrets/operator", "secrets/tenants"].into_iter().fold(folder, |folder, name| folder.write(name, &read(name)))
}

async fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("authorization", &*format!("Bearer {token}")), crate::http::JSON];
    let answer = send(address, &request(method, path, &headers, &body)).await;
    assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_live_with_their_webhooks() {
    let server = NatsServer::start().await;
    let mut receiver = Receiver::start();
    let folder = example(&server);
    let mut router = Router::spawn(folder.command());
    let mut listening = |what: &str| -> SocketAddr {
        let line = router.wait_for(what);
        line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap()
    };
    let (api, intake) = (listening("listening for changes of webhooks"), listening("listening for events"));
    router.wait_for("running");
    let new = |name: &str, tenant: &str| {
        let url = format!("{}/{name}", receiver.address);
        json!({ "name": name, "tenant": tenant, "url": url, "allow_private": true })
    };
    let [acme, globex, late] = [new("acme", "acme"), new("globex", "globex"), new("late", "acme")];
    for (name, new) in [("acme", acme), ("globex", globex)] {
        let made = ask(api, OPERATOR, "POST", "/webhooks", new).await.json();
        receiver.learn(name, &made);
    }
    let event = |id: u64| json!({ "type": "order.paid", "id": id });
    ask(intake, ACME, "POST", "/in/acme", event(1)).await;
    ask(intake, GLOBEX, "POST", "/in/globex", event(2)).await;
    let first = |name: &str, count, id| (name.to_owned(), count, id);
    until("each has its own event", || receiver.got() == [first("acme", 1, 1), first("globex", 1, 2)]);

    let rotated = ask(api, ACME, "POST", "/webhooks/acme/rotate", Value::Null).await.json();
    ask(intake, ACME, "POST", "/in/acme", event(3)).await;
    until("who knows the old secret alone believes it", || receiver.got().contains(&first("acme", 1, 3)));
    receiver.learn("acme", &rotated);
    ask(intake, ACME, "POST", "/in/acme", event(4)).await;
    until("both signatures are right", || receiver.got().contains(&first("acme", 2, 4)));
    ask(api, ACME, "POST", "/webhooks/acme/rotate", json!({ "finish": true })).await;
    ask(intake, ACME, "POST", "/in/acme", event(5)).await;
    until("one signature is left", || receiver.got().contains(&first("acme", 1, 5)));

    let made = ask(api, OPERATOR, "POST", "/webhooks", late).await.json();
    receiver.learn("late", &made);
    let before = receiver.got().len();
    let replayed = folder.trommel(&["replay"]).args(["--webhook", "late", "--from-time", "1h"]).output().unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    let past = [1, 3, 4, 5].map(|id| first("late", 1, id));
    until("the new one has the past of its tenant", || {
        let got = receiver.got();
        past.iter().all(|one| got.contains(one)) && got.len() == before + past.len()
    });

    ask(api, ACME, "DELETE", "/webhooks/late", Value::Null).await;
    ask(intake, ACME, "POST", "/in/acme", event(6)).await;
    until("the removed one gets no more", || receiver.got().contains(&first("acme", 1, 6)));
    assert_eq!(receiver.got().len(), before + past.len() + 1);
    assert!(router.stop().status.success());
}
