//! A component that is dropped into a running router finds its grants and secrets there, or gets
//! them later.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

use crate::router::{Folder, component_bytes, trommel};

const SETTINGS: &str = r#"
[[source]]
name = "in"
type = "lines"
id = "/id"
subject = "/subject"
[[sink]]
name = "out"
type = "stdout"
"#;

const KEY: &str = r#"
[[key]]
key = "orders"
subject = "orders.>"
filter = "fields"
[[key.params]]
name = "mode"
[[key.params]]
name = "argument"
type = "secret"
[[key.params]]
name = "process_reads"
[[key.params]]
name = "match_reads"
[[key.params]]
name = "where"
[[key.params]]
name = "wanted"
[[key.params]]
name = "sinks"
[[route]]
key = "orders"
sinks = ["out"]
params = { mode = "MODE", process_reads = "/id", argument = { file = "secrets/argument" } }
"#;

const GRANT: &[u8] = b"[[filter]]\nname = \"fields\"\ngrants = [\"state\"]\n";

fn folder(mode: &str) -> Folder {
    Folder::new(SETTINGS).write("keys/orders.toml", &KEY.replace("MODE", mode))
}

fn keep(folder: &Folder, secret: &str) {
    folder.put("secrets/argument", secret.as_bytes());
    fs::set_permissions(folder.file("secrets/argument"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn event(id: usize) -> String {
    format!("{{\"id\":\"{id}\",\"subject\":\"orders.eu\"}}\n")
}

#[test]
fn a_component_is_refused_until_it_is_granted_what_it_wants() {
    let folder = Folder::new(SETTINGS);
    keep(&folder, "increment total\nincrement total");
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    folder.put("plugins/fields.wasm", &component_bytes("fields"));
    folder.put("keys/orders.toml", KEY.replace("MODE", "store").as_bytes());
    let refused = router.wait_for("it wants `state`, which it was not granted");
    assert!(refused.contains("`grants` of its `[[filter]]` in `filters/`"), "{refused}");
    folder.put("filters/fields.toml", GRANT);
    router.wait_for("loaded a component");
    router.wait_for("INFO reloaded generation");
    events.write_all(event(1).as_bytes()).unwrap();
    router.wait_for_output("Ok(1)");
    // A limit counts as soon.
    let limited = [GRANT, b"limits = { host_calls = 1 }\n"].concat();
    folder.put("filters/fields.toml", &limited);
    router.wait_for("loaded a component");
    router.wait_for("INFO reloaded generation");
    events.write_all(event(2).as_bytes()).unwrap();
    router.wait_for_output("used up its calls to the host");
}

#[test]
fn grants_wait_for_their_component() {
    let folder = Folder::new(SETTINGS);
    folder.put("filters/fields.toml", GRANT);
    keep(&folder, "increment total");
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    folder.put("plugins/fields.wasm", &component_bytes("fields"));
    folder.put("keys/orders.toml", KEY.replace("MODE", "store").as_bytes());
    router.wait_for("loaded a component");
    router.wait_for("INFO reloaded generation");
    events.write_all(event(1).as_bytes()).unwrap();
    router.wait_for_output("Ok(1)");
    drop(events);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_secret_is_handed_to_the_filter_alone_and_read_again() {
    let folder = folder("emit").plugin("fields", "fields");
    folder.put("filters/fields.toml", GRANT);
    keep(&folder, "first-s3cret - - - - -\n");
    folder.put("event.json", event(1).as_bytes());
    for words in [&["keys", "schema", "DIR", "orders"][..], &["check", "DIR"], &["explain", "DIR", "event.json"]] {
        let mut command = trommel();
        command.args(words.iter().map(|word| if *word == "DIR" { folder.path().as_os_str() } else { word.as_ref() }));
        let output = command.current_dir(folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        // What the filter itself makes of it is another thing.
        assert!(!said.replace("\"first-s3cret\"", "").contains("s3cret"), "{words:?}: {said}");
    }
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    events.write_all(event(1).as_bytes()).unwrap();
    router.wait_for_output("first-s3cret");
    keep(&folder, "other-s3cret - - - - -\n");
    router.signal(rustix::process::Signal::HUP);
    router.wait_for("reloaded");
    events.write_all(event(2).as_bytes()).unwrap();
    router.wait_for_output("other-s3cret");
    drop(events);
    let ended = router.end();
    assert!(!ended.log.join("\n").contains("s3cret"), "{ended:?}");
}
