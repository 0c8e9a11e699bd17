//! The same job on trommel and on those of its peers whose programs are on `PATH`: events of a
//! JetStream stream, half of which a filter drops, into a file. `cargo bench --bench peers`; `--
//! --rounds 5 --events 100000` changes how much.
//!
//! Nothing is built or fetched for it: those that are absent are named. Each runs as a process of
//! its own beside the same server, in turns. The clock runs from the first delivery until the file
//! has every line; CPU is what the system counts for the process in that time. Figures are medians.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_nats::jetstream::{self, Context};
use contenders::{Contender, KEY, contenders};
use nats::NatsServer;
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

#[path = "common/contenders.rs"]
mod contenders;
#[path = "../tests/common/nats.rs"]
mod nats;
#[path = "common/orders.rs"]
mod orders;

const SIZE: usize = 250;
const PATIENCE: Duration = Duration::from_secs(300);

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn main() {
    let (mut rounds, mut events) = (3, 200_000);
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (&*argument, value) {
            ("--rounds", Some(value)) => rounds = value,
            ("--events", Some(value)) => events = value,
            _ => panic!("`{argument}`: expected --rounds NUMBER or --events NUMBER"),
        }
    }
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for mut contender in contenders() {
        if let Some(program) = contender.programs.iter().find_map(|program| on_path(program)) {
            contender.program = program;
        }
        if contender.program == PathBuf::new() { absent.push(contender.name) } else { present.push(contender) }
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = NatsServer::start().await;
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        api(&context, "STREAM.CREATE.IN", json!({ "name": "IN", "subjects": ["in.>"] })).await;
        orders::publish(&context, events, SIZE).await;
        println!("{events} events of {SIZE} B, half of them into a file, {rounds} rounds");
        println!("{:<26} {:>10} {:>15}", "", "events/s", "us of CPU/event");
        let mut measured = vec![Vec::new(); present.len()];
        // The first round warms up.
        for round in 0..=rounds {
            for (contender, measured) in present.iter().zip(&mut measured) {
                let found = contender.run(&server, &context, events).await;
                if round > 0 {
                    measured.push(found);
                }
            }
        }
        for (contender, measured) in present.iter().zip(measured) {
            let (rates, costs): (Vec<f64>, Vec<f64>) = measured.into_iter().unzip();
            println!("{:<26} {:>10.0} {:>15.1}", contender.name, median(rates), median(costs));
        }
        for name in absent {
            println!("{name:<26} {:>10}", "absent");
        }
    });
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn api(context: &Context, operation: &str, request: Value) -> Value {
    let payload = request.to_string().into();
    let answer = context.client().request(format!("$JS.API.{operation}"), payload).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Seconds of CPU that a process has had.
fn cpu(process: &Child) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    // The name stands in parentheses and may have blanks; the system counts hundredths.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<f64>().unwrap() / 100.0).sum()
}

impl Contender {
    /// Events a second, and microseconds of CPU for each.
    async fn run(&self, server: &NatsServer, context: &Context, events: usize) -> (f64, f64) {
        // An error means that there was none.
        let _ = context.delete_consumer_from_stream("PEER", "IN").await;
        if self.binds {
            let config = json!({ "durable_name": "PEER", "ack_policy": "explicit", "max_ack_pending": 4096 });
            let request = json!({ "stream_name": "IN", "config": config });
            api(context, "CONSUMER.DURABLE.CREATE.IN.PEER", request).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let out = path.join("out.ndjson");
        let filled = |text: &str| {
            let text = text.replace("URL", &server.url()).replace("OUT", out.to_str().unwrap());
            text.replace("FOLDER", path.to_str().unwrap())
        };
        fs::write(path.join(self.file), filled(self.settings)).unwrap();
        for inner in ["keys", "plugins"] {
            fs::create_dir(path.join(inner)).unwrap();
        }
        fs::write(path.join("keys/half.toml"), KEY).unwrap();
        let select = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/select.wasm");
        fs::copy(select, path.join("plugins/select.wasm")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| filled(argument))).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let (mut start, mut before) = (None, 0.0);
        loop {
            let info = api(context, "CONSUMER.INFO.IN.PEER", json!({})).await;
            if start.is_none() && info["delivered"]["consumer_seq"].as_u64().unwrap_or(0) > 0 {
                (start, before) = (Some(Instant::now()), cpu(&process));
            }
            let is_acked = info["num_pending"] == 0 && info["num_ack_pending"] == 0;
            if start.is_some() && is_acked && lines(&out) >= events / 2 {
                break;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}: ended {ended:?}, {info}", self.name);
            sleep(Duration::from_millis(5)).await;
        }
        let (seconds, used) = (start.unwrap().elapsed().as_secs_f64(), cpu(&process) - before);
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(lines(&out), events / 2, "{}", self.name);
        (events as f64 / seconds, 1e6 * used / events as f64)
    }
}

/// Lines of a file that may not be there yet.
fn lines(file: &Path) -> usize {
    fs::read(file).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}
