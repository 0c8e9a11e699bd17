//! The programs that `peers` measures, each with its settings for the job. `URL`, `OUT` and
//! `FOLDER` in them are filled in.

use std::path::PathBuf;

/// A program with its settings for the job.
pub struct Contender {
    pub name: &'static str,
    /// Empty if it is absent.
    pub program: PathBuf,
    /// Names of the program, of which one may be on `PATH`.
    pub programs: &'static [&'static str],
    pub arguments: &'static [&'static str],
    pub file: &'static str,
    pub settings: &'static str,
    /// Whether it wants a consumer that is there already.
    pub binds: bool,
}

const TROMMEL: &str = r#"
    [nats]
    url = "URL"
    [[source]]
    name = "in"
    type = "jetstream"
    stream = "IN"
    durable = "PEER"
    [[sink]]
    name = "out"
    type = "file"
    path = "OUT"
"#;
pub const KEY: &str = r#"
    [[key]]
    key = "half"
    subject = "in.*"
    filter = "select"
    [[key.params]]
    name = "where"
    [[route]]
    key = "half"
    params = { where = "/half == yes" }
    sinks = ["out"]
"#;
/// By push, the quicker of the two ways that they have.
const BENTHOS_PUSH: &str = r#"
http: { enabled: false }
logger: { level: ERROR }
input:
  nats_jetstream: { urls: ["URL"], subject: "in.>", durable: PEER, deliver: all, max_ack_pending: 4096 }
pipeline:
  processors:
    - mapping: 'root = if this.half == "no" { deleted() }'
output:
  file: { path: "OUT", codec: lines }
"#;
const BENTHOS_PULL: &str = r#"
http: { enabled: false }
logger: { level: ERROR }
input:
  nats_jetstream: { urls: ["URL"], stream: IN, durable: PEER, bind: true }
pipeline:
  processors:
    - mapping: 'root = if this.half == "no" { deleted() }'
output:
  file: { path: "OUT", codec: lines }
"#;
const VECTOR: &str = r#"
data_dir = "FOLDER"
[sources.in]
type = "nats"
url = "URL"
connection_name = "peers"
subject = "in.>"
decoding.codec = "json"
[sources.in.jetstream]
stream = "IN"
consumer = "PEER"
batch_config.batch = 500
[transforms.half]
type = "filter"
inputs = ["in"]
condition = '.half == "yes"'
[sinks.out]
type = "file"
inputs = ["half"]
path = "OUT"
encoding.codec = "json"
acknowledgements.enabled = true
"#;

pub fn contenders() -> Vec<Contender> {
    let benthos = |name, programs, arguments, settings, binds| {
        let file = "peer.yaml";
        Contender { name, program: PathBuf::new(), programs, arguments, file, settings, binds }
    };
    const PLAIN: &[&str] = &["-c", "FOLDER/peer.yaml"];
    const RUN: &[&str] = &["run", "FOLDER/peer.yaml"];
    const RPK: &[&str] = &["connect", "run", "FOLDER/peer.yaml"];
    vec![
        Contender {
            name: "trommel",
            program: PathBuf::from(env!("CARGO_BIN_EXE_trommel")),
            programs: &[],
            arguments: &["run", "FOLDER"],
            file: "trommel.toml",
            settings: TROMMEL,
            binds: false,
        },
        benthos("bento, push", &["bento"], PLAIN, BENTHOS_PUSH, false),
        benthos("bento, pull", &["bento"], PLAIN, BENTHOS_PULL, true),
        benthos("redpanda-connect, push", &["redpanda-connect"], RUN, BENTHOS_PUSH, false),
        benthos("redpanda-connect, pull", &["redpanda-connect"], RUN, BENTHOS_PULL, true),
        benthos("rpk connect, push", &["rpk"], RPK, BENTHOS_PUSH, false),
        benthos("wombat, push", &["wombat"], RUN, BENTHOS_PUSH, false),
        benthos("wombat, pull", &["wombat"], RUN, BENTHOS_PULL, true),
        Contender {
            arguments: &["--quiet", "--config", "FOLDER/vector.toml"],
            file: "vector.toml",
            settings: VECTOR,
            ..benthos("vector (acks early)", &["vector"], PLAIN, "", true)
        },
    ]
}
