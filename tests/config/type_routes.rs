//! Routes without a key take events by their type, each into its folder (L128 to L131).

use crate::router;

use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use router::Folder;

const SETTINGS: &str = r#"
[dedup]
by = "id"

[[source]]
name = "in"
type = "lines"
path = "events.ndjson"
envelope = "lark"

[[sink]]
name = "im"
type = "folder"
path = "out/im"
file_name = "{event_type}_{id}_{source_time}.json"
pretty = true

[[sink]]
name = "messages"
type = "folder"
path = "out/messages"
file_name = "{key}_{id}"

[[sink]]
name = "rest"
type = "folder"
path = "out/rest"
file_name = "{id}.json"

[[sink]]
name = "kept"
type = "folder"
path = "out/kept"
"#;

const ROUTES: &str = r#"
[[key]]
key = "im.message.receive_v1"
event_type = "im.message.receive_v1"

[[route]]
key = "im.message.receive_v1"
sinks = ["kept"]

[[route]]
match_regex = '^im\.'
sinks = ["im"]

[[route]]
name = "messages"
match_regex = "message"
sinks = ["messages"]

[[route]]
name = "equal"
match_regex = '^odd=[0-9]$'
sinks = ["messages"]

[[route]]
fallthrough = true
sinks = ["rest"]
"#;

fn event(id: &str, event_type: &str) -> String {
    format!(r#"{{"header":{{"event_id":"{id}","event_type":"{event_type}","create_time":"1608725989000"}}}}"#) + "\n"
}

fn names(folder: &Folder, path: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.file(path)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// L129: every route whose expression is found gets the event, beside what keys say; the rest falls
/// through. L130: the names and the mode of files.
#[test]
fn every_match_counts_and_the_rest_falls_through() {
    let events = [
        event("e-1", "im.message.receive_v1"),
        event("e-2", "mail.message"),
        event("e-3", "im.chat.updated_v1"),
        event("../e-4", "vc.meeting"),
        event("e-1", "im.message.receive_v1"),
        event("e-5", "odd=1"),
        event("e-6", "odd"),
    ];
    let folder = Folder::new(SETTINGS).write("keys/routes.toml", ROUTES).write("events.ndjson", &events.concat());
    let output = folder.run();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.ends_with(": 6 emitted, 1 duplicate; 8 outputs written\n"), "{log}");

    let im = ["im.chat.updated_v1_e-3_1608725989000.json", "im.message.receive_v1_e-1_1608725989000.json"];
    assert_eq!(names(&folder, "out/im"), im);
    assert_eq!(names(&folder, "out/messages"), ["equal_e-5", "messages_e-1", "messages_e-2"]);
    assert_eq!(names(&folder, "out/kept").len(), 1);
    let rest = names(&folder, "out/rest");
    let [strange, plain] = &rest[..] else { panic!("{rest:?}") };
    assert!(strange.starts_with("_._e-4_0-") && strange.ends_with(".json") && plain == "e-6.json", "{rest:?}");

    let file = folder.file("out/im").join(im[1]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(file).unwrap().starts_with("{\n  \"header\": {\n    \"event_id\": \"e-1\",\n"));
}

#[test]
fn routes_come_and_go_while_the_router_runs() {
    let settings = "[[source]]\nname = \"in\"\ntype = \"lines\"\nenvelope = \"lark\"\n\
                    [[sink]]\nname = \"out\"\ntype = \"stdout\"\n";
    let route = |pattern: &str| format!("[[route]]\nmatch_regex = '{pattern}'\nsinks = [\"out\"]\n");
    let folder = Folder::new(settings).write("keys/routes.toml", &route("^im"));
    let (mut router, mut input) = folder.spawn_with_stdin();
    router.wait_for("running");
    input.write_all(event("e-1", "im.a").as_bytes()).unwrap();
    router.wait_for_output("e-1");
    folder.put("keys/routes.toml", route("^vc").as_bytes());
    router.wait_for("reloaded");
    input.write_all((event("e-2", "im.a") + &event("e-3", "vc.a")).as_bytes()).unwrap();
    router.wait_for_output("e-3");
    drop(input);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stdout.iter().any(|line| line.contains("e-2")), "{ended:?}");
}
