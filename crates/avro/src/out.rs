//! Scalars written as JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

pub(super) fn not_finite(number: f64) -> &'static [u8] {
    match number {
        f64::INFINITY => b"\"Infinity\"",
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend(text.as_bytes());
        out.push(b'"');
    } else {
        write_json(out, text);
    }
}

pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // The slice is exactly as long as the encoding.
    let _written = STANDARD.encode_slice(bytes, &mut out[begin..]);
}

pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to a Vec does not fail, and strings and finite numbers can always be written.
    let _written = serde_json::to_writer(out, value);
}
