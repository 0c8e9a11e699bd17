//! Whatever a header block holds, it has headers as far as they go, or a reason, and what is read of it can be sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::nats::{RawMessage, header_map, headers};

fuzz_target!(|data: &[u8]| {
    for version in [&b""[..], b"NATS/1.0\r\n"] {
        let header_block = [version, data].concat();
        let message = RawMessage {
            sequence: 1,
            subject: "a".to_owned(),
            header_block,
            payload: Default::default(),
            stored_at: 0,
        };
        let (read, unreadable) = message.headers();
        if unreadable.is_some() {
            continue;
        }
        for (name, value) in read.iter() {
            assert!(!name.contains(|c: char| c.is_whitespace() || c.is_control()), "{name:?}");
            assert!(!value.contains(['\r', '\n']), "{value:?}");
        }
        // A header without a name can be read and not sent.
        let Ok(map) = header_map(&read) else {
            assert!(read.iter().any(|(name, _)| name.is_empty()), "{read:?} can be sent");
            continue;
        };
        let mut kept: Vec<_> = read.iter().filter(|(name, _)| !is_order(name)).cloned().collect();
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(headers(&map).iter().cloned().collect::<Vec<_>>(), kept, "{}", data.escape_ascii());
    }
});

/// What is meant for a stream goes no further.
fn is_order(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-"))
}
