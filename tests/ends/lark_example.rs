//! `examples/lark`, walked as its page says: a stand-in of Lark that shares nothing with the router
//! sends events, components call its API with a token that the router fetches, and a bot replies to
//! each message.

use crate::patience::blocking::until;
use crate::router::{Folder, Router};

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/lark");
const APP: &str = "cli_9f5343c580712544";

/// The example's stand-in. Killed when dropped.
struct Lark {
    child: Child,
    address: String,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Lark {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.arg(Path::new(EXAMPLE).join("lark.py")).args(["0", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("python3 is needed: {error}"));
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let (stdout, lines) = (child.stdout.take().unwrap(), Arc::clone(&said));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        thread::spawn(move || stderr.lines().for_each(drop));
        Self { child, address, said }
    }

    fn send_to(&mut self, url: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{url}").unwrap();
    }

    /// What it has said that has this member.
    fn said(&self, member: &str) -> Vec<Value> {
        self.said.lock().unwrap().iter().filter(|said| said.get(member).is_some()).cloned().collect()
    }
}

impl Drop for Lark {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example(lark: &Lark) -> Folder {
    let read = |name: &str| fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap();
    let settings = read("trommel.toml").replace("http://127.0.0.1:8490", &lark.address);
    let settings = settings.replace("127.0.0.1:8491", "127.0.0.1:0").replace("../../plugins", "plugins");
    let folder = Folder::new(&settings);
    fs::create_dir(folder.file("secrets")).unwrap();
    let files = ["keys/im.toml", "keys/mail.toml", "keys/contact.toml", "bot.py", "secrets/app-secret"];
    let files = files.into_iter().chain(["secrets/encrypt-key"]);
    let folder = files.fold(folder, |folder, name| folder.write(name, &read(name)));
    ["im-message", "flatten", "mail"].into_iter().fold(folder, |folder, name| folder.plugin(name, name))
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}

/// L15, L44, L55, L56, L129, L132
#[test]
fn a_chat_bot_lives_on_lark() {
    let mut lark = Lark::start();
    let folder = example(&lark);
    let mut router = Router::spawn(folder.command());
    let line = router.wait_for("listening for events");
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().to_owned();
    router.wait_for("running");
    assert_eq!(lark.said("event"), [json!({ "mailbox": "ada@example.com", "event": "subscribe" })]);

    lark.send_to(&format!("http://{address}/lark/{APP}"));
    until("all events are answered", || !lark.said("sent").is_empty());
    assert_eq!(lark.said("sent"), [json!({ "sent": 16 })]);
    let replies: Vec<_> = lark.said("reply_to").iter().map(|reply| reply["reply_to"].clone()).collect();
    let in_release = |id: &&Value| **id != "om_104" && **id != "om_107";
    let (release, ada): (Vec<_>, Vec<_>) = replies.iter().partition(in_release);
    assert_eq!(release, ["om_101", "om_102", "om_103", "om_105", "om_106"], "in the chat's order, and once");
    assert_eq!(ada, ["om_104", "om_107"]);
    assert_eq!(lark.said("reply_to")[0]["text"], "I have read: @Bob can we ship today?");

    let ended = router.stop();
    let log = ended.log.join("\n");
    assert!(ended.status.success(), "{log}");
    let expected = fs::read_to_string(Path::new(EXAMPLE).join("expected.ndjson")).unwrap();
    assert_eq!(sorted(ended.stdout), sorted(expected.lines().map(str::to_owned)));
    assert!(log.contains("logged in to the API"), "{log}");
    let summary = ended.log.last().unwrap();
    assert!(summary.starts_with("15 events in "), "one of 16 is a repeat: {summary}");
    assert!(summary.ends_with(": 13 emitted, 2 filtered; 20 outputs written"), "{summary}");
    assert_eq!(lark.said("event")[1..], [json!({ "mailbox": "ada@example.com", "event": "unsubscribe" })]);
}
