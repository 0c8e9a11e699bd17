//! Whatever a message holds, every envelope makes an event of it or says why it is none, and keeps its body.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use trommel::{
    config::EnvelopeFormat,
    event::{MAX_ID, Origin, check_subject},
    field::Field,
    source::envelope::{SourceMessage, open},
};

static ENVELOPES: LazyLock<Vec<EnvelopeFormat>> = LazyLock::new(|| {
    let pointer = |text: &str| Some(Field::Pointer(text.parse().expect("it is one")));
    vec![
        EnvelopeFormat::Plain {
            id: pointer("/id"),
            event_type: pointer("/a/0"),
            subject: Some(Field::Header("to".to_owned())),
            source_time: pointer("/time"),
        },
        EnvelopeFormat::CloudEvents,
        EnvelopeFormat::Ctrlplane,
        EnvelopeFormat::Flowcraft,
        EnvelopeFormat::Helix,
        EnvelopeFormat::JbMesh,
        EnvelopeFormat::Lark { verify_header: false },
        EnvelopeFormat::Lark { verify_header: true },
    ]
});
static ORIGIN: LazyLock<Arc<Origin>> =
    LazyLock::new(|| Arc::new(Origin { source: "source".to_owned(), stream: "STREAM".to_owned() }));

fuzz_target!(|data: &[u8]| {
    // Headers, one a line, then an empty line and the body.
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((&b""[..], data), |end| (&data[..end], &data[end + 2..]));
    let head = String::from_utf8_lossy(head);
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase().into(), value.trim().into())).collect();
    for envelope in &*ENVELOPES {
        let message = SourceMessage {
            subject: "in.a".into(),
            headers: Clone::clone(&headers),
            payload: body.to_vec().into(),
            observed_at: 1,
            attempt: 1,
            origin: Arc::clone(&ORIGIN),
            sequence: 7,
            incarnation: 3,
        };
        match open(envelope, message) {
            Ok(event) => {
                assert!(check_subject(&event.subject).is_ok(), "{envelope:?}: {:?}", event.subject);
                assert!(event.id.len() <= MAX_ID && !event.event_type.is_empty(), "{envelope:?}: {:?}", event.id);
            }
            Err(refused) => {
                let (event, malformed) = *refused;
                assert!(!malformed.reason.is_empty() && !malformed.detail.is_empty(), "{envelope:?}");
                assert!(body.ends_with(&event.payload), "{envelope:?} keeps the body");
            }
        }
    }
});
