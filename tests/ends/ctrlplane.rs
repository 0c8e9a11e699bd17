//! `examples/ctrlplane`, run as its page says: every tenant hears of its own events alone, and the
//! receiver believes only what is signed.

use crate::router;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use router::{Folder, trommel};
use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ctrlplane");

/// The example's receiver on a port of its own. Killed when dropped.
struct Receiver {
    child: Child,
    /// `http://127.0.0.1:PORT`
    address: String,
}

impl Receiver {
    fn start(folder: &Folder) -> Self {
        let mut command = Command::new("python3");
        command.arg(folder.file("receiver.py")).arg("0").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("python3 is needed: {error}"));
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, address }
    }

    /// What it has believed, a line each, in some order.
    fn stop(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        sorted(&printed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// A copy of the example, and a receiver for it.
fn example() -> (Folder, Receiver) {
    let read = |name: &str| fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let folder = Folder::new(&read("trommel.toml").replace("../../plugins", plugins.to_str().unwrap()));
    fs::create_dir(folder.file("secrets")).unwrap();
    let files =
        ["events.ndjson", "receiver.py", "keys/routes.toml", "secrets/acme", "secrets/globex", "secrets/operations"];
    let folder = files.into_iter().fold(folder, |folder, name| folder.write(name, &read(name)));
    let receiver = Receiver::start(&folder);
    let webhooks = read("keys/webhooks.toml").replace("http://127.0.0.1:8477", &receiver.address);
    (folder.write("keys/webhooks.toml", &webhooks), receiver)
}

/// What `deliveries list` says of each.
fn deliveries(folder: &Folder) -> Vec<Value> {
    let output = trommel().args(["deliveries", "list"]).arg(folder.path()).arg("--json").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// C01, C04, C20 to C25
#[test]
fn every_tenant_hears_of_its_own_events() {
    let (folder, receiver) = example();
    let ended = folder.run();
    assert!(ended.status.success(), "{ended:?}");
    let expected = fs::read_to_string(Path::new(EXAMPLE).join("expected.ndjson")).unwrap();
    assert_eq!(receiver.stop(), sorted(&expected));
    let deliveries = deliveries(&folder);
    assert!(deliveries.iter().all(|delivery| delivery["state"] == "delivered"), "{deliveries:?}");
    let dead: Value = serde_json::from_str(&folder.read("dead-letters.ndjson")).unwrap();
    assert_eq!(dead["reason"], "bad_ctrlplane_event");

    // The file is read again, and nobody hears of anything twice.
    let before = deliveries.len();
    assert!(folder.run().status.success());
    assert_eq!(self::deliveries(&folder).len(), before);
}

/// C22: with another secret nothing is believed.
#[test]
fn what_is_signed_with_another_secret_is_not_believed() {
    let (folder, receiver) = example();
    // The receiver has read its own.
    for name in ["acme", "globex", "operations"] {
        folder.put(&format!("secrets/{name}"), b"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    }
    assert!(folder.run().status.success());
    assert_eq!(receiver.stop(), [""; 0]);
    let deliveries = deliveries(&folder);
    let is_refused = |delivery: &Value| delivery["state"] == "failed" && delivery["status_code"] == 401;
    assert!(deliveries.iter().all(is_refused), "{deliveries:?}");
}
