//! The preset `lark` has schemas of what the components for Lark put out, and the components keep
//! to them (L09, L11).

use crate::router::{Folder, trommel};
use crate::stand_in::{StandIn, ok};

use serde_json::{Value, json};

const SETTINGS: &str = r#"
    [[preset]]
    name = "lark"

    [[source]]
    name = "in"
    type = "lines"
    path = "events.ndjson"
    envelope = "lark"

    [[sink]]
    name = "out"
    type = "stdout"

    [dead_letter]
    file = "dead-letters.ndjson"
"#;

/// A key for a type, with a component and the preset's schema of its outputs.
fn key(event_type: &str, component: &str, more: &str) -> String {
    format!(
        "[[key]]\nkey = \"{event_type}\"\nevent_type = \"{event_type}\"\nfilter = \"{component}\"\n\
         schema.custom.file = \"lark/{component}.json\"\n{more}\n[[route]]\nkey = \"{event_type}\"\nsinks = [\"out\"]\n"
    )
}

fn envelope(id: usize, event_type: &str, event: &Value) -> String {
    let header = json!({ "event_id": format!("e-{id}"), "event_type": event_type, "create_time": "1776409469200" });
    json!({ "schema": "2.0", "header": header, "event": event }).to_string() + "\n"
}

/// Outputs and dead letters of a run over these events of one type.
fn run(api: &str, keys: &str, component: &str, event_type: &str, events: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let lines: String = events.iter().enumerate().map(|(id, event)| envelope(id, event_type, event)).collect();
    let folder = Folder::new(&format!("{api}\n{SETTINGS}")).write("keys/a.toml", keys).write("events.ndjson", &lines);
    let folder = folder.plugin(component, component);
    let ended = folder.run();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let values = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let dead =
        if folder.file("dead-letters.ndjson").exists() { folder.read("dead-letters.ndjson") } else { String::new() };
    (values(std::str::from_utf8(&ended.stdout).unwrap()), values(&dead))
}

