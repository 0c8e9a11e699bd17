//! A chat bot: events of Lark come in over HTTP as Lark sends them, and a program gets the
//! messages.

use crate::{
    http::post,
    lark::{LarkRequest, first_version, message, verification},
    patience::until,
    router::{Folder, Router},
};

use std::{fs, net::SocketAddr, path::Path};

use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

const SETTINGS: &str = r#"
    [api]
    base_url = "https://open.example.com"
    auth_types = "bot"

    [[preset]]
    name = "lark"

    [[source]]
    name = "lark"
    type = "http"
    envelope = "lark"
    listen = "127.0.0.1:0"
    path = "/lark"

    [[source.lark_app]]
    app_id = "cli_a"
    encrypt_key_file = "key"
    verification_token_file = "token"

    [[sink]]
    name = "bot"
    type = "exec"
    command = ["./bot.sh"]
    env = { DIES = "yes" }
    retry = { min = "10ms", max = "50ms" }
"#;

const KEYS: &str = r#"
    [[key]]
    key = "im.message.receive_v1"
    event_type = "im.message.receive_v1"
    filter = "im-message"
    order_by = "/event/message/chat_id"

    [[key]]
    key = "app.opened"
    event_type = "app_open"

    [[route]]
    key = "im.message.receive_v1"
    sinks = ["bot"]

    [[route]]
    key = "app.opened"
    sinks = ["bot"]
"#;

/// Dies with every third line that it reads, before it has done anything with it.
const BOT: &str = r#"#!/bin/sh
echo $$ >> pids
n=0
echo "bot of $TROMMEL_KEY, $TOKEN"
while read -r line; do
    n=$((n + 1))
    [ "$DIES" = yes ] && [ $n = 3 ] && exit 7
    echo "$line" >> "got-$TROMMEL_KEY"
    echo ok
done
"#;

fn folder() -> Folder {
    let files = [("key", "e-key"), ("token", crate::lark::TOKEN), ("keys/bot.toml", KEYS), ("bot.sh", BOT)];
    let folder = files.into_iter().fold(Folder::new(SETTINGS), |folder, (name, text)| folder.write(name, text));
    make_executable(&folder.file("bot.sh"));
    folder.plugin("im-message", "im-message")
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn lines(folder: &Folder, name: &str) -> Vec<String> {
    fs::read_to_string(folder.file(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn start(folder: &Folder) -> (Router, SocketAddr) {
    let mut router = Router::spawn(folder.command());
    let line = router.wait_for("listening for events");
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap();
    router.wait_for("running");
    (router, address)
}

async fn send(address: SocketAddr, request: &LarkRequest) -> Value {
    let answer = post(address, "/lark/cli_a", &request.headers(), &request.body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_bot_that_dies_all_the_time_gets_every_message_in_order() {
    let folder = folder();
    let (router, address) = start(&folder);
    let challenge = send(address, &LarkRequest::encrypted("e-key", &verification().to_string())).await;
    assert_eq!(challenge, json!({ "challenge": "ajls384kdjx98XX" }));
    let expected: Vec<_> = (0..20).map(|n| format!("om_e-{n}")).collect();
    for n in 0..20 {
        send(address, &LarkRequest::signed("e-key", &message("cli_a", &format!("e-{n}")))).await;
    }
    send(address, &LarkRequest::signed("e-key", &first_version("cli_a", "u-1"))).await;
    let got = || {
        let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["message_id"].as_str().map(str::to_owned);
        lines(&folder, "got-im.message.receive_v1").iter().map(|line| id(line).unwrap()).collect::<Vec<_>>()
    };
    until("all messages are there", async || got().len() >= expected.len()).await;
    until("the other route's, too", async || lines(&folder, "got-app.opened").len() == 1).await;
    assert_eq!(got(), expected, "none is lost, and none overtakes another");
    let ended = router.stop();
    let log = ended.log.join("\n");
    assert!(ended.status.success(), "{log}");
    assert!(log.contains("what it did not confirm goes to the next one"), "{log}");
    assert!(log.contains("21 outputs written"), "{log}");
    let pids = lines(&folder, "pids");
    assert!(pids.len() > 8, "a third of the lines has killed a process: {pids:?}");
    let is_gone = |pid: &String| test_kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap()).is_err();
    assert!(pids.iter().all(is_gone), "nothing is left running");
}
