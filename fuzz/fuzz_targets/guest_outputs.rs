//! Whatever a guest emits, it says nothing for the host, nothing to the server, and nothing that no output can be.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trommel::{
    event::{Headers, check_subject, identity::is_identity},
    filter::checked_emission,
    nats::header_map,
    walk::merged_for,
};

const LIMIT: usize = 512;

static EVENT: LazyLock<Headers> = LazyLock::new(|| {
    let pairs = [("tenant", "mine"), ("Color", "red"), ("traceparent", "00-1"), ("Nats-Msg-Id", "1")];
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
});

fuzz_target!(|data: &[u8]| {
    // The subject, headers with their names and values on lines of their own, an empty line, and the payload.
    let (head, payload) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &b""[..]),
    };
    let Ok(head) = str::from_utf8(head) else { return };
    let mut lines = head.split('\n').map(str::to_owned);
    let subject = lines.next().filter(|subject| !subject.is_empty());
    let mut given = Vec::new();
    while let (Some(name), value) = (lines.next(), lines.next()) {
        given.push((name, value.unwrap_or_default()));
    }
    let size: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    let size = size + payload.len() + subject.as_ref().map_or(0, String::len);
    let is_subject = subject.as_ref().is_none_or(|subject| check_subject(subject).is_ok());
    let Ok(emission) = checked_emission(payload.to_vec(), subject.clone(), given.clone(), LIMIT) else { return };
    assert!(size <= LIMIT && is_subject, "{size} bytes to {subject:?}");
    assert_eq!(&*emission.payload, payload);
    for grant in [false, true] {
        let headers = merged_for(&EVENT, &emission.headers, grant);
        let of_host = |headers: &Headers| {
            let kept = headers.iter().filter(|(name, _)| !grant && is_identity(name) || is_order(name));
            kept.cloned().collect::<Vec<_>>()
        };
        assert_eq!(of_host(&headers), of_host(&EVENT), "{given:?}");
        if let Ok(map) = header_map(&headers) {
            assert!(map.iter().all(|(name, _)| !is_order(name.as_ref())), "{map:?}");
        }
    }
});

fn is_order(name: &str) -> bool {
    ["nats-", "kv-"].iter().any(|with| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with)))
}
