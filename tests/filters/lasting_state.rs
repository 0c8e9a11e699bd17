//! `[state] store = "nats"`: values that outlive the router and that routers share.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    nats::NatsServer,
    router::{Folder, PATIENCE},
};

/// A router that reads lines and makes calls of the store for each: `argument`, with `{}` for the
/// event's id.
fn folder(server: &NatsServer, state: &str, argument: &str) -> Folder {
    let settings = format!(
        r#"
[nats]
url = "{}"
[state]
store = "nats"
{state}
[[source]]
name = "in"
type = "lines"
id = "/id"
subject = "/subject"
[[sink]]
name = "out"
type = "stdout"
[[filter]]
name = "fields"
grants = ["state"]
limits = {{ host_calls = 64 }}
[dead_letter]
file = "dead.ndjson"
"#,
        server.url()
    );
    let names = ["mode", "argument", "where", "match_reads", "process_reads", "wanted", "sinks"];
    let params: String = names.iter().map(|name| format!("[[key.params]]\nname = \"{name}\"\n")).collect();
    let key = format!(
        r#"
[[key]]
key = "orders"
subject = "orders.>"
filter = "fields"
order_by = "none"
workers = 8
retry = {{ min = "10ms", max = "50ms", patience = "100ms" }}
{params}
[[route]]
key = "orders"
sinks = ["out"]
params = {{ mode = "store", process_reads = "/id", argument = """{argument}""" }}
"#
    );
    Folder::new(&settings).plugin("fields", "fields").write("keys/orders.toml", &key)
}

fn event(id: usize) -> String {
    format!("{{\"id\":\"{id}\",\"subject\":\"orders.eu\"}}\n")
}