/// Each kind of message, with all that one can have and with next to nothing.
#[test]
fn messages_fit_their_schema() {
    let contents = [
        ("text", r#"{"text":"hello @_user_1"}"#),
        ("post", r#"{"title":"T","content":[[{"tag":"text","text":"a"},{"tag":"img","image_key":"img_1"}]]}"#),
        ("interactive", r#"{"title":"Card","elements":[[{"tag":"text","text":"a"}]]}"#),
        ("image", r#"{"image_key":"img_1"}"#),
        ("file", r#"{"file_key":"f_1","file_name":"a.pdf"}"#),
        ("audio", r#"{"file_key":"f_1","duration":2000}"#),
        ("media", r#"{"file_key":"f_1","image_key":"img_1","file_name":"a.mp4","duration":2000}"#),
        ("location", r#"{"name":"Berlin","longitude":"13.4","latitude":"52.5"}"#),
        ("share_chat", r#"{"chat_id":"oc_1"}"#),
        ("system", r#"{"template":"{from_user} left","from_user":["Ada"],"to_chatters":[]}"#),
        ("todo", r#"{"task_id":"t_1","summary":{"title":"","content":[[{"tag":"text","text":"a"}]]},"due_time":"0"}"#),
        ("vote", r#"{"topic":"Lunch?","options":["yes","no"]}"#),
        ("sticker", r#"{"file_key":"f_1"}"#),
        ("merge_forward", r#"{"content":"Merged and Forwarded Message"}"#),
        ("of tomorrow", r#"{"a":1}"#),
        ("image", "not JSON"),
    ];
    let full = contents.iter().enumerate().map(|(id, (kind, content))| {
        json!({
            "sender": { "sender_id": { "open_id": "ou_s", "user_id": null }, "sender_type": "user", "tenant_key": "t" },
            "message": {
                "message_id": format!("om_{id}"), "root_id": "om_r", "parent_id": "om_p", "thread_id": "omt_1",
                "create_time": "1776409468987", "update_time": "1776409468999", "chat_id": "oc_1", "chat_type": "group",
                "message_type": kind, "content": content,
                "mentions": [{ "key": "@_user_1", "id": { "open_id": "ou_a" }, "name": "Ada", "tenant_key": "t" }],
            },
        })
    });
    let bare = json!({ "message": { "message_id": "om_bare" } });
    let events: Vec<_> = full.chain([bare]).collect();
    let event_type = "im.message.receive_v1";
    let (outputs, dead) = run("", &key(event_type, "im-message", ""), "im-message", event_type, &events);
    assert_eq!((outputs.len(), dead), (events.len(), Vec::new()));
    assert!(outputs.iter().any(|output| output["content"] == "hello @Ada" && output["mentions"][0]["id"] == "ou_a"));
    // The schema is closed: it knows every member that there can be.
    let all: Vec<_> = outputs.iter().flat_map(|output| output.as_object().unwrap().keys().cloned()).collect();
    let schema = schema_of("im-message");
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(all.contains(name), "no message has `{name}`");
    }
}

#[test]
fn flat_events_fit_their_schema() {
    let event_type = "im.message.reaction.created_v1";
    let events = [json!({ "message_id": "om_1", "type": 7, "timestamp": 8, "event_id": [] }), json!({})];
    let (outputs, dead) = run("", &key(event_type, "flatten", ""), "flatten", event_type, &events);
    assert_eq!((outputs.len(), dead), (2, Vec::new()));
    assert_eq!(outputs[1], json!({ "type": event_type, "event_id": "e-1", "timestamp": "1776409469200" }));
    // What the component passes as it is has no `type` beside its members, and so does not fit.
    let (outputs, dead) = run("", &key(event_type, "flatten", ""), "flatten", event_type, &[json!([])]);
    assert_eq!((outputs.len(), dead.len()), (0, 1));
    assert_eq!(dead[0]["reason"], "schema_mismatch", "{dead:?}");
}

#[test]
fn mail_of_each_level_fits_its_schema() {
    let message = json!({
        "from": { "mail_address": "bob@example.com", "name": null }, "subject": "Hello", "snippet": "Hi",
        "folder_id": "INBOX", "label_ids": ["FLAGGED"], "body_text": "Hi Ada", "body_html": "<p>Hi Ada</p>",
        "attachments": [{ "attachment_id": "a1", "filename": "f.pdf" }],
    });
    let members = message.as_object().unwrap().len();
    let answer = json!({ "code": 0, "data": { "message": message } }).to_string();
    let server = StandIn::new(move |_, _| ok(&answer));
    let api = format!(
        "[api]\nbase_url = \"http://{}\"\nallow_private = true\n\
         [[filter]]\nname = \"mail\"\ngrants = \"api\"\n",
        server.address
    );
    let event_type = "mail.user_mailbox.event.message_received_v1";
    let event = json!({
        "mail_address": "ada@example.com", "message_id": "TUlh", "mailbox_type": 1,
        "subscriber": { "user_ids": [{ "open_id": "ou_ada" }] },
    });
    for (level, more) in [("event", 0), ("metadata", 5), ("plain_text_full", 6), ("full", members)] {
        let params = format!(
            "api = [\"GET /open-apis/mail/**\", \"POST /open-apis/mail/**\"]\nparams = [\n\
             {{ name = \"mailbox\", default = \"ada@example.com\", subscription_key = true }},\n\
             {{ name = \"level\", default = \"{level}\" }},\n]"
        );
        let keys = key(event_type, "mail", &params);
        let (outputs, dead) = run(&api, &keys, "mail", event_type, std::slice::from_ref(&event));
        assert_eq!((outputs.len(), dead), (1, Vec::new()), "{level}");
        assert_eq!(outputs[0].as_object().unwrap().len(), 4 + more, "{level}");
    }
    let schema = schema_of("mail");
    assert_eq!(schema["properties"].as_object().unwrap().len(), 4 + members, "it knows every member");
}

/// The schema that `keys schema --json` has of a key with this component.
fn schema_of(component: &str) -> Value {
    let folder = Folder::new(SETTINGS).write("keys/a.toml", &key("a.b", component, "")).write("events.ndjson", "");
    let folder = folder.plugin(component, component);
    let shown = trommel().args(["keys", "schema", "--json"]).arg(folder.path()).arg("a.b").output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let key: Value = serde_json::from_slice(&shown.stdout).unwrap();
    key["resolved_output_schema"].clone()
}
