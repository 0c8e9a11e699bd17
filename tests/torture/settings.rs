//! The folder of the router that is tortured: sinks of every kind behind two sources.

use std::net::SocketAddr;

use crate::{router::Folder, sinks};

/// Budget and windows are wide enough for what comes while a stream is away: what has no room there
/// goes back to its source, and loses its order.
const SETTINGS: &str = r#"
[nats]
url = "URL"

[admin]
listen = "127.0.0.1:0"

[pipeline]
in_flight = 60000

[[source]]
name = "numbered"
type = "jetstream"
stream = "IN"
durable = "trommel"
ack_wait = "5s"

[[source]]
name = "odd"
type = "jetstream"
stream = "ODD"
durable = "trommel"
ack_wait = "5s"
id = "/id"

[[sink]]
name = "out"
type = "nats"
subject = "out.{subject}"
window = 50000

[[sink]]
name = "strange"
type = "nats"
subject = "strange.{subject}"

[[filter]]
name = "misbehave"
grants = ["state"]
on_quarantine = "dead_letter"
"#;

const KEYS: &str = r#"
[[key]]
key = "kept"
subject = "in.key.*"
filter = "select"
params = [{ name = "where" }]

[[route]]
name = "kept"
key = "kept"
params = { where = "/keep == true" }
sinks = ["out", "plain", "file"]

[[key]]
key = "sampled"
subject = "in.key.*"
filter = "select"
params = [{ name = "where" }]

[[route]]
name = "sampled"
key = "sampled"
params = { where = "/sample == true" }
sinks = ["folder", "hooks"]

[[key]]
key = "poison"
subject = "in.poison"
filter = "misbehave"
params = [{ name = "mode" }]

[[route]]
name = "poison"
key = "poison"
params = { mode = "trap-process" }
sinks = ["plain"]

[[key]]
key = "odd"
subject = "odd.>"

[[route]]
name = "odd"
key = "odd"
sinks = ["strange"]
"#;

/// What the streams are called, and what they keep.
pub const STREAMS: [(&str, &str); 5] =
    [("IN", "in.>"), ("ODD", "odd.>"), ("OUT", "out.>"), ("PLAIN", "plain.>"), ("STRANGE", "strange.>")];

pub fn keys(receiver: SocketAddr) -> String {
    KEYS.to_owned() + &sinks::receiver(&receiver.to_string())
}

pub fn folder(url: &str, receiver: SocketAddr) -> Folder {
    let settings = SETTINGS.replace("URL", url) + &sinks::keeping_sinks("window = 50000", "1MiB");
    let folder = Folder::new(&settings).write("keys/all.toml", &keys(receiver));
    folder.write("secret", "s-5ecret\n").plugin("select", "select").plugin("misbehave", "misbehave")
}