/// A run over so many events.
fn spawn(folder: &Folder, events: usize) -> Child {
    let text: String = (0..events).map(event).collect();
    fs::write(folder.file("events"), text).unwrap();
    let mut command = folder.command();
    command.stdin(fs::File::open(folder.file("events")).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The outputs of a run, and its log.
fn finish(child: Child) -> (Vec<String>, String) {
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let lines = String::from_utf8(output.stdout).unwrap();
    (lines.lines().map(|line| serde_json::from_str::<String>(line).unwrap()).collect(), log)
}

fn run(folder: &Folder, events: usize) -> (Vec<String>, String) {
    finish(spawn(folder, events))
}

fn numbers(outputs: Vec<String>) -> Vec<i64> {
    let number = |line: &String| line.strip_prefix("Ok(")?.strip_suffix(')')?.parse().ok();
    let mut numbers: Vec<i64> = outputs.iter().map(|line| number(line).expect(line)).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_router_that_starts_again_goes_on_counting() {
    let server = NatsServer::start().await;
    let folder = folder(&server, "", "increment total");
    assert_eq!(numbers(run(&folder, 3).0), [1, 2, 3]);
    assert_eq!(numbers(run(&folder, 2).0), [4, 5]);
}

/// Every number is given once, though both routers write all the time.
#[tokio::test]
async fn routers_share_a_counter() {
    const EVENTS: usize = 150;
    let server = NatsServer::start().await;
    let folders = [(); 2].map(|()| folder(&server, "", "increment total 60000"));
    let routers = folders.each_ref().map(|folder| spawn(folder, EVENTS));
    let all: Vec<_> = routers.into_iter().flat_map(|router| numbers(finish(router).0)).collect();
    assert_eq!(all.len(), 2 * EVENTS);
    assert_eq!(BTreeSet::from_iter(all), (1..=2 * EVENTS as i64).collect());
}

#[tokio::test]
async fn of_many_swaps_one_wins() {
    const EVENTS: usize = 60;
    let server = NatsServer::start().await;
    let folders = [(); 2].map(|()| folder(&server, "", "swap first/{} - x"));
    let routers = folders.each_ref().map(|folder| spawn(folder, EVENTS));
    let all: Vec<_> = routers.into_iter().flat_map(|router| finish(router).0).collect();
    let won = all.iter().filter(|answer| *answer == "Ok(())").count();
    let lost = all.iter().filter(|answer| *answer == "Err(StateError::Conflict)").count();
    assert_eq!((won, lost), (EVENTS, EVENTS), "{all:?}");
}

#[tokio::test]
async fn keys_of_any_characters_are_kept_apart() {
    let server = NatsServer::start().await;
    let calls = "set a.b one\nset a*b two\nset ü> three\nset a/b four\ndelete a/b\nget-many a.b a*b ü> a/b\nkeys a\n\
                 swap a.b one 1\nget a.b\nget ";
    let folder = folder(&server, "", &calls.replace('\n', "\\n"));
    let (outputs, _) = run(&folder, 1);
    let lines: Vec<_> = outputs[0].lines().skip(5).collect();
    assert_eq!(
        lines,
        [r#"Ok(["one", "two", "three", "-"])"#, r#"Ok(["a*b", "a.b"])"#, "Ok(())", r#"Ok("1")"#, r#"Ok("-")"#,]
    );
}

#[tokio::test]
async fn many_values_are_set_and_deleted_in_one_call() {
    let server = NatsServer::start().await;
    let calls = "set-many a=1 b=2 c=3 a=4\nget-many a b c\ndelete-many a c x\nget-many a b c\nkeys ";
    let folder = folder(&server, "", &calls.replace('\n', "\\n"));
    let (outputs, _) = run(&folder, 1);
    let lines: Vec<_> = outputs[0].lines().collect();
    assert_eq!(lines, ["Ok(())", r#"Ok(["4", "2", "3"])"#, "Ok(())", r#"Ok(["-", "2", "-"])"#, r#"Ok(["b"])"#]);
    assert_eq!(run(&self::folder(&server, "", "get-many a b c"), 1).0, [r#"Ok(["-", "2", "-"])"#]);
}

/// In memory not one of them is set; in a bucket the others may be.
#[tokio::test]
async fn what_is_too_much_for_one_call_is_refused() {
    let server = NatsServer::start().await;
    let many: String = (0..=1_000).map(|n| format!(" k{n}=v")).collect();
    let folder = folder(&server, "", &format!("set-many{many}\\nkeys k\\ndelete-many{}", many.replace("=v", "")));
    let (outputs, _) = run(&folder, 1);
    assert_eq!(outputs, ["Err(StateError::TooLarge)\nOk([])\nErr(StateError::TooLarge)"]);
}

#[tokio::test]
async fn values_end_with_their_time_to_live() {
    let server = NatsServer::start().await;
    let calls = "set t v 1500\\nincrement n 1500\\nincrement n\\nget t\\nget n";
    let writer = folder(&server, "", calls);
    let (outputs, _) = run(&writer, 1);
    assert!(outputs[0].ends_with("Ok(\"v\")\nOk(\"2\")"), "{}", outputs[0]);
    let reader = folder(&server, "", "get-many t n");
    let deadline = Instant::now() + PATIENCE;
    while run(&reader, 1).0 != [r#"Ok(["-", "-"])"#] {
        assert!(Instant::now() < deadline, "they do not expire");
    }
}

/// However long it takes: the key's own patience is for other trouble.
#[tokio::test]
async fn events_wait_for_a_bucket_that_is_away() {
    let mut server = NatsServer::start().await;
    let folder = folder(&server, "", "increment total");
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    events.write_all(event(0).as_bytes()).unwrap();
    router.wait_for_output("Ok(1)");
    server.terminate();
    events.write_all(event(1).as_bytes()).unwrap();
    router.wait_for("the bucket of `[state]` is away");
    server.start_again().await;
    router.wait_for_output("Ok(2)");
    router.wait_for("the bucket of `[state]` is back");
    drop(events);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(folder.read("dead.ndjson"), "");
}

#[tokio::test]
async fn a_bucket_that_is_full_takes_no_more_and_the_log_says_which_quota() {
    let server = NatsServer::start().await;
    let all = folder(&server, "bucket = \"small\"\nmax_bytes = \"20kB\"", "fill a 15000\\nfill b 15000\\nget b");
    let (outputs, log) = run(&all, 1);
    assert_eq!(outputs, ["Ok(())\nErr(StateError::TooLarge)\nOk(\"-\")"]);
    assert!(log.contains("`[state] max_bytes`") && log.contains("raise the quota"), "{log}");
}

/// The size of a key's values is asked for once in a while.
#[tokio::test]
async fn a_key_has_a_quota_in_the_bucket() {
    let server = NatsServer::start().await;
    let folder = folder(&server, "key_bytes = \"20kB\"", "fill k{} 15000");
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let deadline = Instant::now() + PATIENCE;
    for id in 0.. {
        assert!(Instant::now() < deadline, "the quota does not count");
        events.write_all(event(id).as_bytes()).unwrap();
        if router.wait_for_output("(").contains("TooLarge") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    router.wait_for("`[state] key_bytes`");
}

/// What is only looked at makes nothing on the server.
#[tokio::test]
async fn a_check_of_the_folder_makes_no_bucket() {
    let server = NatsServer::start().await;
    let folder = folder(&server, "", "increment total");
    let output = folder.trommel(&["check"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!has_bucket(&server).await);
    run(&folder, 1);
    assert!(has_bucket(&server).await);
}

async fn has_bucket(server: &NatsServer) -> bool {
    let client = async_nats::connect(server.url()).await.unwrap();
    async_nats::jetstream::new(client).get_stream("KV_trommel_state").await.is_ok()
}
