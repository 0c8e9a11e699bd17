//! What comes over the control socket is read or refused, and what is read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use trommel::control::protocol::{ControlRequest, OutputEvent, RouterAnswer};

fuzz_target!(|data: &[u8]| {
    for line in data.split(|byte| *byte == b'\n') {
        comes_back::<ControlRequest>(line);
        comes_back::<RouterAnswer>(line);
        let _event = serde_json::from_slice::<OutputEvent<'_>>(line);
    }
});

/// Those who ask and those who answer may be of two versions, and one must not read more into a line than the other wrote.
fn comes_back<T: DeserializeOwned + Serialize>(line: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(line) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert!(!written.contains(&b'\n'), "it is one line");
    let again = serde_json::from_slice::<T>(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}
