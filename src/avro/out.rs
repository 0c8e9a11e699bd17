//! Writes scalars as JSON.

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
    // The room is what the encoding takes.
    let _written = STANDARD.encode_slice(bytes, &mut out[begin..]);
}

pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // A Vec takes everything, and both texts and finite numbers have a form.
    let _written = serde_json::to_writer(out, value);
}
