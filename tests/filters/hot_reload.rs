//! Components and keys change while events flow: nothing is lost, doubled or seen by two
//! generations, and what is bad leaves the good in force.

use crate::crafted;
use crate::flow;
use crate::nats;
use crate::router;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use crafted::Trick;
use flow::{Load, assert_each_once, outputs_until, settings};
use nats::NatsServer;
use router::{Folder, component_bytes};
use serde_json::Value;
use trommel::filter::digest;

/// `message_id = false`: the stream must not hide a doubled output.
const NO_DEDUP: &str = "message_id = false";

const KEY: &str = r#"
    [[key]]
    key = "stamp"
    subject = "in.*"
    filter = "stamp"

    [[route]]
    key = "stamp"
    sinks = ["out"]
"#;

fn folder(url: &str) -> Folder {
    Folder::new(&settings(url, "", NO_DEDUP)).write("keys/stamp.toml", KEY).plugin("stamp", "stamp-v1")
}

fn stamped(outputs: &[(String, Value)], stamp: &str) -> usize {
    outputs.iter().filter(|(_, payload)| payload["stamp"] == stamp).count()
}

/// Adds a section that nothing reads, so that no two turns have the same content.
fn unlike_any_other(mut component: Vec<u8>, turn: u8) -> Vec<u8> {
    component.extend([0, 3, 1, b't', turn]);
    component
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_replaced_a_hundred_times_in_ten_seconds() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    let mut digests = Vec::new();
    for turn in 1..=100 {
        let version = if turn % 2 == 0 { "stamp-v2" } else { "stamp-v1" };
        let component = unlike_any_other(component_bytes(version), turn);
        folder.put("plugins/stamp.wasm", &component);
        digests.push(digest(&component));
        tokio::time::sleep(Duration::from_millis(100)).await;
        // One that another replaces at once may be passed over, and one that stays is taken.
        if turn % 10 == 0 {
            router.wait_for(&digests[digests.len() - 1]);
            router.wait_for("reloaded");
        }
    }
    outputs_until(&context, "the last version in force", |outputs| {
        outputs.iter().rev().take(20).all(|(_, payload)| payload["stamp"] == "v2") && stamped(outputs, "v2") > 20
    })
    .await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
    assert!(stamped(&outputs, "v1") > 0);
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    let log = ended.log.join("\n");
    assert!(!log.contains("not reloaded") && log.matches(" reloaded ").count() >= 10, "{log}");
    let loaded = ended.log.iter().filter(|line| line.contains("loaded a component"));
    let turns: Vec<_> =
        loaded.filter_map(|line| digests.iter().position(|digest| line.contains(digest.as_str()))).collect();
    assert!(turns.is_sorted_by(|one, next| one < next), "an older one came back: {turns:?}");
    assert_eq!(turns.iter().filter(|turn| *turn % 10 == 9).count(), 10, "{turns:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_with_a_mistake_is_refused_whole_and_taken_when_it_is_mended() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    folder.put("keys/stamp.toml", format!("{KEY}\n[[key]]\nkey = \"more\"\nsubjekt = \"in.*\"\n").as_bytes());
    let refused = router.wait_for("subjekt");
    assert!(refused.contains("not reloaded") && refused.contains("keys/stamp.toml:13:1"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on past the mistake", |outputs| outputs.len() > so_far + 50).await;

    let mended =
        format!("{KEY}\n[[key]]\nkey = \"more\"\nsubject = \"in.0\"\n[[route]]\nkey = \"more\"\nsinks = [\"out\"]\n");
    folder.put("keys/stamp.toml", mended.as_bytes());
    router.wait_for("reloaded");
    outputs_until(&context, "the new key's outputs", |outputs| {
        outputs.iter().any(|(subject, payload)| subject == "out.in.0" && payload.get("stamp").is_none())
    })
    .await;
    let published = load.stop().await;
    let is_stamped = |(_, payload): &&(String, Value)| payload.get("stamp").is_some();
    let outputs =
        outputs_until(&context, "all events", |outputs| outputs.iter().filter(is_stamped).count() >= published).await;
    let stamped: Vec<_> = outputs.iter().filter(is_stamped).cloned().collect();
    assert_each_once(&stamped, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_deleted_or_broken_while_in_use_stays_in_service() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    fs::remove_file(folder.file("plugins/stamp.wasm")).unwrap();
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("stamp"), "{refused}");
    // Written in two steps, as a slow copy does.
    let bytes = component_bytes("stamp-v2");
    fs::write(folder.file("plugins/stamp.wasm"), &bytes[..bytes.len() / 2]).unwrap();
    let refused = router.wait_for("it ends in the middle");
    assert!(refused.contains("not reloaded"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    fs::write(folder.file("plugins/stamp.wasm"), &bytes).unwrap();
    router.wait_for("reloaded");
    outputs_until(&context, "the whole component in force", |outputs| stamped(outputs, "v2") > 20).await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_100_mb_is_refused_and_not_read() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    let large = [component_bytes("stamp-v2"), vec![0; 100 << 20]].concat();
    folder.put("plugins/stamp.wasm", &large);
    let refused = router.wait_for("not reloaded");
    let size = large.len();
    assert!(refused.contains("plugins/stamp.wasm") && refused.contains(&format!("{size} bytes")), "{refused}");
    let peak = router.peak_memory();
    assert!(peak < 100 << 20, "{peak} bytes were used: the file was read");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    folder.put("plugins/stamp.wasm", &component_bytes("stamp-v2"));
    router.wait_for("reloaded");
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

/// Who copies a file over another first makes it empty, and may take a while. What comes meanwhile
/// is not done with.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_is_empty_for_a_while_is_not_obeyed() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    fs::write(folder.file("keys/stamp.toml"), "").unwrap();
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("keys/stamp.toml: the file declares nothing any more"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    fs::write(folder.file("keys/stamp.toml"), format!("{KEY}# changed\nname = \"again\"\n")).unwrap();
    router.wait_for("reloaded");
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

/// Nothing that lies in a folder holds up events, other files or the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_pipe_among_the_keys_is_refused_and_nothing_waits_for_it() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    let pipe = folder.file("keys/pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    router.signal(rustix::process::Signal::HUP);
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("keys/pipe.toml: this is a named pipe, not a file"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    fs::remove_file(&pipe).unwrap();
    folder.put("keys/stamp.toml", KEY.replace("in.*", "in.>").as_bytes());
    router.wait_for("reloaded");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
    router.signal(rustix::process::Signal::HUP);
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
}

/// Kubernetes mounts a ConfigMap as links into a folder behind a link that is swapped.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_is_a_reload() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&settings(&server.url(), "", NO_DEDUP)).write("keys/stamp.toml", KEY);
    for (version, component) in [("..one", "stamp-v1"), ("..two", "stamp-v2")] {
        fs::create_dir(folder.file("plugins").join(version)).unwrap();
        folder.put(&format!("plugins/{version}/stamp.wasm"), &component_bytes(component));
    }
    let plugins = folder.file("plugins");
    symlink("..one", plugins.join("..data")).unwrap();
    symlink(Path::new("..data").join("stamp.wasm"), plugins.join("stamp.wasm")).unwrap();
    let _router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    outputs_until(&context, "the first version", |outputs| stamped(outputs, "v1") > 20).await;
    symlink("..two", plugins.join("..new")).unwrap();
    fs::rename(plugins.join("..new"), plugins.join("..data")).unwrap();
    outputs_until(&context, "the second version", |outputs| stamped(outputs, "v2") > 20).await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

/// Takes its compiler half a second or more for each of these functions, and memory that it may
/// have.
fn costly(functions: usize, turn: u8) -> Vec<u8> {
    let more = crafted::nested(100, 5_000).repeat(functions);
    unlike_any_other(crafted::filter(Trick { more: &more, ..Trick::default() }), turn)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_goes_on_while_a_component_is_compiled() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let key = |name: &str, filter: &str| {
        format!(
            "[[key]]\nkey = \"{name}\"\nsubject = \"in.*\"\n{filter}\n[[route]]\nkey = \"{name}\"\nsinks = [\"out\"]\n"
        )
    };
    // Compiled anew with every run of the test.
    let turn = (std::process::id() % 256) as u8;
    folder.put("plugins/slow.wasm", &costly(2, turn));
    folder.put("keys/slow.toml", key("slow", "filter = \"slow\"").as_bytes());
    folder.put("keys/more.toml", key("more", "").as_bytes());
    // The first generation has what needs no waiting: each line is looked for behind the one before.
    router.wait_for("reloaded");
    flow::publish(&context, 0..1, 1).await;
    let outputs = outputs_until(&context, "the outputs of two keys", |outputs| outputs.len() >= 2).await;
    assert_eq!((outputs.len(), stamped(&outputs, "v1")), (2, 1), "{outputs:?}");
    let loaded = router.wait_for("loaded a component");
    assert!(loaded.contains("filter=\"slow\""), "{loaded}");
    router.wait_for("reloaded");
    flow::publish(&context, 1..2, 1).await;
    outputs_until(&context, "the outputs of three keys", |outputs| outputs.len() >= 5).await;
    // A stop waits for no compiler either.
    folder.put("plugins/slow.wasm", &costly(12, turn));
    router.wait_for("compiling");
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_its_compiler_too_much_is_refused() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = settings(&server.url(), "", NO_DEDUP) + "\n[limits]\ncompile_cpu = \"1s\"\n";
    let folder = Folder::new(&settings).write("keys/stamp.toml", KEY).plugin("stamp", "stamp-v1");
    let mut router = folder.start();
    folder.put("plugins/stamp.wasm", &costly(10, 0));
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("wants more time than 1s") && refused.contains("compile_cpu"), "{refused}");
    flow::publish(&context, 0..10, 1).await;
    let outputs = outputs_until(&context, "events flow on", |outputs| outputs.len() >= 10).await;
    assert_eq!(stamped(&outputs, "v1"), 10);
    assert!(router.stop().status.success());
}

/// A folder of a router from standard input, with a component and what is said of it.
fn granted(filter: &str) -> Folder {
    let folder = Folder::new(&format!("{}\n[[filter]]\nname = \"stamp\"\n{filter}\n", router::TO_STDOUT));
    folder.write("keys/stamp.toml", KEY).plugin("stamp", "stamp-v1")
}

#[test]
fn a_pinned_name_takes_no_other_content() {
    let pinned = digest(&component_bytes("stamp-v1"));
    let folder = granted(&format!("grants = [\"state\"]\ndigest = \"sha256:{pinned}\""));
    // The content is pinned: who may write to the file makes no difference.
    fs::set_permissions(folder.file("plugins/stamp.wasm"), Permissions::from_mode(0o666)).unwrap();
    let (mut router, input) = folder.spawn_with_stdin();
    let loaded = router.wait_for("loaded a component");
    assert!(loaded.contains(&format!("sha256:{pinned}")) && loaded.contains("grants=[State]"), "{loaded}");
    router.wait_for("running");
    let other = component_bytes("stamp-v2");
    folder.put("plugins/stamp.wasm", &other);
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains(&format!("its digest is sha256:{}", digest(&other))), "{refused}");
    drop(input);
    assert!(router.stop().status.success());
}

#[test]
fn what_others_may_change_is_granted_nothing() {
    for mode in [0o666, 0o664, 0o646] {
        let folder = granted("grants = [\"state\"]");
        fs::set_permissions(folder.file("plugins/stamp.wasm"), Permissions::from_mode(mode)).unwrap();
        let refused = String::from_utf8(folder.run().stderr).unwrap();
        assert!(refused.contains(&format!("(mode {mode:o}): `chmod go-w` it")), "{refused}");
        let folder = granted("");
        fs::set_permissions(folder.file("plugins/stamp.wasm"), Permissions::from_mode(mode)).unwrap();
        let ended = folder.run();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && said.contains("not safe from others"), "{said}");
    }
    let folder = granted("grants = [\"state\"]");
    fs::set_permissions(folder.file("plugins/stamp.wasm"), Permissions::from_mode(0o644)).unwrap();
    assert!(folder.run().status.success());
}
