//! A folder with webhooks and what became of their deliveries, and the commands about them. No
//! router runs here.

use crate::printed::{json_in, printed};
use crate::router;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use jiff::Timestamp;
use router::{Folder, trommel};
use serde_json::Value;
use trommel::webhook::store::{
    AttemptVerdict, DeliveryAttempt, DeliveryId, DeliveryQuery, DeliveryState, DeliveryStore, NewOutput,
};

pub const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "hooks"
    type = "webhook"
"#;

pub const WEBHOOKS: &str = r#"
    [[webhook]]
    name = "acme"
    url = "https://acme.example/hooks/very-secret?token=1"
    tenant = "acme"
    events = ["instance.*", "deploy.failed"]
    secret_file = "secrets/shared"

    [[webhook]]
    name = "globex"
    url = "https://globex.example"
    tenant = "*"
    secret_file = "secrets/shared"

    [[webhook]]
    name = "idle"
    url = "https://idle.example"
    active = false
    secret_file = "secrets/shared"
"#;

pub const SECRET: &str = "hunter2-hunter2-hunter2-2";

pub fn folder() -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/webhooks.toml", WEBHOOKS);
    fs::create_dir(folder.file("secrets")).unwrap();
    let folder = folder.write("secrets/shared", &format!("{SECRET}\n"));
    fs::set_permissions(folder.file("secrets/shared"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

/// A folder after a while, and its deliveries in the order in which they were made: one to `acme`
/// that failed, one that is pending, one to `globex` that was delivered, one to `former`, which is
/// declared no more.
pub fn used() -> (Folder, Vec<DeliveryId>) {
    let folder = folder();
    let store = DeliveryStore::make(&folder.file("deliveries.db")).unwrap();
    for (second, event_type, webhook) in [
        (1, "instance.created", "acme"),
        (2, "deploy.failed", "acme"),
        (3, "instance.created", "globex"),
        (4, "odd\n\u{1b}[31mtype", "former"),
    ] {
        let output = NewOutput {
            id: format!("evt_{second}:key:key-0:0"),
            event_id: format!("evt_{second}").into(),
            event_type: event_type.into(),
            subject: "events".into(),
            tenant: Some("acme".into()),
            content_type: None,
            traceparent: None,
            payload: format!(r#"{{"id":"evt_{second}","size":[1,2]}}"#).into(),
        };
        store.insert([(&output, &[webhook][..])], at(second)).unwrap();
        // Of one millisecond, ids have no order.
        let made = Timestamp::now().as_millisecond();
        while Timestamp::now().as_millisecond() == made {
            std::hint::spin_loop();
        }
    }
    let mut deliveries = store.list(&DeliveryQuery::default(), 9).unwrap();
    deliveries.reverse();
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
    let attempt = |of: usize, status_code, error: Option<&str>, answer: Option<&[u8]>, verdict| DeliveryAttempt {
        id: ids[of],
        webhook: deliveries[of].webhook.clone(),
        ended: at(10),
        status_code,
        error: error.map(str::to_owned),
        answer: answer.map(<[u8]>::to_vec),
        verdict,
    };
    let again = AttemptVerdict::Again(Duration::from_secs(30));
    store
        .record(&[
            attempt(0, Some(400), Some("it answered 400"), Some(b"no such\n\x1b[2Jtenant"), AttemptVerdict::Failed),
            attempt(1, None, Some("could not connect"), None, again),
            attempt(2, Some(200), None, Some(b"ok"), AttemptVerdict::Delivered),
        ])
        .unwrap();
    (folder, ids)
}

/// `trommel GROUP COMMAND DIR ARGUMENTS...`, with the folder written as `DIR` and deliveries as
/// their numbers.
pub fn run(folder: &Folder, words: &str, arguments: &[&str], ids: &[DeliveryId]) -> String {
    let mut text = printed(trommel().args(words.split(' ')).arg(folder.path()).args(arguments), folder.path());
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(&id.to_string(), &format!("deli_{number:0>26}"));
    }
    assert!(!text.contains("hunter2"), "{text}");
    text
}

/// What a command prints as JSON, a value a line or in all.
pub fn json_of(folder: &Folder, words: &str, arguments: &[&str]) -> Vec<Value> {
    json_in(&run(folder, words, &[&["--json"], arguments].concat(), &[]))
}

pub fn states(folder: &Folder) -> Vec<DeliveryState> {
    let store = DeliveryStore::open(&folder.file("deliveries.db")).unwrap();
    let mut all = store.list(&DeliveryQuery::default(), 9).unwrap();
    all.reverse();
    all.into_iter().map(|delivery| delivery.state).collect()
}
